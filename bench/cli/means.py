"""What `evaluate` and `score` print: the mean of each metric."""

from __future__ import annotations

import io
from pathlib import Path


def print_means(folder: Path) -> None:
    """Print the mean of each metric over the images of an evaluation, and what was not measured, with the reason.

    Args:
        folder: the evaluation's folder, with `scores.parquet` and `record.json`.
    """
    import pandas as pd

    from bench.record import RECORD, read_file, read_record

    record = read_record(folder / RECORD)
    scores = pd.read_parquet(io.BytesIO(read_file(folder, record, "scores.parquet")))
    images = scores[(scores["image"] != "") & scores["value"].notna()]
    means = images.groupby(["metric", "input"], sort=False)["value"].mean().unstack()
    first = scores.iloc[0]
    origin = f"{first['origin']}{', partial' * bool(first['partial'])}"
    print(f"{first['run']} on {first['dataset']} ({origin}): {images['image'].nunique()} images")
    for metric, row in means.iterrows():
        print(f"  {metric:18s}" + "  ".join(f"{source}: {value:.4f}" for source, value in row.items()))
    # Metrics of a set of images: distances between distributions.
    sets = scores[(scores["image"] == "") & (scores["input"] != "") & scores["value"].notna()]
    for score in sets.to_dict("records"):
        condition = " ".join(filter(None, (score["input"], score["mask_kind"], score["mask_band"])))
        print(f"  {score['metric']:18s}{condition}: {score['value']:.4f}")
    for metric, reason in record.not_measured.items():
        print(f"  {metric:18s}not measured: {reason}")
    print(f"-> {folder / 'scores.parquet'}")
