"""MLflow's store: its address, runs and points, and several processes at once."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from PIL import Image

from bench.contracts import UserError
from bench.record import RECORD, MissingLoss, RandomHelper, write_record
from bench.tracking import checkpoints, store, uploads
from reports.page import stage
from tests.bench.tracking.toys import COSTS, all_runs, evaluated, free_port, log_training, made_record

ROOT = Path(__file__).parents[3]


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


def test_a_server_that_does_not_answer_is_one_message(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match=rf"MLflow at {uri}: .*nothing of the run is lost.*the same command continues"):
        store.connect()


def test_a_file_that_is_not_a_store_and_a_missing_folder_are_one_message(tmp_path, monkeypatch):
    (tmp_path / "text.db").write_text("this is a text and not a database" * 40)
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


def test_a_run_without_a_commit_has_no_commit_tag(client):
    record = made_record()
    record = replace(record, provenance=replace(record.provenance, git_commit="", git_dirty=None))
    tags = client.get_run(store.start(client, record, "training-2")).data.tags
    assert "mlflow.source.git.commit" not in tags and tags["git_dirty"] == "no commit"


def test_a_key_has_one_run_even_when_its_creation_was_interrupted(client, monkeypatch):
    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(store, "_log_dataset", killed)
        with pytest.raises(KeyboardInterrupt):
            store.start(client, made_record(), "training-1")
    first = store.start(client, made_record(), "training-1")
    assert store.start(client, made_record(), "training-1") == first
    assert [run.info.run_id for run in all_runs(client)] == [first]
    assert len(client.get_run(first).inputs.dataset_inputs) == 1
    assert store.start(client, made_record(), "training-2") != first


def test_a_failed_run_that_is_continued_is_running_again(client):
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
    stored = sorted(
        (m.key, m.value, m.step, m.timestamp) for i in range(3) for m in client.get_metric_history(run_id, f"loss.{i}")
    )
    assert stored == sorted(points)


def test_whether_a_run_exists(client):
    run_id = store.start(client, made_record(), "k")
    assert store.exists(client, run_id)
    assert not store.exists(client, "0" * 32)
    client.delete_run(run_id)
    assert not store.exists(client, run_id)


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


def test_the_description_of_a_run_names_its_differences_from_the_papers(client):
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
    stored_runs = all_runs(client)
    assert sorted(run.data.tags[store.KEY_TAG] for run in stored_runs) == [f"training-{n}" for n in range(4)]
    assert all(run.info.status == "FINISHED" and run.data.metrics == {"loss": 1499.0} for run in stored_runs)


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
    # A separate session: stopping it stops its workers too.
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
    assert [run.info.run_id for run in all_runs(client)] == [run_id]
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
    training = log_training(client, tmp_path, "training-1", "1" * 64)
    assert client.get_model_version("plain-sample", "1").run_id == training
    assert [file.path for file in client.list_artifacts(training, "weights")] == ["weights/weights.safetensors"]
    link = stage.mlflow_run(client, run_id)
    assert link == {
        "server": server, "run_id": run_id, "experiment_id": run.info.experiment_id, "name": "plain · sample"
    }  # fmt: skip
    assert not (tmp_path / store.DATABASE).exists() and not (tmp_path / store.ARTIFACTS).exists()
    assert not store.exists(client, "0" * 32)
