"""The checkpoint that a killed training is resumed from."""

from __future__ import annotations

import io
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bench.contracts import UserError
from bench.files import replacing
from bench.training.divergence import LossWatch
from bench.training.loss_log import KeptLoss, LossLog
from bench.training.state import Progress, Setup, TrainingState, make_optimizers

if TYPE_CHECKING:
    from accelerate import Accelerator

FILE = "state.pt"


def save(setup: Setup, state: TrainingState) -> None:
    """Write the checkpoint of a state, whole or not at all.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    scaler = setup.accelerator.scaler
    content = {
        "networks": {name: state.networks[name].state_dict() for name in state.trained},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in state.optimizers.items()},
        "progress": asdict(state.progress),
        "first_totals": state.watch.first_totals,
        "history": [tuple(loss) for loss in state.losses.history],
        "unsent": state.losses.unsent,
        "scaler": scaler.state_dict() if scaler else {},
    }
    # Through memory: torch reports a full disk as an error of its own that does not name the cause.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with replacing(setup.folder / FILE) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load(setup: Setup, state: TrainingState) -> bool:
    """Change a state to that of the run's last checkpoint; return False where there is none.

    Raises:
        UserError: the checkpoint is damaged.
    """
    path = setup.folder / FILE
    if not path.is_file():
        return False
    content = _read(path, setup.accelerator.device)
    if content["scaler"]:
        setup.accelerator.scaler.load_state_dict(content["scaler"])
    for name in state.trained:
        state.networks[name].load_state_dict(content["networks"][name])
    state.progress = Progress(**content["progress"])
    state.watch = LossWatch(content["first_totals"])
    state.losses = LossLog([KeptLoss(*loss) for loss in content["history"]], [tuple(p) for p in content["unsent"]])
    state.optimizers = make_optimizers(setup, state)
    for player, optimizer in state.optimizers.items():
        optimizer.load_state_dict(content["optimizers"][player])
    return True


def _read(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: damaged ({reason}); delete it to train this run from the beginning") from None


def check_same_step(accelerator: Accelerator, folder: Path, total: int) -> None:
    """Check that all processes resume from the same step: else they would average gradients of different weights.

    Args:
        accelerator: of this process.
        folder: of the checkpoint, for the message.
        total: steps done, as this process knows them.

    Raises:
        UserError: the processes loaded different checkpoints.
    """
    if accelerator.num_processes == 1:
        return
    steps = accelerator.gather(torch.tensor([total], device=accelerator.device)).tolist()
    if len(set(steps)) > 1:
        raise UserError(
            f"{folder}: the processes loaded checkpoints of the steps {', '.join(map(str, steps))}; all machines must "
            "see the same folder of checkpoints (paths.resume in params.yaml)"
        )
