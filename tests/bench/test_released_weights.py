"""The weights that DMPHN's authors released, where they are on this machine."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from bench import registry
from bench.data import manifest
from bench.data.built_images import as_float
from bench.data.user_images import read_rgb
from bench.importing import reference_networks
from bench.scoring.cases import to_depth
from bench.scoring.metrics import catalogue
from bench.scoring.restore import restore
from tests.conftest import PARAMS, Project

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT.parent / "shared" / "weights"


def table() -> dict[str, tuple[float, float, float]]:
    """The frames of the weights' README: PSNR of the input, PSNR and SSIM of the restored frame."""
    rows = re.findall(
        r"^\| (\S+/blur\S*) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", (WEIGHTS / "README.md").read_text(), re.M
    )
    return {name: (float(a), float(b), float(c)) for name, a, b, c in rows}


@pytest.mark.slow
@pytest.mark.skipif(not (WEIGHTS / "dmphn").is_dir(), reason="the released weights are not next to this checkout")
def test_the_released_weights_restore_the_real_frames_as_their_authors_network(samples, tmp_path, pytestconfig):
    """The two test frames, through `evaluate`; with --every-frame the seven others as well: two minutes more."""
    values = yaml.safe_load(PARAMS)
    del values["recipes"]["dmphn"]  # the published network
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    project = Project(tmp_path)
    originals = samples / "gopro"
    project.good("build", "gopro", "--originals", originals, "--partial", "--jobs", "1")
    project.good("import", "dmphn", WEIGHTS / "dmphn", "--dataset", "gopro", "--name", "released")
    project.good("evaluate", "released")
    assert len(table()) == 9

    scores = project.scores("released").set_index(["image", "metric"])["value"]
    built = manifest.read(tmp_path / "data" / "sample" / "gopro")
    tested = {
        row["source"].removeprefix("GOPRO_Large/").removesuffix(".png"): row["name"]
        for row in built.split("test").to_dict("records")
    }
    assert len(tested) == 2
    networks = reference_networks("dmphn", {}, {"": WEIGHTS / "dmphn"}, "deblur").eval()
    for frame, (input_psnr, psnr, ssim) in table().items():
        if frame not in tested and not pytestconfig.getoption("every_frame"):
            continue
        blurred = read_rgb(originals / "GOPRO_Large" / f"{frame}.png")
        sharp = read_rgb(originals / "GOPRO_Large" / Path(frame).parents[1] / "sharp" / f"{Path(frame).name}.png")
        assert catalogue.METRICS["psnr-rgb8"].compute(blurred, sharp) == pytest.approx(input_psnr, abs=0.01), frame
        if frame in tested:
            measured = {name: scores[tested[frame], name] for name in ("psnr-rgb8", "ssim-gauss11")}
        else:
            x = torch.from_numpy(as_float(blurred)).permute(2, 0, 1)[None]
            pred = restore(registry.method("dmphn"), networks, {"x": x})
            restored = to_depth(pred[0].permute(1, 2, 0).numpy(), np.dtype(np.uint8))
            measured = catalogue.compute_all(["psnr-rgb8", "ssim-gauss11"], restored, sharp)
        assert measured["psnr-rgb8"] == pytest.approx(psnr, abs=0.01), frame
        assert measured["ssim-gauss11"] == pytest.approx(ssim, abs=0.0005), frame
