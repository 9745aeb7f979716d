"""Invented scores, in the files that the engine writes: they test the report without a training."""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import gaussian_filter

from bench.provenance import Provenance
from bench.record import RECORD, Inside, KeptImage, Kind, MissingLoss, Record, files_of, read_record, write_record
from bench.scoring.table import common_columns

OFFLINE = "offline photographs"
TITLES = {
    "gopro": "GOPRO", "visdrone": "VisDrone", "paris-streetview": "Paris StreetView", "places2": "Places2",
    "canon-dp": "DPDD", "kohler": "Kohler",
}  # fmt: skip
BETTER = {"psnr": "higher", "ssim": "higher"}
UNITS = {"l1": "%", "l2": "%", "psnr": "dB", "params": "M", "macs": "G", "seconds": "s", "memory": "MB", "file": "MB"}
BANDS = ("20-30", "30-40", "40-50")
CONDITIONS: dict[str, list[dict[str, str]]] = {
    "deblur": [{"input": "blurred"}],
    "sharp-inpaint": [
        {"input": given, "mask_kind": "irregular", "mask_band": "20-30"} for given in ("blurred", "sharp")
    ],
    "inpaint": [
        {"input": given, "mask_kind": kind, "mask_band": band}
        for given in ("sharp", "blurred")
        for kind in ("irregular", "square")
        for band in BANDS
    ],
    "dual-pixel": [{"input": "dual-pixel"}],
}

WATCHED = (("scale_1", 0.02), ("scale_2", 0.05))
"""Losses that are only logged for their curves, and their size."""
INSIDE: dict[str, Any] = {
    "watched": tuple(name for name, _ in WATCHED),
    "insides": (
        Inside("path 1: image", "images/insides/path-1-image.png", ()),
        Inside("path 1: difference", "images/insides/path-1-difference.png", ()),
        Inside("path 2: image", "images/insides/path-2-image.png", ()),
        Inside("weights of the paths", "", (0.4, 0.3, 0.2, -0.1)),
    ),
}
"""Fields of the record of a method that shows its inside."""


@dataclass(frozen=True)
class Spec:
    """An evaluation to invent."""

    method: str
    """The method's name."""
    dataset: str
    """The dataset's name, a key of TITLES."""
    task: str
    """The task's name, a key of CONDITIONS."""
    psnr: float
    """The mean PSNR over all images under the first condition, in dB."""
    published: str | None = None
    """The id of its published row; None for a method that no paper prints."""
    kind: Kind = "trained"
    """The kind of its record."""
    seed: int = 0
    """The seed of its training."""
    params: float = 5.0
    """Parameters in millions; all costs are in proportion."""
    noise: float = 0.15
    """Standard deviation in dB of an image's PSNR around the value that all methods share for this image."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the record to replace."""
    named: str = ""
    """The evaluation's id; "" makes it from method, dataset, task and seed."""

    @property
    def name(self) -> str:
        """The evaluation's id."""
        return self.named or f"{self.method}-{self.dataset}-{self.task}" + (f"-s{self.seed}" if self.seed else "")


def generator(*words: object) -> np.random.Generator:
    """A generator that depends on these words only."""
    return np.random.default_rng(zlib.crc32("/".join(map(str, words)).encode()))


def severity(dataset: str, image: int) -> str:
    """Invent an image's degradation, the same for all methods: a blur of 5 to 30 pixels."""
    rng = generator("blur", dataset, image)
    length, sigma = int(rng.integers(1, 7)) * 5, round(rng.uniform(0.1, 0.9), 1)
    return json.dumps({"kind": "gaussian, linear motion", "length": length, "sigma": sigma})


def score_rows(spec: Spec, images: int) -> pd.DataFrame:
    """Invent the scores of an evaluation: quality per image and condition, costs, and metrics without their weights."""
    rows: list[dict[str, Any]] = []
    version = 1

    def add(metric: str, value: float, **rest: Any) -> None:
        word = metric.split("-", maxsplit=1)[0]
        rows.append(
            {
                "image": "", "input": "", "scene": "", "mask_kind": "", "mask_band": "", "mask_ratio": np.nan,
                "severity": "{}", "size": "", "reason": "", "split": "test", "metric": metric, "value": value,
                "unit": UNITS.get(word, ""), "better": BETTER.get(word, "lower"), "version": version, **rest,
            }
        )  # fmt: skip

    for i in range(images):
        hardness = generator(spec.dataset, i).normal(0, 1.5)  # shared by all methods, as tests are paired
        for condition in CONDITIONS[spec.task]:
            band = BANDS.index(condition["mask_band"]) if "mask_band" in condition else 0
            drop = 2.0 * band + (1.5 if condition["input"] == "blurred" and "mask_kind" in condition else 0.0)
            error = generator(spec.name, i, *condition.values()).normal(0, spec.noise)
            psnr = spec.psnr + hardness - drop + error
            mse = 10 ** (-psnr / 10)
            about: dict[str, Any] = {**condition, "image": f"{i:04d}", "severity": severity(spec.dataset, i)}
            if "mask_band" in condition:
                about["mask_ratio"] = (20 + 10 * band + 10 * i / images) / 100
            if spec.task == "dual-pixel":
                about["scene"] = ("indoor", "outdoor")[i % 2]
            ssim = 1 / (1 + 60 * mse)
            for metric, value in (
                ("psnr-rgb8", psnr), ("psnr-float", psnr),
                ("psnr-y", psnr + 1.4), ("ssim-gauss11", ssim - 0.01), ("ssim-uniform7", ssim),
                ("ssim-matlab-rgb", ssim**0.7), ("ssim-y", ssim), ("mae", 0.7 * mse**0.5), ("mse", mse),
                ("l1-relative", 150 * mse**0.5), ("l2-relative", 400 * mse),
            ):  # fmt: skip
                add(metric, value, **about)
            if "mask_kind" in condition:
                add("psnr-rgb8-hole", psnr - 6, **about)
            add("lpips-alex", np.nan, reason="the weights of AlexNet are not on this machine", **about)
    costs = spec.kind not in ("no training", "predictions")
    size = "1680x1120" if spec.task == "dual-pixel" else "1280x720"
    if costs:
        add("params", spec.params)
        add("params-total", spec.params * 1.5)
        add("file-size", spec.params * 4)
        for side, scale in ((size, 14.0), ("256x256", 1.0)):
            add("macs", spec.params * 8 * scale, size=side)
    if spec.kind != "predictions":
        for side, scale in ((size, 14.0), ("256x256", 1.0)):
            add("seconds", 0.01 * spec.params * scale, size=side)
            add("memory", 300 * scale, size=side)
    return pd.DataFrame(rows).assign(**common_columns(record_of(spec)))


def record_of(spec: Spec) -> Record:
    """Invent the record of an evaluation."""
    trained = spec.kind == "trained"
    rng = generator("record", spec.name)
    provenance = Provenance(
        git_commit="3f9c" * 10,
        git_dirty=False,
        python="3.11.9",
        packages={"torch": "2.8.0", "numpy": "2.3.1"},
        machine="Linux x86_64",
        manifest_sha256=generator("manifest", spec.dataset).bytes(32).hex(),
        mlflow_run=rng.bytes(16).hex(),
        weights_sha256=rng.bytes(32).hex() if spec.kind in ("trained", "authors' weights") else "",
        evaluated_on="cpu",
        threads=2,
        precision="float32",
        finished="2026-01-15T10:00:00Z",
    )
    condition = {"scene": "", **CONDITIONS[spec.task][0], "mask_ratio": None, "severity": "{}"}
    images = tuple(
        KeptImage(rule, image, condition, f"images/{rule}-input.png", f"images/{rule}.png", f"images/{rule}-target.png")
        for rule, image in (("median", "0002"), ("worst", "0005"))
    )
    record = Record(
        run=f"{spec.method}-{spec.dataset}",
        method=spec.method,
        row=spec.published or "",
        also=(),
        title=spec.method.upper() if len(spec.method) < 5 else spec.method.capitalize(),
        kind=spec.kind,
        task=spec.task,
        dataset=spec.dataset,
        dataset_title=TITLES[spec.dataset],
        origin=OFFLINE,
        partial=False,
        profile="sample",
        seed=spec.seed,
        provenance=provenance,
        evaluation=spec.name,
        not_measured={"fid": "the weights of Inception are not on this machine"},
        images=images,
    )
    if trained:
        record = replace(
            record,
            network={"channels": 32, "num_blocks": 4},
            train={"lr": 1e-4, "batch_size": 8, "losses": {"l1": 1.0, "perceptual": 0.1}},
            steps=400,
            train_seconds=312.5,
        )
    return replace(record, **spec.record)


def photograph(size: tuple[int, int], seed: int) -> np.ndarray:
    """A picture of discs and stripes: (H, W, 3) uint8."""
    height, width = size
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    picture = np.stack([80 + 60 * np.sin(x / width * 3 + i) + 40 * y / height for i in range(3)], axis=2)
    for _ in range(14):
        radius = rng.uniform(0.04, 0.16) * height
        inside = (x - rng.uniform(0, width)) ** 2 + (y - rng.uniform(0, height)) ** 2 < radius**2
        picture[inside] = rng.uniform(0, 255, 3)
    stripes = (x // 6 + y // 9) % 2 * 70
    picture[height // 2 :, : width // 3] += stripes[height // 2 :, : width // 3, None]
    return picture.clip(0, 255).astype(np.uint8)


def write_images(
    spec: Spec, record: Record, folder: Path, pictures: Sequence[np.ndarray], blurred: Sequence[np.ndarray]
) -> None:
    """Write input, restored image and target of the record's images."""
    (folder / "images").mkdir()
    for kept, target, blur in zip(record.images, pictures, blurred, strict=True):
        given = blur.copy()
        if "mask_kind" in CONDITIONS[spec.task][0]:
            height, width = target.shape[:2]
            given[height // 4 : height // 2, width // 3 : 2 * width // 3] = 255
        keep = np.clip((spec.psnr - 20) / 15, 0, 1)
        restored = keep * target + (1 - keep) * given
        for name, pixels in (("input", given), ("restored", restored), ("target", target)):
            Image.fromarray(pixels.round().astype(np.uint8)).save(folder / getattr(kept, name), compress_level=1)
    for i, inside in enumerate(record.insides):
        if inside.file:  # a coarse map, in turn coloured and grey
            small = pictures[0][:: 2 ** (i + 1), :: 2 ** (i + 1)]
            (folder / inside.file).parent.mkdir(exist_ok=True)
            Image.fromarray(small[..., 0] if i % 2 else small).save(folder / inside.file)


def write(
    root: Path, specs: Iterable[Spec], images: int = 12, pictures: Sequence[np.ndarray] | None = None, steps: int = 60
) -> None:
    """Write one folder per evaluation.

    Args:
        images: how many test images each has.
        pictures: the median and the worst photograph, (H, W, 3) uint8.
        steps: how many steps each training has.
    """
    pictures = pictures or [photograph((96, 144), seed) for seed in (0, 1)]
    blurred = [gaussian_filter(picture.astype(float), (3, 3, 0)) for picture in pictures]
    for spec in specs:
        folder = root / spec.name
        folder.mkdir(parents=True)
        record = record_of(spec)
        score_rows(spec, images).to_parquet(folder / "scores.parquet")
        write_images(spec, record, folder, pictures, blurred)
        if spec.kind == "trained":
            step = np.arange(1, steps + 1)
            rng = generator("loss", spec.name)
            frames = [
                pd.DataFrame(
                    {
                        "step": step, "phase": np.where(step <= steps // 2, "pretrain", "joint"), "player": "generator",
                        "name": name, "seconds": step * 0.8,
                        "value": scale * (0.2 + np.exp(-step / steps * 4)) * rng.lognormal(0, 0.08, steps),
                    }
                )
                for name, scale in (("total", 0.3), ("l1", 0.2), ("perceptual", 1.0), *WATCHED)
                if name in ("total", "l1", "perceptual", *record.watched)
            ]  # fmt: skip
            pd.concat(frames).sort_values("step", kind="stable").to_parquet(folder / "losses.parquet")
        write_record(folder / RECORD, replace(record, files=files_of(folder)))


def record_files(folder: Path) -> None:
    """Let the record of an evaluation list the files as they are now, after a test has changed them on purpose."""
    write_record(folder / RECORD, replace(read_record(folder / RECORD), files=files_of(folder)))


def few() -> list[Spec]:
    """A few evaluations: every task, several seeds, a method that no paper prints, and one below the baseline."""
    reduced = {"reduced": ("channels: 64 -> 16",), **INSIDE}
    lossless = {"missing_losses": (MissingLoss("perceptual", "the weights of VGG-19 are not on this machine"),)}
    return [
        Spec("input", "gopro", "deblur", 25.0, kind="no training"),
        Spec("mrfnet", "gopro", "deblur", 29.4, "mrfnet", record=reduced),
        Spec("mrfnet", "gopro", "deblur", 29.5, "mrfnet", seed=1, record=reduced),
        Spec("mrfnet", "visdrone", "deblur", 27.0, "mrfnet", record=reduced),
        Spec("dmphn", "gopro", "deblur", 28.9, "dmphn", params=7.2),
        Spec("siun", "gopro", "deblur", 28.0, "siun"),
        Spec("deblurgan", "gopro", "deblur", 24.6, "deblurgan", params=11.4, record=lossless),
        Spec("refinenet", "gopro", "deblur", 28.6, "refinenet", params=9.0),
        Spec("lwrefinenet", "gopro", "deblur", 28.7, "lwrefinenet"),
        Spec("lmfn", "gopro", "deblur", 29.45, "lmfn", params=1.25),
        Spec("mine", "gopro", "deblur", 29.0, None, params=3.3),
        Spec("telea", "paris-streetview", "inpaint", 27.0, kind="no training"),
        Spec("edgeconnect", "paris-streetview", "inpaint", 28.9, "ec"),
        Spec("rfr", "paris-streetview", "inpaint", 29.6, "rfr", kind="authors' weights"),
        Spec("dgfnet", "paris-streetview", "inpaint", 29.7, "dgfnet"),
        Spec("dffnet", "visdrone", "inpaint", 30.5, "dffnet"),
        Spec("deblurgan+ca", "visdrone", "sharp-inpaint", 26.0, "deblurgan+ca", kind="chain"),
        Spec("dffnet", "visdrone", "sharp-inpaint", 27.5, "dffnet-433-v5", record={"also": ("dffnet-44-v3", "dffnet")}),
        Spec("mrfnet", "gopro", "deblur", 28.2, "mrfnet-paths2", record=INSIDE, named="mrfnet-paths2-gopro"),
        Spec("mrfnet", "gopro", "deblur", 29.2, "mrfnet-paths3", record=INSIDE, named="mrfnet-paths3-gopro"),
        Spec("dpdnet", "canon-dp", "dual-pixel", 25.1, "dpdnet", params=34.52),
        Spec("dmtnet-b", "canon-dp", "dual-pixel", 26.6, "dmtnet-b", params=24.0),
    ]


def originals(spec: Spec) -> Spec:
    """The same evaluation, with the papers' own data and settings."""
    record = {**spec.record, "origin": "originals", "profile": "paper", "reduced": (), "missing_losses": ()}
    return Spec(**{**vars(spec), "record": record})


def hundreds() -> list[Spec]:
    """750 evaluations: those of `few`, then variants of its trained ones under three seeds each."""
    specs = few()
    trained = [spec for spec in few() if spec.kind == "trained" and spec.seed == 0]
    for number in itertools.count(3):
        k, seed = divmod(number, 3)
        for spec in trained[: 750 - len(specs)]:
            record = {name: value for name, value in spec.record.items() if name not in INSIDE}
            name = f"{spec.named}-v{k}-s{seed}" if spec.named else ""
            specs.append(
                replace(
                    spec, method=f"{spec.method}-v{k}", published=None, psnr=spec.psnr - 0.08 * k, seed=seed,
                    record=record, named=name,
                )
            )  # fmt: skip
        if len(specs) == 750:
            return specs
    raise AssertionError


def many() -> list[Spec]:
    """About a hundred evaluations, as many as the papers have rows: each of `few` in five variants."""
    return few() + [
        replace(spec, method=f"{spec.method}-v{k}", published=None, psnr=spec.psnr - 0.3 * k)
        for k in range(1, 5)
        for spec in few()
        if not spec.named
    ]
