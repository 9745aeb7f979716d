"""Invented records and evaluations for tests of tracking."""

from __future__ import annotations

import socket
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from bench.provenance import Provenance
from bench.record import RECORD, Record, files_of, write_record
from bench.tracking import checkpoints, store
from bench.training.loss_log import write_losses


def made_record(mlflow_run: str = "", **changes: Any) -> Record:
    record = Record(
        run="plain", evaluation="plain", method="mrfnet", row="mrfnet", also=(), title="MRFNet", kind="trained",
        task="deblur", dataset="gopro", dataset_title="GOPRO", origin="offline photographs", partial=False,
        profile="sample", seed=3, network={"channels": 8},
        train={"lr": 1e-3, "schedule": {"kind": "cosine"}, "weights": {}},
        provenance=Provenance("c0ffee", True, "3.11.9", {}, "Linux x86_64", manifest_sha256="a" * 64,
                              mlflow_run=mlflow_run, weights_sha256="b" * 64),
    )  # fmt: skip
    return replace(record, **changes)


def evaluated(folder: Path, record: Record, values: dict[str, list[float]], given: str = "blurred") -> Path:
    """Write an evaluation's files: scores of images, costs at two sizes, losses, pictures, the record."""
    rows = [(name, f"image{i}", given, "", value) for name, scores in values.items() for i, value in enumerate(scores)]
    rows += [("params", "", "", "", 1.5), ("seconds", "", "", "256x256", 0.25), ("seconds", "", "", "1280x720", 4.0)]
    (folder / "images" / "insides").mkdir(parents=True)
    pd.DataFrame(rows, columns=["metric", "image", "input", "size", "value"]).to_parquet(folder / "scores.parquet")
    write_losses(folder / "losses.parquet", [(s, "train", "network", "mse", 1 / (s + 1), s / 10) for s in range(5)])
    for n, name in enumerate(["median.restored", "insides/heat"]):
        Image.fromarray(np.full((8, 12, 3), 40 * (n + 1), np.uint8)).save(folder / "images" / f"{name}.png")
    write_record(folder / RECORD, replace(record, files=files_of(folder)))
    return folder


COSTS = {"test.params": 1.5, "test.seconds.256x256": 0.25, "test.seconds.1280x720": 4.0}


def all_runs(client) -> list[Any]:
    experiments = [e.experiment_id for e in client.search_experiments()]
    return list(client.search_runs(experiments, max_results=100))


def database_text(path: Path) -> list[str]:
    with sqlite3.connect(path) as database:
        return list(database.iterdump())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def log_training(client, tmp_path: Path, key: str, digest: str) -> str:
    run_id = store.start(client, made_record(), key)
    (tmp_path / "weights.safetensors").write_bytes(digest.encode())
    checkpoints.log_weights(client, run_id, tmp_path / "weights.safetensors", digest)
    return run_id
