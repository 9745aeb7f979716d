"""The command `train`: its messages, its MLflow run, its record, what it depends on, and several processes."""

from __future__ import annotations

import math
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bench import folders, registry, runs
from bench.cli.main import main
from bench.contracts import Phase, Player, UserError
from bench.files import locked
from bench.params import loading
from bench.record import RandomHelper, read_record
from bench.tracking import store
from bench.training.helpers import build_helpers, random_helpers
from bench.training.train import fingerprint
from tests.bench.training.toys import changed, command, error, losses_of, train_by_command


def test_the_command_stops_with_status_2_and_goes_on_in_the_same_mlflow_run(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    method = registry.method("mrfnet")
    calls = iter(range(10**6))

    def broken(networks, batch, outputs):
        total = error(outputs["pred"], batch["target"])
        return {"scale_refinement": total * (math.nan if next(calls) == 6 else 1), "mse": total}

    phase = Phase(method.phases["train"].forward, {"network": Player(("network",), broken)})
    monkeypatch.setattr(registry, "method", lambda name: changed(method, phases={"train": phase}))
    assert main(["train", "short"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("sharpbench train: short: a loss of network is not finite at step 5 (phase train): ")
    assert "Traceback" not in message
    assert not (project / "out/sample/runs/short").exists()
    client = store.connect()

    def mlflow_runs():
        experiments = [e.experiment_id for e in client.search_experiments()]
        return client.search_runs(experiments, f"tags.`{store.RUN_TAG}` = 'short'")

    assert [run.info.status for run in mlflow_runs()] == ["FAILED"]
    assert main(["train", "short"]) == 0
    assert [run.info.status for run in mlflow_runs()] == ["FINISHED"]
    assert list(losses_of(project, "short")["step"].unique()) == list(range(12))
    record = folders.run_folder(loading.load(), "short") / "record.json"
    assert mlflow_runs()[0].info.run_id in record.read_text()
    assert runs.load(loading.load(), "short").networks is not None


def test_two_trainings_of_one_run_at_once_are_refused(project, monkeypatch):
    monkeypatch.chdir(project)
    expected = pytest.raises(UserError, match="here: another process is training short here; wait until it has ended")
    with locked(Path("here"), "training short"), expected, locked(Path("here"), "training short"):
        pass


def test_a_changed_recipe_dataset_or_machine_never_resumes_anothers_checkpoint(project, built, monkeypatch):
    monkeypatch.chdir(project)
    recipe = runs.resolve(loading.load(), "short")[0]
    same = fingerprint(recipe, built, [], 1, 1, "cpu")
    assert same == fingerprint(recipe, built, [], 1, 1, "cpu")
    train = recipe.train.model_copy(update={"lr": 0.5})
    others = [
        fingerprint(recipe.model_copy(update={"train": train}), built, [], 1, 1, "cpu"),
        fingerprint(recipe.model_copy(update={"seed": 1}), built, [], 1, 1, "cpu"),
        fingerprint(recipe.model_copy(update={"network": {"channels": 8}}), built, [], 1, 1, "cpu"),
        fingerprint(recipe, replace(built, digest="other"), [], 1, 1, "cpu"),
        fingerprint(recipe, built, ["vgg19"], 1, 1, "cpu"),
        fingerprint(recipe, built, [], 2, 1, "cpu"),
        fingerprint(recipe, built, [], 1, 2, "cpu"),
        fingerprint(recipe, built, [], 1, 1, "cuda"),
        fingerprint(recipe, built, [], 1, 1, "cpu", {"texture": "one"}),
        fingerprint(recipe, built, [], 1, 1, "cpu", {"texture": "another"}),
    ]
    assert len({same, *others}) == len(others) + 1


# Frozen networks of losses --------------------------------------------------------------------------------------------


def test_helpers_without_their_file_leave_their_losses_out(project, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.chdir(project)
    recipe, method = runs.resolve(loading.load(), "gan-undisturbed")
    networks, missing = build_helpers(method, recipe, tmp_path)
    assert networks == {} and [entry.loss for entry in missing] == ["perceptual", "style"]
    unweighted = recipe.train.model_copy(update={"weights": {"perceptual": 0.0, "generator.style": 0.0}})
    assert build_helpers(method, recipe.model_copy(update={"train": unweighted}), tmp_path) == ({}, ())


def test_random_helpers_are_drawn_from_the_runs_seed_even_where_their_file_is(project, monkeypatch, tmp_path):
    from bench import weights

    monkeypatch.chdir(project)
    recipe, method = runs.resolve(loading.load(), "gan-undisturbed")
    monkeypatch.setattr(weights, "find", lambda key, folder: tmp_path / "vgg19.pth")
    train = recipe.train.model_copy(update={"random_helpers": True})
    drawn = []
    for seed in (0, 0, 1):
        torch.rand(3)  # another history
        networks, missing = build_helpers(method, recipe.model_copy(update={"train": train, "seed": seed}), tmp_path)
        assert list(networks) == ["vgg19"] and missing == ()
        drawn.append(networks["vgg19"].state_dict())
    assert all(torch.equal(drawn[0][name], drawn[1][name]) for name in drawn[0])
    name = "layers.conv3_1.weight"
    assert not torch.equal(drawn[0][name], drawn[2][name])
    both = (RandomHelper("vgg19", ("perceptual", "style")),)
    assert random_helpers(method, recipe.model_copy(update={"train": train})) == both
    fewer = recipe.model_copy(update={"train": train.model_copy(update={"weights": {"style": 0.0}})})
    assert random_helpers(method, fewer) == (RandomHelper("vgg19", ("perceptual",)),)
    assert random_helpers(method, recipe) == ()


def test_a_run_of_random_helpers_is_marked_once_and_in_its_record(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    assert main(["train", "random"]) == 0
    printed = capsys.readouterr().out
    message = "random: vgg19 has RANDOM weights, as train.random_helpers asks, in the losses perceptual, style"
    assert printed.count("RANDOM") == 1 and message in printed
    record = read_record(project / "out/sample/runs/random/record.json")
    assert record.random_helpers == (RandomHelper("vgg19", ("perceptual", "style")),)
    assert record.missing_losses == ()
    assert {"perceptual", "style"} <= set(losses_of(project, "random")["name"])


# Several processes ----------------------------------------------------------------------------------------------------

RANKS = """
import sys
import torch
from bench.params import loading
from bench.training import loop, train

run = loop.Training.run

def run_and_save(self, *arguments):
    state = run(self, *arguments)
    torch.save(state.networks.state_dict(), f"rank{self.setup.accelerator.process_index}.pt")
    return state

loop.Training.run = run_and_save
train.train(loading.load(), sys.argv[1])
"""


@pytest.mark.slow
def test_two_processes_reach_the_weights_of_one(project):
    (project / "ranks.py").write_text(RANKS)
    # `accelerate launch` starts several processes on GPUs only; torchrun does on both.
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "ranks.py", "shared"]
    done = subprocess.run(**command(project, *launch), stdout=subprocess.PIPE, check=False, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    ranks = [torch.load(project / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert all(torch.equal(ranks[0][name], ranks[1][name]) for name in ranks[0])
    folder = project / "out/sample/runs/shared"
    two = load_file(folder / "weights.safetensors")
    assert '"processes": 2' in (folder / "record.json").read_text()
    train_by_command(project, "shared")
    single = load_file(folder / "weights.safetensors")
    assert max((single[name] - two[name]).abs().max() for name in single) < 1e-5
    assert all(torch.equal(ranks[0][name], two[name]) for name in two)
