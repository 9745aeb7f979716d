"""Build a method's networks from arguments that a person wrote, where they can be built and fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from bench.contracts import Method, ParamsError
from bench.contracts.errors import brief
from bench.crash import ran_out_of_memory

if TYPE_CHECKING:
    from torch import nn

LARGE = 1024
"""Networks with a whole number above this among their arguments are measured before they are built. Published networks
have at most 512 channels."""
LARGEST = 2**16
"""No argument of a network is larger: a network of so many blocks would take minutes to be measured alone."""


def new_networks(method: Method, arguments: Mapping[str, Any]) -> dict[str, nn.Module]:
    """Build a method's networks on the CPU, with new weights.

    Args:
        method: with networks.
        arguments: of its networks, by name, checked against their signature.

    Raises:
        ParamsError: the networks cannot be built with these arguments, or do not fit into this machine's memory.
    """
    assert method.networks is not None
    largest = max(_whole_numbers(arguments), default=0)
    if largest > LARGEST:
        raise ParamsError(f"found {largest:,} among the arguments, expected at most {LARGEST:,}")
    try:
        if largest > LARGE:
            _check_memory(method, arguments)
        return dict(method.networks(**arguments))
    except ParamsError:
        raise
    except Exception as error:
        if not arguments or ran_out_of_memory(error):
            raise
        cause = f"{type(error).__name__}: {brief(str(error).partition(chr(10))[0])[1:-1]}"
        raise ParamsError(f"the networks cannot be built with {brief(dict(arguments))} ({cause})") from error


def _whole_numbers(value: Any) -> Iterator[int]:
    """Yield every whole number in arguments and in what they contain."""
    if isinstance(value, int) and not isinstance(value, bool):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _whole_numbers(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _whole_numbers(inner)


def _check_memory(method: Method, arguments: Mapping[str, Any]) -> None:
    """Build the networks without memory for their weights. Raise ParamsError where the weights exceed what is free."""
    import psutil
    import torch

    assert method.networks is not None
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        networks = method.networks(**arguments)
    tensors = [tensor for network in networks.values() for tensor in network.state_dict().values()]
    needed, free = sum(tensor.nbytes for tensor in tensors), psutil.virtual_memory().available
    if needed > free:
        raise ParamsError(
            f"the weights of the networks take {needed / 2**30:,.0f} GiB, free are {free / 2**30:,.1f} GiB; give "
            "smaller arguments"
        )
