"""What this machine has, and what it lacks for the metrics and losses that look through other people's networks."""

from __future__ import annotations

import os
import shutil
import sys
from importlib import metadata

from bench import weights
from bench.contracts import WeightsError
from bench.params.resolving import weights_folder
from bench.params.schema import Params
from bench.provenance import commit
from bench.tracking import store

PACKAGES = (
    "torch", "torchvision", "accelerate", "mlflow", "optuna", "dvc", "numpy", "pandas", "opencv-python-headless",
    "scikit-image", "scikit-learn", "lpips", "torch-fidelity",
)  # fmt: skip


def report(params: Params) -> None:
    """Print versions, devices, weights, the store and free disk."""
    revision, dirty = commit()
    print(f"Python      {sys.version.split()[0]}")
    print(f"commit      {revision[:12] or 'not a git repository'}{', with uncommitted changes' * dirty}")
    print(f"profile     {params.profile}")
    for name in PACKAGES:
        print(f"{name:24s}{_version(name)}")
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    print(f"devices     {', '.join(gpus) or 'CPU only'}; {os.cpu_count()} cores, {torch.get_num_threads()} threads")
    print(f"tracking    {store.address(params.tracking)}")
    free = shutil.disk_usage(".").free
    print(f"free disk   {free / 2**30:.1f} GiB{': LOW' if free < 2**31 else ''}")
    folder = weights_folder(params)
    for key in weights.KNOWN:
        try:
            found = weights.find(key, folder)
        except WeightsError as error:
            print(f"weights     {key}: REFUSED: {error}")
            continue
        print(f"weights     {key}: {found}" if found else f"weights     {weights.explain(key, folder)}")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
