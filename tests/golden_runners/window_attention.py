"""The golden cases of Swin's transformer block, plain and shifted, computed by our block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from methods.layers.window_attention import WindowBlock
from tests.golden_runners import tensors

if TYPE_CHECKING:
    from case import Case

    from tests.golden_runners import Runners


def run(case: Case) -> dict[str, np.ndarray]:
    """Compute `output` (N, C, H, W); the names of our weights are the authors'."""
    about = case.about["arguments"]
    block = WindowBlock(
        about["dim"], about["window_size"], about["num_heads"], about["shift_size"], about["mlp_ratio"]
    ).eval()
    block.load_state_dict(tensors(case.state))
    x = torch.from_numpy(case.inputs["input"]).permute(0, 2, 3, 1)
    with torch.no_grad():
        return {"output": block(x).permute(0, 3, 1, 2).numpy()}


RUNNERS: Runners = dict.fromkeys(("swin-block", "swin-block-shifted", "swin-block-window10"), run)
