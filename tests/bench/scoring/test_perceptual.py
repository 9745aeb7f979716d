"""LPIPS, FID and the weights they need: found, verified, refused. The public weights are not available here.

Networks of random weights take the place of the public files, registered for one test under their own hash.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench import weights
from bench.contracts import DataError, UserError, WeightsError
from bench.scoring.cases import Case
from bench.scoring.metrics import perceptual
from bench.scoring.perceptual_scores import Perceptual
from bench.scoring.table import ScoreTable
from bench.torchvision_shim import make_importable

EMPTY = hashlib.sha256(b"").hexdigest()


def image(seed: int, height: int = 48, width: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(autouse=True)
def own_shared_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty TORCH_HOME, so that no file of this machine changes a test."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch):
    """Name a file by its hash and let `key` be that file."""

    def rename(key: str, path: Path) -> Path:
        digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
        named = path.rename(path.with_name(f"{key}-{digits}.pth"))
        file = weights.WeightFile(key, f"https://example.org/{named.name}", 1.0)
        monkeypatch.setitem(weights.KNOWN, key, file)
        return named

    return rename


# The files ------------------------------------------------------------------------------------------------------------


def test_the_known_files_are_the_published_ones():
    names = {key: (file.name, file.sha256) for key, file in weights.KNOWN.items()}
    assert names == {
        "vgg16": ("vgg16-397923af.pth", "397923af"),
        "vgg19": ("vgg19-dcbb9e9d.pth", "dcbb9e9d"),
        "alexnet": ("alexnet-owt-7be5be79.pth", "7be5be79"),
        "squeezenet": ("squeezenet1_1-b8a52dc0.pth", "b8a52dc0"),
        "inception-fid": ("weights-inception-2015-12-05-6726825d.pth", "6726825d"),
    }


def test_the_urls_are_those_of_the_packages():
    make_importable()
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
    from torchvision import models

    assert weights.KNOWN["inception-fid"].url == URL_INCEPTION_V3
    published = {
        "vgg16": models.VGG16_Weights.IMAGENET1K_V1,
        "vgg19": models.VGG19_Weights.IMAGENET1K_V1,
        "alexnet": models.AlexNet_Weights.IMAGENET1K_V1,
        "squeezenet": models.SqueezeNet1_1_Weights.IMAGENET1K_V1,
    }
    for key, entry in published.items():
        assert weights.KNOWN[key].url == entry.url
        assert weights.KNOWN[key].mebibytes == pytest.approx(entry.meta["_file_size"], abs=0.06)


def test_the_named_folder_comes_before_the_shared_one(tmp_path: Path, own_shared_folder: Path, register):
    assert weights.find("alexnet") is None
    named_folder = tmp_path / "mine"
    named_folder.mkdir()
    (named_folder / "file").write_bytes(b"abc")
    named = register("alexnet", named_folder / "file")
    assert weights.find("alexnet") is None
    assert weights.find("alexnet", named_folder) == named
    own_shared_folder.mkdir(parents=True)
    shared = own_shared_folder / named.name
    shared.write_bytes(b"abc")
    assert weights.find("alexnet") == shared
    assert weights.find("alexnet", named_folder) == named
    named.unlink()
    assert weights.find("alexnet", named_folder) == shared


def test_the_shared_folder_is_torchs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for home, cache in ((str(tmp_path), None), (None, str(tmp_path)), (None, None)):
        for name, value in (("TORCH_HOME", home), ("XDG_CACHE_HOME", cache)):
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)
        assert weights.shared_folder() == Path(torch.hub.get_dir()) / "checkpoints"


def test_a_file_with_another_hash_is_refused_before_it_is_read(tmp_path: Path):
    path = tmp_path / "alexnet-owt-7be5be79.pth"
    path.write_bytes(b"")
    with pytest.raises(
        WeightsError, match=f"begins with {EMPTY[:8]}, that of the published file with 7be5be79"
    ) as error:
        perceptual.lpips_alex(tmp_path)
    assert "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth" in str(error.value)
    (tmp_path / "weights-inception-2015-12-05-6726825d.pth").write_bytes(b"x")
    with pytest.raises(WeightsError, match="6726825d"):
        perceptual.fid_features(tmp_path)


def test_a_file_is_hashed_again_when_it_changes(tmp_path: Path, register):
    (tmp_path / "file").write_bytes(b"abc")
    named = register("vgg19", tmp_path / "file")
    assert weights.find("vgg19", tmp_path) == named
    named.write_bytes(b"abcd")
    with pytest.raises(WeightsError, match="damaged or another file"):
        weights.find("vgg19", tmp_path)


def test_unknown_keys_and_folders_are_reported(tmp_path: Path):
    with pytest.raises(UserError, match=r"no weights 'vgg'; the nearest are: .*vgg1"):
        weights.find("vgg")
    with pytest.raises(WeightsError, match="no such folder"):
        weights.find("vgg16", tmp_path / "nowhere")


def test_a_missing_file_gives_not_measured_and_names_what_to_fetch(tmp_path: Path, own_shared_folder: Path):
    missing = perceptual.lpips_alex(tmp_path)
    assert isinstance(missing, perceptual.NotMeasured)
    assert missing.metric == "lpips-alex"
    for part in ("https://download.pytorch.org/models/alexnet-owt-7be5be79.pth", str(tmp_path), str(own_shared_folder)):
        assert part in missing.reason
    assert missing.reason.endswith("; see network-weights/README.md for what `dvc repro` then does")
    missing = perceptual.fid_features(None)
    assert isinstance(missing, perceptual.NotMeasured)
    assert "weights-inception-2015-12-05-6726825d.pth" in missing.reason
    assert str(own_shared_folder) in missing.reason


def test_a_missing_package_gives_not_measured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    missing = perceptual.lpips_alex()
    assert isinstance(missing, perceptual.NotMeasured)
    assert "package lpips is not installed" in missing.reason


# LPIPS ----------------------------------------------------------------------------------------------------------------


def alexnet_trunk(scale: float = 1.0) -> dict[str, torch.Tensor]:
    """AlexNet's convolutions under torchvision's names, He-normal."""
    draw = torch.Generator().manual_seed(0)
    shapes = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    state = {}
    for layer, (out, into, side) in shapes.items():
        deviation = scale * (2 / (into * side * side)) ** 0.5
        state[f"features.{layer}.weight"] = torch.randn(out, into, side, side, generator=draw) * deviation
        state[f"features.{layer}.bias"] = torch.zeros(out)
    return state


def lpips_by_hand(state: dict[str, torch.Tensor], x: np.ndarray, y: np.ndarray) -> float:
    """Zhang et al. 2018, eq. 1, with the linear layers of the package."""
    import torch.nn.functional as F

    make_importable()
    import lpips

    linear = torch.load(
        Path(lpips.__file__).parent / "weights" / "v0.1" / "alex.pth", weights_only=True, map_location="cpu"
    )
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])

    def features(pixels: np.ndarray) -> list[torch.Tensor]:
        z = torch.from_numpy(pixels).float() / 255 * 2 - 1
        z = ((z - shift) / scale).permute(2, 0, 1)[None]
        layers = []
        for layer, stride, padding, pool in (
            (0, 4, 2, False),
            (3, 1, 2, True),
            (6, 1, 1, True),
            (8, 1, 1, False),
            (10, 1, 1, False),
        ):
            z = F.max_pool2d(z, 3, 2) if pool else z
            z = F.relu(F.conv2d(z, state[f"features.{layer}.weight"], stride=stride, padding=padding))
            layers.append(z / z.square().sum(dim=1, keepdim=True).sqrt())
        return layers

    pairs = enumerate(zip(features(x), features(y), strict=True))
    return sum(float(((a - b).square() * linear[f"lin{i}.model.1.weight"]).sum(dim=1).mean()) for i, (a, b) in pairs)


def test_lpips_looks_through_the_files_trunk(tmp_path: Path, register):
    values = []
    x, y = image(0, 64, 72), image(1, 64, 72)
    for folder, scale in (("one", 1.0), ("two", 1.3)):
        (tmp_path / folder).mkdir()
        state = alexnet_trunk(scale)
        state["features.3.weight"][:64] *= scale
        torch.save(state, tmp_path / folder / "file")
        register("alexnet", tmp_path / folder / "file")
        score = perceptual.lpips_alex(tmp_path / folder)
        assert callable(score)
        values.append(score(x, y))
        assert values[-1] == pytest.approx(lpips_by_hand(state, x, y), rel=1e-4)
        assert score(x, x) == 0
        assert score(x / 255, y / 255) == pytest.approx(values[-1], rel=1e-5)
        assert score(x[..., 0], y[..., 0]) > 0
        with pytest.raises(DataError, match="30x64 pixels: LPIPS"):
            score(x[:, :30], y[:, :30])
        with pytest.raises(DataError, match="expected one shape"):
            score(x, y[:-1])
    assert values[0] != pytest.approx(values[1], rel=1e-3)


def test_lpips_refuses_weights_of_another_network(tmp_path: Path, register):
    state = alexnet_trunk()
    del state["features.10.bias"]
    torch.save(state, tmp_path / "file")
    register("alexnet", tmp_path / "file")
    with pytest.raises(WeightsError, match=r"not AlexNet's weights: .*features\.10\.bias"):
        perceptual.lpips_alex(tmp_path)


class Trap:
    """What runs code when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("key", ["alexnet", "inception-fid"])
def test_a_pickle_of_more_than_tensors_is_refused_and_not_run(key: str, tmp_path: Path, register):
    torch.save({"features.0.weight": Trap(tmp_path / "ran")}, tmp_path / "file")
    register(key, tmp_path / "file")
    with pytest.raises(WeightsError, match="not a file of plain tensors"):
        if key == "alexnet":
            perceptual.lpips_alex(tmp_path)
        else:
            perceptual.fid_features(tmp_path)
    assert not (tmp_path / "ran").exists()


# FID ------------------------------------------------------------------------------------------------------------------


def test_the_frechet_distance_of_known_sets():
    draw = np.random.default_rng(0)
    x = draw.normal(0, 1, (60, 8))
    assert perceptual.frechet_distance(x, x) == pytest.approx(0, abs=1e-12)
    assert perceptual.frechet_distance(x, x + 3) == pytest.approx(8 * 9)
    # Twice as wide about the same mean: tr(C + 4C - 2 * 2C) = tr(C).
    centred = x - x.mean(axis=0)
    assert perceptual.frechet_distance(centred, 2 * centred) == pytest.approx(np.trace(np.cov(x, rowvar=False)))


@pytest.mark.parametrize(("n", "m", "d"), [(80, 60, 12), (9, 7, 40)])
def test_the_frechet_distance_is_torch_fidelitys(n: int, m: int, d: int):
    make_importable()
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    draw = np.random.default_rng(n)
    x, y = draw.normal(0, 1, (n, d)), draw.normal(0.3, 1.5, (m, d))
    theirs = fid_statistics_to_metric(*(fid_features_to_statistics(torch.from_numpy(z)) for z in (x, y)), verbose=False)
    assert perceptual.frechet_distance(x, y) == pytest.approx(theirs["frechet_inception_distance"], rel=1e-5)


def test_fid_looks_through_the_files_network(tmp_path: Path, register, monkeypatch: pytest.MonkeyPatch):
    make_importable()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with monkeypatch.context() as context:  # an untrained network, whose weights we then draw and save
        context.setattr(torch, "load", lambda *_, **__: {})
        context.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path="none")
    draw = torch.Generator().manual_seed(0)
    for value in network.state_dict().values():
        if value.dim() == 4:
            value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=draw)
    torch.save(network.state_dict(), tmp_path / "file")
    register("inception-fid", tmp_path / "file")

    few = [image(0), image(1, 30, 60), image(2)]
    features = perceptual.fid_features(tmp_path)
    assert callable(features)
    x, y = (np.stack([features(pixels) for pixels in some]) for some in (few, [pixels // 2 for pixels in few]))
    for pixels, row in zip(few, x, strict=True):
        expected = network(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0][0]
        assert row.dtype == np.float32 and row == pytest.approx(expected.numpy(), rel=1e-5, abs=1e-6)
    assert perceptual.frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    assert perceptual.frechet_distance(x, y) > 1e-3


@pytest.mark.parametrize("sizes", [(1, 3), (3, 1)])
def test_one_image_has_no_distance(sizes):
    with pytest.raises(DataError, match="FID of 1 images: expected two or more"):
        perceptual.frechet_distance(*(np.ones((size, 8)) for size in sizes))


def case_of(name: str, source: str) -> Case:
    """A test image under one input, whose first pixels tell which it is."""
    row = {"name": name, "split": "test", "degradation": "{}", "mask_kind": "square", "mask_band": "20-30"}
    mask = np.ones((4, 4, 1), np.float32)
    return Case(row, source, {"mask": mask}, image(ord(name), 4, 4), Path())


def test_only_features_are_kept_and_each_truth_is_seen_once(monkeypatch: pytest.MonkeyPatch):
    looked: list[tuple[str, float]] = []

    def factory(folder: Path | None, device: str):
        def features(pixels: np.ndarray) -> np.ndarray:
            looked.append((device, float(pixels.mean())))
            return pixels.reshape(-1)[:6].astype(np.float32)

        return features

    monkeypatch.setitem(perceptual.PERCEPTUAL, "fid", replace(perceptual.FID, load=factory))
    table = ScoreTable({"run": "mine"})
    judge = Perceptual(["fid"], None, "inpaint", "cuda:1")
    restored = {source: [image(k + 10 * len(source), 4, 4) for k in range(3)] for source in ("sharp", "blurred")}
    for source, preds in restored.items():
        for name, pred in zip("abc", preds, strict=True):
            judge.add(case_of(name, source), pred)
    assert len(looked) == 3 + 6 and {device for device, _ in looked} == {"cuda:1"}
    judge.finish(table)
    rows = table.frame().set_index("input")
    truths = np.stack([case_of(name, "sharp").truth.reshape(-1)[:6] for name in "abc"])
    for source, preds in restored.items():
        expected = perceptual.frechet_distance(np.stack([pred.reshape(-1)[:6] for pred in preds]), truths)
        assert rows.loc[source, "value"] == pytest.approx(expected) and rows.loc[source, "mask_band"] == "20-30"
    assert not Perceptual(["fid"], None, "deblur").extractors and not Perceptual(["fid"], None, "deblur").missing


def test_a_set_of_one_image_and_a_missing_network_give_reasons(monkeypatch: pytest.MonkeyPatch):
    judge, table = Perceptual(["fid", "lpips-alex"], None, "inpaint"), ScoreTable({"run": "mine"})
    judge.add(case_of("a", "sharp"), image(0, 4, 4))
    judge.finish(table)
    rows = table.frame().set_index("metric")
    assert list(rows.index) == ["lpips-alex", "fid"] and rows["value"].isna().all()
    assert rows["reason"].str.contains("are not on this machine").all()
    few = replace(perceptual.FID, load=lambda folder, device: lambda pixels: pixels.reshape(-1)[:6])
    monkeypatch.setitem(perceptual.PERCEPTUAL, "fid", few)
    judge, table = Perceptual(["fid"], None, "inpaint"), ScoreTable({"run": "mine"})
    judge.add(case_of("a", "sharp"), image(0, 4, 4))
    judge.finish(table)
    assert table.frame()["reason"].tolist() == ["a set of one image has no distance"]


# Imports --------------------------------------------------------------------------------------------------------------


def run(code: str) -> str:
    root = Path(__file__).parents[3]
    return subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout


def test_importing_the_module_loads_no_heavy_package():
    code = "import sys, bench.scoring.metrics.perceptual; print(sorted({'torch', 'lpips'} & set(sys.modules)))"
    assert run(code) == "[]\n"


def test_torchvision_and_both_packages_import_after_the_shim():
    code = (
        "from bench.torchvision_shim import make_importable as make; make(); make(); "
        "import torchvision, lpips, torch_fidelity; print('imported')"
    )
    assert run(code) == "imported\n"
