"""Authors' weights: named as ours, refused when they do not fit, scored as a run."""

from __future__ import annotations

import dataclasses
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench import registry
from bench.contracts import UserError, WeightsError
from bench.importing import networks_in_use, reference_networks, renamed
from bench.record import RECORD, read_record
from bench.state_files import read_state
from tests.bench.authors import as_authors
from tests.conftest import PARAMS

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT.parent / "shared" / "weights"
WITH_NETWORKS = [name for name in registry.names("methods") if registry.method(name).networks is not None]
EDGECONNECT = {"channels": 8, "num_blocks": 2, "critic_channels": 8}


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


def edge_files(folder: Path) -> dict[str, dict[str, Tensor]]:
    """Write both generators of a narrow EdgeConnect, one wrapped as its authors do; return theirs by network."""
    by_network = {}
    for network, case in (("edge_generator", "edgeconnect-edge"), ("generator", "edgeconnect-inpaint")):
        theirs, ours = as_authors(case, "edgeconnect", network, **EDGECONNECT)
        torch.save(
            {"iteration": 5, "generator": theirs} if network == "generator" else theirs, folder / f"{network}.pth"
        )
        by_network[network] = ours
    return by_network


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


def test_an_error_in_reference_names_the_file(tmp_path):
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
        (("--name", "../../elsewhere"), "expected ASCII letters"),
        (("--name", ".mine"), "found '.mine', expected ASCII letters"),
        (("--name=-mine",), "found '-mine', expected ASCII letters"),
        (("--name", ""), "expected ASCII letters"),
        (("--name", "ok", "--dataset", "paris-streetview"), "dmphn does deblur; paris-streetview serves inpaint"),
        (("--name", "ok", "--dataset", "gopr"), "the nearest are: gopro"),
        (("--name", "ok", "--dataset", "visdrone"), "not built yet; run: python -m bench build visdrone"),
    ],
)
def test_bad_arguments_of_import_are_refused(ready, dmphn, arguments, message):
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


def test_an_unknown_method_and_a_missing_file_are_refused(ready, dmphn, tmp_path):
    arguments = ("--dataset", "gopro", "--name", "ok")
    assert "the nearest are: dmphn" in ready.bad("import", "dmphm", dmphn[0], *arguments)
    assert "needs no training, so it has no weights" in ready.bad("import", "input", dmphn[0], *arguments)
    assert "no such file" in ready.bad("import", "dmphn", tmp_path / "none.pth", *arguments)
    assert "no weights in this folder" in ready.bad("import", "dmphn", tmp_path, *arguments)
    with pytest.raises(UserError, match="unknown argument"):
        reference_networks("dmphn", {"chanels": 4}, {"": dmphn[0]}, "deblur")
