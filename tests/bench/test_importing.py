"""Authors' weights: read safely, named as ours, refused when they do not fit, scored as a run of their own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pickle
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench import registry, runs
from bench.contracts import UserError, WeightsError
from bench.data import manifest
from bench.data.built_images import as_float
from bench.data.user_images import read_rgb
from bench.importing import networks_in_use, reference_networks, renamed
from bench.params import loading
from bench.record import RECORD, read_record, write_record
from bench.scoring.cases import to_depth
from bench.scoring.metrics import catalogue
from bench.scoring.restore import restore
from bench.state_files import read_state
from methods.dffnet import deblurred, inpainted
from tests.conftest import PARAMS, Project

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT.parent / "shared" / "weights"
WITH_NETWORKS = [name for name in registry.names("methods") if registry.method(name).networks is not None]
EDGECONNECT = {"channels": 8, "num_blocks": 2, "critic_channels": 8}


def authors_names(case: str, method: str, network: str) -> dict[str, str]:
    """The authors' name of each of our tensors, found by asking `reference` what becomes of each of theirs."""
    theirs = list(json.loads((Path(__file__).parents[1] / "golden" / f"{case}.json").read_text())["state"])
    marked = {name: torch.full((1,), float(place)) for place, name in enumerate(theirs)}
    return {ours: theirs[int(mark)] for ours, mark in registry.method(method).reference[network](marked).items()}


def as_authors(case: str, method: str, network: str, **arguments: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A drawn state dict under the authors' names, and the same under ours."""
    torch.manual_seed(7)
    ours = registry.method(method).networks(**arguments)[network].state_dict()
    names = authors_names(case, method, network)
    return {names[name]: value for name, value in ours.items() if name in names}, dict(ours)


TOUR = """\
tour:
  chains:
    mrfnet+rn: {first: mrfnet-gopro, second: rn-places2, dataset: places2}
"""


@pytest.fixture(scope="module")
def ready(project):
    """The project, with a chain of the tour, and the two sets that weights are scored on."""
    (project.folder / "params.yaml").write_text(PARAMS + TOUR)
    for dataset in ("gopro", "paris-streetview"):
        project.good("build", dataset, "--jobs", "1")
    return project


@pytest.fixture(scope="module")
def dmphn(tmp_path_factory) -> tuple[Path, dict[str, Tensor]]:
    """A folder of eight files as DMPHN's authors released them, of a narrow network; and its tensors by our names."""
    folder = tmp_path_factory.mktemp("dmphn")
    theirs, ours = as_authors("dmphn_1_2_4_8", "dmphn", "network", channels=4)
    for stem in sorted({name.split(".")[0] for name in theirs}):
        torch.save({n.partition(".")[2]: v for n, v in theirs.items() if n.startswith(stem)}, folder / f"{stem}.pkl")
    assert len(list(folder.iterdir())) == 8
    return folder, ours


def edge_files(folder: Path) -> dict[str, dict[str, Tensor]]:
    """Write both generators of a narrow EdgeConnect, one wrapped as its authors do; return theirs by network."""
    found = {}
    for network, case in (("edge_generator", "edgeconnect-edge"), ("generator", "edgeconnect-inpaint")):
        theirs, ours = as_authors(case, "edgeconnect", network, **EDGECONNECT)
        torch.save(
            {"iteration": 5, "generator": theirs} if network == "generator" else theirs, folder / f"{network}.pth"
        )
        found[network] = ours
    return found


# What works -----------------------------------------------------------------------------------------------------------


def test_a_folder_of_files_becomes_a_run_that_is_scored(ready, dmphn):
    folder, ours = dmphn
    assert "fit" in ready.good("import", "dmphn", folder, "--dataset", "gopro", "--name", "dmphn-released")
    place = ready.folder / "out" / "sample" / "runs" / "dmphn-released"
    written = load_file(place / "weights.safetensors")
    assert written.keys() == {f"network.{name}" for name in ours}
    assert all(torch.equal(written[f"network.{name}"], value) for name, value in ours.items())
    record = read_record(place / RECORD)
    assert (record.kind, record.title) == ("authors' weights", "dmphn (authors' weights)")
    assert record.network == {"channels": 4}
    assert len(record.sources) == 8
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in record.sources.values())
    ready.good("evaluate", "dmphn-released")
    assert ready.record("dmphn-released").kind == "authors' weights"
    assert ready.scores("dmphn-released").query("metric == 'psnr-rgb8'")["value"].notna().all()
    assert "dmphn-released" in ready.good("list", "runs")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".npz"])
def test_every_format_is_read_to_the_same_tensors(suffix, tmp_path):
    state = {"module.a": torch.rand(2, 3), "module.b": torch.arange(4.0)}
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save({"epoch": 3, "state_dict": state}, path)
    elif suffix == ".safetensors":
        save_file(state, path)
    else:
        np.savez(path, **{name: value.numpy() for name, value in state.items()})
    found = read_state(path)
    assert found.keys() == {"a", "b"}
    assert all(torch.equal(found[name], state[f"module.{name}"]) for name in found)


def test_a_network_for_each_file(ready, tmp_path):
    ours = edge_files(tmp_path)
    files = [f"{network}={tmp_path / f'{network}.pth'}" for network in ours]
    ready.good("import", "edgeconnect", *files, "--dataset", "paris-streetview", "--name", "ec-released")
    written = load_file(ready.folder / "out" / "sample" / "runs" / "ec-released" / "weights.safetensors")
    for network, state in ours.items():
        for name, value in state.items():
            torch.testing.assert_close(written[f"{network}.{name}"], value, msg=f"{network}.{name}")
    ready.good("evaluate", "ec-released")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("epoch=3.pth", "whole"),
        ("./epoch=3.pth", "path"),
        ("network=./epoch=3.pth", "named"),
        ("network=epoch=3.pth", "plain"),
        ("step=5", "folder"),
        ("network=step=5", "named-folder"),
    ],
)
def test_a_file_with_an_equals_sign_in_its_name_is_a_file(ready, dmphn, text, name):
    folder, ours = dmphn
    theirs = {f"{file.stem}.{key}": value for file in folder.iterdir() for key, value in read_state(file).items()}
    torch.save(theirs, ready.folder / "epoch=3.pth")
    shutil.copytree(folder, ready.folder / "step=5", dirs_exist_ok=True)
    ready.good("import", "dmphn", text, "--dataset", "gopro", "--name", f"epoch-{name}")
    written = load_file(ready.folder / "out" / "sample" / "runs" / f"epoch-{name}" / "weights.safetensors")
    assert all(torch.equal(written[f"network.{key}"], value) for key, value in ours.items())


def test_the_networks_in_use_are_those_that_restoring_calls():
    expected = {"edgeconnect": ["edge_generator", "generator"], "dffnet": ["stage_one", "stage_two", "stage_three"]}
    expected |= {key: ["generator"] for key in ("rn", "deblurgan", "dgfnet", "dffnet-inpaint")}
    expected |= {"mrfnet-edges": ["network", "edge_generator", "classifier"]}
    expected |= {key: ["network"] for key in ("mrfnet", "rfr", "dmtnet")}
    for name, networks_that_run in expected.items():
        method = registry.method(name)
        networks = torch.nn.ModuleDict(method.networks(**method.tiny))
        assert networks_in_use(method, method.tasks[0], networks) == networks_that_run


# Parts of our own runs ------------------------------------------------------------------------------------------------

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
    """The command that makes a stage a run; a method given is another than the stage's."""
    target = ("--dataset", "places2", "--name", run)
    return ["import", method or STAGES[name], f"{weights}:{name}", "--network", network, *target]


def test_dffnets_stages_are_runs_of_their_own_and_give_the_very_same_images(whole):
    project, weights = whole
    for stage, method in STAGES.items():
        assert f"the weights fit {method}" in project.good(*part(weights, stage, stage.replace("_", "-")))
    with contextlib.chdir(project.folder):
        loaded = loading.load()
        joint, one, two = (runs.load(loaded, name) for name in ("dffnet-places2", "stage-one", "stage-two"))
    x, mask = torch.rand(1, 3, 64, 96), torch.zeros(1, 1, 64, 96)
    mask[..., 20:40, 30:60] = 1
    with torch.inference_mode():
        sharp = deblurred(joint.networks, x)
        filled = inpainted(joint.networks, x, mask)[0]
        assert torch.equal(one.method.restore(one.networks, {"x": x}), sharp)
        assert torch.equal(two.method.restore(two.networks, {"x": x * (1 - mask), "mask": mask}), filled)
    assert torch.equal(restore(one.method, one.networks, {"x": x}), sharp.clamp(0, 1))
    record = two.record
    assert (record.kind, record.title, record.row) == ("trained", "stage_two of dffnet-places2", "stage-two")
    carried = {"residual": True, "modules": 1, "attention": "contextual", "critic_channels": 8, "channels": 8}
    assert record.network == {name: carried[name] for name in record.network}
    assert {"modules", "attention", "critic_channels", "channels"} <= set(record.network)
    assert one.record.network == {"light": False, "channels": 8}
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


def test_a_part_that_cannot_be_is_refused(whole, dmphn):
    project, weights = whole
    assert "no part 'stage_on'; the nearest are: stage_one" in project.bad(*part(weights, "stage_on", "odd", "mrfnet"))
    message = project.bad(*part(weights, "stage_two", "odd", "mrfnet"))
    assert "tensors are missing" in message and "dffnet has {'deblur_channels': 8" in message
    message = project.bad(*part(weights, "stage_one", "odd", network="{channels: 16}"))
    assert "have another shape" in message
    assert "this is mrfnet with {'light': False, 'channels': 16}: give arguments that" in message
    message = project.bad(*part(weights, "stage_one", "odd", network="{chanels: 8}"))
    assert "import mrfnet.chanels: unknown argument" in message
    for odd in ("channels", "{channels: ", "[8]", "2026-99-99"):
        assert f"--network: found {odd!r}" in project.bad(*part(weights, "stage_one", "odd", network=odd))
    target = ("--dataset", "places2", "--name", "odd")
    message = project.bad("import", "mrfnet", weights, *target)
    assert f"the weights of a run: name a part, as in {weights}:critic or :edge_critic or" in message
    assert "none.safetensors: no such file" in project.bad("import", "mrfnet", "none.safetensors:stage_one", *target)
    both = (f"generator={weights}:stage_two", f"critic={dmphn[0]}")
    assert "parts of one run: not both, and not of two" in project.bad("import", "dffnet-inpaint", *both, *target)


def test_a_run_of_another_profile_is_refused(whole, tmp_path):
    project, weights = whole
    (tmp_path / "weights.safetensors").write_bytes(weights.read_bytes())
    record = read_record(weights.with_name(RECORD))
    write_record(tmp_path / RECORD, replace(record, profile="paper"))
    message = project.bad(*part(tmp_path / "weights.safetensors", "stage_one", "odd"))
    assert "dffnet-places2 is a run of profile paper: import it with --profile paper" in message


def test_a_file_with_a_colon_in_its_name_is_a_file(tmp_path):
    save_file({"part.a": torch.ones(2), "b": torch.zeros(1)}, tmp_path / "x:part.safetensors")
    assert read_state(tmp_path / "x:part.safetensors").keys() == {"part.a", "b"}
    assert read_state(tmp_path / "x:part.safetensors:part").keys() == {"a"}


# What is refused ------------------------------------------------------------------------------------------------------


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("kind", ["torch", "old torch", "pickle", "npz", "folder"])
def test_a_pickle_with_code_is_refused_and_never_run(ready, tmp_path, kind):
    mark, path = tmp_path / "ran", tmp_path / "weights.pth"
    state = {"layer.weight": torch.rand(2), "extra": Trap(mark)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(state))
    elif kind == "npz":
        path = tmp_path / "weights.npz"
        np.savez(path, weight=np.array([Trap(mark)], dtype=object))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind != "old torch")
    if kind == "folder":
        folder = tmp_path / "folder"
        folder.mkdir()
        path = path.rename(folder / "encoder_lv1.pkl").parent
    message = ready.bad("import", "dmphn", path, "--dataset", "gopro", "--name", "trap")
    assert "refused" in message or kind == "npz"
    assert "weights.npz" in message or kind != "npz"
    assert not mark.exists()
    with pytest.raises(FileNotFoundError):  # the trap does work where it is let
        pickle.loads(pickle.dumps(Trap(tmp_path / "none" / "ran")))


@pytest.mark.parametrize("cut", [0, 100, 3000])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".npz"])
def test_a_damaged_file(ready, tmp_path, suffix, cut):
    path = tmp_path / f"w{suffix}"
    state = {"a": torch.rand(3000)}
    if suffix == ".pth":
        torch.save(state, path)
    elif suffix == ".safetensors":
        save_file(state, path)
    else:
        np.savez(path, a=state["a"].numpy())
    path.write_bytes(path.read_bytes()[:cut])
    message = ready.bad("import", "mrfnet", path, "--dataset", "gopro", "--name", "bad")
    assert ("the file is empty" if cut == 0 else "damaged, or not a file of weights") in message
    assert str(path) in message


@pytest.mark.parametrize("content", [b"hello", b"\x00" * 300, b"<html>not found</html>", b'{"a": 1}'])
def test_a_file_of_something_else(ready, tmp_path, content):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    message = ready.bad("import", "mrfnet", path, "--dataset", "gopro", "--name", "bad")
    assert "damaged, or not a file of weights" in message


@pytest.mark.parametrize(
    ("value", "message"), [([1, 2], "holds list"), ({"a": 1}, "a is not a tensor"), ({}, "holds dict")]
)
def test_a_file_without_a_state_dict(tmp_path, value, message):
    torch.save(value, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=message):
        read_state(tmp_path / "w.pth")


def test_weights_that_do_not_fit_are_named_with_their_shapes(ready, dmphn, tmp_path):
    folder, _ = dmphn
    for file in folder.iterdir():
        state = torch.load(file, weights_only=True)
        if file.stem == "decoder_lv2":
            name = next(name for name, value in state.items() if value.dim() == 4)
            state[name] = state[name][:, :-1]
        torch.save(state, tmp_path / file.name)
    message = ready.bad("import", "dmphn", tmp_path, "--dataset", "gopro", "--name", "bad")
    assert "1 have another shape, the first is decoders.1." in message
    assert re.search(r"found \(\d+, \d+, \d+, \d+\), expected \(\d+, \d+, \d+, \d+\)", message)
    (tmp_path / "decoder_lv2.pkl").unlink()
    message = ready.bad("import", "dmphn", tmp_path, "--dataset", "gopro", "--name", "bad")
    assert "tensors are missing, the first is decoders.1." in message


@pytest.mark.parametrize("name", WITH_NETWORKS)
def test_tensors_of_another_network_are_refused_for_every_method(name, tmp_path):
    method = registry.method(name)
    for odd in ({"nonsense.weight": torch.rand(3)}, {"a": torch.rand(2), "b.c.d.weight": torch.rand(2, 2)}):
        save_file(odd, tmp_path / "w.safetensors")
        for network in method.reference:
            with pytest.raises(WeightsError, match=r"w\.safetensors|not a tensor|no tensor|nonsense|expected"):
                reference_networks(name, dict(method.tiny), {network: tmp_path / "w.safetensors"}, method.tasks[0])


def test_a_reference_that_stumbles_says_which_file(tmp_path):
    method = registry.method("edgeconnect")
    broken = {"edge_generator": lambda state: {"x": state["missing"]}}
    copy = dataclasses.replace(method, reference=broken)
    with pytest.raises(WeightsError, match=r"w.pth: the weights do not fit: found 1 tensors, the first is a"):
        renamed(copy, "edge_generator", {"a": torch.rand(1)}, tmp_path / "w.pth")


def test_a_network_that_restoring_needs_must_be_given(ready, tmp_path):
    edge_files(tmp_path)
    file = tmp_path / "generator.pth"
    arguments = ("--dataset", "paris-streetview", "--name", "half")
    message = ready.bad("import", "edgeconnect", f"generator={file}", *arguments)
    assert "restores with edge_generator, generator; no weights were given for edge_generator" in message
    assert "two files for the network" in ready.bad("import", "edgeconnect", file, file, *arguments)
    both = (f"edge_generator={tmp_path / 'edge_generator.pth'}", tmp_path / "edge_generator.pth")
    assert "two files for the network 'edge_generator'" in ready.bad("import", "edgeconnect", *both, *arguments)
    message = ready.bad("import", "edgeconnect", f"generater={file}", *arguments)
    assert "no network 'generater'; the nearest are: generator" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--name", "mrfnet-gopro"), "'mrfnet-gopro' is a run of params.yaml"),
        (("--name", "dmphn+rn"), "'dmphn+rn' is a run of params.yaml"),
        (("--name", "mrfnet-kohler"), "'mrfnet-kohler' is a run of params.yaml"),
        (("--name", "mrfnet+rn"), "'mrfnet+rn' is a run of params.yaml"),
        (("--name", "../../elsewhere"), "expected letters, digits"),
        (("--name", ".mine"), "found '.mine', expected letters, digits and any of . _ + -, and neither . nor - at"),
        (("--name=-mine",), "found '-mine', expected letters, digits and any of . _ + -, and neither . nor - at"),
        (("--name", ""), "expected letters, digits"),
        (("--name", "ok", "--dataset", "paris-streetview"), "dmphn does deblur; paris-streetview serves inpaint"),
        (("--name", "ok", "--dataset", "gopr"), "the nearest are: gopro"),
        (("--name", "ok", "--dataset", "visdrone"), "not built yet; run: python -m bench build visdrone"),
    ],
)
def test_an_import_that_cannot_be(ready, dmphn, arguments, message):
    assert message in ready.bad("import", "dmphn", dmphn[0], "--dataset", "gopro", *arguments)


@pytest.mark.parametrize("there", ["runs/mine", "scores/mine", "scores/mine-on-kohler"])
def test_a_name_that_is_taken_replaces_nothing(ready, dmphn, there):
    place = ready.folder / "out" / "sample" / there
    place.mkdir(parents=True)
    (place / "record.json").write_text("{}")
    command = ("import", "dmphn", dmphn[0], "--dataset", "gopro", "--name", "mine")
    message = ready.bad(*command)
    assert f"--name: 'mine' is taken; choose another name, or first delete out/sample/{there}" in message
    (place / "record.json").unlink()
    place.rmdir()
    ready.good(*command)
    assert "or first delete out/sample/runs/mine" in ready.bad(*command)
    shutil.rmtree(ready.folder / "out" / "sample" / "runs" / "mine")


def test_a_method_or_a_file_that_is_not_there(ready, dmphn, tmp_path):
    arguments = ("--dataset", "gopro", "--name", "ok")
    assert "the nearest are: dmphn" in ready.bad("import", "dmphm", dmphn[0], *arguments)
    assert "needs no training, so it has no weights" in ready.bad("import", "input", dmphn[0], *arguments)
    assert "no such file" in ready.bad("import", "dmphn", tmp_path / "none.pth", *arguments)
    assert "no weights in this folder" in ready.bad("import", "dmphn", tmp_path, *arguments)
    with pytest.raises(UserError, match="unknown argument"):
        reference_networks("dmphn", {"chanels": 4}, {"": dmphn[0]}, "deblur")


# The released weights -------------------------------------------------------------------------------------------------


def table() -> dict[str, tuple[float, float, float]]:
    """The frames of the weights' README: PSNR of the input, PSNR and SSIM of the restored frame."""
    rows = re.findall(
        r"^\| (\S+/blur\S*) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", (WEIGHTS / "README.md").read_text(), re.M
    )
    return {name: (float(a), float(b), float(c)) for name, a, b, c in rows}


@pytest.mark.slow
@pytest.mark.skipif(not (WEIGHTS / "dmphn").is_dir(), reason="the released weights are not beside this checkout")
def test_the_released_weights_restore_the_real_frames_as_their_authors_network(samples, tmp_path, pytestconfig):
    """The two test frames, through `evaluate`; with --every-frame the seven others as well: two minutes more."""
    text = re.sub(r"^  dmphn: .*\n", "", PARAMS, flags=re.M)
    (tmp_path / "params.yaml").write_text(text)
    project = Project(tmp_path)
    originals = samples / "gopro"
    project.good("build", "gopro", "--originals", originals, "--partial", "--jobs", "1")
    project.good("import", "dmphn", WEIGHTS / "dmphn", "--dataset", "gopro", "--name", "released")
    project.good("evaluate", "released")
    assert len(table()) == 9

    scores = project.scores("released").set_index(["image", "metric"])["value"]
    built = manifest.read(tmp_path / "data" / "sample" / "gopro")
    tested = {
        row["source"].removeprefix("GOPRO_Large/").removesuffix(".png"): row["name"]
        for row in built.split("test").to_dict("records")
    }
    assert len(tested) == 2
    networks = reference_networks("dmphn", {}, {"": WEIGHTS / "dmphn"}, "deblur").eval()
    for frame, (input_psnr, psnr, ssim) in table().items():
        if frame not in tested and not pytestconfig.getoption("every_frame"):
            continue
        blurred = read_rgb(originals / "GOPRO_Large" / f"{frame}.png")
        sharp = read_rgb(originals / "GOPRO_Large" / Path(frame).parents[1] / "sharp" / f"{Path(frame).name}.png")
        assert catalogue.METRICS["psnr-rgb8"].compute(blurred, sharp) == pytest.approx(input_psnr, abs=0.01), frame
        if frame in tested:
            found = {name: scores[tested[frame], name] for name in ("psnr-rgb8", "ssim-gauss11")}
        else:
            x = torch.from_numpy(as_float(blurred)).permute(2, 0, 1)[None]
            pred = restore(registry.method("dmphn"), networks, {"x": x})
            restored = to_depth(pred[0].permute(1, 2, 0).numpy(), np.dtype(np.uint8))
            found = catalogue.compute_all(["psnr-rgb8", "ssim-gauss11"], restored, sharp)
        assert found["psnr-rgb8"] == pytest.approx(psnr, abs=0.01), frame
        assert found["ssim-gauss11"] == pytest.approx(ssim, abs=0.0005), frame
