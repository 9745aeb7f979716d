"""Arguments are checked by their default values and annotations."""

from __future__ import annotations

import pytest

from bench.contracts import ParamsError
from bench.params.checks import check_arguments


def network(channels: int = 8, slope: float = 0.1, rounds: int | None = 2, light: bool = True, sides=(3, 5)):
    """Stand in for a network's constructor."""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": "many"}, r"run a: network\.channels: found 'many', expected int like 8$"),
        ({"channels": 8.0}, r"channels: found 8\.0, expected int like 8$"),
        ({"slope": "1e-3"}, r"slope: found '1e-3', expected float like 0\.1 \(YAML reads 1e-4 as text"),
        ({"light": 1}, r"light: found 1, expected bool like True$"),
        ({"sides": 3}, r"sides: found 3, expected tuple like \(3, 5\)$"),
        ({"rounds": True}, r"rounds: found True, expected int like 2$"),
    ],
)
def test_an_argument_of_another_kind_than_its_default_is_refused(arguments, message):
    with pytest.raises(ParamsError, match=message):
        check_arguments(network, arguments, "run a: network")


def test_arguments_of_the_kind_of_their_defaults_pass():
    check_arguments(network, {"channels": 4, "slope": 1, "rounds": None, "light": False, "sides": [1, 2]}, "here")


def maker(
    root: str, *, masks: str | None = None, count: int | None = None, share: float | None = None, kind: str = "x"
):
    """Stand in for a dataset's builder."""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": "abc"}, r"here\.count: found 'abc', expected int or null$"),
        ({"count": 1.5}, r"count: found 1\.5, expected int or null$"),
        ({"count": True}, r"count: found True, expected int or null$"),
        ({"share": "1e-3"}, r"share: found '1e-3', expected float or null \(YAML reads 1e-4 as text"),
        ({"masks": True}, r"masks: found True, expected str or null$"),
        ({"masks": 5}, r"""found 5, expected str or null \(a number to YAML; as text it is "5", and in a sh"""),
        ({"kind": 256}, r"""found 256, expected str like 'x' \(a number to YAML; as text it is "256", and"""),
        ({"kind": None}, r"kind: found None, expected str like 'x'$"),
        ({"root": "x"}, r"here\.root: unknown argument; the nearest are: count, kind, masks, share$"),
    ],
)
def test_an_argument_without_a_default_value_is_checked_by_its_annotation(arguments, message):
    with pytest.raises(ParamsError, match=message):
        check_arguments(maker, arguments, "here", given=("root",))


def test_arguments_that_their_annotation_allows_pass():
    check_arguments(maker, {"masks": None, "count": 3, "share": 1, "kind": "y"}, "here", given=("root",))
    check_arguments(lambda sides=None: None, {"sides": "anything"}, "here")
