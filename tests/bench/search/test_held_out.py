"""Held-out photographs, and the recipe of a trial."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench import registry
from bench.contracts import DataError
from bench.search.held_out import hold_out, photograph_of, take_in_turn
from bench.search.setup import shortened
from tests.bench.search.toys import recipe


def rows(sources: str, scenes: str = "") -> pd.DataFrame:
    return pd.DataFrame({"source": list(sources), "scene": list(scenes) or [""] * len(sources)})


def test_whole_photographs_are_hold_out():
    table = rows("aaabbbcccddd")
    drawn = {tuple(hold_out(table, 0.25, seed, "here")[0]) for seed in range(20)}
    for chosen in drawn:
        assert sum(chosen) == 3 and table["source"][list(chosen)].nunique() == 1
    assert len(drawn) == 4  # each of them, by the seed
    assert hold_out(table, 0.01, 0, "here")[0].sum() == 3 and hold_out(table, 0.99, 0, "here")[0].sum() == 9
    only, some = hold_out(table, 0.25, 0, "here")
    assert np.array_equal(only, some)


def test_an_image_mixed_of_a_held_out_photograph_and_another_is_neither_trained_on_nor_scored():
    table = rows("aaabbbccc")
    table["other_sources"] = ["[]", '["b"]', '["a"]', "[]", '["c"]', "[]", "[]", '["a", "b"]', '["c"]']
    parts = [set("a"), set("ab"), set("a"), set("b"), set("bc"), set("b"), set("c"), set("abc"), set("c")]
    drawn = set()
    for seed in range(20):
        only, some = hold_out(table, 0.34, seed, "here")
        (kept,) = set(table["source"][only])
        drawn.add(kept)
        assert list(only) == [part == {kept} for part in parts] and list(some) == [kept in part for part in parts]
    assert drawn == set("abc")
    table["other_sources"] = ['["b"]'] * 3 + ['["a"]'] * 6
    with pytest.raises(DataError, match=r"^here: too many training images are mixed .*of 9, 0 show only held-out ones"):
        hold_out(table, 0.34, 0, "here")


def test_frames_of_a_scene_are_one_photograph_unless_all_images_have_the_same_scene():
    assert list(photograph_of(rows("abcd", "xxyy"))) == ["x", "x", "y", "y"]
    assert list(photograph_of(rows("aabb", "zzzz"))) == ["a", "a", "b", "b"]
    assert list(photograph_of(rows("aab", ["x", "y", ""]))) == ["x", "x", "b"]


def test_a_dataset_of_one_photograph_is_refused_with_its_name():
    with pytest.raises(DataError, match=r"^here: all 3 training images are of one photograph, 'a'; a search needs two"):
        hold_out(rows("aaa"), 0.5, 0, "here")


def test_a_few_images_are_taken_from_all_photographs_in_turn():
    table = rows("aaabbbc")
    assert list(take_in_turn(table, 5).index) == [0, 3, 6, 1, 4]
    assert len(take_in_turn(table, 99)) == 7


def test_a_trial_shortens_every_phase_and_the_schedule():
    method = registry.method("rn")
    step = {"kind": "step", "every_epochs": 10, "warmup_steps": 40}
    short = shortened(recipe(epochs=50, schedule=step), method, 0.1, 30).train
    assert short.phases == {"train": 150} and short.schedule.every_steps == 30 and short.schedule.warmup_steps == 4
    staged = recipe(phases={"train": 60, "finetune": 0})
    assert shortened(staged, registry.method("rfr"), 0.01, 1).train.phases == {"train": 1, "finetune": 0}
