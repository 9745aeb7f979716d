"""Our networks, layers and metrics give the results of the authors', from the same weights and inputs.

Each case of the folder is a test; `--golden DIR` takes another folder. `golden_runners` has the function of each case.
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
"""The largest accepted relative error of an output."""
BOUNDS = {"hyper-laplacian-deconvolution": 2e-3}
"""Other bounds by case. The reference of this one uses a table for its inner step (its notes)."""
CASES = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def runners(golden):
    """The function of each case by name; they import `case` and `weights` from the folder of the cases."""
    folder = str(next(folder for folder in (golden, CASES) if (folder / "case.py").is_file()))
    sys.path.insert(0, folder)
    replaced = {name: sys.modules.pop(name) for name in ("case", "weights") if name in sys.modules}
    functions = {}
    for module in pkgutil.iter_modules(golden_runners.__path__):
        for case, runner in importlib.import_module(f"tests.golden_runners.{module.name}").RUNNERS.items():
            assert case not in functions, f"two runners for {case}"
            functions[case] = runner
    importlib.import_module("case")
    yield functions
    sys.path.remove(folder)
    for name in ("case", "weights"):
        del sys.modules[name]
    sys.modules.update(replaced)


def relative_error(ours: np.ndarray, expected: np.ndarray) -> float:
    """|ours - expected| / |expected|, both L2 norms; |ours| where the case expects zeros."""
    assert ours.shape == expected.shape
    difference, size = (np.linalg.norm(a.astype(np.float64)) for a in (ours.astype(np.float64) - expected, expected))
    return float(difference / size) if size else float(difference)


def test_our_results_are_those_of_the_authors(golden_case, golden, runners, record_property):
    if golden_case not in runners:
        pytest.skip("no method computes it yet")
    case = sys.modules["case"].load(golden_case, golden)
    # A case of numbers instead of arrays has them under `values`, computed in float64 and in float32.
    expected = case.outputs or {name: np.array(value) for name, value in case.about["values"]["float64"].items()}
    ours = runners[golden_case](case)
    assert expected.keys() <= ours.keys(), "an output of the case was not computed"
    errors = {name: relative_error(ours[name], value) for name, value in expected.items()}
    record_property("errors", errors)
    bound = BOUNDS.get(golden_case, BOUND)
    assert {name: error for name, error in errors.items() if not error < bound} == {}


def test_every_runner_has_its_case(runners):
    assert {name for name in runners if not (CASES / f"{name}.json").is_file()} == set()


def test_a_wrong_network_exceeds_the_bound(golden, runners):
    """The last kernel of one case, which no normalisation follows, is made a hundredth larger."""
    name = "edgeconnect-inpaint"
    if not (golden / f"{name}.json").is_file():
        pytest.skip(f"the folder has no {name}")
    case = sys.modules["case"].load(name, golden)
    tensor = [key for key in case.state if key.endswith("weight")][-1]
    case.state[tensor] = case.state[tensor] * 1.01
    ours = runners[name](case)["output"]
    assert relative_error(ours, case.outputs["output"]) > BOUND
