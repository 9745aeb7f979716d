"""The folders of params.yaml: results, searches and built sets of the chosen profile, and network weights."""

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


def search_folder(params: Params, run: str = "") -> Path:
    """Return the folder of the search of a run in the chosen profile, or of all searches."""
    return Path(params.paths.out, params.profile, "search", run)


def weights_folder(params: Params) -> Path | None:
    """Return the folder that the user names for other people's network weights, or None."""
    return Path(params.paths.weights) if params.paths.weights else None
