from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests
from PIL import Image

from bench.contracts import UserError
from bench.provenance import Provenance
from bench.record import RECORD, MissingLoss, RandomHelper, Record, write_record
from bench.tasks import find_task
from bench.tracking import addresses, checkpoints, store, uploads
from bench.tracking.views import saved_views, set_up_experiment
from bench.training.loss_log import write_losses
from reports.page import stage

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory) -> Path:
    """Make one store; making it takes seconds, copying it none."""
    folder = tmp_path_factory.mktemp("store")
    before = Path.cwd()
    os.chdir(folder)
    try:
        store.connect()
    finally:
        os.chdir(before)
    return folder / store.DATABASE


@pytest.fixture
def client(empty_store, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_store, store.DATABASE)
    return store.connect()


def made_record(mlflow_run: str = "", **changes: Any) -> Record:
    record = Record(
        run="plain", evaluation="plain", method="mrfnet", row="mrfnet", also=(), title="MRFNet", kind="trained",
        task="deblur", dataset="gopro", dataset_title="GOPRO", origin="offline photographs", partial=False,
        profile="sample", seed=3, network={"channels": 8}, evaluation_id="e" * 64,
        train={"lr": 1e-3, "schedule": {"kind": "cosine"}, "weights": {}},
        provenance=Provenance("c0ffee", True, "3.11.9", {}, "Linux x86_64", manifest_sha256="a" * 64,
                              mlflow_run=mlflow_run, weights_sha256="b" * 64),
    )  # fmt: skip
    return replace(record, **changes)


def evaluated(folder: Path, record: Record, values: dict[str, list[float]], given: str = "blurred") -> Path:
    """Write an evaluation's files: scores of images, costs at two sizes, losses, pictures, the record."""
    rows = [(name, f"image{i}", given, "", value) for name, found in values.items() for i, value in enumerate(found)]
    rows += [("params", "", "", "", 1.5), ("seconds", "", "", "256x256", 0.25), ("seconds", "", "", "1280x720", 4.0)]
    (folder / "images" / "insides").mkdir(parents=True)
    pd.DataFrame(rows, columns=["metric", "image", "input", "size", "value"]).to_parquet(folder / "scores.parquet")
    write_losses(folder / "losses.parquet", [(s, "train", "network", "mse", 1 / (s + 1), s / 10) for s in range(5)])
    for n, name in enumerate(["median.restored", "insides/heat"]):
        Image.fromarray(np.full((8, 12, 3), 40 * (n + 1), np.uint8)).save(folder / "images" / f"{name}.png")
    write_record(folder / RECORD, record)
    return folder


COSTS = {"test.params": 1.5, "test.seconds.256x256": 0.25, "test.seconds.1280x720": 4.0}


def everything(client) -> list[Any]:
    experiments = [e.experiment_id for e in client.search_experiments()]
    return list(client.search_runs(experiments, max_results=100))


def dumped(path: Path) -> list[str]:
    with sqlite3.connect(path) as database:
        return list(database.iterdump())


# Addresses ------------------------------------------------------------------------------------------------------------


def test_the_address_is_the_environments_the_parameters_or_the_file(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert store.address() == f"sqlite:///{tmp_path}/mlflow.db"
    assert store.address("http://127.0.0.1:5000") == "http://127.0.0.1:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:6000")
    assert store.address("http://127.0.0.1:5000") == "http://127.0.0.1:6000"


def test_nested_parameters_are_flattened():
    values = {"seed": 3, "train": {"lr": 1e-4, "schedule": {"kind": "step"}, "weights": {}}}
    assert store.flat(values) == {"seed": "3", "train.lr": "0.0001", "train.schedule.kind": "step"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_server_that_does_not_answer_is_one_message(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match=rf"MLflow at {uri}: .*nothing of the run is lost.*the same command continues"):
        store.connect()


def test_a_file_that_is_no_store_and_a_folder_that_is_not_there_are_one_message(tmp_path, monkeypatch):
    (tmp_path / "text.db").write_text("this is no database, it is a text" * 40)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/text.db")
    with pytest.raises(UserError, match=r"MLflow at sqlite:///.*text\.db: "):
        store.connect()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none/mlflow.db")
    with pytest.raises(UserError, match=r"none: no such folder, expected that of MLflow's store at sqlite:///"):
        store.connect()


# One run --------------------------------------------------------------------------------------------------------------


def test_a_run_has_parameters_tags_and_its_dataset(client):
    run = client.get_run(store.start(client, made_record(), "training-1"))
    assert run.data.params == {
        "seed": "3", "network.channels": "8", "train.lr": "0.001", "train.schedule.kind": "cosine",
    }  # fmt: skip
    expected = {
        store.KEY_TAG: "training-1", store.RUN_TAG: "plain", "mlflow.runName": "plain · sample", "method": "mrfnet",
        "row": "mrfnet", "dataset": "gopro", "task": "deblur", "profile": "sample", "origin": "offline photographs",
        "kind": "trained", "partial": "false", "mlflow.source.git.commit": "c0ffee", "git_dirty": "true",
        "manifest_sha256": "a" * 64,
    }  # fmt: skip
    assert expected.items() <= run.data.tags.items()
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("gopro (offline photographs)", "a" * 36)
    assert {tag.key: tag.value for tag in data.tags} == {"mlflow.data.context": "training and test"}
    assert client.get_experiment(run.info.experiment_id).name == "deblur"


def test_a_key_has_one_run_even_when_making_it_was_broken_off(client, monkeypatch):
    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(store, "_log_dataset", killed)
        with pytest.raises(KeyboardInterrupt):
            store.start(client, made_record(), "training-1")
    first = store.start(client, made_record(), "training-1")
    assert store.start(client, made_record(), "training-1") == first
    assert [run.info.run_id for run in everything(client)] == [first]
    assert len(client.get_run(first).inputs.dataset_inputs) == 1
    assert store.start(client, made_record(), "training-2") != first


def test_a_failed_run_that_goes_on_is_running_again(client):
    run_id = store.start(client, made_record(), "k")
    store.finish(client, run_id, "FAILED")
    assert client.get_run(run_id).info.status == "FAILED"
    assert store.start(client, made_record(), "k") == run_id
    assert client.get_run(run_id).info.status == "RUNNING"
    store.finish(client, run_id)
    assert store.start(client, made_record(), "k") == run_id
    assert client.get_run(run_id).info.status == "FINISHED"


def test_the_same_points_logged_twice_stay_single_and_more_than_a_batch_pass(client):
    run_id = store.start(client, made_record(), "k")
    points = [(f"loss.{i % 3}", float(i), i // 3, 1000 + i) for i in range(2 * store.BATCH + 10)]
    store.log_points(client, run_id, points[:1500])
    store.log_points(client, run_id, points)
    found = sorted(
        (m.key, m.value, m.step, m.timestamp) for i in range(3) for m in client.get_metric_history(run_id, f"loss.{i}")
    )
    assert found == sorted(points)


def test_whether_a_run_exists(client):
    run_id = store.start(client, made_record(), "k")
    assert store.exists(client, run_id)
    assert not store.exists(client, "0" * 32)
    client.delete_run(run_id)
    assert not store.exists(client, run_id)


def test_weights_are_kept_with_their_digest(client, tmp_path):
    run_id = store.start(client, made_record(), "k")
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    checkpoints.log_weights(client, run_id, tmp_path / "weights.safetensors", "d" * 64)
    assert [file.path for file in client.list_artifacts(run_id, "weights")] == ["weights/weights.safetensors"]
    assert client.get_run(run_id).data.tags["weights_sha256"] == "d" * 64
    assert (tmp_path / store.ARTIFACTS / "deblur" / run_id / "artifacts/weights/weights.safetensors").is_file()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), r"\[Errno 28\] No space left on device"),
        (requests.HTTPError("500 Server Error: for url: http://host/artifacts"), "500 Server Error: for url: "),
        (OSError(), "OSError"),
    ],
)
def test_a_full_disk_and_a_store_of_artifacts_that_fails_are_one_message(client, tmp_path, monkeypatch, error, said):
    run_id = store.start(client, made_record(), "k")
    (tmp_path / "weights.safetensors").write_bytes(b"weights")

    def fails(*arguments):
        raise error

    monkeypatch.setattr(client, "log_artifact", fails)
    with pytest.raises(UserError, match=rf"^MLflow at sqlite:///.*: {said}.*; nothing of the run is lost: repair this"):
        checkpoints.log_weights(client, run_id, tmp_path / "weights.safetensors", "d" * 64)
    folder = evaluated(tmp_path / "scores", made_record(), {"psnr-rgb8": [20.0]})
    with pytest.raises(UserError, match=rf"^MLflow at sqlite:///.*: {said}"):
        uploads.sync(client, folder)


def test_a_run_that_the_report_cannot_ask_for_is_one_message(client):
    with pytest.raises(UserError, match=r"^MLflow at sqlite:///.*mlflow\.db: Run with id=0+ not found; nothing"):
        stage.mlflow_run(client, "0" * 32)


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
    assert run.data.tags["evaluation_id"] == "e" * 64 and run.info.end_time == ended
    before = dumped(tmp_path / store.DATABASE)
    assert uploads.sync(client, folder) == run_id
    assert dumped(tmp_path / store.DATABASE) == before


def test_the_newest_evaluation_is_shown_though_its_value_is_lower(client, tmp_path):
    run_id = store.start(client, made_record(), "training-1")
    for number, value in enumerate([30.0, 20.0]):
        record = made_record(run_id, evaluation_id=str(number) * 64)
        folder = evaluated(tmp_path / f"scores{number}", record, {"psnr-rgb8": [value]})
        os.utime(folder / RECORD, (1e9 + number, 1e9 + number))
        assert uploads.sync(client, folder) == run_id
        assert client.get_run(run_id).data.metrics["test.psnr-rgb8"] == value


def test_a_lost_store_is_filled_again_from_the_files(client, tmp_path, empty_store, monkeypatch):
    record = made_record("0" * 32)  # of the store that was lost
    folder = evaluated(tmp_path / "scores", record, {"psnr-rgb8": [20.0, 30.0]})
    chain = made_record(run="a+b", evaluation="a+b", kind="chain", evaluation_id="f" * 64)
    other = evaluated(tmp_path / "chain", chain, {"psnr-rgb8": [10.0]})
    for _ in range(2):
        first, second = uploads.sync(client, folder), uploads.sync(client, other)
        assert sorted(run.info.run_id for run in everything(client)) == sorted([first, second])
    run = client.get_run(first)
    assert run.data.metrics == {"test.psnr-rgb8": 25.0, "loss.network.mse": 0.2} | COSTS
    assert run.data.tags[store.RUN_TAG] == "plain" and run.data.tags["weights_sha256"] == "b" * 64
    assert run.data.params["train.lr"] == "0.001" and run.inputs.dataset_inputs[0].dataset.digest == "a" * 36
    assert [(m.step, m.value) for m in client.get_metric_history(first, "loss.network.mse")] == [
        (step, 1 / (step + 1)) for step in range(5)
    ]
    assert client.get_run(second).data.tags["kind"] == "chain"


def test_an_evaluation_broken_off_is_completed_in_the_same_run(client, tmp_path, monkeypatch):
    folder = evaluated(tmp_path / "scores", made_record(), {"psnr-rgb8": [20.0]})
    with monkeypatch.context() as broken:
        broken.setattr(uploads, "log_points", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            uploads.sync(client, folder)
    run_id = uploads.sync(client, folder)
    assert [run.info.run_id for run in everything(client)] == [run_id]
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


def test_scores_stand_by_input_where_a_task_has_several_and_costs_by_size():
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
    one, nan = ("sharp", "square", "", 10.0), float("nan")
    assert uploads.means(set_scores(one), "inpaint") == common | {"test.fid": 10.0}
    both = uploads.means(set_scores(one, ("blurred", "square", "", 90.0)), "inpaint")
    assert both == common | {"test.sharp.fid.square": 10.0, "test.blurred.fid.square": 90.0}
    bands = [("sharp", "irregular", "20-30", 10.0), ("sharp", "irregular", "30-40", 30.0), ("blurred", "", "", 90.0)]
    by_band = {"test.sharp.fid.irregular.20-30": 10.0, "test.sharp.fid.irregular.30-40": 30.0, "test.blurred.fid": 90.0}
    assert uploads.means(set_scores(*bands), "sharp-inpaint") == common | by_band
    left = uploads.means(set_scores(one, ("blurred", "square", "", nan)), "inpaint")
    assert left == common | {"test.sharp.fid.square": 10.0}, "one of two is not the only one"
    assert uploads.means(set_scores(("", "", "", nan)), "inpaint") == common
    run_id = store.start(client, made_record(), "k")  # MLflow takes these names
    store.log_points(client, run_id, [(name, value, 0, 1) for name, value in by_band.items()])
    assert client.get_run(run_id).data.metrics == by_band


# How MLflow shows it --------------------------------------------------------------------------------------------------


def test_an_experiment_says_what_it_holds_and_opens_in_the_columns_that_matter(client, tmp_path):
    place = set_up_experiment(client, "inpaint", "sample", (256, 256))
    tags = client.get_experiment(place).tags
    assert tags["mlflow.note.content"].startswith(find_task("inpaint").about)
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    best, newest = (
        json.loads(json.loads(tags[f"mlflow.sharedViewState.sharpbench-sample{end}"])["state"])
        for end in ("", "-newest")
    )
    assert best["selectedColumns"][:4] == [
        "tags.`method`", "tags.`dataset`", "metrics.`test.sharp.psnr-rgb8`", "metrics.`test.sharp.ssim-gauss11`"
    ]  # fmt: skip
    assert "metrics.`test.blurred.psnr-rgb8`" in best["selectedColumns"] == newest["selectedColumns"]
    assert (best["orderByKey"], best["orderByAsc"]) == ("metrics.`test.sharp.psnr-rgb8`", False)
    assert newest["orderByKey"] == "attributes.start_time"  # the one order in which MLflow nests trials
    run_id = store.start(client, made_record(task="inpaint"), "k")
    trial = store.start(client, made_record(task="inpaint", kind="trial"), "t")
    for view, expected in ((best, {run_id}), (newest, {run_id, trial})):
        found = client.search_runs([place], view["searchFilter"], order_by=[f"{view['orderByKey']} DESC"])
        assert {run.info.run_id for run in found} == expected
    before = dumped(tmp_path / store.DATABASE)
    assert set_up_experiment(client, "inpaint", "sample", (256, 256)) == place
    assert dumped(tmp_path / store.DATABASE) == before


def test_the_columns_of_costs_have_the_size_at_which_costs_are_measured():
    for view in saved_views("deblur", "sample", "48x32", None).values():
        columns = json.loads(json.loads(view)["state"])["selectedColumns"]
        assert [name for name in columns if "x" in name] == [
            "metrics.`test.macs.48x32`",
            "metrics.`test.seconds.48x32`",
        ]


def test_a_persons_own_description_of_an_experiment_stays(client):
    place = set_up_experiment(client, "deblur", "sample", (256, 256))
    client.set_experiment_tag(place, "mlflow.note.content", "mine")
    assert set_up_experiment(client, "deblur", "paper", (256, 256)) == place
    tags = client.get_experiment(place).tags
    assert tags["mlflow.note.content"] == "mine"
    assert {key for key in tags if "sharedViewState" in key} == {
        f"mlflow.sharedViewState.sharpbench-{name}" for name in ("sample", "sample-newest", "paper", "paper-newest")
    }


def test_a_run_says_what_keeps_it_from_being_the_papers(client):
    record = made_record(
        partial=True, reduced=("channels: 64 -> 8",), missing_losses=(MissingLoss("style", "no weights"),),
        random_helpers=(RandomHelper("vgg", ("style",)),),
    )  # fmt: skip
    note = client.get_run(store.start(client, record, "k")).data.tags["mlflow.note.content"]
    assert note.split("\n\n") == [
        "**MRFNet** (trained) on GOPRO, offline photographs.",
        "Fewer images than the official set.",
        "Smaller than the paper's network: channels: 64 -> 8.",
        "Trained without the losses style: weights that they need are missing.",
        "Networks with random weights in its losses: vgg.",
    ]


def test_addresses_name_their_runs():
    server = "http://127.0.0.1:5000"
    assert addresses.run_page(server, "3", "abc") == f"{server}/#/experiments/3/runs/abc?workflowType=machine_learning"
    query = urllib.parse.parse_qs(addresses.comparison_page(server, ["a", "b"], ["1", "2", "1"]).partition("?")[2])
    assert {key: json.loads(value) for key, (value,) in query.items() if key != "workflowType"} == {
        "runs": ["a", "b"], "experiments": ["1", "2"]
    }  # fmt: skip
    newest = addresses.experiment_page(server, "3", "sample", newest=True, charts=True)
    assert newest.partition("?")[0] == f"{server}/#/experiments/3/runs"
    assert urllib.parse.parse_qs(newest.partition("?")[2]) == {
        "workflowType": ["machine_learning"], "viewStateShareKey": ["sharpbench-sample-newest"],
        "compareRunsMode": ["CHART"],
    }  # fmt: skip


# Checkpoints ----------------------------------------------------------------------------------------------------------


def trained(client, tmp_path: Path, key: str, digest: str) -> str:
    run_id = store.start(client, made_record(), key)
    (tmp_path / "weights.safetensors").write_bytes(digest.encode())
    checkpoints.log_weights(client, run_id, tmp_path / "weights.safetensors", digest)
    return run_id


def test_each_training_is_a_version_of_its_runs_checkpoint(client, tmp_path):
    first, second = trained(client, tmp_path, "one", "1" * 64), trained(client, tmp_path, "two", "2" * 64)
    versions = client.search_model_versions("name = 'plain-sample'")
    assert {(int(v.version), v.run_id, v.tags["weights_sha256"]) for v in versions} == {
        (1, first, "1" * 64), (2, second, "2" * 64)
    }  # fmt: skip
    newest = client.get_model_version_by_alias("plain-sample", "newest")
    assert newest.run_id == second
    assert newest.source == f"{client.get_run(second).info.artifact_uri}/weights"
    model = client.get_registered_model("plain-sample")
    assert {"method": "mrfnet", "dataset": "gopro", "task": "deblur", "profile": "sample"}.items() <= model.tags.items()
    before = dumped(tmp_path / store.DATABASE)
    assert [checkpoints.register(client, run_id) for run_id in (first, second)] == ["plain-sample/1", "plain-sample/2"]
    assert dumped(tmp_path / store.DATABASE) == before


def test_a_registration_broken_off_is_completed_and_a_run_without_weights_has_none(client, tmp_path, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(type(client), "set_registered_model_alias", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            trained(client, tmp_path, "one", "1" * 64)
    run_id = store.start(client, made_record(), "one")
    assert checkpoints.register(client, run_id) == "plain-sample/1"
    assert len(client.search_model_versions("name = 'plain-sample'")) == 1
    assert checkpoints.register(client, store.start(client, made_record(), "two")) == ""


# Several processes, a server ------------------------------------------------------------------------------------------

AT_ONCE = """
import sys, time
from pathlib import Path
import mlflow
from bench.record import read_record
from bench.tracking import store as tracking
record = read_record(Path("record.json"))
Path(f"ready{sys.argv[1]}").touch()
while len(list(Path(".").glob("ready*"))) < 4:
    time.sleep(0.001)
client = tracking.connect()
run_id = tracking.start(client, record, "training-" + sys.argv[1])
tracking.log_points(client, run_id, [("loss", float(step), step, step) for step in range(1500)])
tracking.finish(client, run_id)
"""


def environment(**more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    return kept | {"PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"} | more


@pytest.mark.slow
def test_four_processes_create_the_store_at_once(tmp_path, monkeypatch):
    write_record(tmp_path / RECORD, made_record())
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", AT_ONCE, str(n)], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE
        )
        for n in range(4)
    ]
    errors = [process.communicate(timeout=180)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, errors
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    client = store.connect()
    assert sorted(e.name for e in client.search_experiments()) == ["Default", "deblur"]
    found = everything(client)
    assert sorted(run.data.tags[store.KEY_TAG] for run in found) == [f"training-{n}" for n in range(4)]
    assert all(run.info.status == "FINISHED" and run.data.metrics == {"loss": 1499.0} for run in found)


@pytest.fixture
def server(tmp_path, empty_store) -> Iterator[str]:
    """Serve a store on a free port of the loopback address."""
    shutil.copy(empty_store, tmp_path / "served.db")
    port = free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{tmp_path}/served.db",
        "--artifacts-destination", str(tmp_path / "served"), "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1",
    ]  # fmt: skip
    # A session of its own: stopping it stops its workers too.
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None and time.monotonic() < deadline, "the server did not start"
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                    if answer.status == 200:
                        break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()


@pytest.mark.slow
def test_a_tracking_server_is_named_by_one_variable(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    client = store.connect()
    assert client.tracking_uri == server
    folder = evaluated(tmp_path / "scores", made_record(), {"psnr-rgb8": [20.0, 30.0]})
    run_id = uploads.sync(client, folder)
    assert uploads.sync(client, folder) == run_id
    assert [run.info.run_id for run in everything(client)] == [run_id]
    run = client.get_run(run_id)
    assert run.data.metrics == {"test.psnr-rgb8": 25.0, "loss.network.mse": 0.2} | COSTS
    assert run.inputs.dataset_inputs[0].dataset.digest == "a" * 36
    assert [file.path for file in client.list_artifacts(run_id, "scores")] == ["scores/scores.parquet"]
    (image,) = (
        f.path for f in client.list_artifacts(run_id, "images") if "restored" in f.path and "webp" not in f.path
    )
    with Image.open(client.download_artifacts(run_id, image, str(tmp_path))) as restored:
        assert restored.getextrema() == ((40, 40),) * 3
    # A training, and what the report links to.
    training = trained(client, tmp_path, "training-1", "1" * 64)
    assert client.get_model_version("plain-sample", "1").run_id == training
    assert [file.path for file in client.list_artifacts(training, "weights")] == ["weights/weights.safetensors"]
    link = stage.mlflow_run(client, run_id)
    assert link == {
        "server": server, "run_id": run_id, "experiment_id": run.info.experiment_id, "name": "plain · sample"
    }  # fmt: skip
    assert not (tmp_path / store.DATABASE).exists() and not (tmp_path / store.ARTIFACTS).exists()
    assert not store.exists(client, "0" * 32)
