"""LPIPS of each restored image, and FID of each set of images."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.scoring.metrics.measure import NotMeasured

if TYPE_CHECKING:
    pass
from bench.scoring.cases import Case, condition
from bench.scoring.rows import Table


class Perceptual:
    """LPIPS of each image, and FID of each set of holes, where their networks' files are on this machine.

    Args:
        ids: of PERCEPTUAL. FID is taken for inpainting tasks alone: no deblurring paper here prints it.
        weights: the folder that the user names for network weights, or None.
        device: where their networks run: "cpu", "cuda", ...
    """

    def __init__(self, ids: Collection[str], weights: Path | None, task: str, device: str = "cpu"):
        from bench.scoring.metrics import perceptual

        holes = task in ("inpaint", "sharp-inpaint")
        self.lpips = perceptual.lpips_alex(weights, device) if "lpips-alex" in ids else None
        self.fid = perceptual.fid_features(weights, device) if "fid" in ids and holes else None
        self.values: list[tuple[dict[str, Any], float]] = []
        # Features alone are kept, 8 kB an image: a test set may have tens of thousands of images.
        self.sets: dict[tuple[str, ...], list[tuple[np.ndarray, np.ndarray]]] = {}
        self.truths: dict[str, np.ndarray] = {}

    def see(self, case: Case, pred: np.ndarray) -> None:
        """Take one restored image."""
        if callable(self.lpips):
            self.values.append((condition(case), self.lpips(pred, case.truth)))
        if callable(self.fid):
            key = tuple(condition(case)[name] for name in ("input", "mask_kind", "mask_band"))
            name = case.row["name"]
            if name not in self.truths:  # it is seen again under the next input
                self.truths[name] = self.fid(case.truth)
            self.sets.setdefault(key, []).append((self.fid(pred), self.truths[name]))

    def finish(self, table: Table) -> None:
        """Add the values, or why they were not measured."""
        from bench.scoring.metrics import perceptual

        for measure, found in ((perceptual.LPIPS_ALEX, self.lpips), (perceptual.FID, self.fid)):
            if isinstance(found, NotMeasured):
                table.add(measure, found)
        for about, value in self.values:
            table.add(perceptual.LPIPS_ALEX, value, **about)
        for (source, kind, band), pairs in self.sets.items():
            about = {"input": source, "mask_kind": kind, "mask_band": band}
            if len(pairs) < 2:
                table.add(perceptual.FID, NotMeasured("fid", "a set of one image has no distance"), **about)
            else:
                preds, truths = (np.stack(rows) for rows in zip(*pairs, strict=True))
                table.add(perceptual.FID, perceptual.frechet_distance(preds, truths), **about)
