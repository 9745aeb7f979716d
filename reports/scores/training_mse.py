"""The measure `mse-training`: how well the training of a run fitted its training crops at the end."""

from __future__ import annotations

from pathlib import Path

from bench.contracts import DataError
from bench.scoring.metrics.measure import Cost

FULL_SIZE_LOSS = "scale_1"
"""The watched loss of the full-size image, in the methods of the MRFNet family."""
LAST_SHARE = 10
"""The mean is over the last 1 / LAST_SHARE of the kept steps."""


def training_mse(losses: bytes, path: Path) -> float | None:
    """Return the mean of FULL_SIZE_LOSS over the last tenth of the kept steps; None where it was not watched.

    Args:
        losses: the content of the losses of a training.
        path: of their file, for messages.

    Raises:
        DataError: the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        chosen = [("name", "==", FULL_SIZE_LOSS)]
        rows = pq.read_table(pa.BufferReader(losses), columns=["step", "value"], filters=chosen)
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise DataError(f"{path}: cannot be read as Parquet ({error}); evaluate the run again") from error
    values = rows.sort_by("step")["value"].to_numpy()
    return float(values[-max(1, len(values) // LAST_SHARE) :].mean()) if len(values) else None


MSE_TRAINING = Cost(
    id="mse-training",
    title="training MSE",
    unit="",
    better="lower",
    decimals=5,
    protocol="mean squared error of the full-size image over training crops in [0, 1]: the mean of the last tenth of "
    "the training's kept steps",
)
