"""Scores as they are read: every row as it was written, and the training's MSE."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench.contracts import DataError
from reports.scores import reading
from reports.scores.training_mse import MSE_TRAINING
from tests import make_scores
from tests.make_scores import Spec


def test_scores_are_read_as_they_were_written(tmp_path):
    spec = Spec("rfr", "paris-streetview", "inpaint", 29, "rfr")
    frame = make_scores.score_rows(spec, 4)
    frame["mask_band"] = frame["mask_band"].where(frame["mask_band"] != "", None)
    rows = reading.rows_of(frame.to_parquet(), None, tmp_path)
    assert list(rows) == list(dict.fromkeys(frame["metric"])) and len(rows) == frame["metric"].nunique()
    for metric, group in frame.groupby("metric"):
        assert rows[str(metric)]["value"].to_numpy() == pytest.approx(group["value"].to_numpy(), nan_ok=True)
        assert list(rows[str(metric)]["mask_band"]) == list(group["mask_band"].fillna(""))
        assert set(rows.columns(str(metric))["version"]) == {"1"}
    assert "fid" not in rows and "psnr-rgb8" in rows
    evaluation = reading.Evaluation(tmp_path, make_scores.record_of(spec), rows)
    assert reading.measure(evaluation, "psnr-rgb8", {"input": "sharp"}) is reading.measure(
        evaluation, "psnr-rgb8", {"input": "sharp"}
    )


def test_the_training_mse_is_the_mean_of_the_last_tenth(tmp_path):
    """Only of the watched loss of the full-size image, in any order of the rows; without it there is no such score."""
    spec = Spec("mrfnet", "gopro", "deblur", 29, "mrfnet")
    scores = make_scores.score_rows(spec, 4).to_parquet()
    plain = reading.rows_of(scores, None, tmp_path)
    assert MSE_TRAINING.id not in plain
    steps = np.arange(40)
    losses = pd.concat(
        pd.DataFrame({"step": steps, "phase": "train", "player": "network", "name": name, "value": values})
        for name, values in (("scale_1", steps / 10.0), ("mse", 9.0 + steps))
    )
    rows = reading.rows_of(scores, losses.iloc[::-1].to_parquet(), tmp_path)
    assert list(rows) == [*plain, MSE_TRAINING.id]
    evaluation = reading.Evaluation(tmp_path, make_scores.record_of(spec), rows)
    stat = reading.measure(evaluation, MSE_TRAINING.id, {"scene": "indoor"})
    assert stat.value == pytest.approx((3.6 + 3.7 + 3.8 + 3.9) / 4)
    assert (stat.better, stat.interval, stat.version) == ("lower", None, "1")
    for metric in plain:
        pd.testing.assert_frame_equal(rows[metric], plain[metric])
    others = losses[losses["name"] == "mse"].to_parquet()
    assert MSE_TRAINING.id not in reading.rows_of(scores, others, tmp_path)
    with pytest.raises(DataError, match=r"losses\.parquet: cannot be read as Parquet"):
        reading.rows_of(scores, b"PAR1", tmp_path)
