"""Where a number comes from: the commit, the packages, the machine."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

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
ROOT = Path(__file__).parents[1]


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
    """Return the installed versions of the packages that a number depends on."""
    return {name: metadata.version(name) for name in PACKAGES}


def here() -> dict[str, Any]:
    """Return commit, dirty flag, packages and machine, as a record keeps them."""
    revision, dirty = commit()
    return {
        "git_commit": revision,
        "git_dirty": dirty,
        "python": platform.python_version(),
        "packages": packages(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
