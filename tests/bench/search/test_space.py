"""What a search varies."""

from __future__ import annotations

import pytest

from bench.contracts import ParamsError
from bench.search.space import as_recipe, number_of, with_numbers
from tests.bench.search.toys import recipe, space_of


def test_numbers_are_varied_held_tied_or_a_factor_of_another():
    space = space_of(
        weights__a={"low": 0.1, "high": 10.0},
        weights__b=3.0,
        weights__c={"of": "a"},
        weights__d={"of": "c", "times": 2.5},
        weights__critic__e={"of": "b", "times": 0.5},
        lr={"low": 1e-4, "high": 1e-2},
    )
    assert space.values({"weights.a": 4.0, "lr": 1e-3}) == {
        "weights.a": 4.0, "weights.b": 3.0, "weights.c": 4.0, "weights.d": 10.0, "weights.critic.e": 1.5, "lr": 1e-3,
    }  # fmt: skip
    assert space.clipped({"weights.a": 0.0, "lr": 5e-3}) == {"weights.a": 0.1, "lr": 5e-3}


def test_numbers_find_their_place_in_the_recipe():
    values = {"weights.generator.adversarial": 0.3, "weights.l1": 2.0, "lr": 1e-3, "players.critic.lr": 1e-4}
    assert as_recipe(values) == {
        "weights": {"generator.adversarial": 0.3, "l1": 2.0}, "lr": 1e-3, "players": {"critic": {"lr": 1e-4}},
    }  # fmt: skip
    base = recipe(weights={"l1": 1.0, "style": 5.0}, players={"critic": {"updates": 2}})
    train = with_numbers(base, values, "here").train
    assert train.weights == {"l1": 2.0, "style": 5.0, "generator.adversarial": 0.3}
    assert (train.lr, train.players["critic"].lr, train.players["critic"].updates) == (1e-3, 1e-4, 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lrr": 0.1}, r"here: lrr: unknown key; the nearest are: lr"),
        ({"lr": 2.0}, r"here: lr: found 2\.0; input should be less than or equal to 1"),
        ({"batch_size": 2.5}, r"here: batch_size: found 2\.5; input should be a valid integer"),
    ],
)
def test_a_number_that_a_recipe_does_not_have_is_refused(values, message):
    with pytest.raises(ParamsError, match=message):
        with_numbers(recipe(), values, "here")


def test_the_runs_own_number_is_what_its_training_would_use():
    base = recipe(weights={"adversarial": 0.5, "generator.adversarial": 0.1}, lr=2e-3)
    names = ("weights.generator.adversarial", "weights.critic.adversarial", "weights.l1", "lr")
    assert [number_of(base, name) for name in names] == [0.1, 0.5, 1.0, 2e-3]
    with pytest.raises(ParamsError, match=r"run plain: train\.clip_grad_norm: the recipe does not set this number"):
        number_of(base, "clip_grad_norm")
