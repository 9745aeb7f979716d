"""Make torchvision importable with a torch that its compiled operators do not fit.

The wheels of torchvision are built for one build of torch. With another build (PyPI's wheel with a CPU-only torch)
their compiled operators do not load, and `import torchvision` fails when it registers the shape of the operator `nms`,
which is then unknown. The networks that lpips and torch-fidelity use need none of these operators, so declaring their
schemas is enough. Calling `nms` still fails.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path


@functools.cache
def make_importable() -> None:
    """Declare the schemas of torchvision's operators; call this before the first import of it, lpips or torch_fidelity.

    Nothing is declared if torchvision is absent or its operators load.
    """
    import torch
    from torch import library as operators

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    for compiled in sorted(Path(spec.origin).parent.glob("_C*")):
        try:
            torch.ops.load_library(str(compiled))
        except OSError:  # built for another torch
            continue
        return
    for name in ("nms", "qnms"):
        operators.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
