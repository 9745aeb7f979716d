"""Our networks, layers and metrics compute what the authors' do, from the same weights and inputs.

Every case of the folder is a test; `--golden DIR` takes another folder. What computes a case stands in
`golden_runners`.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import golden_runners

BOUND = 1e-4
BOUNDS = {"hyper-laplacian-deconvolution": 2e-3}  # its notes: the reference tabulates its inner step
HERE = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def runners(golden):
    """The function of each case by name; they see `case` and `weights` of the folder of the cases."""
    places = [str(folder) for folder in (golden, HERE) if (folder / "case.py").is_file()]
    sys.path[:0] = places[:1]
    kept = {name: sys.modules.pop(name) for name in ("case", "weights") if name in sys.modules}
    found = {}
    for module in pkgutil.iter_modules(golden_runners.__path__):
        for case, runner in importlib.import_module(f"tests.golden_runners.{module.name}").RUNNERS.items():
            assert case not in found, f"two runners for {case}"
            found[case] = runner
    importlib.import_module("case")
    yield found
    sys.path.remove(places[0])
    for name in ("case", "weights"):
        del sys.modules[name]
    sys.modules.update(kept)


def relative_error(ours: np.ndarray, expected: np.ndarray) -> float:
    """|ours - expected| / |expected|, both L2 norms; the difference's own norm where the case expects zeros."""
    assert ours.shape == expected.shape
    difference, size = (np.linalg.norm(a.astype(np.float64)) for a in (ours.astype(np.float64) - expected, expected))
    return float(difference / size) if size else float(difference)


def test_a_case_is_computed_as_by_its_authors(golden_case, golden, runners, record_property):
    if golden_case not in runners:
        pytest.skip("no entry computes it yet")
    case = sys.modules["case"].load(golden_case, golden)
    # A case of numbers, not of arrays, has them under `values`, as float64 and as float32 give them.
    expected = case.outputs or {name: np.array(value) for name, value in case.about["values"]["float64"].items()}
    ours = runners[golden_case](case)
    assert expected.keys() <= ours.keys(), "an output of the case was not computed"
    errors = {name: relative_error(ours[name], value) for name, value in expected.items()}
    record_property("errors", errors)
    bound = BOUNDS.get(golden_case, BOUND)
    assert {name: error for name, error in errors.items() if not error < bound} == {}


def test_every_runner_has_its_case_here(runners):
    assert {name for name in runners if not (HERE / f"{name}.json").is_file()} == set()


def test_a_wrong_network_is_found(golden, runners):
    """The bound can fail: the last kernel of one case, behind all norms, is made a hundredth larger."""
    name = "edgeconnect-inpaint"
    if not (golden / f"{name}.json").is_file():
        pytest.skip(f"the folder has no {name}")
    case = sys.modules["case"].load(name, golden)
    tensor = [key for key in case.state if key.endswith("weight")][-1]
    case.state[tensor] = case.state[tensor] * 1.01
    ours = runners[name](case)["output"]
    assert relative_error(ours, case.outputs["output"]) > BOUND
