"""The usual kinds of method, each made in a few lines: `untrained`, `supervised` and `adversarial`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.contracts.method import Batch, Forward, Losses, Method, Outputs, Phase, Player, State
from bench.tasks import find_task

if TYPE_CHECKING:
    from torch import Tensor, nn


def numbered(name: str, tensors: Iterable[Tensor]) -> dict[str, Tensor]:
    """Name the tensors of a list for `Outputs`.

    >>> numbered("scale", ["full", "half"])
    {'scale_1': 'full', 'scale_2': 'half'}
    """
    return {f"{name}_{number}": tensor for number, tensor in enumerate(tensors, 1)}


def in_order(name: str, outputs: Outputs) -> list[Tensor]:
    """Return the tensors that `numbered` named, in order; none where there are none.

    >>> in_order("scale", {"scale_1": "full", "scale_2": "half", "pred": "full"})
    ['full', 'half']
    """
    tensors: list[Tensor] = []
    while (key := f"{name}_{len(tensors) + 1}") in outputs:
        tensors.append(outputs[key])
    return tensors


def unchanged(state: State) -> State:
    """The `reference` of a network that has no weights of the authors, or whose names are ours."""
    return state


def untrained(tasks: tuple[str, ...], restore: Callable[[Batch], Tensor], **about: Any) -> Method:
    """Make a method without networks.

    Args:
        tasks: what it can do.
        restore: a batch to the restored image, as in `Method`.
        about: further fields of `Method`.
    """
    return Method(tasks, None, {}, lambda networks, batch: restore(batch), **about)


def supervised(
    task: str,
    network: Callable[..., nn.Module],
    loss: Callable[[Any, Tensor], Tensor | Losses],
    *,
    reference: Callable[[State], State] = unchanged,
    **about: Any,
) -> Method:
    """Make the method of one network and one loss, trained in one phase.

    Args:
        task: what it does.
        network: its constructor; the module is called with the tensors of the task's `inputs`. It may give a sequence,
            the full-size image first: the loss gets the whole sequence, restoring takes the first.
        loss: (prediction, target) to a scalar, named by the function, or to several named ones.
        reference: the authors' state dict to ours.
        about: further fields of `Method`.
    """

    inputs = find_task(task).inputs

    def forward(networks: nn.ModuleDict, batch: Batch) -> Outputs:
        pred = networks["network"](*(batch[name] for name in inputs))
        return {"pred": pred[0], **numbered("scale", pred)} if isinstance(pred, (tuple, list)) else {"pred": pred}

    def losses(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
        value = loss(in_order("scale", outputs) or outputs["pred"], batch["target"])
        return value if isinstance(value, dict) else {getattr(loss, "__name__", "loss"): value}

    def networks(**arguments: Any) -> Mapping[str, nn.Module]:
        return {"network": network(**arguments)}

    # `inspect` then sees the network's own signature and docstring: a misspelt argument in a recipe is refused before
    # anything is built, and the method's page explains each argument.
    networks.__wrapped__ = network  # type: ignore[attr-defined]
    return Method(
        (task,),
        networks,
        {"train": Phase(forward, {"network": Player(("network",), losses)})},
        lambda networks, batch: forward(networks, batch)["pred"],
        reference={"network": reference},
        **about,
    )


class Pair:
    """Makes a generator and its critic from one set of arguments; names of the critic's begin with `critic_`.

    Its signature is that of both, so that `inspect` sees every argument.

    Args:
        generator: the constructor of the generator; the default values of its arguments are the published network's.
        critic: that of the critic; what a person may not change is bound by `functools.partial`.
    """

    def __init__(self, generator: Callable[..., nn.Module], critic: Callable[..., nn.Module]):
        self.makers = {"": generator, "critic_": critic}
        self.__signature__ = inspect.Signature(
            [
                parameter.replace(name=f"{prefix}{parameter.name}", kind=parameter.KEYWORD_ONLY)
                for prefix, maker in self.makers.items()
                for parameter in inspect.signature(maker).parameters.values()
            ]
        )

    def __call__(self, **arguments: Any) -> dict[str, nn.Module]:
        generator, critic = self.makers.values()
        of_critic = {name: value for name, value in arguments.items() if name.startswith("critic_")}
        of_generator = {name: value for name, value in arguments.items() if name not in of_critic}
        return {
            "generator": generator(**of_generator),
            "critic": critic(**{name.removeprefix("critic_"): value for name, value in of_critic.items()}),
        }


def adversarial_phase(
    forward: Forward,
    generator_losses: Callable[[nn.ModuleDict, Batch, Outputs, Tensor], Losses],
    critic_losses: Callable[[nn.Module, Tensor, Tensor], Losses],
    *,
    critic_sees: Callable[[Tensor, Batch], Tensor] = lambda image, batch: image,
    critic_updates: int = 1,
    players: tuple[str, str] = ("critic", "generator"),
) -> Phase:
    """Make a phase in which `networks["critic"]` and `networks["generator"]` take turns, the critic first.

    Args:
        forward: (networks, batch) to outputs; `pred` is what the critic tells from the truth.
        generator_losses: see `adversarial`.
        critic_losses: see `adversarial`.
        critic_sees: see `adversarial`.
        critic_updates: see `adversarial`.
        players: names of the critic's and the generator's player. A second phase whose learning rates differ has its
            own, by which a recipe sets them.
    """

    def of_critic(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
        real, fake = critic_sees(batch["target"], batch), critic_sees(outputs["pred"].detach(), batch)
        return critic_losses(networks["critic"], real, fake)

    def of_generator(networks: nn.ModuleDict, batch: Batch, outputs: Outputs) -> Losses:
        return generator_losses(networks, batch, outputs, critic_sees(outputs["pred"], batch))

    critic, generator = players
    return Phase(
        forward,
        {critic: Player(("critic",), of_critic, critic_updates), generator: Player(("generator",), of_generator)},
    )


def adversarial(
    task: str,
    generator: Callable[..., nn.Module],
    critic: Callable[..., nn.Module],
    generator_losses: Callable[[nn.ModuleDict, Batch, Outputs, Tensor], Losses],
    critic_losses: Callable[[nn.Module, Tensor, Tensor], Losses],
    *,
    critic_sees: Callable[[Tensor, Batch], Tensor] = lambda image, batch: image,
    critic_updates: int = 1,
    outputs: Sequence[str] = ("pred",),
    phases: Mapping[str, Forward] | None = None,
    reference: Mapping[str, Callable[[State], State]] | None = None,
    restore: Callable[[nn.ModuleDict, Batch], Tensor] | None = None,
    **about: Any,
) -> Method:
    """Make the method of a generator and a critic. Several critics are one module that holds them.

    Args:
        task: what it does.
        generator: its constructor; the module is called with the tensors of the task's `inputs`.
        critic: its constructor. A recipe sets its arguments with `critic_` before their names.
        generator_losses: (networks, batch, outputs, fake) to what the generator lowers; `fake` is the restored image as
            the critic sees it, `networks["critic"]` the critic, and helpers are in `networks` where available.
        critic_losses: (critic, real, fake) to what the critic lowers; `fake` does not lead to the generator.
        critic_sees: an image (N, 3, H, W), restored or true, and the batch to what the critic is given. By default the
            image itself; a composite, another range, or the mask as a fourth channel are made here.
        critic_updates: optimiser steps of the critic on each batch.
        outputs: names of what the generator gives, in order; the first is `pred`, the restored image.
        phases: forward passes by name, in order, where there are several, like one with frozen norms. The players
            of the first are called "critic" and "generator", those of another have its name before theirs
            ("finetune_critic"), so that a recipe can give them other learning rates. By default one phase, "train".
        reference: the authors' state dicts to ours, for "generator" and "critic"; those left out are `unchanged`.
        restore: where restoring differs from the generator's `pred`: see `Method`.
        about: further fields of `Method`.
    """
    inputs = find_task(task).inputs

    def forward(networks: nn.ModuleDict, batch: Batch) -> Outputs:
        made = networks["generator"](*(batch[name] for name in inputs))
        return dict(zip(outputs, made if isinstance(made, (tuple, list)) else (made,), strict=True))

    def phase(forward_pass: Forward, prefix: str) -> Phase:
        return adversarial_phase(
            forward_pass,
            generator_losses,
            critic_losses,
            critic_sees=critic_sees,
            critic_updates=critic_updates,
            players=(f"{prefix}critic", f"{prefix}generator"),
        )

    passes = (phases or {"train": forward}).items()
    return Method(
        (task,),
        Pair(generator, critic),
        {name: phase(forward_pass, f"{name}_" if i else "") for i, (name, forward_pass) in enumerate(passes)},
        restore or (lambda networks, batch: forward(networks, batch)["pred"]),
        reference={"generator": unchanged, "critic": unchanged} | dict(reference or {}),
        **about,
    )
