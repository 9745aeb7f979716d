"""The papers' figures, rebuilt from our runs."""
