"""What the pages on methods print of a method: its text, files and arguments, the sizes and losses of its networks."""

from __future__ import annotations

import ast
import functools
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench import code, registry
from bench.contracts import Method, Pair, UserError
from bench.tasks import find_task

if TYPE_CHECKING:
    from torch import Tensor, nn

CASES, RUNNERS = code.ROOT / "tests" / "golden", code.ROOT / "tests" / "golden_runners"
SIDE = 64
"""Side in pixels of the images with which losses are found: critics of many strides take no smaller ones."""


# Sources --------------------------------------------------------------------------------------------------------------


def about(name: str) -> tuple[str, str]:
    """Return the first sentence of an entry's module docstring and the rest of it."""
    text = ast.get_docstring(ast.parse(registry.method_file(name).read_text(encoding="utf-8"))) or name
    title, _, rest = text.partition("\n")
    return title.rstrip("."), rest


def files(name: str) -> list[Path]:
    """Return an entry's file and then the files of `methods/` that it runs."""
    entry = registry.method_file(name).resolve()
    outside = registry.find_outside(name)
    roots = (outside.root,) if outside else ()
    shared = [path for path in code.closure((), [entry], roots) if path.is_relative_to(code.ROOT / "methods")]
    return [entry, *(path for path in shared if path != entry and path.name != "__init__.py")]


def golden_cases(name: str) -> list[str]:
    """Return the golden cases that prove an entry's networks, or parts that they are made of.

    A runner belongs to the entries that it imports, and one that imports none to those that run what it imports.
    """
    known = {path.stem for path in CASES.glob("*.json")}
    entry, *shared = files(name)
    cases: set[str] = set()
    for path in RUNNERS.glob("[!_]*.py"):
        imported = {file for file in code.imports(path)[0] if file.stem != "__init__"}
        entries = {file for file in imported if file.parent == code.ROOT / "methods"}
        if entry in entries or (not entries and imported & set(shared)):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            cases |= known & {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return sorted(cases)


# Networks -------------------------------------------------------------------------------------------------------------


class Argument(NamedTuple):
    """An argument of a method's networks: name, type and default as in the code, and what it means."""

    name: str
    kind: str
    default: object
    meaning: str


def arguments(method: Method) -> list[Argument]:
    """Return the arguments of a method's networks, explained by the docstrings of what makes them.

    Raises:
        UserError: the package that reads docstrings is not installed.
    """
    networks = _networks_of(method)
    makers = networks.makers if isinstance(networks, Pair) else {"": inspect.unwrap(networks)}
    meanings = {f"{prefix}{key}": text for prefix, maker in makers.items() for key, text in _meanings(maker).items()}
    return [
        Argument(parameter.name, parameter.annotation, parameter.default, meanings.get(parameter.name, ""))
        for parameter in inspect.signature(networks).parameters.values()
    ]


def _meanings(maker: Callable[..., object]) -> dict[str, str]:
    try:
        from docstring_parser import DocstringStyle, parse
    except ModuleNotFoundError:
        raise UserError("the pages need docstring_parser; run: pip install docstring_parser") from None
    source = maker.func if isinstance(maker, functools.partial) else maker
    parsed = parse(inspect.getdoc(source) or "", DocstringStyle.GOOGLE)
    return {entry.arg_name: " ".join((entry.description or "").split()) for entry in parsed.params}


def _networks_of(method: Method) -> Callable[..., Mapping[str, nn.Module]]:
    if method.networks is None:
        raise ValueError("a method without training has no networks")
    return method.networks


@functools.cache
def _sizes(name: str, network: str) -> dict[str, int]:
    import torch

    networks = _networks_of(registry.method(name))
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):  # takes no memory and draws no weights
                made = networks(**json.loads(network))
        except (NotImplementedError, RuntimeError):
            # A constructor that computes with its weights, as that of spectral norm, needs some.
            made = networks(**json.loads(network))
    return {key: sum(p.numel() for p in net.parameters()) for key, net in made.items()}


def sizes(name: str, network: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of parameters of each network that a method makes of these arguments."""
    return _sizes(name, json.dumps(network, sort_keys=True))


def losses(method: Method) -> list[tuple[str, str, str]]:
    """Return phase, player and name of every loss, as the method's smallest networks give them for a random batch.

    Frozen helpers have random weights here: only the names count.
    """
    import torch
    from torch import nn

    listed = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        frozen = {name: helper.build(None).requires_grad_(False) for name, helper in method.helpers.items()}
        networks = nn.ModuleDict({**_networks_of(method)(**method.tiny), **frozen})
        batch = random_batch(method)
        for phase_name, phase in method.phases.items():
            if any(network not in networks for player in phase.players.values() for network in player.networks):
                continue  # a phase of an ablation that has other networks
            outputs = phase.forward(networks, batch)
            for player_name, player in phase.players.items():
                listed += [(phase_name, player_name, loss) for loss in player.losses(networks, batch, outputs)]
    return listed


def random_batch(method: Method) -> dict[str, Tensor]:
    """Return a training batch of two noise images of a size that the method takes, each with a square hole."""
    import torch

    task = find_task(method.tasks[0])
    side = -(-max(SIDE, method.min_size) // method.multiple) * method.multiple
    target = torch.rand(2, 3, side, side)
    mask = torch.zeros(2, 1, side, side)
    mask[..., side // 4 : side // 2, side // 4 : side // 2] = 1
    inputs = {"mask": mask, "x": target * (1 - mask) if task.has_hole else target, "left": target, "right": target}
    maps = {
        name: torch.stack([torch.from_numpy(made.of_target(image.permute(1, 2, 0).numpy())) for image in target])
        for name, made in method.auxiliary.items()
    }
    return {
        **{name: inputs[name] for name in task.inputs},
        **{name: value.permute(0, 3, 1, 2) for name, value in maps.items()},
        "target": target,
        "blurred": target,
        "progress": torch.tensor(0.5),
    }
