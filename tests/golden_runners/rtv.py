"""The structure of an image by relative total variation, against the authors' program."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from methods.auxiliary.rtv import smooth

if TYPE_CHECKING:
    from collections.abc import Callable

    from case import Case


def rtv(case: Case) -> dict[str, np.ndarray]:
    """All outputs of the case, (1, 3, H, W); that of the masked image has StructureFlow's parameters."""
    image = case.inputs["image"][0].transpose(1, 2, 0)
    hole = case.inputs["mask"][0, 0] > 0

    def structure(name: str, hole: np.ndarray | None = None) -> np.ndarray:
        given = case.about["arguments"][name]
        values = given["lambda"], given["sigma"], given["sharpness"], given["iterations"]
        return smooth(image, *values, hole=hole).transpose(2, 0, 1)[None]

    outputs = {name: structure(name) for name in case.about["arguments"]}
    return outputs | {"smooth_masked": structure("smooth_structureflow", hole)}


RUNNERS: dict[str, Callable[[Case], dict[str, np.ndarray]]] = {"rtv": rtv}
