from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench import tracking
from bench.contracts import UserError
from bench.training.train import write_losses

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory) -> Path:
    """Make one store; making it takes seconds, copying it none."""
    folder = tmp_path_factory.mktemp("store")
    before = Path.cwd()
    os.chdir(folder)
    try:
        tracking.connect()
    finally:
        os.chdir(before)
    return folder / tracking.DATABASE


@pytest.fixture
def client(empty_store, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_store, tracking.DATABASE)
    return tracking.connect()


def made_record(**changes: Any) -> dict[str, Any]:
    return {
        "run": "plain", "evaluation": "plain", "method": "mrfnet", "as": "mrfnet", "title": "MRFNet", "kind": "trained",
        "task": "deblur", "dataset": "gopro", "dataset_title": "GOPRO", "origin": "offline photographs",
        "partial": False, "profile": "sample", "seed": 3, "network": {"channels": 8},
        "train": {"lr": 1e-3, "schedule": {"kind": "cosine"}, "weights": {}}, "evaluation_id": "e" * 64,
        "provenance": {"git_commit": "c0ffee", "git_dirty": True, "manifest_sha256": "a" * 64, "mlflow_run": "",
                       "weights_sha256": "b" * 64},
    } | changes  # fmt: skip


def evaluated(folder: Path, record: dict[str, Any], values: dict[str, list[float]]) -> Path:
    """Write an evaluation's files: scores of images, losses, a picture, the record."""
    rows = [(metric, f"image{i}", value) for metric, found in values.items() for i, value in enumerate(found)]
    (folder / "images").mkdir(parents=True)
    pd.DataFrame(rows, columns=["metric", "image", "value"]).to_parquet(folder / "scores.parquet")
    write_losses(folder / "losses.parquet", [(s, "train", "network", "mse", 1 / (s + 1), s / 10) for s in range(5)])
    (folder / "images" / "restored.png").write_bytes(b"picture")
    (folder / "record.json").write_text(json.dumps(record))
    return folder


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
    assert tracking.address() == f"sqlite:///{tmp_path}/mlflow.db"
    assert tracking.address("http://127.0.0.1:5000") == "http://127.0.0.1:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:6000")
    assert tracking.address("http://127.0.0.1:5000") == "http://127.0.0.1:6000"


def test_nested_parameters_are_flattened():
    values = {"seed": 3, "train": {"lr": 1e-4, "schedule": {"kind": "step"}, "weights": {}}}
    assert tracking.flat(values) == {
        "seed": "3", "train.lr": "0.0001", "train.schedule.kind": "step", "train.weights": "{}"
    }  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_server_that_does_not_answer_is_one_message(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match=rf"MLflow at {uri}: .*nothing of the run is lost.*the same command goes on"):
        tracking.connect()


def test_a_file_that_is_no_store_and_a_folder_that_is_not_there_are_one_message(tmp_path, monkeypatch):
    (tmp_path / "text.db").write_text("this is no database, it is a text" * 40)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/text.db")
    with pytest.raises(UserError, match=r"MLflow at sqlite:///.*text\.db: "):
        tracking.connect()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none/mlflow.db")
    with pytest.raises(UserError, match=r"none/mlflow\.db\.lock: No such file or directory"):
        tracking.connect()


# One run --------------------------------------------------------------------------------------------------------------


def test_a_run_has_parameters_tags_and_its_dataset(client):
    run = client.get_run(tracking.start(client, made_record(), "training-1"))
    assert run.data.params == {
        "seed": "3", "network.channels": "8", "train.lr": "0.001", "train.schedule.kind": "cosine",
        "train.weights": "{}",
    }  # fmt: skip
    expected = {
        tracking.KEY: "training-1", tracking.TAG: "plain", "mlflow.runName": "plain · sample", "method": "mrfnet",
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
        broken.setattr(tracking, "_log_dataset", killed)
        with pytest.raises(KeyboardInterrupt):
            tracking.start(client, made_record(), "training-1")
    first = tracking.start(client, made_record(), "training-1")
    assert tracking.start(client, made_record(), "training-1") == first
    assert [run.info.run_id for run in everything(client)] == [first]
    assert len(client.get_run(first).inputs.dataset_inputs) == 1
    assert tracking.start(client, made_record(), "training-2") != first


def test_a_failed_run_that_goes_on_is_running_again(client):
    run_id = tracking.start(client, made_record(), "k")
    tracking.finish(client, run_id, "FAILED")
    assert client.get_run(run_id).info.status == "FAILED"
    assert tracking.start(client, made_record(), "k") == run_id
    assert client.get_run(run_id).info.status == "RUNNING"
    tracking.finish(client, run_id)
    assert tracking.start(client, made_record(), "k") == run_id
    assert client.get_run(run_id).info.status == "FINISHED"


def test_the_same_points_logged_twice_stay_single_and_more_than_a_batch_pass(client):
    run_id = tracking.start(client, made_record(), "k")
    points = [(f"loss.{i % 3}", float(i), i // 3, 1000 + i) for i in range(2 * tracking.BATCH + 10)]
    tracking.log_points(client, run_id, points[:1500])
    tracking.log_points(client, run_id, points)
    found = sorted(
        (m.key, m.value, m.step, m.timestamp) for i in range(3) for m in client.get_metric_history(run_id, f"loss.{i}")
    )
    assert found == sorted(points)


def test_whether_a_run_exists(client):
    run_id = tracking.start(client, made_record(), "k")
    assert tracking.exists(client, run_id)
    assert not tracking.exists(client, "0" * 32)
    client.delete_run(run_id)
    assert not tracking.exists(client, run_id)


def test_weights_are_kept_with_their_digest(client, tmp_path):
    run_id = tracking.start(client, made_record(), "k")
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    tracking.log_weights(client, run_id, tmp_path / "weights.safetensors", "d" * 64)
    assert [file.path for file in client.list_artifacts(run_id, "weights")] == ["weights/weights.safetensors"]
    assert client.get_run(run_id).data.tags["weights_sha256"] == "d" * 64
    assert (tmp_path / tracking.ARTIFACTS / "deblur" / run_id / "artifacts/weights/weights.safetensors").is_file()


# Evaluations ----------------------------------------------------------------------------------------------------------


def test_an_evaluation_goes_to_the_run_that_trained_it_and_again_changes_nothing(client, tmp_path):
    run_id = tracking.start(client, made_record(), "training-1")
    tracking.finish(client, run_id)
    record = made_record()
    record["provenance"]["mlflow_run"] = run_id
    folder = evaluated(tmp_path / "scores", record, {"psnr-rgb8": [20.0, 30.0], "lpips": [float("nan"), 0.5]})
    assert tracking.sync(client, folder) == run_id
    run = client.get_run(run_id)
    assert run.data.metrics == {"test.psnr-rgb8": 25.0, "test.lpips": 0.5}
    assert run.data.tags["evaluation_id"] == "e" * 64 and run.info.status == "FINISHED"
    assert [file.path for file in client.list_artifacts(run_id, "images")] == ["images/restored.png"]
    before = dumped(tmp_path / tracking.DATABASE)
    assert tracking.sync(client, folder) == run_id
    assert dumped(tmp_path / tracking.DATABASE) == before


def test_the_newest_evaluation_is_shown_though_its_value_is_lower(client, tmp_path):
    run_id = tracking.start(client, made_record(), "training-1")
    for number, value in enumerate([30.0, 20.0]):
        record = made_record(evaluation_id=str(number) * 64)
        record["provenance"]["mlflow_run"] = run_id
        folder = evaluated(tmp_path / f"scores{number}", record, {"psnr-rgb8": [value]})
        os.utime(folder / "record.json", (1e9 + number, 1e9 + number))
        assert tracking.sync(client, folder) == run_id
        assert client.get_run(run_id).data.metrics["test.psnr-rgb8"] == value


def test_a_lost_store_is_filled_again_from_the_files(client, tmp_path, empty_store, monkeypatch):
    record = made_record()
    record["provenance"]["mlflow_run"] = "0" * 32  # of the store that was lost
    folder = evaluated(tmp_path / "scores", record, {"psnr-rgb8": [20.0, 30.0]})
    chain = made_record(run="a+b", evaluation="a+b", kind="chain", evaluation_id="f" * 64)
    other = evaluated(tmp_path / "chain", chain, {"psnr-rgb8": [10.0]})
    for _ in range(2):
        first, second = tracking.sync(client, folder), tracking.sync(client, other)
        assert sorted(run.info.run_id for run in everything(client)) == sorted([first, second])
    run = client.get_run(first)
    assert run.data.metrics == {"test.psnr-rgb8": 25.0, "loss.network.mse": 0.2}
    assert run.data.tags[tracking.TAG] == "plain" and run.data.tags["weights_sha256"] == "b" * 64
    assert run.data.params["train.lr"] == "0.001" and run.inputs.dataset_inputs[0].dataset.digest == "a" * 36
    assert [(m.step, m.value) for m in client.get_metric_history(first, "loss.network.mse")] == [
        (step, 1 / (step + 1)) for step in range(5)
    ]
    assert client.get_run(second).data.tags["kind"] == "chain"


def test_an_evaluation_broken_off_is_completed_in_the_same_run(client, tmp_path, monkeypatch):
    folder = evaluated(tmp_path / "scores", made_record(), {"psnr-rgb8": [20.0]})
    with monkeypatch.context() as broken:
        broken.setattr(tracking, "log_points", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tracking.sync(client, folder)
    run_id = tracking.sync(client, folder)
    assert [run.info.run_id for run in everything(client)] == [run_id]
    assert client.get_run(run_id).data.metrics["test.psnr-rgb8"] == 20.0


# Several processes, a server ------------------------------------------------------------------------------------------

AT_ONCE = """
import json, sys, time
from pathlib import Path
import mlflow
from bench import tracking
record = json.loads(Path("record.json").read_text())
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
    (tmp_path / "record.json").write_text(json.dumps(made_record()))
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
    client = tracking.connect()
    assert sorted(e.name for e in client.search_experiments()) == ["Default", "deblur"]
    found = everything(client)
    assert sorted(run.data.tags[tracking.KEY] for run in found) == [f"training-{n}" for n in range(4)]
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
    client = tracking.connect()
    assert client.tracking_uri == server
    folder = evaluated(tmp_path / "scores", made_record(), {"psnr-rgb8": [20.0, 30.0]})
    run_id = tracking.sync(client, folder)
    assert tracking.sync(client, folder) == run_id
    assert [run.info.run_id for run in everything(client)] == [run_id]
    run = client.get_run(run_id)
    assert run.data.metrics == {"test.psnr-rgb8": 25.0, "loss.network.mse": 0.2}
    assert run.inputs.dataset_inputs[0].dataset.digest == "a" * 36
    assert [file.path for file in client.list_artifacts(run_id, "scores")] == ["scores/scores.parquet"]
    assert not (tmp_path / tracking.DATABASE).exists()
    assert not tracking.exists(client, "0" * 32)
