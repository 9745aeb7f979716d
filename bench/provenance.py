"""Where a number comes from: the code, the packages, the machine, the data and the weights."""

from __future__ import annotations

import os
import platform
import subprocess
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

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
OWN_FILE = Path(__file__).relative_to(ROOT).as_posix()
LOCAL_VARIABLES = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_DIR", "GIT_GRAFT_FILE",
        "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_INTERNAL_SUPER_PREFIX", "GIT_NAMESPACE",
        "GIT_NO_REPLACE_OBJECTS", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    }
)  # fmt: skip
"""Variables that name another repository: git sets them for its hooks (git rev-parse --local-env-vars, without those
that only hold settings, such as `safe.directory`)."""


@dataclass(frozen=True)
class Provenance:
    """What made the numbers of a record. What does not apply is empty: predictions have no weights.

    Args:
        git_commit: the commit of the code; "" where none could be read.
        git_dirty: whether code or parameters differed from the commit; None where none could be read.
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
    git_dirty: bool | None
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


class Commit(NamedTuple):
    """The commit of this project's code."""

    revision: str
    """40 hexadecimal digits; "" where no commit can be read."""
    dirty: bool | None
    """Whether code or parameters differ from it; None where no commit can be read."""
    problem: str = ""
    """Why no commit can be read."""


@cache
def commit() -> Commit:
    """Ask git for the commit of this project's code.

    Only a commit that holds OWN_FILE counts: a project that was unpacked inside another repository has none. Lock
    files of the pipeline do not make it dirty: running it writes them.
    """
    try:
        if not _git("ls-tree", "--name-only", "HEAD", "--", OWN_FILE):
            return Commit("", None, f"{ROOT} is inside a repository that does not hold this project")
        status = _git("status", "--porcelain", "--", ".", ":(exclude,glob)**/dvc.lock")
        return Commit(_git("rev-parse", "HEAD"), bool(status))
    except OSError as error:
        return Commit("", None, f"git cannot be run: {error.strerror}")
    except subprocess.CalledProcessError as error:
        first = next(iter(error.stderr.splitlines()), "failed").removeprefix("fatal: ")
        advice = f"; git config --global --add safe.directory {ROOT} allows it" if "dubious ownership" in first else ""
        return Commit("", None, f"git: {first}{advice}")


def _git(*arguments: str) -> str:
    """Run git on this project's repository and return what it prints; raises OSError or CalledProcessError."""
    environment = {name: value for name, value in os.environ.items() if name not in LOCAL_VARIABLES}
    done = subprocess.run(
        ["git", "--no-optional-locks", *arguments],
        cwd=ROOT,
        env=environment | {"LC_ALL": "C"},
        capture_output=True,
        text=True,
        errors="replace",
        check=True,
    )
    return done.stdout.strip()


def warn_without_commit() -> None:
    """Warn, before the work starts, where the numbers that it makes will have no commit."""
    if problem := commit().problem:
        warnings.warn(
            f"no git commit can be recorded ({problem}): these numbers will be marked 'no commit' and not be compared "
            "with printed ones; work in a clone of the repository to have both",
            stacklevel=2,
        )


def packages() -> dict[str, str]:
    """Return the installed versions of `PACKAGES` by name."""
    return {name: metadata.version(name) for name in PACKAGES}


def here() -> Provenance:
    """Return the commit, the packages and the machine of this process."""
    code = commit()
    machine = f"{platform.system()} {platform.machine()}"
    return Provenance(code.revision, code.dirty, platform.python_version(), packages(), machine)
