"""VGG and the losses of its features: values known by hand, the network written out, and files that are refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.contracts import WeightsError
from methods.losses import pixel
from methods.losses.perceptual import Vgg, gram, load_vgg, perceptual, style, vgg_helper


def torchvision_state(name: str) -> dict[str, Tensor]:
    """Random weights under torchvision's names, and a tensor of the classifier, which is to be ignored."""
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
def test_vgg_has_the_published_number_of_parameters(name: str, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in Vgg(name).parameters()) == parameters


def test_vgg_computes_the_features_of_its_file_and_is_frozen(vgg19_file: Path) -> None:
    before = torch.get_rng_state()
    vgg = vgg_helper("vgg19", ("content",)).build(vgg19_file)
    assert torch.equal(torch.get_rng_state(), before)  # building it draws nothing
    state, x = torch.load(vgg19_file, weights_only=True), torch.rand(2, 3, 16, 24)

    def conv(x: Tensor, i: int) -> Tensor:
        return F.conv2d(x, state[f"features.{i}.weight"], state[f"features.{i}.bias"], padding=1)

    relu1_2 = conv(conv(x, 0).relu(), 2).relu()
    pool2 = F.max_pool2d(conv(conv(F.max_pool2d(relu1_2, 2), 5).relu(), 7).relu(), 2)
    conv3_3 = conv(conv(conv(pool2, 10).relu(), 12).relu(), 14)
    features = vgg(x, ("conv3_3", "relu1_2", "pool2"))
    for ours, expected in zip(features, (conv3_3, relu1_2, pool2), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    assert not any(p.requires_grad for p in vgg.parameters())
    assert not vgg.training
    with pytest.raises(KeyError, match="relu9_1"):
        vgg(x, ("relu9_1",))


def test_a_random_vgg_is_drawn_from_the_seed_and_keeps_the_size_of_its_features() -> None:
    torch.manual_seed(3)
    vgg = load_vgg("vgg16", None)
    torch.manual_seed(3)
    again = vgg_helper("vgg16", ()).build(None)
    assert all(torch.equal(a, b) for a, b in zip(vgg.state_dict().values(), again.state_dict().values(), strict=True))
    assert not vgg.training and not any(p.requires_grad for p in vgg.parameters())
    assert vgg.layers["conv3_2"].weight.var().item() == pytest.approx(2 / (9 * 256), rel=0.02)
    relu2_2, relu4_3 = vgg(torch.randn(1, 3, 64, 64), ("relu2_2", "relu4_3"))
    assert 0.2 < (relu4_3.square().mean() / relu2_2.square().mean()).item() < 5  # 0.014 by torch's own draws


def test_a_file_that_is_not_the_network_is_refused(vgg19_file: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"features\.17\.weight is missing, expected \(512, 256, 3, 3\)"):
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
    with pytest.raises(WeightsError, match="is missing"):
        load_vgg("vgg19", listed)


class MultipliedImage(nn.Module):
    """In the place of VGG: layer "k" is the image times k."""

    def forward(self, x: Tensor, names: tuple[str, ...]) -> list[Tensor]:
        return [x * float(name) for name in names]


def test_perceptual_and_style_losses_by_hand() -> None:
    pred, target = torch.full((2, 3, 4, 4), 0.5, requires_grad=True), torch.full((2, 3, 4, 4), 0.25)
    assert perceptual(MultipliedImage(), pred, target, ("1", "2")).item() == pytest.approx(0.25 + 0.5)
    assert perceptual(MultipliedImage(), pred, target, ("2",), pixel.mse).item() == pytest.approx(0.25)
    # Each entry of a constant image's Gram matrix is 16 v^2 / (3 x 16).
    value = style(MultipliedImage(), pred, target, ("1", "2"))
    assert value.item() == pytest.approx((0.25 - 0.0625) / 3 + (1 - 0.25) / 3)
    value.backward()
    assert pred.grad is not None


def test_gram_matches_numpy_and_ignores_positions() -> None:
    features = torch.rand(2, 5, 4, 6)
    rows = features.numpy().astype(np.float64).reshape(2, 5, 24)
    np.testing.assert_allclose(gram(features).numpy(), np.einsum("nip,njp->nij", rows, rows) / (5 * 24), rtol=1e-5)
    torch.testing.assert_close(gram(features), gram(features.flip(-1).roll(2, dims=-2)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(gram(features), gram(features.clone())) and gram(features).dtype == torch.float32
