"""Makes torchvision importable beside a torch that its compiled operators do not fit.

The wheels of torchvision are built for one build of torch. Beside another one (PyPI's wheel beside a CPU-only torch)
their compiled operators do not load, and `import torchvision` fails, because it registers the shape of the operator
`nms`, which is then unknown. Its networks, which lpips and torch-fidelity take from it, need none of these operators:
declaring the schemas is enough. Calling `nms` itself still fails.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path


@functools.cache
def make_importable() -> None:
    """Call before the first import of torchvision, or of what imports it (lpips, torch_fidelity).

    Nothing is declared where torchvision is absent, or its operators load.
    """
    import torch
    from torch import library as operators

    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        return
    for compiled in sorted(Path(found.origin).parent.glob("_C*")):
        try:
            torch.ops.load_library(str(compiled))
        except OSError:  # built for another torch: the case this module is for
            continue
        return
    for name in ("nms", "qnms"):
        operators.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
