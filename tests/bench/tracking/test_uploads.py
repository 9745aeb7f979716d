"""Evaluations in MLflow: their runs, means, images and weights."""

from __future__ import annotations

import os
import shutil

import pandas as pd
import pytest
from PIL import Image

from bench.contracts import DataError
from bench.record import RECORD, read_record
from bench.tracking import checkpoints, store, uploads
from tests.bench.tracking.toys import COSTS, all_runs, database_text, evaluated, log_training, made_record
from tests.images import flip_byte
from tests.make_scores import record_files

# Evaluations ----------------------------------------------------------------------------------------------------------


def test_an_evaluation_goes_to_the_run_that_trained_it_and_again_changes_nothing(client, tmp_path):
    run_id = store.start(client, made_record(), "training-1")
    store.finish(client, run_id)
    ended = client.get_run(run_id).info.end_time
    folder = evaluated(
        tmp_path / "scores", made_record(run_id), {"psnr-rgb8": [20.0, 30.0], "lpips": [float("nan"), 0.5]}
    )
    assert uploads.sync(client, folder) == run_id
    run = client.get_run(run_id)
    assert run.data.metrics == {"test.psnr-rgb8": 25.0, "test.lpips": 0.5} | COSTS
    assert run.data.tags["evaluation_id"] == read_record(folder / RECORD).digest and run.info.end_time == ended
    before = database_text(tmp_path / store.DATABASE)
    assert uploads.sync(client, folder) == run_id
    assert database_text(tmp_path / store.DATABASE) == before


def test_the_newest_evaluation_is_shown_though_its_value_is_lower(client, tmp_path):
    run_id = store.start(client, made_record(), "training-1")
    for number, value in enumerate([30.0, 20.0]):
        folder = evaluated(tmp_path / f"scores{number}", made_record(run_id), {"psnr-rgb8": [value]})
        os.utime(folder / RECORD, (1e9 + number, 1e9 + number))
        assert uploads.sync(client, folder) == run_id
        assert client.get_run(run_id).data.metrics["test.psnr-rgb8"] == value


def test_a_lost_store_is_filled_again_from_the_files(client, tmp_path, empty_store, monkeypatch):
    record = made_record("0" * 32)  # of the store that was lost
    folder = evaluated(tmp_path / "scores", record, {"psnr-rgb8": [20.0, 30.0]})
    chain = made_record(run="a+b", evaluation="a+b", kind="chain")
    other = evaluated(tmp_path / "chain", chain, {"psnr-rgb8": [10.0]})
    for _ in range(2):
        first, second = uploads.sync(client, folder), uploads.sync(client, other)
        assert sorted(run.info.run_id for run in all_runs(client)) == sorted([first, second])
    run = client.get_run(first)
    assert run.data.metrics == {"test.psnr-rgb8": 25.0, "loss.network.mse": 0.2} | COSTS
    assert run.data.tags[store.RUN_TAG] == "plain" and run.data.tags["weights_sha256"] == "b" * 64
    assert run.data.params["train.lr"] == "0.001" and run.inputs.dataset_inputs[0].dataset.digest == "a" * 36
    assert [(m.step, m.value) for m in client.get_metric_history(first, "loss.network.mse")] == [
        (step, 1 / (step + 1)) for step in range(5)
    ]
    assert client.get_run(second).data.tags["kind"] == "chain"


def test_an_interrupted_evaluation_is_completed_in_the_same_run(client, tmp_path, monkeypatch):
    folder = evaluated(tmp_path / "scores", made_record(), {"psnr-rgb8": [20.0]})
    with monkeypatch.context() as broken:
        broken.setattr(uploads, "log_points", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            uploads.sync(client, folder)
    run_id = uploads.sync(client, folder)
    assert [run.info.run_id for run in all_runs(client)] == [run_id]
    assert client.get_run(run_id).data.metrics["test.psnr-rgb8"] == 20.0


def test_images_are_logged_once_with_their_pixels_for_the_grids(client, tmp_path):
    folder = evaluated(tmp_path / "scores", made_record(), {"psnr-rgb8": [20.0]})
    os.utime(folder / RECORD, (1e9, 1e9))
    run_id = uploads.sync(client, folder)
    client.set_tag(run_id, uploads.LOGGED_TAG, "broken off")
    assert uploads.sync(client, folder) == run_id
    run = client.get_run(run_id)
    assert run.data.tags["mlflow.loggedImages"] == "True"
    paths = sorted(file.path for file in client.list_artifacts(run_id, "images") if file.path.endswith(".png"))
    assert [path.split("+")[:5] for path in paths] == [
        [f"images/{name}", "step", "0", "timestamp", str(10**12)] for name in ("insides~heat", "median.restored")
    ]
    for path, level in zip(paths, (80, 40), strict=True):
        with Image.open(client.download_artifacts(run_id, path)) as image:
            assert image.size == (12, 8) and image.getextrema() == ((level, level),) * 3


@pytest.mark.parametrize("swapped", [False, True], ids=["one byte", "another file"])
@pytest.mark.parametrize("name", ["scores.parquet", "losses.parquet", "images/median.restored.png", "record.json"])
def test_an_evaluation_that_has_changed_is_not_logged(client, tmp_path, name, swapped):
    folder = evaluated(tmp_path / "scores", made_record(), {"psnr-rgb8": [20.0]})
    if swapped:
        other = evaluated(tmp_path / "other", made_record(seed=4), {"psnr-rgb8": [25.0]})
        Image.new("RGB", (12, 8)).save(other / "images" / "median.restored.png")
        (other / "losses.parquet").write_bytes((other / "scores.parquet").read_bytes())
        record_files(other)
        shutil.copy(other / name, folder / name)
    else:
        flip_byte(folder / name)
    with pytest.raises(DataError, match=r"(scores|losses|restored|record)\.\w+: .*; train or evaluate the run again"):
        uploads.sync(client, folder)
    assert [run.data.metrics for run in all_runs(client)] in ([], [{}])


def test_scores_are_named_by_input_where_a_task_has_several_and_costs_by_size():
    rows = [("psnr-rgb8", "a", "sharp", "", 30.0), ("psnr-rgb8", "a", "blurred", "", 20.0),
            ("psnr-rgb8", "b", "sharp", "", 34.0), ("lpips", "a", "sharp", "", float("nan")),
            ("macs", "", "", "256x256", 3.0), ("file-size", "", "", "", 2.0)]  # fmt: skip
    scores = pd.DataFrame(rows, columns=["metric", "image", "input", "size", "value"])
    costs = {"test.macs.256x256": 3.0, "test.file-size": 2.0}
    assert uploads.means(scores, "deblur") == costs | {"test.psnr-rgb8": 28.0}
    by_input = {"test.sharp.psnr-rgb8": 32.0, "test.blurred.psnr-rgb8": 20.0}
    assert uploads.means(scores, "inpaint") == costs | by_input == uploads.means(scores, "sharp-inpaint")


def set_scores(*sets: tuple[str, str, str, float]) -> pd.DataFrame:
    """The rows of an evaluation: the FID of each set, by input, kind and band of the masks, one image, a cost."""
    rows = [("fid", "", given, kind, band, "", value) for given, kind, band, value in sets]
    rows += [("psnr-rgb8", "a", "sharp", "square", "", "", 30.0), ("seconds", "", "", "", "", "256x256", 0.5)]
    return pd.DataFrame(rows, columns=["metric", "image", "input", "mask_kind", "mask_band", "size", "value"])


def test_the_distance_of_a_set_has_no_mean(client):
    common = {"test.sharp.psnr-rgb8": 30.0, "test.seconds.256x256": 0.5}
    sharp, nan = ("sharp", "square", "", 10.0), float("nan")
    assert uploads.means(set_scores(sharp), "inpaint") == common | {"test.fid": 10.0}
    both = uploads.means(set_scores(sharp, ("blurred", "square", "", 90.0)), "inpaint")
    assert both == common | {"test.sharp.fid.square": 10.0, "test.blurred.fid.square": 90.0}
    bands = [("sharp", "irregular", "20-30", 10.0), ("sharp", "irregular", "30-40", 30.0), ("blurred", "", "", 90.0)]
    by_band = {"test.sharp.fid.irregular.20-30": 10.0, "test.sharp.fid.irregular.30-40": 30.0, "test.blurred.fid": 90.0}
    assert uploads.means(set_scores(*bands), "sharp-inpaint") == common | by_band
    left = uploads.means(set_scores(sharp, ("blurred", "square", "", nan)), "inpaint")
    assert left == common | {"test.sharp.fid.square": 10.0}, "one of two is not the only one"
    assert uploads.means(set_scores(("", "", "", nan)), "inpaint") == common
    run_id = store.start(client, made_record(), "k")  # MLflow takes these names
    store.log_points(client, run_id, [(name, value, 0, 1) for name, value in by_band.items()])
    assert client.get_run(run_id).data.metrics == by_band


# Checkpoints ----------------------------------------------------------------------------------------------------------


def test_each_training_is_a_version_of_its_runs_checkpoint(client, tmp_path):
    first, second = log_training(client, tmp_path, "one", "1" * 64), log_training(client, tmp_path, "two", "2" * 64)
    versions = client.search_model_versions("name = 'plain-sample'")
    assert {(int(v.version), v.run_id, v.tags["weights_sha256"]) for v in versions} == {
        (1, first, "1" * 64), (2, second, "2" * 64)
    }  # fmt: skip
    newest = client.get_model_version_by_alias("plain-sample", "newest")
    assert newest.run_id == second
    assert newest.source == f"{client.get_run(second).info.artifact_uri}/weights"
    model = client.get_registered_model("plain-sample")
    assert {"method": "mrfnet", "dataset": "gopro", "task": "deblur", "profile": "sample"}.items() <= model.tags.items()
    before = database_text(tmp_path / store.DATABASE)
    assert [checkpoints.register(client, run_id) for run_id in (first, second)] == ["plain-sample/1", "plain-sample/2"]
    assert database_text(tmp_path / store.DATABASE) == before


def test_an_interrupted_registration_is_completed_and_a_run_without_weights_has_none(client, tmp_path, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(type(client), "set_registered_model_alias", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            log_training(client, tmp_path, "one", "1" * 64)
    run_id = store.start(client, made_record(), "one")
    assert checkpoints.register(client, run_id) == "plain-sample/1"
    assert len(client.search_model_versions("name = 'plain-sample'")) == 1
    assert checkpoints.register(client, store.start(client, made_record(), "two")) == ""


def test_weights_are_kept_with_their_digest(client, tmp_path):
    run_id = store.start(client, made_record(), "k")
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    checkpoints.log_weights(client, run_id, tmp_path / "weights.safetensors", "d" * 64)
    assert [file.path for file in client.list_artifacts(run_id, "weights")] == ["weights/weights.safetensors"]
    assert client.get_run(run_id).data.tags["weights_sha256"] == "d" * 64
    assert (tmp_path / store.ARTIFACTS / "deblur" / run_id / "artifacts/weights/weights.safetensors").is_file()
