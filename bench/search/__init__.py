"""The search of loss weights, and of other numbers of a recipe, by the quality of validation photographs."""
