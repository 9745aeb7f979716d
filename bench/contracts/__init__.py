"""What a method, a dataset and the engine agree on. Nothing here imports torch, and nothing here does any work.

Methods and datasets import this from the engine, the readers of files `bench.data.image_folders` and
`bench.data.user_images`, and `bench.names`; nothing else.

Images are RGB. In memory of a network they are float32 in [0, 1], (N, C, H, W). On disk and in `Made` they are uint8 or
uint16, (H, W, 3). A mask is (N, 1, H, W) with 1 = hole, on disk (H, W) uint8 with 255 = hole.
"""

from bench.contracts.dataset import Dataset, Item, Made
from bench.contracts.errors import DataError, ParamsError, UserError, WeightsError, at_least
from bench.contracts.kinds import (
    Pair,
    adversarial,
    adversarial_phase,
    in_order,
    numbered,
    supervised,
    unchanged,
    untrained,
)
from bench.contracts.method import (
    AuxiliaryMap,
    Batch,
    Forward,
    Helper,
    Losses,
    Method,
    Outputs,
    Phase,
    Player,
    State,
)

__all__ = [
    "AuxiliaryMap",
    "Batch",
    "DataError",
    "Dataset",
    "Forward",
    "Helper",
    "Item",
    "Losses",
    "Made",
    "Method",
    "Outputs",
    "Pair",
    "ParamsError",
    "Phase",
    "Player",
    "State",
    "UserError",
    "WeightsError",
    "adversarial",
    "adversarial_phase",
    "at_least",
    "in_order",
    "numbered",
    "supervised",
    "unchanged",
    "untrained",
]
