"""The golden case of relative total variation, the structure of an image, computed by our solver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from methods.auxiliary.rtv import smooth

if TYPE_CHECKING:
    from case import Case

    from tests.golden_runners import Runners


def rtv(case: Case) -> dict[str, np.ndarray]:
    """Compute all outputs, (1, 3, H, W); that of the masked image with StructureFlow's parameters."""
    image = case.inputs["image"][0].transpose(1, 2, 0)
    hole = case.inputs["mask"][0, 0] > 0

    def structure(name: str, hole: np.ndarray | None = None) -> np.ndarray:
        options = case.about["arguments"][name]
        values = options["lambda"], options["sigma"], options["sharpness"], options["iterations"]
        return smooth(image, *values, hole=hole).transpose(2, 0, 1)[None]

    outputs = {name: structure(name) for name in case.about["arguments"]}
    return outputs | {"smooth_masked": structure("smooth_structureflow", hole)}


RUNNERS: Runners = {"rtv": rtv}
