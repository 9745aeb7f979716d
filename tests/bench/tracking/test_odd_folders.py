"""MLflow's store in a checkout whose path has characters that mean something else in a URI."""

from __future__ import annotations

import pytest
from sqlalchemy import make_url

from bench.tracking import store

ODD = "a b%20c?x#yé%;'$(x)"


@pytest.mark.parametrize("name", ["a b", "größe", "50%", "a%20b", "what?", "#1", ODD])
def test_the_address_names_no_other_file(name, tmp_path, monkeypatch):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    place = make_url(store.address()).database
    assert place is not None and (tmp_path / name / place) == tmp_path / name / "mlflow.db"


def test_the_store_and_its_artifacts_are_in_the_project_and_nowhere_else(tmp_path, monkeypatch):
    folder = tmp_path / "parent" / ODD
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    client = store.connect()
    run = client.create_run(store.experiment(client, "deblur"))
    (folder / "weights.txt").write_text("0.5")
    client.log_artifact(run.info.run_id, "weights.txt", "weights")
    assert [file.path for file in client.list_artifacts(run.info.run_id, "weights")] == ["weights/weights.txt"]
    assert store.exists(client, run.info.run_id)
    assert (folder / "mlflow.db").stat().st_size > 0
    assert len(list((folder / "mlruns").rglob("weights.txt"))) == 1
    assert [path.name for path in (tmp_path / "parent").iterdir()] == [ODD]


def test_a_store_that_somebody_chose_is_used_as_it_is(monkeypatch, tmp_path):
    (tmp_path / "50%").mkdir()
    monkeypatch.chdir(tmp_path / "50%")
    assert store.address("http://server:5000") == "http://server:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///elsewhere.db")
    assert store.address("http://server:5000") == "sqlite:///elsewhere.db"
