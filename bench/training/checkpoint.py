"""The checkpoint that a killed training is resumed from.

Its file is a line with the SHA-256 of the rest, then what torch has written, with the identity of the training in it. A
damaged checkpoint, and one of another training, is refused.
"""

from __future__ import annotations

import io
import pickle
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bench.contracts import UserError
from bench.files import as_user_error, replacing
from bench.hashes import check_digest, digest
from bench.training.divergence import LossWatch
from bench.training.loss_log import KeptLoss, LossLog
from bench.training.state import Progress, Setup, TrainingState, make_optimizers

if TYPE_CHECKING:
    from accelerate import Accelerator

FILE = "state.pt"
HEAD = 65
"""Bytes of the first line: a SHA-256 in hexadecimal and a newline."""
AGAIN = "delete it to train this run from the beginning"
"""What to do about a checkpoint that cannot be used."""


def save(setup: Setup, state: TrainingState) -> None:
    """Write the checkpoint of a state, whole or not at all.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    scaler = setup.accelerator.scaler
    content = {
        "identity": setup.identity,
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
    buffer.write(bytes(HEAD))
    torch.save(content, buffer)
    buffer.seek(0)
    buffer.write(f"{digest(buffer.getbuffer()[HEAD:])}\n".encode())
    with replacing(setup.folder / FILE) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load(setup: Setup, state: TrainingState) -> bool:
    """Change a state to that of the run's last checkpoint; return False where there is none.

    Raises:
        UserError: the checkpoint is damaged or of another training.
    """
    path = setup.folder / FILE
    if not path.is_file():
        return False
    content = read(path, setup.accelerator.device)
    if content["identity"] != setup.identity:
        raise UserError(f"{path}: the checkpoint of another training; {AGAIN}")
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


def read(path: Path, device: torch.device) -> dict[str, Any]:
    """Read the content of a checkpoint, from the very bytes that have its digest.

    Raises:
        UserError: it is damaged, or not a checkpoint.
    """
    try:
        with path.open("rb") as file:
            head, data = file.read(HEAD), file.read()
    except OSError as error:
        raise as_user_error(error, path) from error
    if not re.fullmatch(rb"[0-9a-f]{64}\n", head):
        raise UserError(f"{path}: damaged, or written by another version (no SHA-256 on its first line); {AGAIN}")
    check_digest(path, digest(data), head.decode().strip(), AGAIN, UserError)
    try:
        content = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read by torch ({reason}); {AGAIN}") from None
    if not isinstance(content, dict) or "identity" not in content:
        raise UserError(f"{path}: not the checkpoint of a training; {AGAIN}")
    return content


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
