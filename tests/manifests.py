"""Rows and facts of manifests, complete, for tests that need a few of their values."""

from __future__ import annotations

from typing import Any

ROW: dict[str, Any] = {
    "name": "a", "split": "test", "origin": "offline photographs", "condition": "{}", "degradation": "{}",
    "source": "a.png", "source_sha256": "[]", "licence": "CC0", "references": "[]", "file_target": "test/target/a.png",
    "sha256_target": "0", "height": 4, "width": 4, "bits": 8, "input_psnr": 20.0,
}  # fmt: skip
"""A row with every column that a manifest must have."""
ABOUT: dict[str, Any] = {
    "dataset": "gopro", "title": "GOPRO", "origin": "offline photographs", "partial": False, "profile": "sample",
    "seed": 0, "scoring": "plain", "options": {}, "images": {}, "published_images": {},
}  # fmt: skip
"""The facts of a whole set."""
