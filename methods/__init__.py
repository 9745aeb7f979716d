"""One module per method, named like it, with its recipe next to it; the folders hold what several methods share."""
