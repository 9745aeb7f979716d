"""Runs with their methods: what is refused before training, and the margin of a loaded network."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bench import folders, registry, runs
from bench.contracts import ParamsError, UserError
from bench.files import sha256
from bench.params import loading
from bench.record import RECORD, write_record
from bench.scoring.restore import restore
from tests.bench.params.toys import with_run, written
from tests.make_scores import Spec, record_of


def test_a_misspelt_network_argument_names_the_nearest(tmp_path):
    loaded = loading.load(written(tmp_path, with_run(network={"chanels": 4})))
    with pytest.raises(ParamsError, match=r"run plain: network\.chanels: unknown argument; the nearest are: channels"):
        runs.resolve(loaded, "plain")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("flip_horizontl", r"unknown operation 'flip_horizontl'; the nearest are: flip_horizontal"),
        ({"rotate": {"degree": 3}}, r"rotate has no option 'degree'; the nearest are: degrees"),
        ({"rotate": {}, "noise": {}}, r"expected a name, or one name with its options"),
    ],
)
def test_a_misspelt_augmentation_is_found_before_training(tmp_path, entry, message):
    loaded = loading.load(written(tmp_path, with_run(train={"augment": [entry]})))
    with pytest.raises(ParamsError, match=rf"params\.yaml: run plain: train\.augment: .*{message}"):
        runs.resolve(loaded, "plain")


def test_an_unknown_player_and_an_unknown_phase_are_found_before_training(tmp_path):
    loaded = loading.load(written(tmp_path, with_run(train={"players": {"netwrok": {"lr": 1e-3}}})))
    with pytest.raises(ParamsError, match=r"train\.players\.netwrok: mrfnet has none .* nearest are: network"):
        runs.resolve(loaded, "plain")
    loaded = loading.load(written(tmp_path, with_run(train={"phases": {"tran": 3}})))
    with pytest.raises(ParamsError, match=r"train\.phases\.tran: mrfnet has none .* nearest are: train"):
        runs.resolve(loaded, "plain")


@pytest.mark.parametrize(("size", "fits"), [(32, True), (64, True), (48, False), (16, False)])
def test_a_crop_that_the_network_cannot_take_is_found_before_training(tmp_path, size, fits):
    loaded = loading.load(written(tmp_path, with_run(train={"crop_size": size})))
    if fits:
        assert runs.resolve(loaded, "plain")[0].train.crop_size == size
        return
    with pytest.raises(
        ParamsError, match=rf"crop_size is {size}; mrfnet takes images .* multiples of 32 and at least 32"
    ):
        runs.resolve(loaded, "plain")


def test_an_unknown_method_or_dataset_of_a_run_gives_the_nearest(tmp_path):
    loaded = loading.load(written(tmp_path, with_run(method="mrfnt")))
    with pytest.raises(UserError, match=r"no entry 'mrfnt' in methods/; the nearest are: mrfnet"):
        runs.resolve(loaded, "plain")
    loaded = loading.load(written(tmp_path, with_run(dataset="gorpo")))
    with pytest.raises(UserError, match=r"no entry 'gorpo' in datasets/; the nearest are: gopro"):
        runs.resolve(loaded, "plain")


def test_a_task_that_method_or_dataset_does_not_serve_is_refused(tmp_path):
    loaded = loading.load(written(tmp_path, with_run(task="dual-pixel")))
    with pytest.raises(ParamsError, match="mrfnet does deblur, gopro serves deblur, the run asks for dual-pixel"):
        runs.resolve(loaded, "plain")
    loaded = loading.load(written(tmp_path, with_run(dataset="canon-dp")))
    with pytest.raises(ParamsError, match=r"mrfnet does deblur, canon-dp serves dual-pixel$"):
        runs.resolve(loaded, "plain")


def reach(rounds: int, num_paths: int = 4) -> int:
    return 10 * rounds + num_paths


def test_a_margin_may_depend_on_the_networks_arguments():
    plain = registry.method("mrfnet")
    method = replace(plain, margin=reach)
    assert runs.settled(method, {"channels": 8, "rounds": 3}).margin == 34
    assert runs.settled(method, {"num_paths": 2, "rounds": 1}).margin == 12
    for fixed in (None, 7):
        method = replace(plain, margin=fixed)
        assert runs.settled(method, {"channels": 8}) is method


@pytest.mark.parametrize(("arguments", "margin"), [({}, 219), ({"num_paths": 1}, 11), ({"residual": False}, 131)])
def test_a_loaded_run_is_tiled_by_the_margin_of_its_own_network(tmp_path, arguments, margin):
    loaded = loading.load(written(tmp_path, {"paths": {"out": str(tmp_path / "out")}}))
    place = folders.run_folder(loaded, "plain")
    place.mkdir(parents=True)
    torch.manual_seed(0)
    arguments = {"channels": 4} | arguments
    networks = nn.ModuleDict(registry.method("mrfnet").networks(**arguments))
    save_file(networks.state_dict(), place / runs.WEIGHTS)
    record = record_of(Spec("mrfnet", "gopro", "deblur", 29.0))
    provenance = replace(record.provenance, weights_sha256=sha256(place / runs.WEIGHTS))
    write_record(place / RECORD, replace(record, network=arguments, provenance=provenance))
    trained = runs.load(loaded, "plain")
    assert trained.method.margin == margin
    batch = {"x": torch.rand(1, 3, 64, 640)}
    whole, tiled = (
        restore(trained.method, trained.networks, batch),
        restore(trained.method, trained.networks, batch, 0, 64),
    )
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)
