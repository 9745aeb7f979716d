"""The engine of Sharpbench: it builds data, trains, scores and restores. It names no method and no dataset."""

__version__ = "0.1.0"
