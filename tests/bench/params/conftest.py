"""What tests of parameters share: a method without a recipe."""

from __future__ import annotations

import pytest

from bench.params import recipe_schema, recipes


@pytest.fixture
def bare(monkeypatch):
    """The method's own recipe is empty: what the small file gives is all there is."""
    monkeypatch.setattr(recipes, "method_recipe", lambda name: recipe_schema.MethodRecipe())
