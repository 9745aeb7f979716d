"""Where the results of the chosen profile are."""

from __future__ import annotations

from pathlib import Path

from bench.params.schema import Params


def run_folder(params: Params, name: str) -> Path:
    """Return the folder of a run in the chosen profile."""
    return Path(params.paths.out, params.profile, "runs", name)


def scores_folder(params: Params, name: str = "") -> Path:
    """Return the folder of an evaluation in the chosen profile, or of all of them."""
    return Path(params.paths.out, params.profile, "scores", name)


def data_folder(params: Params, dataset: str) -> Path:
    """Return the folder of a built set in the chosen profile."""
    return Path(params.paths.data, params.profile, dataset)
