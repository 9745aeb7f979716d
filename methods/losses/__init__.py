"""Losses, each defined once."""
