"""The journal of a study that has changed since it was written is refused; a whole one is read as it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.contracts import DataError
from bench.search.study import JOURNAL, ended_trials, open_study
from tests.bench.search.toys import ranged, run_study


def study(folder: Path, trials: int = 3) -> list[float | None]:
    """Run a study of one number and return the scores of its trials."""
    run_study(folder, ranged("a"), {"a": 2.0}, trials, lambda attempt: attempt.values["a"])
    return [trial.value for trial in ended_trials(open_study(folder, True))]


def flipped(lines: list[bytes]) -> list[bytes]:
    """One digit of the first score is another."""
    place = next(i for i, line in enumerate(lines) if b'"values":[2.0]' in line)
    return [*lines[:place], lines[place].replace(b"[2.0]", b"[3.0]"), *lines[place + 1 :]]


@pytest.mark.parametrize(
    "change",
    [
        flipped,
        lambda lines: lines[:4] + lines[5:],
        lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]],
        lambda lines: [*lines[:4], lines[4][1:], *lines[5:]],
        lambda lines: [*lines[:4], b"[]\n", *lines[5:]],
        lambda lines: [*lines[:-1], lines[-1].replace(b"}", b" ")],
    ],
    ids=["a value", "a line removed", "two lines exchanged", "no JSON", "no object", "the last line"],
)
def test_a_changed_journal_is_refused_in_one_sentence(tmp_path, change: Callable[[list[bytes]], list[bytes]]):
    folder = tmp_path / "study"
    assert study(folder)[0] == 2.0
    lines = (folder / JOURNAL).read_bytes().splitlines(keepends=True)
    (folder / JOURNAL).write_bytes(b"".join(change(lines)))
    message = rf"journal\.log: has changed since it was written \(.*\); delete {folder} to search this run from the beg"
    with pytest.raises(DataError, match=message):
        study(folder, 5)


def test_the_journal_of_another_study_is_refused(tmp_path):
    for name in ("one", "two"):
        study(tmp_path / name)
    shutil.copy(tmp_path / "two" / JOURNAL, tmp_path / "one" / JOURNAL)
    with pytest.raises(DataError, match=r"one/journal\.log: has changed since it was written \(line 1 is not"):
        open_study(tmp_path / "one", True)


def test_a_whole_journal_gives_the_same_trials_wherever_it_is_continued(tmp_path):
    assert study(tmp_path / "a", 5)[:2] == study(tmp_path / "b", 2)
    assert study(tmp_path / "b", 5) == study(tmp_path / "a", 5)
