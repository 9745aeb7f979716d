"""Runs of every task, built data, and all figures of the papers drawn from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.data import manifest
from bench.data.built_images import write_png
from bench.record import Inside
from datasets import visdrone
from reports.figures.papers.builders import PaperFigure, draw_figures
from reports.scores import reading
from tests.make_scores import Spec, photograph, record_files, write
from tests.manifests import ABOUT, ROW
from tests.reports.samples import PUBLISHED


def dffnet(name: str, row: str, maps: list[str], weight: float = 0.0, **about: object) -> Spec:
    """A DFFNet run with maps of its insides."""
    inside = tuple(Inside(name, f"images/insides/{i}.png", ()) for i, name in enumerate(maps))
    record = {"insides": inside, "title": name, **about}
    return Spec("dffnet", "places2", "sharp-inpaint", 27.0 + weight, row, record=record, named=name)


def names_of_attention(start: str) -> list[str]:
    return [f"{start}attention {k}: {what}" for k in (1, 2) for what in ("offsets", "heat")]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of every task; some rows have none."""
    folder = tmp_path_factory.mktemp("scores")
    full = ["deblurred", *names_of_attention("stage two, "), *names_of_attention("stage two without deblurring, ")]
    full += ["edges, predicted in the hole", "stage two, coarse", "stage two, refined", "result"]
    scales = [Inside("DMSSRM 1: scales 1, 1/2, 1/4", "", (0.75, 0.2499, 1.25e-4))]
    scales += [
        Inside(f"DMSSRM 1, scale {scale}: mean of the channels, own range", f"images/insides/{i}.png", ())
        for i, scale in enumerate(("1", "1/2", "1/4"))
    ]
    classes = ["edge map", "location of Gaussian blur, own range", "location of motion blur, own range"]
    classes += [f"path {k}: difference to the blurred image, own range" for k in (1, 2, 3)]
    inside = tuple(Inside(name, f"images/insides/{i}.png", ()) for i, name in enumerate(classes))
    texture = tuple(
        Inside(name, f"images/insides/{i}.png", ())
        for i, name in enumerate(("texture given", "texture result", "fused result"))
    )
    write(
        folder,
        [
            Spec("mrfnet", "gopro", "deblur", 29.4, "mrfnet", record={"also": ("dffnet",)}),
            Spec("mrfnet", "gopro", "deblur", 29.5, "mrfnet", seed=1),
            Spec("dmphn", "gopro", "deblur", 28.9, "dmphn"),
            Spec("lmfn", "gopro", "deblur", 29.4, "lmfn"),
            Spec("lmfn", "kohler", "deblur", 26.0, "lmfn"),
            Spec("mrfnet_edges", "visdrone", "deblur", 27.0, "mrfnet-edges", record={"insides": inside}),
            Spec("rfr", "paris-streetview", "inpaint", 29.6, "rfr"),
            Spec("dgfnet", "paris-streetview", "inpaint", 29.7, "dgfnet", record={"insides": texture}),
            Spec("rn", "places2", "inpaint", 27.6, "rn"),
            Spec("dffnet_inpaint", "visdrone", "inpaint", 30.5, "dffnet"),
            dffnet("dffnet-places2", "dffnet", full, also=("dffnet-433-v5", "dffnet-44-v3")),
            dffnet("dffnet-no-deblur-places2", "dffnet-433-v1", names_of_attention("stage two, ")),
            dffnet("dffnet-no-alpha-places2", "dffnet-433-v3", []),
            Spec("dpdnet", "canon-dp", "dual-pixel", 25.1, "dpdnet", params=34.52),
            Spec("dmtnet", "canon-dp", "dual-pixel", 26.6, "dmtnet-b", params=24.0, record={"insides": tuple(scales)}),
        ],
    )  # fmt: skip
    for name, numbers in {"dffnet-places2": 1.0, "dffnet-no-alpha-places2": 2.0}.items():
        step = np.arange(50)
        phase = np.where(step < 10, "inpaint", np.where(step < 40, "fuse", "together"))
        loss = np.where(step < 10, "l1", "scale")
        value = numbers / (1 + step)
        losses = pd.DataFrame({"step": step, "phase": phase, "player": "p", "name": loss, "value": value})
        losses.to_parquet(folder / name / "losses.parquet")
        record_files(folder / name)
    return folder


@pytest.fixture(scope="module")
def evaluations(root: Path) -> list[reading.Evaluation]:
    return reading.read(root, "sample")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built VisDrone of three photographs, made by the dataset's own code, and no GOPRO."""
    folder = tmp_path_factory.mktemp("data") / "visdrone"
    rows = []
    for i in range(3):
        made = visdrone.degrade(photograph((256, 256), i), "scene", "20-30", "deepfill", np.random.default_rng(i))
        row = ROW | {"name": f"p{i}", "input_psnr": 20.0 + (2, 0, 1)[i]}
        row["degradation"] = json.dumps(made.degradation)
        for field, image in made.images.items():
            row[f"file_{field}"] = f"test/{field}/p{i}.png"
            row[f"sha256_{field}"] = write_png(folder / row[f"file_{field}"], image)
        rows.append(row)
    manifest.write(folder / manifest.NAME, rows, ABOUT | {"dataset": "visdrone", "title": "VisDrone"})
    return folder.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("figures")


@pytest.fixture(scope="module")
def rendered(evaluations: list[reading.Evaluation], data: Path, folder: Path) -> dict[str, PaperFigure]:
    return {figure.id: figure for figure in draw_figures(evaluations, data, folder, PUBLISHED)}
