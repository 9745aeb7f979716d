"""Parts of our own runs, imported as runs."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench import runs
from bench.params import loading
from bench.record import RECORD, read_record, write_record
from bench.scoring.restore import restore
from methods.dffnet import deblurred, inpainted
from tests.conftest import PARAMS, Project
from tests.images import flip_byte

DFFNET = """\
    dffnet-places2:
      method: dffnet
      dataset: places2
      task: sharp-inpaint
      network: {deblur_channels: 8, inpaint_channels: 8, fusion_channels: 8, edge_channels: 8, edge_blocks: 1,
                critic_channels: 8, light: false, modules: 1, attention: contextual}
"""
STAGES = {"stage_one": "mrfnet", "stage_two": "dffnet-inpaint"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Project, Path]:
    """A project with a narrow DFFNet, and the file of its weights."""
    folder = tmp_path_factory.mktemp("parts")
    (folder / "params.yaml").write_text(PARAMS.replace("runs:\n  all:\n", f"runs:\n  all:\n{DFFNET}"))
    project = Project(folder)
    project.good("build", "places2", "--jobs", "1")
    project.pretend_trained("dffnet-places2")
    return project, folder / "out" / "sample" / "runs" / "dffnet-places2" / "weights.safetensors"


def part(weights: Path, name: str, run: str, method: str = "", network: str = "{channels: 8}") -> list[str]:
    """Return the command that imports one stage of DFFNet as a run, by default as the method of that stage."""
    target = ("--dataset", "places2", "--name", run)
    return ["import", method or STAGES[name], f"{weights}:{name}", "--network", network, *target]


def test_dffnets_stages_become_runs_that_give_the_same_images(whole):
    project, weights = whole
    for stage, method in STAGES.items():
        assert f"the weights fit {method}" in project.good(*part(weights, stage, stage.replace("_", "-")))
    with contextlib.chdir(project.folder):
        loaded = loading.load()
        joint, deblurring, inpainting = (
            runs.load(loaded, name) for name in ("dffnet-places2", "stage-one", "stage-two")
        )
    x, mask = torch.rand(1, 3, 64, 96), torch.zeros(1, 1, 64, 96)
    mask[..., 20:40, 30:60] = 1
    with torch.inference_mode():
        sharp = deblurred(joint.networks, x)
        filled = inpainted(joint.networks, x, mask)[0]
        assert torch.equal(deblurring.method.restore(deblurring.networks, {"x": x}), sharp)
        assert torch.equal(inpainting.method.restore(inpainting.networks, {"x": x * (1 - mask), "mask": mask}), filled)
    assert torch.equal(restore(deblurring.method, deblurring.networks, {"x": x}), sharp.clamp(0, 1))
    record = inpainting.record
    assert (record.kind, record.title, record.row) == ("trained", "stage_two of dffnet-places2", "stage-two")
    carried = {"residual": True, "modules": 1, "attention": "contextual", "critic_channels": 8, "channels": 8}
    assert record.network == {name: carried[name] for name in record.network}
    assert {"modules", "attention", "critic_channels", "channels"} <= set(record.network)
    assert deblurring.record.network == {"light": False, "channels": 8}
    assert record.part_of.run == "dffnet-places2"
    assert record.provenance.weights_sha256 != joint.record.provenance.weights_sha256
    assert all(
        getattr(record, key) == getattr(joint.record, key) for key in ("train", "steps", "missing_losses", "seed")
    )
    project.good("evaluate", "stage-two")
    assert project.scores("stage-two").query("metric == 'psnr-rgb8'")["value"].notna().all()


def test_a_part_of_a_run_in_a_folder_with_an_equals_sign_is_found(whole):
    project, weights = whole
    place = project.folder / "epoch=3"
    shutil.copytree(weights.parent, place)
    target = ("--network", "{channels: 8}", "--dataset", "places2", "--name")
    for text, name in (("epoch=3/{}:stage_one", "sign"), ("network=epoch=3/{}:stage_one", "sign-named")):
        project.good("import", "mrfnet", text.format(weights.name), *target, name)
        with contextlib.chdir(project.folder):
            assert runs.load(loading.load(), name).record.title == "stage_one of dffnet-places2"


def test_bad_parts_are_refused(whole, dmphn):
    project, weights = whole
    assert "no part 'stage_on'; the nearest are: stage_one" in project.bad(*part(weights, "stage_on", "odd", "mrfnet"))
    message = project.bad(*part(weights, "stage_two", "odd", "mrfnet"))
    assert "tensors are missing" in message and "dffnet has {'deblur_channels': 8" in message
    message = project.bad(*part(weights, "stage_one", "odd", network="{channels: 16}"))
    assert "have another shape" in message
    assert "this is mrfnet with {'light': False, 'channels': 16}: give arguments that" in message
    message = project.bad(*part(weights, "stage_one", "odd", network="{chanels: 8}"))
    assert "import mrfnet.chanels: unknown argument" in message
    for odd in ("channels", "[8]"):
        assert f"--network: found {odd!r}" in project.bad(*part(weights, "stage_one", "odd", network=odd))
    for odd in ("{channels: ", "2026-99-99"):
        assert "--network: not YAML: " in project.bad(*part(weights, "stage_one", "odd", network=odd))
    target = ("--dataset", "places2", "--name", "odd")
    message = project.bad("import", "mrfnet", weights, *target)
    assert f"the weights of a run: name a part, as in {weights}:critic or :edge_critic or" in message
    assert "none.safetensors: no such file" in project.bad("import", "mrfnet", "none.safetensors:stage_one", *target)
    both = (f"generator={weights}:stage_two", f"critic={dmphn[0]}")
    assert "parts of one run: not both, and not of two" in project.bad("import", "dffnet-inpaint", *both, *target)


def test_a_part_of_weights_that_have_changed_is_refused(whole, tmp_path):
    project, weights = whole
    for path in (weights, weights.with_name(RECORD)):
        shutil.copy(path, tmp_path / path.name)
    flip_byte(tmp_path / "weights.safetensors")
    message = project.bad(*part(tmp_path / "weights.safetensors", "stage_one", "odd"))
    assert f"{tmp_path}/weights.safetensors: has changed since it was written: its SHA-256 begins with" in message
    assert "restore this file, or make the run dffnet-places2 again" in message


def test_a_run_of_another_profile_is_refused(whole, tmp_path):
    project, weights = whole
    (tmp_path / "weights.safetensors").write_bytes(weights.read_bytes())
    record = read_record(weights.with_name(RECORD))
    write_record(tmp_path / RECORD, replace(record, profile="paper"))
    message = project.bad(*part(tmp_path / "weights.safetensors", "stage_one", "odd"))
    assert "dffnet-places2 is a run of profile paper: import it with --profile paper" in message
