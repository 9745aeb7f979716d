"""Which auxiliary maps a dataset needs, and their options in params.yaml."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench import registry, runs
from bench.cli.main import main
from bench.contracts import AuxiliaryMap, Method, ParamsError
from bench.data import auxiliary, auxiliary_build
from bench.files import sha256
from bench.params import loading, schema
from bench.record import RECORD, read_record
from bench.scoring.restore import prepared
from tests.bench.data.maps import image_and_hole, map_of, signed, signed_input, spying, targets, wrong


def scaled(target: np.ndarray, gain: float) -> np.ndarray:
    return gain * signed(target)


def scaled_input(x: np.ndarray, mask: np.ndarray, gain: float) -> np.ndarray:
    return gain * signed_input(x, mask)


SCALED = AuxiliaryMap(scaled, scaled_input, "methods/_sign.py", {"gain": 1.0})
"""A map with an option."""


TEXT = """\
profile: sample
threads: 1
defaults: {sample: {train: {steps: 3, batch_size: 2, crop_size: 16}}}
runs:
  all:
    spy-gopro: {method: rn, dataset: gopro}
    other: {method: telea, dataset: gopro}
    elsewhere: {method: rn, dataset: places2}
"""


@pytest.fixture
def project(built, tmp_path, monkeypatch) -> Path:
    """A project in which rn is a method with an auxiliary map, and telea one without."""
    (tmp_path / "params.yaml").write_text(TEXT)
    plain = Method(("inpaint",), None, {}, lambda networks, batch: batch["x"], margin=0)
    entries = {"rn": spying(map_of(), tiling="none"), "telea": plain}
    monkeypatch.setattr(registry, "method", lambda name: entries[name])
    monkeypatch.setattr("bench.training.train.of_stage", lambda command, methods: "the code of a method without a file")
    monkeypatch.setattr(registry, "method_file", lambda name: tmp_path / "methods" / f"{name}.py")  # without a recipe
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_maps_of_a_dataset_are_those_of_its_runs_methods(project, monkeypatch):
    loaded = loading.load()
    assert set(auxiliary.declared(loaded, "gopro")) == {"sign"}
    assert auxiliary.declared(loaded, "kohler") == {}
    entries = {"rn": spying(map_of()), "telea": spying(map_of(wrong))}
    monkeypatch.setattr(registry, "method", lambda name: entries[name])
    monkeypatch.setattr("bench.training.train.of_stage", lambda command, methods: "the code of a method without a file")
    with pytest.raises(ParamsError, match="run other: telea declares another auxiliary map 'sign' than another run"):
        auxiliary.declared(loaded, "gopro")


def test_the_pipelines_maps_must_be_those_that_methods_declare(project):
    def with_stage(stage: str) -> schema.Params:
        (project / "params.yaml").write_text(TEXT + f"auxiliary: {{a: {stage}}}\n")
        return loading.load()

    fine = with_stage("{dataset: gopro, map: sign}")
    assert set(auxiliary.declared(fine, "gopro")) == {"sign"}
    with pytest.raises(ParamsError, match=r"auxiliary\.a\.map: no method .* declares 'sgn'; the nearest are: sign"):
        auxiliary.declared(with_stage("{dataset: gopro, map: sgn}"), "gopro")
    with pytest.raises(ParamsError, match=r"auxiliary\.a\.dataset: no dataset 'gopr'; the nearest are: gopro"):
        with_stage("{dataset: gopr, map: sign}")


def test_the_command_makes_maps_and_a_training_depends_on_them(project, capsys):
    def refused(*arguments: str) -> str:
        assert main(arguments) == 2
        return capsys.readouterr().err

    missing = "the auxiliary map 'sign' has not been made yet; run: python -m bench auxiliary gopro"
    assert missing in refused("train", "spy-gopro")
    assert not (project / "out").exists() and not (project / ".resume").exists()
    assert "kohler: no method of a run on it needs auxiliary maps; train at once" in refused("auxiliary", "kohler")
    assert "gopro: no auxiliary map 'sgn'; its runs need: sign" in refused("auxiliary", "gopro", "--only", "sgn")
    assert "--jobs: 0 is not in the range x>=1" in refused("auxiliary", "gopro", "--jobs", "0")
    assert main(["auxiliary", "gopro", "--jobs", "1"]) == 0
    assert capsys.readouterr().out == "gopro: auxiliary map sign -> data/sample/gopro.auxiliary/sign\n"
    assert main(["train", "spy-gopro"]) == 0
    record = read_record(project / "out/sample/runs/spy-gopro" / RECORD)
    digest = sha256(project / "data/sample/gopro.auxiliary/sign/manifest.json")
    assert record.steps == 3 and record.provenance.auxiliary == {"sign": digest}


def with_options(project: Path, options: str) -> schema.Params:
    stage = f"{{dataset: gopro, map: sign, options: {options}}}"
    (project / "params.yaml").write_text(TEXT + f"auxiliary: {{a: {stage}}}\n")
    return loading.load()


def test_a_map_is_made_with_the_options_of_params_yaml_and_a_run_keeps_its_own(project, built, monkeypatch, capsys):
    entries = {"rn": spying(SCALED, tiling="none"), "telea": registry.method("telea")}
    monkeypatch.setattr(registry, "method", lambda name: entries[name])
    monkeypatch.setattr("bench.training.train.of_stage", lambda command, methods: "the code of a method without a file")
    assert auxiliary.declared(loading.load(), "gopro")["sign"].options == {"gain": 1.0}
    with_options(project, "{gain: 0.5}")
    assert main(["auxiliary", "gopro", "--jobs", "1"]) == 0
    place = auxiliary.folder(built, "sign")
    packed = np.fromfile(project / place / "packed.bin", np.float16)
    assert np.array_equal(packed, np.concatenate([scaled(t, 0.5).astype(np.float16).ravel() for t in targets(built)]))
    assert main(["train", "spy-gopro"]) == 0
    assert read_record(project / "out/sample/runs/spy-gopro" / RECORD).network == {"gain": 0.5}
    before = auxiliary.read(built, "sign", auxiliary.declared(loading.load(), "gopro")["sign"]).digest

    changed = with_options(project, "{gain: 0.25}")
    capsys.readouterr()
    assert main(["train", "spy-gopro"]) == 2
    assert "sign: made with {'gain': 0.5}, expected {'gain': 0.25}; run: python -m bench" in capsys.readouterr().err
    auxiliary_build.make(built, "sign", auxiliary.declared(changed, "gopro")["sign"], 1)
    assert auxiliary.read(built, "sign", auxiliary.declared(changed, "gopro")["sign"]).digest != before
    trained, batch = runs.load(changed, "spy-gopro"), image_and_hole(30, 41)
    made = prepared(trained.method, batch)["sign"]
    torch.testing.assert_close(made, 0.5 * (2 * batch["x"][:, :2] - 1) * (1 - batch["mask"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{gian: 0.5}", r"params\.yaml: auxiliary\.a\.options\.gian: unknown option; the nearest are: gain"),
        ("{gain: high}", r"params\.yaml: auxiliary\.a\.options\.gain: found 'high', expected float like 1\.0"),
    ],
)
def test_options_that_a_map_does_not_have_are_refused(project, monkeypatch, options, message):
    entries = {"rn": spying(SCALED), "telea": registry.method("telea")}
    monkeypatch.setattr(registry, "method", lambda name: entries[name])
    monkeypatch.setattr("bench.training.train.of_stage", lambda command, methods: "the code of a method without a file")
    loaded = with_options(project, options)
    with pytest.raises(ParamsError, match=message):
        auxiliary.declared(loaded, "gopro")
    with pytest.raises(ParamsError, match=message):
        runs.resolve(loaded, "spy-gopro")
