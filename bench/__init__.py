"""The engine of Sharpbench: it builds data, trains, scores and restores, and names no method and no dataset."""

__version__ = "0.1.0"
