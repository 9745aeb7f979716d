from __future__ import annotations

import errno
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import nn

from bench import registry, runs
from bench.cli.main import main
from bench.contracts import Method, ParamsError, Phase, Player, UserError, supervised
from bench.data import manifest
from bench.data.batches import Crops, task_arrays
from bench.data.build import Job, build
from bench.data.built_images import as_float, read_png
from bench.files import locked, read_json
from bench.params import loading
from bench.params.schema import Recipe, Schedule, Train
from bench.training import loop
from bench.training.helpers import helpers, random_helpers
from bench.training.loop import Training
from bench.training.placement import PRECISION
from bench.training.rates import make_optimizer, phase_steps, rate
from bench.training.train import _enough_memory, fingerprint
from bench.training.weighting import weighted

ROOT = Path(__file__).parents[3]
SHORT = {"batch_size": 2, "crop_size": 32}
SUPERVISED = {"method": "mrfnet", "dataset": "places2", "task": "deblur", "network": {"channels": 4}}
GAN = {
    "method": "edgeconnect",
    "dataset": "places2",
    "network": {"channels": 4, "num_blocks": 1, "critic_channels": 4},
}
LONG = SHORT | {"steps": 200, "augment": ["flip_horizontal", "rotate", "noise"]}
PHASES = SHORT | {"phases": {"edge": 60, "inpaint": 60, "joint": 60}}
RUNS = {
    "plain-calm": SUPERVISED | {"train": LONG},
    "plain-killed": SUPERVISED | {"train": LONG},
    "gan-calm": GAN | {"train": PHASES},
    "gan-killed": GAN | {"train": PHASES},
    "short": SUPERVISED | {"train": SHORT | {"steps": 12}},
    "random": GAN | {"train": SHORT | {"phases": {"inpaint": 1}, "random_helpers": True}},
    "shared": SUPERVISED | {"train": SHORT | {"steps": 12, "batch_size": 4}},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """Return a project of its own: parameters and a built set of nine small pictures."""
    folder = tmp_path_factory.mktemp("project")
    values = {"profile": "sample", "threads": 1, "checkpoint_seconds": 0.05, "runs": {"deblur": RUNS}}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    job = Job("places2", None, {"draws": 1, "test_draws": 1}, 0, "sample")
    build(job, folder / "data" / "sample" / "places2", 1)
    return folder


@pytest.fixture
def built(project) -> manifest.BuiltSet:
    return manifest.read(project / "data" / "sample" / "places2")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Toy(nn.Module):
    """One convolution behind a batch norm."""

    def __init__(self, channels: int = 3):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.norm(x))


def error(pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (pred - target).square().mean()


TOY = supervised("deblur", Toy, error)


def two_players(critic, generator, updates: int = 1) -> Method:
    """A generator and a critic with the given losses of (networks, batch, outputs)."""

    def networks(channels: int = 3):
        return {"generator": nn.Conv2d(3, 3, 3, padding=1), "critic": nn.Conv2d(3, 1, 3)}

    phase = Phase(
        lambda nets, batch: {"pred": nets["generator"](batch["x"])},
        {"critic": Player(("critic",), critic, updates), "generator": Player(("generator",), generator)},
    )
    return Method(("deblur",), networks, {"train": phase}, lambda nets, batch: nets["generator"](batch["x"]))


def made_recipe(**train: Any) -> Recipe:
    return Recipe(
        name="toy", method="toy", dataset="places2", task="deblur", row="toy", title="toy", profile="sample", seed=0,
        network={}, paper_network={}, train=Train(**{"batch_size": 2, "crop_size": 24, "steps": 3} | train),
    )  # fmt: skip


def made_training(built, folder: Path, method: Method = TOY, log=lambda points: None, **train: Any) -> Training:
    recipe = made_recipe(**train)
    crops = Crops(built, "deblur", recipe.train.crop_size, recipe.train.augment, 0)
    accelerator = Accelerator(cpu=True, mixed_precision=PRECISION[recipe.train.precision])
    folder.mkdir(exist_ok=True)
    return Training(recipe, method, crops, {}, accelerator, folder, log, checkpoint_seconds=1e9)


def command(project: Path, *arguments: str) -> dict[str, Any]:
    environment = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "SHARPBENCH_PROFILE")}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return {"args": [sys.executable, *arguments], "cwd": project, "env": environment, "stderr": subprocess.PIPE}


def trained(project: Path, name: str, *more: str) -> None:
    done = subprocess.run(**command(project, "-m", "bench", "train", name, *more), stdout=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr.decode()


def losses(project: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(project / "out" / "sample" / "runs" / name / "losses.parquet").drop(columns="seconds")


# Killed and started again ---------------------------------------------------------------------------------------------


def kill_at_random(project: Path, name: str, moment: random.Random, started: bool) -> None:
    """Start a training and kill -9 it: at its very beginning, or after it went on from or wrote a checkpoint."""
    places = project / ".resume"

    def stamp() -> list[int]:
        pattern = f"sample-{name}-*/{'state.pt' if started else 'run.json'}"
        return [path.stat().st_mtime_ns for path in places.glob(pattern)]

    before = stamp()
    with subprocess.Popen(**command(project, "-m", "bench", "train", name), stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while stamp() == before and time.monotonic() < deadline:
            assert process.poll() is None, process.stderr and process.stderr.read().decode()
            time.sleep(0.01)
        time.sleep(moment.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "it had ended before it was killed"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "gan"])
def test_killed_three_times_it_reaches_the_same_weights_in_one_mlflow_run(project, kind, monkeypatch):
    trained(project, f"{kind}-calm")
    moment = random.Random(kind)
    for started in (False, True, True):
        kill_at_random(project, f"{kind}-killed", moment, started)
        assert not (project / "out" / "sample" / "runs" / f"{kind}-killed").exists()
    trained(project, f"{kind}-killed")
    calm, killed = (
        load_file(project / "out/sample/runs" / f"{kind}-{n}/weights.safetensors") for n in ("calm", "killed")
    )
    assert calm.keys() == killed.keys()
    assert [name for name in calm if not torch.equal(calm[name], killed[name])] == []
    pd.testing.assert_frame_equal(losses(project, f"{kind}-calm"), losses(project, f"{kind}-killed"))
    assert not list((project / ".resume").glob(f"sample-{kind}-*"))

    from bench.tracking import store

    monkeypatch.chdir(project)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client = store.connect()
    experiments = [e.experiment_id for e in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.`{store.TAG}` = '{kind}-killed'")
    assert len(found) == 1 and found[0].info.status == "FINISHED"
    kept = losses(project, f"{kind}-killed")
    for (player, loss), rows in kept.groupby(["player", "name"]):
        history = client.get_metric_history(found[0].info.run_id, f"loss.{player}.{loss}")
        assert sorted(metric.step for metric in history) == sorted(rows["step"])
        assert sorted(metric.value for metric in history) == sorted(rows["value"])


def test_going_on_is_exact_from_any_checkpoint(built, tmp_path):
    calm = made_training(built, tmp_path / "calm", steps=7, augment=["rotate"])
    calm.run()
    for stop in (1, 4, 6):
        first = made_training(built, tmp_path / f"stop{stop}", steps=7, augment=["rotate"])
        step, left = first._step, [stop]

        def counted(*arguments: Any, step=step, left=left, first=first):
            if not left[0]:
                first._save()
                raise KeyboardInterrupt
            left[0] -= 1
            return step(*arguments)

        first._step = counted  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            first.run()
        second = made_training(built, tmp_path / f"stop{stop}", steps=7, augment=["rotate"])
        progress = second.run()
        assert progress.total == 7 and [row[0] for row in progress.history[::2]] == list(range(7))
        for name, value in calm.networks.state_dict().items():
            assert torch.equal(value, second.networks.state_dict()[name])


def test_an_ended_training_started_again_changes_nothing(built, tmp_path):
    logged: list[list[Any]] = []
    first = made_training(built, tmp_path / "a", log=logged.append)
    first.run()
    again = made_training(built, tmp_path / "a", log=logged.append)
    assert again.run().total == 3
    assert torch.equal(first.networks["network"].conv.weight, again.networks["network"].conv.weight)
    assert [point for points in logged[1:] for point in points] == logged[0]  # the same points, the same times


def test_a_damaged_checkpoint_is_named(built, tmp_path):
    made_training(built, tmp_path / "a").run()
    state = tmp_path / "a" / "state.pt"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(UserError, match=r"state\.pt: damaged \(.*\); delete it, and the training begins anew"):
        made_training(built, tmp_path / "a").run()


def test_a_full_disk_stops_a_checkpoint_with_one_message(built, tmp_path, monkeypatch):
    training = made_training(built, tmp_path / "a")
    monkeypatch.setattr(Path, "write_bytes", lambda self, data: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(UserError, match=r"state\.pt: the disk is full"):
        training.run()
    assert list((tmp_path / "a").iterdir()) == []


# What stops a training ------------------------------------------------------------------------------------------------


def failing_at(call: int, value: float) -> Method:
    """A toy whose loss becomes `value` at one call; the rehearsal is call 0."""
    calls = iter(range(10**6))

    def error(pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        factor = value if next(calls) == call else 1.0
        return (pred - target).square().mean() * factor

    return supervised("deblur", Toy, error)


@pytest.mark.parametrize(("value", "printed"), [(math.nan, "nan"), (math.inf, "inf")])
def test_a_loss_that_is_not_finite_stops_with_step_losses_and_checkpoint(built, tmp_path, value, printed):
    training = made_training(built, tmp_path / "a", failing_at(3, value), steps=5)
    with pytest.raises(UserError) as caught:
        training.run()
    assert str(caught.value).startswith(
        f"toy: a loss of network is not finite at step 2 (phase train): error = {printed}, total = {printed}; "
        "no checkpoint yet."
    )
    training = made_training(built, tmp_path / "a", failing_at(3, value), steps=5)
    training.checkpoint_seconds = 0
    with pytest.raises(UserError, match=rf"the last good checkpoint is {training.checkpoint}"):
        training.run()
    assert torch.load(training.checkpoint, weights_only=True)["progress"]["total"] == 2


def test_the_command_stops_with_status_2_and_goes_on_in_the_same_mlflow_run(project, monkeypatch, capsys):
    from bench.tracking import store

    monkeypatch.chdir(project)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("SHARPBENCH_PROFILE", raising=False)
    method = registry.method("mrfnet")

    def broken(networks, batch, outputs):
        total = error(outputs["pred"], batch["target"])
        return {"scale_refinement": total * (math.nan if training_calls.pop() == 6 else 1), "mse": total}

    training_calls = list(range(100, -1, -1))
    phase = Phase(method.phases["train"].forward, {"network": Player(("network",), broken)})
    monkeypatch.setattr(registry, "method", lambda name: Method(**{**vars(method), "phases": {"train": phase}}))
    assert main(["train", "short"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("sharpbench train: short: a loss of network is not finite at step 5 (phase train): ")
    assert "Traceback" not in message
    assert not (project / "out/sample/runs/short").exists()
    client = store.connect()

    def found():
        experiments = [e.experiment_id for e in client.search_experiments()]
        return client.search_runs(experiments, f"tags.`{store.TAG}` = 'short'")

    assert [run.info.status for run in found()] == ["FAILED"]
    assert main(["train", "short"]) == 0
    assert [run.info.status for run in found()] == ["FINISHED"]
    assert list(losses(project, "short")["step"].unique()) == list(range(12))
    record = runs.folder(loading.load(), "short") / "record.json"
    assert found()[0].info.run_id in record.read_text()
    assert list(runs.load(loading.load(), "short").networks)


def test_two_trainings_of_one_run_at_once_are_refused(project, monkeypatch):
    monkeypatch.chdir(project)
    expected = pytest.raises(UserError, match="here: another process is training short here; wait until it has ended")
    with locked(Path("here"), "training short"), expected, locked(Path("here"), "training short"):
        pass


def test_a_misspelt_loss_weight_is_found_before_the_first_update(built, tmp_path):
    training = made_training(built, tmp_path / "a", weights={"eror": 2.0})
    before = {name: value.clone() for name, value in training.networks.state_dict().items()}
    with pytest.raises(
        ParamsError, match=r"run toy: train\.weights\.eror: no loss of this name; the nearest are: error$"
    ):
        training.run()
    assert all(torch.equal(before[name], value) for name, value in training.networks.state_dict().items())


def test_the_losses_of_later_phases_are_known_from_the_first_step(built, tmp_path):
    phase = TOY.phases["train"]
    other = Phase(
        phase.forward, {"network": Player(("network",), lambda n, b, o: {"late": error(o["pred"], b["target"])})}
    )
    method = Method(**{**vars(TOY), "phases": {"one": phase, "two": other}})
    training = made_training(built, tmp_path / "a", method, phases={"one": 2, "two": 0}, weights={"network.late": 2.0})
    assert training.run().total == 2
    training = made_training(built, tmp_path / "b", method, phases={"one": 10**9}, weights={"lte": 2.0})
    with pytest.raises(ParamsError, match=r"train\.weights\.lte: no loss of this name; the nearest are: late"):
        training.run()


def test_the_rehearsal_leaves_running_statistics_as_they_were(built, tmp_path):
    training = made_training(built, tmp_path / "a")
    training.prepare()
    norm = training.networks["network"].norm
    assert norm.num_batches_tracked == 0 and norm.running_mean.abs().max() == 0
    training.run()
    assert norm.num_batches_tracked == 3


def test_an_option_out_of_range_is_found_before_the_first_update(built, tmp_path):
    training = made_training(built, tmp_path / "a", augment=[{"rotate": {"degrees": 999}}])
    message = r"^params\.yaml: run toy: train\.augment: augmentation: rotate: found degrees 999, expected 0 to 180"
    with pytest.raises(ParamsError, match=message):
        training.run()
    assert training.progress.total == 0


def test_an_argument_that_the_network_refuses_is_named_with_its_run(built, tmp_path):
    def networks(channels: int = 3):
        raise ParamsError(f"toy: channels is {channels}, expected at least 4")

    with pytest.raises(ParamsError, match=r"^params\.yaml: run toy: network: toy: channels is 3, expected at least 4$"):
        made_training(built, tmp_path / "a", Method(**{**vars(TOY), "networks": networks}))


def test_processes_that_found_other_checkpoints_are_stopped(built, tmp_path):
    """As two machines would without a shared folder: one goes on from step 2, the other begins."""
    training = made_training(built, tmp_path / "a")
    training.accelerator = SimpleNamespace(
        num_processes=2, device="cpu", gather=lambda here: torch.cat([here, here + 2])
    )
    with pytest.raises(UserError, match=r"a: the processes found checkpoints of the steps 0, 2; all machines must see"):
        training._agree()
    training.accelerator.gather = lambda here: torch.cat([here, here])
    training._agree()


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"weights": {"msse": 1.0}}, "run bad: train.weights.msse: no loss of this name; the nearest are: mse"),
        (
            {"augment": [{"rotate": {"degrees": 999}}]},
            "run bad: train.augment: augmentation: rotate: found degrees 999",
        ),
    ],
)
def test_a_recipe_that_cannot_start_leaves_no_run_in_the_store(project, tmp_path, train, message):
    values = yaml.safe_load((project / "params.yaml").read_text())
    values["runs"] = {"deblur": {"bad": SUPERVISED | {"train": SHORT | {"steps": 2} | train}}}
    values["paths"] = {"data": str(project / "data")}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    done = subprocess.run(**command(tmp_path, "-m", "bench", "train", "bad"), stdout=subprocess.PIPE, check=False)
    assert done.returncode == 2 and done.stderr.decode().count("\n") == 1
    assert message in done.stderr.decode()
    assert not list(tmp_path.glob("mlflow.db*")) and not list(tmp_path.glob("out/sample/runs/*"))


def test_a_device_that_is_too_small_says_what_to_lower(monkeypatch):
    with (
        pytest.raises(
            UserError, match=r"^toy: out of memory Lower train\.batch_size \(now 2\) or train\.crop_size \(24\)"
        ),
        _enough_memory(made_recipe()),
    ):
        raise torch.OutOfMemoryError("out of memory\nmore")


def test_several_updates_of_the_player_that_restored_the_batch_are_refused(built, tmp_path):
    training = made_training(built, tmp_path / "a", players={"network": {"updates": 2}})
    with pytest.raises(ParamsError, match=r"train\.players\.network\.updates: found 2, expected 1"):
        training.run()


def exploding(power: float) -> Method:
    """A toy whose loss is multiplied by `power` from the sixth update on; the rehearsal is call 0."""
    calls = iter(range(10**6))

    def error(pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (pred - target).square().mean() * (power if next(calls) > 5 else 1.0)

    return supervised("deblur", Toy, error)


def test_a_loss_far_above_its_first_value_for_twenty_updates_stops_a_training(built, tmp_path):
    training = made_training(built, tmp_path / "a", exploding(1e12), steps=40, lr=1e-9)
    training.checkpoint_seconds = 0
    with pytest.raises(UserError) as caught:
        training.run()
    assert str(caught.value).startswith("toy: a loss of network is far above what it began with at step 24 (phase ")
    assert f"the last good checkpoint is {training.checkpoint}" in str(caught.value)
    # None is written while the loss is too high.
    assert torch.load(training.checkpoint, weights_only=True)["progress"]["total"] == 5
    assert made_training(built, tmp_path / "b", exploding(1e3), steps=40, lr=1e-9).run().total == 40


# Phases that a run does not have --------------------------------------------------------------------------------------


def staged(first: bool = True) -> dict[str, nn.Module]:
    return ({"first": nn.Conv2d(3, 3, 1)} if first else {}) | {"second": nn.Conv2d(3, 3, 1)}


def staged_phase(name: str, player: str, loss: str) -> Phase:
    return Phase(
        lambda nets, batch: {"pred": nets[name](batch["x"])},
        {player: Player((name,), lambda nets, batch, out: {loss: error(out["pred"], batch["target"])})},
    )


STAGED = Method(
    ("deblur",),
    staged,
    {"one": staged_phase("first", "early", "near"), "two": staged_phase("second", "late", "far")},
    lambda nets, batch: nets["second"](batch["x"]),
)


def staged_training(built, folder: Path, arguments: dict[str, Any], **train: Any) -> Training:
    recipe = made_recipe(**train).model_copy(update={"network": arguments})
    crops = Crops(built, "deblur", recipe.train.crop_size, [], 0)
    folder.mkdir()
    accelerator = Accelerator(cpu=True)
    return Training(recipe, STAGED, crops, {}, accelerator, folder, lambda points: None, checkpoint_seconds=1e9)


def test_a_phase_whose_network_a_run_does_not_have_is_left_out(built, tmp_path):
    phases, weights = {"one": 0, "two": 2}, {"near": 2.0, "early.near": 3.0, "late.far": 1.0}
    training = staged_training(built, tmp_path / "a", {"first": False}, phases=phases, weights=weights)
    assert training.left_out == ["one"] and list(training.own) == ["second"]
    progress = training.run()
    assert progress.total == 2 and {row[1:3] for row in progress.history} == {("two", "late")}
    again = staged_training(built, tmp_path / "b", {"first": False}, phases=phases, weights={"late.fr": 1.0})
    with pytest.raises(ParamsError, match=r"train\.weights\.late\.fr: no loss of this name"):
        again.run()


def test_the_last_phase_left_out_ends_the_training(built, tmp_path):
    training = staged_training(built, tmp_path / "a", {"first": False}, phases={"two": 2})
    training.method = Method(**{**vars(STAGED), "phases": dict(reversed(STAGED.phases.items()))})
    training.steps = {"two": 2, "one": 0}
    assert training.run().total == 2


def test_steps_of_a_phase_whose_network_is_not_there_are_refused(built, tmp_path):
    with pytest.raises(ParamsError) as caught:
        staged_training(built, tmp_path / "a", {"first": False}, phases={"one": 5, "two": 2})
    assert str(caught.value) == (
        "params.yaml: run toy: train.phases.one: found 5 steps, expected 0: the phase moves the network first, which a "
        "run of these arguments does not have"
    )
    whole = staged_training(built, tmp_path / "b", {}, phases={"one": 1, "two": 1})
    assert whole.left_out == [] and whole.run().total == 2


# Lengths, rates, losses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule(), {0: 1, 99: 1}),
        (Schedule(kind="step", every_steps=10, factor=0.1), {0: 1, 9: 1, 10: 0.1, 25: 0.01}),
        (Schedule(kind="step", every_epochs=2, factor=0.5), {13: 1, 14: 0.5, 28: 0.25}),  # 7 steps an epoch
        (Schedule(kind="cosine"), {0: 1, 25: 0.5 + math.sqrt(0.125), 50: 0.5, 100: 0}),
        (Schedule(kind="linear", start=0.5), {0: 1, 50: 1, 75: 0.5, 99: 0.02}),
        (Schedule(kind="linear", start=0.0), {0: 1, 20: 0.8}),
        (Schedule(kind="linear", start=1.0), {0: 1, 99: 1}),
        (Schedule(warmup_steps=4), {0: 0.25, 1: 0.5, 3: 1, 4: 1}),
    ],
)
def test_learning_rates(schedule, expected):
    assert {step: rate(schedule, step, 100, 7) for step in expected} == pytest.approx(expected)


def test_each_phase_starts_its_schedule_anew_and_players_keep_their_own_rate(built, tmp_path):
    phase = TOY.phases["train"]
    method = Method(**{**vars(TOY), "phases": {"one": phase, "two": phase}})
    training = made_training(
        built, tmp_path / "a", method, lr=0.1, players={"network": {"lr": 0.01}},
        phases={"one": 4, "two": 2}, schedule=Schedule(kind="linear", start=0.0),
    )  # fmt: skip
    seen, step = [], training._step

    def spied(*arguments: Any):
        seen.append(training.optimizers["network"].param_groups[0]["lr"])
        return step(*arguments)

    training._step = spied  # type: ignore[method-assign]
    training.run()
    assert seen == pytest.approx([0.01, 0.0075, 0.005, 0.0025, 0.01, 0.005])


def test_lengths_of_phases():
    two = Method(("deblur",), None, {"a": TOY.phases["train"], "b": TOY.phases["train"]}, TOY.restore)
    assert phase_steps(made_recipe(), TOY, 7) == {"train": 3}
    assert phase_steps(made_recipe(steps=None, epochs=4), TOY, 7) == {"train": 28}
    assert phase_steps(made_recipe(phases={"b": 5}), two, 7) == {"a": 0, "b": 5}
    for recipe, method, message in [
        (made_recipe(steps=None), TOY, "run toy: train: give steps or epochs"),
        (made_recipe(), two, r"run toy: train\.phases: give the steps of a, b"),
        (made_recipe(phases={"a": 0}), two, r"train\.phases: 0 steps in all, expected 1 or more"),
    ]:
        with pytest.raises(ParamsError, match=message):
            phase_steps(recipe, method, 7)


def test_losses_are_weighted_by_player_then_by_name_then_by_one():
    values = {"l1": torch.tensor(2.0), "adversarial": torch.tensor(3.0), "tv": torch.tensor(5.0)}
    weights = {"l1": 10.0, "adversarial": 100.0, "generator.adversarial": 0.5}
    assert weighted(values, weights, "generator") == 10 * 2 + 0.5 * 3 + 5
    assert weighted(values, weights, "critic") == 10 * 2 + 100 * 3 + 5


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
)
def test_optimisers_follow_the_recipe_and_the_player(name, kind):
    train = Train(
        optimizer=name, lr=0.1, betas=(0.8, 0.9), weight_decay=0.2, players={"critic": {"lr": 0.3, "betas": (0.1, 0.2)}}
    )
    parameters = [nn.Parameter(torch.zeros(1))]
    common, critic = (make_optimizer(train, player, parameters) for player in ("generator", "critic"))
    assert type(common) is kind and (common.defaults["lr"], critic.defaults["lr"]) == (0.1, 0.3)
    assert common.defaults["weight_decay"] == 0.2
    key = "momentum" if name == "sgd" else "betas"
    expected = (0.8, 0.1) if name == "sgd" else ((0.8, 0.9), (0.1, 0.2))
    assert (common.defaults[key], critic.defaults[key]) == expected


def test_watched_losses_are_logged_and_neither_weighted_nor_lowered(built, tmp_path):
    def losses(pred: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"error": error(pred, target), "scale_1": 1000 * error(pred, target).detach(), "scale_2": pred.sum()}

    method = supervised("deblur", Toy, losses, watched=("scale_1", "scale_2"))
    logged: list[Any] = []
    watched = made_training(built, tmp_path / "a", method, log=logged.extend, weights={"error": 2.0})
    progress = watched.run()
    plain = made_training(built, tmp_path / "b", supervised("deblur", Toy, error), weights={"error": 2.0})
    plain.run()
    for name, value in plain.networks.state_dict().items():
        assert torch.equal(value, watched.networks.state_dict()[name])
    first = {row[3]: row[4] for row in progress.history[:4]}
    assert set(first) == {"error", "scale_1", "scale_2", "total"}
    assert first["total"] == pytest.approx(2 * first["error"])
    assert first["scale_1"] == pytest.approx(1000 * first["error"])
    assert {point[0] for point in logged} >= {"loss.network.scale_1", "loss.network.scale_2"}
    for weight in ("scale_1", "network.scale_2"):
        training = made_training(built, tmp_path / weight, method, weights={weight: 1.0})
        with pytest.raises(ParamsError, match=rf"train\.weights\.{weight}: this loss is watched alone: it is logged"):
            training.run()


def test_a_batch_says_how_far_its_phase_has_come(built, tmp_path):
    seen: list[torch.Tensor] = []

    def forward(networks, batch):
        seen.append(batch["progress"])
        return TOY.phases["train"].forward(networks, batch)

    phase = Phase(forward, TOY.phases["train"].players)
    method = Method(**{**vars(TOY), "phases": {"one": phase, "two": phase}})
    made_training(built, tmp_path / "a", method, phases={"one": 4, "two": 2}).run()
    assert all(value.shape == () and value.dtype == torch.float32 for value in seen)
    assert [float(value) for value in seen] == [0, 0, 0, 0.25, 0.5, 0.75, 0, 0.5]  # the rehearsal of both, then steps
    del seen[:]
    stopped = made_training(built, tmp_path / "b", method, phases={"one": 4, "two": 2})
    stopped._save = lambda: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    stopped.checkpoint_seconds = 0
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    del stopped._save
    stopped._save()
    del seen[:]
    made_training(built, tmp_path / "b", method, phases={"one": 4, "two": 2}).run()
    assert [float(value) for value in seen] == [0.25, 0.5, 0.75, 0, 0.5]


def test_kept_losses_of_a_long_training_are_evenly_spaced(built, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "POINTS", 4)
    logged: list[Any] = []
    progress = made_training(built, tmp_path / "a", log=logged.extend, steps=14).run()
    assert [row[0] for row in progress.history if row[3] == "total"] == [0, 3, 6, 9, 12, 13]
    assert [point[2] for point in logged if point[0] == "loss.network.total"] == [0, 3, 6, 9, 12, 13]


def test_gradients_are_clipped_to_the_norm(built, tmp_path):
    training = made_training(
        built, tmp_path / "a", optimizer="sgd", betas=(0.0, 0.0), lr=1.0, steps=1, clip_grad_norm=0.05,
        weights={"error": 1000.0},
    )  # fmt: skip
    before = torch.cat([p.detach().flatten().clone() for p in training.networks.parameters()])
    training.run()
    after = torch.cat([p.detach().flatten() for p in training.networks.parameters()])
    assert (after - before).norm() == pytest.approx(0.05, rel=1e-3)


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_weights(built, tmp_path):
    kinds = set()

    def error(pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        kinds.add(pred.dtype)
        return (pred.float() - target).square().mean()

    training = made_training(built, tmp_path / "a", supervised("deblur", Toy, error), precision="bfloat16", lr=0.01)
    before = training.networks["network"].conv.weight.clone()
    training.run()
    assert kinds == {torch.bfloat16}
    after = training.networks["network"].conv.weight
    assert after.dtype == torch.float32 and torch.isfinite(after).all() and not torch.equal(before, after)


# Players --------------------------------------------------------------------------------------------------------------


def test_updates_of_a_critic_on_each_batch_are_counted(built, tmp_path):
    critic_calls = []

    def critic(networks, batch, outputs):
        critic_calls.append(outputs["pred"].detach().clone())
        return {"score": networks["critic"](outputs["pred"].detach()).mean()}

    def generator(networks, batch, outputs):
        return {"error": error(outputs["pred"], batch["target"])}

    training = made_training(built, tmp_path / "a", two_players(critic, generator, updates=5), steps=3)
    training.run()
    steps = {
        name: {int(s["step"]) for s in optimizer.state_dict()["state"].values()}
        for name, optimizer in training.optimizers.items()
    }
    assert steps == {"critic": {15}, "generator": {3}} and len(critic_calls) == 1 + 15
    assert all(torch.equal(critic_calls[1], call) for call in critic_calls[1:6])
    fewer = made_training(
        built, tmp_path / "b", two_players(critic, generator, 5), steps=3, players={"critic": {"updates": 2}}
    )
    fewer.run()
    assert int(next(iter(fewer.optimizers["critic"].state_dict()["state"].values()))["step"]) == 6


@pytest.mark.parametrize("still", ["critic", "generator"])
def test_the_gradients_of_one_player_never_move_the_others_networks(built, tmp_path, still):
    def through_both(networks, batch, outputs):  # not detached: it could reach the generator
        return {"score": networks["critic"](outputs["pred"]).square().mean() + error(outputs["pred"], batch["target"])}

    def nothing(networks, batch, outputs):
        return {"score": 0 * sum(p.sum() for p in networks[still].parameters())}

    losses = {"critic": through_both, "generator": through_both, still: nothing}
    training = made_training(
        built, tmp_path / "a", two_players(losses["critic"], losses["generator"]), optimizer="sgd", betas=(0, 0), lr=0.1
    )
    before = {name: value.clone() for name, value in training.networks.state_dict().items()}
    training.run()
    for name, value in training.networks.state_dict().items():
        assert torch.equal(before[name], value) == name.startswith(still)


def test_one_players_step_is_the_gradient_of_its_own_loss_alone(built, tmp_path):
    def critic(networks, batch, outputs):
        return {"score": networks["critic"](outputs["pred"].detach()).mean()}

    def generator(networks, batch, outputs):
        return {"score": -networks["critic"](outputs["pred"]).mean()}

    training = made_training(
        built, tmp_path / "a", two_players(critic, generator), optimizer="sgd", betas=(0, 0), lr=0.1, steps=1,
        weights={"generator.score": 3.0},
    )  # fmt: skip
    start = {name: value.clone() for name, value in training.networks.state_dict().items()}
    training.run()
    expected = {name: value.clone().requires_grad_() for name, value in start.items()}
    x = training.crops.batch(0, 2)["x"]

    def conv(name: str, x: torch.Tensor, padding: int) -> torch.Tensor:
        return nn.functional.conv2d(x, expected[f"{name}.weight"], expected[f"{name}.bias"], padding=padding)

    pred = conv("generator", x, 1)
    own = [expected["critic.weight"], expected["critic.bias"]]
    grads = torch.autograd.grad(conv("critic", pred.detach(), 0).mean(), own)
    moved = [p.detach() - 0.1 * g for p, g in zip(own, grads, strict=True)]
    score = -3.0 * nn.functional.conv2d(pred, moved[0], moved[1]).mean()
    made = [expected["generator.weight"], expected["generator.bias"]]
    grads = torch.autograd.grad(score, made)
    moved += [p.detach() - 0.1 * g for p, g in zip(made, grads, strict=True)]
    names = ["critic.weight", "critic.bias", "generator.weight", "generator.bias"]
    for name, value in zip(names, moved, strict=True):
        assert torch.allclose(training.networks.state_dict()[name], value, atol=1e-7), name


# Batches --------------------------------------------------------------------------------------------------------------


def test_a_batch_is_a_function_of_seed_and_step(built):
    make = lambda seed: Crops(built, "deblur", 24, ["rotate", "noise"], seed)  # noqa: E731
    first, second = make(0), make(0)
    later = second.batch(9, 4)  # after another history
    for step in (0, 9, 3):
        assert torch.equal(first.batch(step, 4)["x"], second.batch(step, 4)["x"])
    assert torch.equal(first.batch(9, 4)["x"], later["x"])
    assert not torch.equal(first.batch(0, 4)["x"], make(1).batch(0, 4)["x"])
    assert not torch.equal(first.batch(0, 4)["x"], first.batch(len(first), 4)["x"])  # the next epoch's crops differ
    ahead = list(first.batches(range(2, 6), 4))
    assert all(
        torch.equal(batch["x"], second.batch(step, 4)["x"]) for step, batch in zip(range(2, 6), ahead, strict=True)
    )
    assert list(first.batches(range(3, 3), 4)) == []


def test_each_epoch_shows_each_image_once(built):
    crops = Crops(built, "deblur", 24, [], 0)
    seen: list[tuple[int, int]] = []
    crops.sample = lambda epoch, index: seen.append((epoch, index)) or {"x": np.zeros((1, 1, 1), np.float32)}  # type: ignore
    for step in range(len(crops)):  # batches of 3 do not divide the images: samples are counted through
        crops.batch(step, 3)
    assert [epoch for epoch, _ in seen] == [e for e in range(3) for _ in range(len(crops))]
    orders = [[index for epoch, index in seen if epoch == e] for e in range(3)]
    assert all(sorted(order) == list(range(len(crops))) for order in orders) and orders[0] != orders[1]


def test_the_shares_of_the_processes_make_up_the_batch(built):
    crops = Crops(built, "deblur", 24, ["flip_horizontal"], 0)
    whole, parts = crops.batch(3, 4), [crops.batch(3, 4, part) for part in (slice(0, 2), slice(2, 4))]
    assert all(torch.equal(whole[key], torch.cat([part[key] for part in parts])) for key in whole)
    assert whole["x"].shape == (4, 3, 24, 24) and whole["x"].is_contiguous(memory_format=torch.channels_last)


def test_crops_are_pixels_of_the_stored_images(built):
    crops = Crops(built, "deblur", 24, [], 0)
    for index in range(3):
        sample = crops.sample(0, index)
        fields = {
            f: as_float(read_png(built.folder / crops.rows.loc[index, f"file_{f}"])) for f in ("blurred", "target")
        }
        windows = np.lib.stride_tricks.sliding_window_view(fields["target"], (24, 24), axis=(0, 1))
        places = np.argwhere((windows == sample["target"].transpose(2, 0, 1)).all(axis=(2, 3, 4)))
        assert len(places) >= 1
        top, left = places[0]
        assert np.array_equal(sample["x"], fields["blurred"][top : top + 24, left : left + 24])


@pytest.mark.parametrize(("task", "source"), [("inpaint", ""), ("sharp-inpaint", "sharp"), ("sharp-inpaint", "")])
def test_noise_reaches_what_the_network_sees_and_never_the_truth(built, task, source):
    clean, noisy = (Crops(built, task, 24, how, 0, source).sample(0, 0) for how in ([], [{"noise": {"sigma": 50.0}}]))
    known = clean["mask"][..., 0] == 0
    assert np.array_equal(noisy["target"], clean["target"]) and np.array_equal(noisy["mask"], clean["mask"])
    assert np.abs(noisy["x"] - clean["x"])[known].max() > 0.01
    assert np.abs(noisy["x"][~known]).max() == 0


def test_holes_are_empty_in_the_input_and_masks_are_neither_empty_nor_full(built):
    crops = Crops(built, "sharp-inpaint", 24, [], 0)
    for index in range(5):
        sample = crops.sample(0, index)
        assert set(np.unique(sample["mask"])) == {0.0, 1.0}
        assert np.abs(sample["x"] * sample["mask"]).max() == 0 and sample["target"].shape == (24, 24, 3)
        assert np.array_equal(sample["blurred"] * (1 - sample["mask"]), sample["x"])
        assert np.abs(sample["blurred"] * sample["mask"]).max() > 0
    fields = {"target": np.ones((2, 2, 3)), "blurred": np.full((2, 2, 3), 0.5), "mask": np.eye(2)[..., None]}
    assert "blurred" not in task_arrays("inpaint", fields, "blurred")
    for source, value in (("", 0.5), ("blurred", 0.5), ("sharp", 1)):
        arrays = task_arrays("sharp-inpaint", fields, source)
        assert arrays["x"].max() == value and np.array_equal(arrays["blurred"], fields["blurred"])
    assert (
        task_arrays("inpaint", fields)["x"].max() == 1 and task_arrays("inpaint", fields, "blurred")["x"].max() == 0.5
    )


def test_a_set_that_does_not_serve_the_task_or_the_crop_is_refused(built):
    with pytest.raises(UserError, match="task 'dual-pixel' needs left, right, which this dataset does not have"):
        Crops(built, "dual-pixel", 24, [], 0)
    with pytest.raises(UserError, match=r"crop_size 5000 is larger than \d+ training images; the first is"):
        Crops(built, "deblur", 5000, [], 0)


# A run's identity -----------------------------------------------------------------------------------------------------


def test_a_changed_recipe_data_or_machine_never_goes_on_from_anothers_checkpoint(project, built, monkeypatch):
    monkeypatch.chdir(project)
    recipe = runs.resolve(loading.load(), "short")[0]
    same = fingerprint(recipe, built, [], 1, 1, "cpu")
    assert same == fingerprint(recipe, built, [], 1, 1, "cpu")
    train = recipe.train.model_copy(update={"lr": 0.5})
    changed = [
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
    assert len({same, *changed}) == len(changed) + 1


def test_helpers_without_their_file_leave_their_losses_out(project, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.chdir(project)
    recipe, method = runs.resolve(loading.load(), "gan-calm")
    found, missing = helpers(method, recipe, tmp_path)
    assert found == {} and [entry["loss"] for entry in missing] == ["perceptual", "style"]
    unweighted = recipe.train.model_copy(update={"weights": {"perceptual": 0.0, "generator.style": 0.0}})
    assert helpers(method, recipe.model_copy(update={"train": unweighted}), tmp_path) == ({}, [])


def test_random_helpers_are_drawn_from_the_runs_seed_even_beside_their_file(project, monkeypatch, tmp_path):
    from bench import weights

    monkeypatch.chdir(project)
    recipe, method = runs.resolve(loading.load(), "gan-calm")
    monkeypatch.setattr(weights, "find", lambda key, folder: tmp_path / "vgg19.pth")
    train = recipe.train.model_copy(update={"random_helpers": True})
    drawn = []
    for seed in (0, 0, 1):
        torch.rand(3)  # another history
        found, missing = helpers(method, recipe.model_copy(update={"train": train, "seed": seed}), tmp_path)
        assert list(found) == ["vgg19"] and missing == []
        drawn.append(found["vgg19"].state_dict())
    assert all(torch.equal(drawn[0][name], drawn[1][name]) for name in drawn[0])
    name = "layers.conv3_1.weight"
    assert not torch.equal(drawn[0][name], drawn[2][name])
    both = [{"helper": "vgg19", "losses": ["perceptual", "style"]}]
    assert random_helpers(method, recipe.model_copy(update={"train": train})) == both
    fewer = recipe.model_copy(update={"train": train.model_copy(update={"weights": {"style": 0.0}})})
    assert random_helpers(method, fewer) == [{"helper": "vgg19", "losses": ["perceptual"]}]
    assert random_helpers(method, recipe) == []


def test_a_run_of_random_helpers_says_so_once_and_in_its_record(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    assert main(["train", "random"]) == 0
    printed = capsys.readouterr().out
    said = "random: vgg19 has RANDOM weights, as train.random_helpers asks, in the losses perceptual, style"
    assert printed.count("RANDOM") == 1 and said in printed
    record = read_json(project / "out/sample/runs/random/record.json")
    assert record["random_helpers"] == [{"helper": "vgg19", "losses": ["perceptual", "style"]}]
    assert record["missing_losses"] == []
    assert {"perceptual", "style"} <= set(losses(project, "random")["name"])


# Several processes ----------------------------------------------------------------------------------------------------

RANKS = """
import sys
import torch
from bench import params
from bench.training import loop, train

run = loop.Training.run

def spied(self):
    progress = run(self)
    torch.save(self.networks.state_dict(), f"rank{self.accelerator.process_index}.pt")
    return progress

loop.Training.run = spied
train.train(params.load(), sys.argv[1])
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
    place = project / "out/sample/runs/shared"
    two = load_file(place / "weights.safetensors")
    assert '"processes": 2' in (place / "record.json").read_text()
    trained(project, "shared")
    one = load_file(place / "weights.safetensors")
    assert max((one[name] - two[name]).abs().max() for name in one) < 1e-5
    assert all(torch.equal(ranks[0][name], two[name]) for name in two)
