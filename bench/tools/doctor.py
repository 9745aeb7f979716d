"""What this machine has: versions, devices, disk space, and the weights that some metrics and losses need."""

from __future__ import annotations

import os
import shutil
import sys
from importlib import metadata

from bench import folders, weights
from bench.contracts import WeightsError
from bench.params.schema import Params
from bench.processors import available
from bench.provenance import commit
from bench.tracking import store

PACKAGES = (
    "torch", "torchvision", "accelerate", "mlflow", "optuna", "dvc", "numpy", "pandas", "opencv-python-headless",
    "scikit-image", "scikit-learn", "lpips", "torch-fidelity",
)  # fmt: skip
LOW_DISK = 2**31
"""Free disk space, in bytes, below which the report says LOW."""


def print_report(params: Params) -> None:
    """Print versions, devices, the tracking store, free disk space and network weights, one line each."""
    code = commit()
    print(f"Python      {sys.version.split()[0]}")
    changed = ", with uncommitted changes" if code.dirty else ""
    print(f"commit      {code.revision[:12] + changed if code.revision else f'none: {code.problem}'}")
    print(f"profile     {params.profile}")
    for name in PACKAGES:
        print(f"{name:24s}{_version(name)}")
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    cores = f"{available()} of {os.cpu_count()} cores"
    print(f"devices     {', '.join(gpus) or 'CPU only'}; {cores}, {torch.get_num_threads()} threads")
    print(f"tracking    {store.address(params.tracking)}")
    free = shutil.disk_usage(".").free
    print(f"free disk   {free / 2**30:.1f} GiB{': LOW' if free < LOW_DISK else ''}")
    folder = folders.weights_folder(params)
    for key in weights.KNOWN:
        try:
            path = weights.find(key, folder)
        except WeightsError as error:
            print(f"weights     {key}: REFUSED: {error}")
            continue
        print(f"weights     {key}: {path}" if path else f"weights     {weights.explain(key, folder)}")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
