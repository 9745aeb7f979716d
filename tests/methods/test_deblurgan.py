"""DeblurGAN: sizes, ranges, losses, and a step of its training as the engine takes it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import ParamsError
from methods.deblurgan import Critic, Generator, method
from methods.layers.instance_norm import instance_norm
from tests.methods.schedules import learning_rate

PHASE = method.phases["train"]
critic_losses, generator_losses = (PHASE.players[name].losses for name in ("critic", "generator"))


def tiny() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict(method.networks(**method.tiny))


def pairs(size: int = 32) -> dict[str, Tensor]:
    target = F.interpolate(torch.rand(2, 3, size // 4, size // 4), size, mode="bilinear")
    return {"x": F.avg_pool2d(target, 5, stride=1, padding=2, count_include_pad=False), "target": target}


def test_parameters_are_those_of_the_papers_networks() -> None:
    counts = {name: sum(p.numel() for p in network.parameters()) for name, network in method.networks().items()}
    assert counts == {"generator": 11_378_179, "critic": 2_764_737}


def test_instance_norm_is_torchs() -> None:
    x = 3 * torch.randn(2, 5, 7, 6) + 1
    torch.testing.assert_close(instance_norm(x), F.instance_norm(x))


@pytest.mark.parametrize(("height", "width"), [(8, 8), (16, 36)])
def test_restoring_keeps_size_and_range_and_is_repeatable(height: int, width: int) -> None:
    networks, x = tiny().eval(), torch.rand(2, 3, height, width)
    with torch.no_grad():
        pred = method.restore(networks, {"x": x})
        assert torch.equal(pred, method.restore(networks, {"x": x}))
    assert pred.shape == x.shape
    assert pred.min() >= 0 and pred.max() <= 1


def test_training_draws_dropout_from_torchs_generator() -> None:
    networks, x = tiny().train(), torch.rand(1, 3, 16, 16)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(networks["generator"](x))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_without_a_residual_the_image_stays() -> None:
    generator, x = Generator(8, 1).eval(), torch.rand(1, 3, 16, 16)
    nn.init.zeros_(generator.exit.weight)
    torch.testing.assert_close(generator(x), x)


def test_the_critic_pads_by_two() -> None:
    assert Critic(8)(torch.rand(1, 3, 96, 64)).shape == (1, 1, 15, 11)


def test_critic_losses_reach_no_generator_and_generator_losses_reach_it_whole() -> None:
    networks, batch = tiny(), pairs()
    outputs = PHASE.forward(networks, batch)
    losses = critic_losses(networks, batch, outputs)
    assert set(losses) == {"wasserstein", "gradient_penalty"}
    sum(losses.values()).backward()
    assert all(p.grad is None for p in networks["generator"].parameters())
    assert all(p.grad is not None for p in networks["critic"].parameters())
    losses = generator_losses(networks, batch, outputs)
    assert set(losses) == {"adversarial", "l1"}
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in networks["generator"].parameters())


def test_the_wasserstein_loss_is_the_difference_of_mean_scores_in_the_authors_range() -> None:
    networks, batch = tiny(), pairs()
    pred = torch.rand_like(batch["target"])
    losses = critic_losses(networks, batch, {"pred": pred})
    critic = networks["critic"]
    expected = critic(pred * 2 - 1).mean() - critic(batch["target"] * 2 - 1).mean()
    torch.testing.assert_close(losses["wasserstein"], expected)
    generator = generator_losses(networks, batch, {"pred": pred})
    torch.testing.assert_close(generator["adversarial"], -critic(pred * 2 - 1).mean())
    torch.testing.assert_close(generator["l1"], (pred - batch["target"]).abs().mean())


def test_content_is_the_squared_difference_of_conv3_3_of_signed_images() -> None:
    class Double(nn.Module):
        def forward(self, x: Tensor, names: tuple[str, ...]) -> list[Tensor]:
            assert names == ("conv3_3",)
            return [2 * x]

    networks, batch = tiny(), pairs()
    networks["vgg19"] = Double()
    losses = generator_losses(networks, batch, {"pred": batch["target"] + 0.1})
    assert losses["content"].item() == pytest.approx((2 * 2 * 0.1) ** 2, rel=1e-4)
    assert method.helpers["vgg19"].weights == "vgg19"
    assert method.helpers["vgg19"].losses == ("content",)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_steps_as_the_engine_takes_them_lower_l1(bfloat16: bool) -> None:
    networks, batch = tiny().train(), pairs()
    weights = {"wasserstein": 1, "gradient_penalty": 10, "adversarial": 1e-3, "l1": 1}
    optimisers = {
        name: torch.optim.Adam(networks[player.networks[0]].parameters(), 1e-3, (0.5, 0.999))
        for name, player in PHASE.players.items()
    }
    assert list(PHASE.players) == ["critic", "generator"] and PHASE.players["critic"].updates == 5
    values = []
    for _ in range(12):
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            outputs = PHASE.forward(networks, batch)
        for name, player in PHASE.players.items():
            for _ in range(player.updates):
                with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                    losses = player.losses(networks, batch, outputs)
                networks.zero_grad()
                sum(weights[key] * value for key, value in losses.items()).backward(retain_graph=True)
                optimisers[name].step()
        values.append(losses["l1"].item())
    assert sum(values[-3:]) < 0.8 * sum(values[:3])


def test_names_follow_with_or_without_dropout_and_old_running_statistics() -> None:
    generator = Generator(8, 2)
    ours = generator.state_dict()
    for second in (5, 6):
        theirs = {"model.2.running_mean": torch.zeros(8), "model.5.running_var": torch.ones(16)}
        for kind in ("weight", "bias"):
            for i, layer in {1: "entry", 4: "down1", 7: "down2", 12: "up1", 15: "up2", 19: "exit"}.items():
                theirs[f"model.{i}.{kind}"] = ours[f"{layer}.{kind}"]
            for i in (0, 1):
                theirs[f"model.{10 + i}.conv_block.1.{kind}"] = ours[f"blocks.{i}.conv1.{kind}"]
                theirs[f"model.{10 + i}.conv_block.{second}.{kind}"] = ours[f"blocks.{i}.conv2.{kind}"]
                theirs[f"model.{10 + i}.conv_block.2.running_mean"] = torch.zeros(32)
        result = method.reference["generator"](theirs)
        assert result.keys() == ours.keys()
        assert all(torch.equal(result[name], ours[name]) for name in ours)


@pytest.mark.parametrize(
    ("arguments", "message"), [({"dropout": 1.0}, "dropout is 1.0"), ({"num_blocks": 0}, "at least 1")]
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        method.networks(**arguments)


# The recipe -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "player", "unit", "when", "rate"),
    [
        ("train", "generator", "epoch", 149, 1e-4),
        ("train", "critic", "epoch", 225, 5e-5),
        ("train", "generator", "epoch", 300, 0.0),
    ],
)
def test_the_learning_rate_is_the_papers(phase, player, unit, when, rate):
    """Section 5: 1e-4 for 150 epochs, then linearly to zero over 150."""
    assert learning_rate("deblurgan-gopro", phase, player, unit, when) == pytest.approx(rate, rel=1e-9, abs=1e-12)
