"""The usual kinds of method: their arguments, what each player is given, and a few steps of the example of a GAN."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench.contracts import Method, Pair, ParamsError, adversarial, at_least, in_order, numbered, supervised, untrained
from bench.params.checks import check_arguments

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"


class Scale(nn.Module):
    """The input times a learned factor, with `extra` further images; where it has a mask, only in the hole."""

    def __init__(self, factor: float = 2.0, extra: int = 0):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))
        self.extra = extra

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        y = x * self.factor
        return (y, *(y / 2 for _ in range(self.extra))) if self.extra else y


class Judge(nn.Module):
    """The mean of an image times a learned weight."""

    def __init__(self, weight: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x.mean()


def made(**about: object) -> Method:
    return adversarial(
        "inpaint",
        Scale,
        Judge,
        lambda networks, batch, outputs, fake: {"adversarial": -networks["critic"](fake)},
        lambda critic, real, fake: {"adversarial": critic(fake) - critic(real)},
        **about,
    )


def batch() -> dict[str, Tensor]:
    return {"x": torch.ones(1, 3, 4, 4), "mask": torch.ones(1, 1, 4, 4), "target": 3 * torch.ones(1, 3, 4, 4)}


def test_arguments_of_generator_and_critic_are_told_apart_by_their_names():
    networks = made().networks
    assert {name: parameter.default for name, parameter in inspect.signature(networks).parameters.items()} == {
        "factor": 2.0,
        "extra": 0,
        "critic_weight": 1.0,
    }
    pair = networks(factor=5.0, critic_weight=7.0)
    assert (pair["generator"].factor.item(), pair["critic"].weight.item()) == (5.0, 7.0)
    with pytest.raises(ParamsError, match=r"here\.critic_wieght: unknown argument.*critic_weight"):
        check_arguments(networks, {"critic_wieght": 1.0}, "here")
    assert isinstance(networks, Pair)


def test_the_critic_does_not_reach_the_generator_and_the_generator_is_judged_by_the_critic():
    method = made()
    networks = nn.ModuleDict(method.networks())
    phase = method.phases["train"]
    assert list(phase.players) == ["critic", "generator"]
    outputs = phase.forward(networks, batch())
    phase.players["critic"].losses(networks, batch(), outputs)["adversarial"].backward()
    assert networks["generator"].factor.grad is None
    assert networks["critic"].weight.grad.item() == 2 - 3
    phase.players["generator"].losses(networks, batch(), outputs)["adversarial"].backward()
    assert networks["generator"].factor.grad.item() == -1


def test_the_critic_is_given_what_critic_sees_makes_of_images():
    method = made(critic_sees=lambda image, batch: image * batch["mask"] / 2, critic_updates=5)
    networks = nn.ModuleDict(method.networks())
    player = method.phases["train"].players["critic"]
    outputs = {"pred": 4 * torch.ones(1, 3, 4, 4)}
    assert player.losses(networks, batch(), outputs)["adversarial"].item() == (4 - 3) / 2
    assert player.updates == 5
    assert method.phases["train"].players["generator"].updates == 1


def test_further_images_of_the_generator_are_outputs_by_name():
    method = made(outputs=("pred", "coarse"))
    networks = nn.ModuleDict(method.networks(extra=1))
    outputs = method.phases["train"].forward(networks, batch())
    assert {name: value.mean().item() for name, value in outputs.items()} == {"pred": 2.0, "coarse": 1.0}
    assert method.restore(networks, batch()).mean().item() == 2.0
    with pytest.raises(ValueError):
        method.phases["train"].forward(nn.ModuleDict(method.networks()), batch())


def test_a_second_phase_has_players_of_other_names():
    def forward(networks, batch):
        return {"pred": networks["generator"](batch["x"])}

    method = made(phases={"train": forward, "finetune": forward}, reference={"critic": lambda state: {}})
    players = {name: list(phase.players) for name, phase in method.phases.items()}
    assert players == {"train": ["critic", "generator"], "finetune": ["finetune_critic", "finetune_generator"]}
    state = {"factor": torch.ones(())}
    assert method.reference["generator"](state) is state
    assert method.reference["critic"](state) == {}


def test_a_network_of_several_scales_gives_them_all_to_the_loss_and_restores_the_first():
    method = supervised("deblur", Scale, lambda preds, target: {"all": torch.stack(preds).sum()})
    networks = nn.ModuleDict(method.networks(extra=1))
    phase = method.phases["train"]
    outputs = phase.forward(networks, batch())
    assert all(isinstance(value, Tensor) for value in outputs.values())
    total = phase.players["network"].losses(networks, batch(), outputs)["all"]
    assert total.item() == 48 * (2 + 1)
    assert torch.equal(method.restore(networks, batch()), outputs["pred"])


def test_numbered_tensors_come_back_in_order():
    tensors = [torch.tensor(float(number)) for number in range(12)]
    assert in_order("scale", {"pred": tensors[0], **numbered("scale", tensors)}) == tensors
    assert in_order("scale", {"pred": tensors[0]}) == []


def test_a_method_without_training_gets_the_batch_alone():
    method = untrained(("deblur",), lambda batch: batch["x"] + 1, margin=0)
    assert method.networks is None and not method.phases
    assert method.restore(nn.ModuleDict(), batch()).mean().item() == 2.0


@pytest.mark.parametrize(("value", "accepted"), [(0, False), (1, True), (float("nan"), False)])
def test_a_bound_names_the_method_the_argument_and_the_value(value, accepted):
    if accepted:
        at_least(1, "mine", channels=value)
        return
    with pytest.raises(ParamsError, match=f"mine: channels is {value}; expected at least 1"):
        at_least(1, "mine", channels=value)


def test_the_example_of_a_gan_learns():
    spec = importlib.util.spec_from_file_location("mine_gan", EXAMPLES / "mine_gan.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    method: Method = module.method
    torch.manual_seed(0)
    networks = nn.ModuleDict(method.networks(**method.tiny))
    target = torch.rand(2, 3, 24, 24)
    pair = {"x": 0.5 * target, "target": target}
    phase = method.phases["train"]
    optimizers = {
        name: torch.optim.Adam(networks[player.networks[0]].parameters(), 1e-2)
        for name, player in phase.players.items()
    }
    values = []
    for _ in range(30):
        outputs = phase.forward(networks, pair)
        for name, player in phase.players.items():
            losses = player.losses(networks, pair, outputs)
            optimizers[name].zero_grad()
            (losses.get("l1", 0) + 0.01 * losses["adversarial"]).backward(retain_graph=True)
            optimizers[name].step()
        values.append(losses["l1"].item())
    assert values[-1] < 0.5 * values[0]
