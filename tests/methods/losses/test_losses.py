"""The shared losses, the patch critic and VGG: values known by hand, other implementations, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from bench.contracts import WeightsError
from methods.layers.patch_critic import PatchCritic, rename_critic, spectral_norm
from methods.losses import pixel
from methods.losses.adversarial import (
    gradient_penalty,
    hinge_critic,
    hinge_generator,
    least_squares_critic,
    least_squares_generator,
    log_critic,
    log_generator,
    wasserstein_critic,
    wasserstein_generator,
)
from methods.losses.perceptual import Vgg, gram, helper, imagenet_normalised, load_vgg, perceptual, style

REAL, FAKE = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])


def test_pixel_losses_by_hand() -> None:
    target = torch.zeros(2, 3, 4, 4)
    pred = torch.full_like(target, 0.1)
    assert pixel.l1(pred, target).item() == pytest.approx(0.1)
    assert pixel.mse(pred, target).item() == pytest.approx(0.01)
    assert pixel.charbonnier(pred, target, eps=0.1).item() == pytest.approx(0.1 * math.sqrt(2))
    ramp = torch.arange(4.0).expand(1, 1, 4, 4)
    assert pixel.total_variation(ramp).item() == 1
    assert pixel.total_variation(pred).item() == 0


def test_scale_refinement_compares_each_scale_with_the_averaged_target() -> None:
    target = torch.rand(2, 3, 8, 8)
    half = target.reshape(2, 3, 4, 2, 4, 2).mean(dim=(3, 5))
    value = pixel.scale_refinement([target + 0.2, half - 0.4], target)
    assert value.item() == pytest.approx((0.2**2 + 0.4**2) / 4, rel=1e-5)


def test_l1_over_hole_does_not_shrink_with_the_hole() -> None:
    target, mask = torch.rand(2, 3, 8, 8), torch.zeros(2, 1, 8, 8)
    mask[..., :2] = 1
    assert pixel.l1_over_hole(target + 0.3 * mask, target, mask).item() == pytest.approx(0.3, rel=1e-5)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (log_generator(FAKE), (math.log1p(math.exp(-0.5)) + math.log1p(math.exp(3))) / 2),
        (
            log_critic(REAL, FAKE),
            (math.log1p(math.exp(-2)) + math.log1p(math.exp(1)) + math.log1p(math.exp(0.5)) + math.log1p(math.exp(-3)))
            / 4,
        ),
        (least_squares_generator(FAKE), (0.5**2 + 4**2) / 2),
        (least_squares_critic(REAL, FAKE), ((1**2 + 2**2) / 2 + (0.5**2 + 3**2) / 2) / 2),
        (hinge_generator(FAKE), 1.25),
        (hinge_critic(REAL, FAKE), (0 + 2) / 2 + (1.5 + 0) / 2),
        (wasserstein_generator(FAKE), 1.25),
        (wasserstein_critic(REAL, FAKE), -1.25 - 0.5),
    ],
)
def test_adversarial_losses_by_hand(value: Tensor, expected: float) -> None:
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_log_losses_are_binary_cross_entropy_of_the_sigmoid() -> None:
    real, fake = torch.randn(4, 1, 5, 5), torch.randn(4, 1, 5, 5)
    ones, zeros = torch.ones_like(real), torch.zeros_like(fake)
    both = F.binary_cross_entropy(real.sigmoid(), ones) + F.binary_cross_entropy(fake.sigmoid(), zeros)
    torch.testing.assert_close(log_critic(real, fake), both / 2)
    torch.testing.assert_close(log_generator(fake), F.binary_cross_entropy(fake.sigmoid(), ones))
    assert torch.isfinite(log_generator(torch.tensor([-1e4])))


@pytest.mark.parametrize("loss", [log_critic, least_squares_critic, hinge_critic, wasserstein_critic])
def test_a_critic_that_tells_true_from_restored_loses_less(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    assert loss(torch.tensor(0.9), torch.tensor(0.1)) < loss(torch.tensor(0.1), torch.tensor(0.9))
    assert loss(REAL.bfloat16(), FAKE.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("axes", [(1, 2, 3), (1,)])
def test_the_gradient_penalty_of_a_linear_critic_is_known(axes: tuple[int, ...]) -> None:
    slope = torch.randn(3, 6, 5, requires_grad=True)
    real, fake = torch.rand(2, 3, 6, 5), torch.rand(2, 3, 6, 5, requires_grad=True)
    value = gradient_penalty(lambda x: (slope * x).sum(dim=(1, 2, 3)), real, fake, torch.rand(2, 1, 1, 1), axes)
    norm = slope.detach().square().sum(dim=tuple(axis - 1 for axis in axes)).sqrt()
    assert value.item() == pytest.approx((norm - 1).square().mean().item(), rel=1e-5)
    value.backward()
    expected = 2 * (norm - 1) / norm * slope.detach() / norm.numel()
    torch.testing.assert_close(slope.grad, expected, rtol=1e-4, atol=1e-6)
    assert fake.grad is None


def test_the_gradient_penalty_is_taken_between_true_and_restored() -> None:
    real, fake = torch.full((1, 1, 2, 2), 3.0), torch.full((1, 1, 2, 2), 1.0)
    alpha = torch.full((1, 1, 1, 1), 0.25)  # the point is 1.5, the gradient of x^2 there 3 in each of 4 pixels: norm 6
    assert gradient_penalty(lambda x: x.square(), real, fake, alpha).item() == pytest.approx((6 - 1) ** 2)


def test_the_patch_critic_has_the_size_of_the_paper_and_gives_five_features() -> None:
    critic = PatchCritic()
    assert sum(p.numel() for p in critic.parameters()) == 2_763_776
    shapes = [tuple(feature.shape) for feature in PatchCritic(2, 8)(torch.rand(3, 2, 64, 48))]
    assert shapes == [(3, 8, 32, 24), (3, 16, 16, 12), (3, 32, 8, 6), (3, 64, 7, 5), (3, 1, 6, 4)]


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_spectral_norm_makes_the_largest_singular_value_1_and_is_that_of_torch(kind: type[nn.Conv2d]) -> None:
    conv, theirs = kind(5, 7, 3), kind(5, 7, 3)
    original = conv.weight.detach().clone()
    theirs.load_state_dict(conv.state_dict())
    parametrizations.spectral_norm(theirs)
    spectral_norm(conv)
    ours, other = conv.parametrizations.weight, theirs.parametrizations.weight
    other[0]._u.copy_(ours[0].u)  # one start for both, and in eval no step from it
    other[0]._v.copy_(ours[0].v)
    torch.testing.assert_close(conv.eval().weight, theirs.eval().weight)
    conv.train()
    for _ in range(200):
        _ = conv.weight
    rows = conv.eval().weight.transpose(0, 1 if isinstance(conv, nn.ConvTranspose2d) else 0).flatten(1)
    assert torch.linalg.matrix_norm(rows, 2).item() == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(ours.original, original)


def test_two_passes_through_the_critic_and_one_backward() -> None:
    critic, fake = PatchCritic(3, 8), torch.rand(2, 3, 32, 32, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = log_critic(critic(torch.rand(2, 3, 32, 32))[-1], critic(fake)[-1])
    value.backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in critic.parameters())
    assert fake.grad is not None


def old_names(critic: PatchCritic) -> dict[str, Tensor]:
    """The state of our critic under the names of the authors' code."""
    state = {}
    for i, conv in enumerate(critic.convs, start=1):
        norm = conv.parametrizations.weight
        values = {"weight_orig": norm.original, "weight_u": norm[0].u, "weight_v": norm[0].v}
        state |= {f"conv{i}.0.{name}": value.detach() for name, value in values.items()}
    return state


def test_the_patch_critic_reads_every_form_of_the_authors_checkpoints() -> None:
    critic, ours = PatchCritic(3, 8), PatchCritic(3, 8)
    theirs = old_names(critic)
    twice = theirs | {name.replace("conv1", "features"): value for name, value in theirs.items() if "conv1" in name}
    parallel = {f"module.{name}": value for name, value in twice.items()}
    whole = {f"discriminator.{name}": value for name, value in parallel.items()} | {"generator.x": torch.zeros(1)}
    for state in (theirs, twice, parallel, whole, {"iteration": 3, "discriminator": parallel}):
        ours.load_state_dict(rename_critic(state))
        for name, value in critic.state_dict().items():
            assert torch.equal(ours.state_dict()[name], value), name


def torchvision_state(name: str) -> dict[str, Tensor]:
    """Random weights under torchvision's names, with the start of a classifier, which is to be ignored."""
    positions = {"vgg16": [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28],
                 "vgg19": [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]}[name]  # fmt: skip
    widths = {"vgg16": [64, 64, 128, 128, *[256] * 3, *[512] * 6], "vgg19": [64, 64, 128, 128, *[256] * 4, *[512] * 8]}
    state, before, draw = {}, 3, torch.Generator().manual_seed(0)
    for position, width in zip(positions, widths[name], strict=True):
        kernel = torch.randn(width, before, 3, 3, generator=draw) / math.sqrt(before * 4.5)
        state |= {f"features.{position}.weight": kernel, f"features.{position}.bias": 0.1 * torch.randn(width)}
        before = width
    return state | {"classifier.0.weight": torch.zeros(2, 2)}


@pytest.fixture(scope="module")
def vgg19_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vgg19.pth"
    torch.save(torchvision_state("vgg19"), path)
    return path


@pytest.mark.parametrize(("name", "parameters"), [("vgg16", 14_714_688), ("vgg19", 20_024_384)])
def test_vgg_has_the_known_number_of_parameters(name: str, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in Vgg(name).parameters()) == parameters


def test_vgg_computes_what_its_file_says_and_is_frozen(vgg19_file: Path) -> None:
    before = torch.get_rng_state()
    vgg = helper("vgg19", ("content",)).build(vgg19_file)
    assert torch.equal(torch.get_rng_state(), before)  # building it moves no other draw
    state, x = torch.load(vgg19_file, weights_only=True), torch.rand(2, 3, 16, 24)

    def conv(x: Tensor, i: int) -> Tensor:
        return F.conv2d(x, state[f"features.{i}.weight"], state[f"features.{i}.bias"], padding=1)

    relu1_2 = conv(conv(x, 0).relu(), 2).relu()
    pool2 = F.max_pool2d(conv(conv(F.max_pool2d(relu1_2, 2), 5).relu(), 7).relu(), 2)
    conv3_3 = conv(conv(conv(pool2, 10).relu(), 12).relu(), 14)
    found = vgg(x, ("conv3_3", "relu1_2", "pool2"))
    for ours, expected in zip(found, (conv3_3, relu1_2, pool2), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    assert not any(p.requires_grad for p in vgg.parameters())
    assert not vgg.training
    with pytest.raises(KeyError, match="relu9_1"):
        vgg(x, ("relu9_1",))


def test_a_random_vgg_is_drawn_from_the_seed_and_keeps_the_size_of_its_features() -> None:
    torch.manual_seed(3)
    vgg = load_vgg("vgg16", None)
    torch.manual_seed(3)
    again = helper("vgg16", ()).build(None)
    assert all(torch.equal(a, b) for a, b in zip(vgg.state_dict().values(), again.state_dict().values(), strict=True))
    assert not vgg.training and not any(p.requires_grad for p in vgg.parameters())
    assert vgg.layers["conv3_2"].weight.var().item() == pytest.approx(2 / (9 * 256), rel=0.02)
    relu2_2, relu4_3 = vgg(torch.randn(1, 3, 64, 64), ("relu2_2", "relu4_3"))
    assert 0.2 < (relu4_3.square().mean() / relu2_2.square().mean()).item() < 5  # 0.014 by torch's own draws


def test_a_file_that_is_not_the_network_is_refused(vgg19_file: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"features\.17\.weight is nothing, expected \(512, 256, 3, 3\)"):
        load_vgg("vgg16", vgg19_file)
    with pytest.raises(WeightsError, match=r"nowhere\.pth.*FileNotFoundError"):
        load_vgg("vgg19", tmp_path / "nowhere.pth")
    cut = tmp_path / "cut.pth"
    cut.write_bytes(vgg19_file.read_bytes()[:100_000])
    with pytest.raises(WeightsError, match="cannot be read as a plain state dict"):
        load_vgg("vgg19", cut)
    pickled = tmp_path / "pickled.pth"
    torch.save(nn.Conv2d(3, 64, 3), pickled)  # a module: reading it would run its code
    with pytest.raises(WeightsError, match="UnpicklingError"):
        load_vgg("vgg19", pickled)
    listed = tmp_path / "list.pth"
    torch.save([1, 2], listed)
    with pytest.raises(WeightsError, match="is nothing"):
        load_vgg("vgg19", listed)


class Eye(nn.Module):
    """Stands in for VGG: layer "k" is the image times k."""

    def forward(self, x: Tensor, names: tuple[str, ...]) -> list[Tensor]:
        return [x * float(name) for name in names]


def test_perceptual_and_style_losses_by_hand() -> None:
    pred, target = torch.full((2, 3, 4, 4), 0.5, requires_grad=True), torch.full((2, 3, 4, 4), 0.25)
    assert perceptual(Eye(), pred, target, ("1", "2")).item() == pytest.approx(0.25 + 0.5)
    assert perceptual(Eye(), pred, target, ("2",), pixel.mse).item() == pytest.approx(0.25)
    # Each entry of a constant image's Gram matrix is 16 v^2 / (3 x 16).
    value = style(Eye(), pred, target, ("1", "2"))
    assert value.item() == pytest.approx((0.25 - 0.0625) / 3 + (1 - 0.25) / 3)
    value.backward()
    assert pred.grad is not None


def test_gram_matches_numpy_and_ignores_where_things_are() -> None:
    features = torch.rand(2, 5, 4, 6)
    rows = features.numpy().astype(np.float64).reshape(2, 5, 24)
    np.testing.assert_allclose(gram(features).numpy(), np.einsum("nip,njp->nij", rows, rows) / (5 * 24), rtol=1e-5)
    torch.testing.assert_close(gram(features), gram(features.flip(-1).roll(2, dims=-2)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(gram(features), gram(features.clone())) and gram(features).dtype == torch.float32


def test_imagenet_normalised_moves_the_mean_to_zero() -> None:
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    assert imagenet_normalised(mean).abs().max() < 1e-6
    grey = imagenet_normalised(torch.ones(1, 3, 1, 1)).flatten()
    torch.testing.assert_close(grey, torch.tensor([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]))
