"""Where a number comes from: the code, the packages, the machine, the data and the weights."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "torch",
    "accelerate",
    "numpy",
    "opencv-python-headless",
    "scikit-image",
    "scikit-learn",
    "pandas",
    "mlflow",
)
"""The installed packages that a number depends on."""
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Provenance:
    """What made the numbers of a record. What does not apply is empty: predictions have no weights.

    Args:
        git_commit: the commit of the code; "" outside a repository.
        git_dirty: whether code or parameters differed from the commit.
        python: the version of Python.
        packages: versions of `PACKAGES` by name.
        machine: system and processor, "Linux x86_64".
        code: digest of the code that ran, see `bench.code`.
        manifest_sha256: the built set's manifest: the training images of a training, the test images of an evaluation.
        mlflow_run: id of the training's MLflow run.
        weights_sha256: the checkpoint; of a chain one hash over those of both runs.
        predictions_sha256: one hash over all files of restored images that another program made.
        auxiliary: digests of the auxiliary maps that the training read, by name.
        device: where it was trained: "cpu", "cuda", ...
        evaluated_on: where it was scored.
        threads: CPU threads.
        processes: processes that trained it together.
        precision: of the training's arithmetic: "float32", "bfloat16" or "float16".
        finished: when the training ended, UTC, "2026-01-15T10:00:00Z".
    """

    git_commit: str
    git_dirty: bool
    python: str
    packages: Mapping[str, str]
    machine: str
    code: str = ""
    manifest_sha256: str = ""
    mlflow_run: str = ""
    weights_sha256: str = ""
    predictions_sha256: str = ""
    auxiliary: Mapping[str, str] = field(default_factory=dict)
    device: str = ""
    evaluated_on: str = ""
    threads: int = 0
    processes: int = 0
    precision: str = ""
    finished: str = ""


@cache
def commit() -> tuple[str, bool]:
    """Return the git commit and whether code or parameters differ from it; ("", True) outside a repository.

    Lock files of the pipeline do not count: running it writes them.
    """

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", ".", ":(exclude,glob)**/dvc.lock"))
    except (OSError, subprocess.CalledProcessError):
        return "", True


def packages() -> dict[str, str]:
    """Return the installed versions of `PACKAGES` by name."""
    return {name: metadata.version(name) for name in PACKAGES}


def here() -> Provenance:
    """Return the commit, the packages and the machine of this process."""
    revision, dirty = commit()
    machine = f"{platform.system()} {platform.machine()}"
    return Provenance(revision, dirty, platform.python_version(), packages(), machine)
