"""What MLflow's pages show, and their addresses."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request

from bench.tasks import find_task
from bench.tracking import addresses, store
from bench.tracking.views import saved_views, set_up_experiment
from tests.bench.tracking.toys import database_text, made_record


def test_an_experiment_has_a_description_and_opens_in_the_columns_that_matter(client, tmp_path):
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
        listed = client.search_runs([place], view["searchFilter"], order_by=[f"{view['orderByKey']} DESC"])
        assert {run.info.run_id for run in listed} == expected
    before = database_text(tmp_path / store.DATABASE)
    assert set_up_experiment(client, "inpaint", "sample", (256, 256)) == place
    assert database_text(tmp_path / store.DATABASE) == before


def test_the_columns_of_costs_have_the_size_at_which_costs_are_measured():
    for view in saved_views("deblur", "sample", "48x32", None).values():
        columns = json.loads(json.loads(view)["state"])["selectedColumns"]
        assert [name for name in columns if "x" in name] == [
            "metrics.`test.macs.48x32`",
            "metrics.`test.seconds.48x32`",
        ]


def test_a_description_that_a_person_wrote_is_kept(client):
    place = set_up_experiment(client, "deblur", "sample", (256, 256))
    client.set_experiment_tag(place, "mlflow.note.content", "mine")
    assert set_up_experiment(client, "deblur", "paper", (256, 256)) == place
    tags = client.get_experiment(place).tags
    assert tags["mlflow.note.content"] == "mine"
    assert {key for key in tags if "sharedViewState" in key} == {
        f"mlflow.sharedViewState.sharpbench-{name}" for name in ("sample", "sample-newest", "paper", "paper-newest")
    }


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
