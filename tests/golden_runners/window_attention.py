"""Golden cases of the window transformer block: Swin's own, plain and shifted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from methods.layers.window_attention import WindowBlock

if TYPE_CHECKING:
    from collections.abc import Callable

    from case import Case


def run(case: Case) -> dict[str, np.ndarray]:
    """Compute `output` (N, C, H, W) by the block; its names are the authors'."""
    about = case.about["arguments"]
    block = WindowBlock(
        about["dim"], about["window_size"], about["num_heads"], about["shift_size"], about["mlp_ratio"]
    ).eval()
    block.load_state_dict({name: torch.from_numpy(array) for name, array in case.state.items()})
    x = torch.from_numpy(case.inputs["input"]).permute(0, 2, 3, 1)
    with torch.no_grad():
        return {"output": block(x).permute(0, 3, 1, 2).numpy()}


RUNNERS: dict[str, Callable[[Case], dict[str, np.ndarray]]] = dict.fromkeys(
    ("swin-block", "swin-block-shifted", "swin-block-window10"), run
)
