"""Auxiliary maps: made once for the training images, cut and turned with them, made at once for an image to restore."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import code, registry, runs
from bench.cli.main import main
from bench.contracts import AuxiliaryMap, DataError, Dataset, Item, Made, Method, ParamsError, Phase, Player, UserError
from bench.data import auxiliary, auxiliary_build, manifest
from bench.data.batches import Crops
from bench.data.build import Job, build
from bench.data.built_images import as_float, read_png
from bench.data.manifest import BuiltSet
from bench.files import locked, sha256
from bench.importing import networks_in_use
from bench.params import loading, schema
from bench.record import RECORD, read_record
from bench.runs import Trained
from bench.scoring.restore import prepared, restore
from bench.scoring.run_costs import work

TRAIN, SIDES = 4, (28, 37)  # images of different heights: 28, 29, ...


def drawn(rng: np.random.Generator, height: int) -> Made:
    target = rng.integers(0, 256, (height, SIDES[1], 3), dtype=np.uint8)
    mask = np.zeros((height, SIDES[1]), np.uint8)
    mask[5:15, ::2] = 255
    return Made({"target": target, "mask": mask})


def offline() -> list[Item]:
    names = [("train", f"n{i}") for i in range(TRAIN)] + [("test", "t")]
    made = [partial(drawn, height=SIDES[0] + i) for i in range(TRAIN + 1)]
    return [Item(name, split, make, "noise", "CC0-1.0") for (split, name), make in zip(names, made, strict=True)]


def signed(target: np.ndarray) -> np.ndarray:
    """The map of these tests: red and green, from [0, 1] to [-1, 1]."""
    return 2 * target[..., :2] - 1


def signed_input(x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return (2 * x[..., :2] - 1) * (1 - mask)


def stored(target: np.ndarray) -> np.ndarray:
    """The map as it comes back from its file."""
    return signed(target).astype(np.float16).astype(np.float32)


def counted(target: np.ndarray, calls: Path, dies: str = "") -> np.ndarray:
    """Note the call by the image's height; with a marker, fail or die at height 30."""
    marker = calls / "marker"
    if target.shape[0] == 30 and marker.exists():
        if dies:
            os._exit(137)
        raise DataError("somewhere: damaged")
    with (calls / str(target.shape[0])).open("a") as file:
        file.write(".")
    return signed(target)


def calls_of(calls: Path) -> dict[int, int]:
    return {int(path.name): len(path.read_text()) for path in sorted(calls.iterdir()) if path.name != "marker"}


def wrong(target: np.ndarray, kind: str) -> np.ndarray:
    texture = signed(target)
    if kind == "turned":
        return texture.transpose(1, 0, 2)
    texture[3, 4, 0] = np.nan if kind == "nan" else 1.5
    return texture


def scaled(target: np.ndarray, gain: float) -> np.ndarray:
    return gain * signed(target)


def scaled_input(x: np.ndarray, mask: np.ndarray, gain: float) -> np.ndarray:
    return gain * signed_input(x, mask)


SCALED = AuxiliaryMap(scaled, scaled_input, "methods/_sign.py", {"gain": 1.0})
"""A map with an option."""


@pytest.fixture
def built(tmp_path, monkeypatch) -> BuiltSet:
    """A built set of noise in a project whose file methods/_sign.py makes the map."""
    entry = Dataset("Toys", ("inpaint",), ("target", "mask"), lambda root, partial=False: [], offline, {}, "nowhere")
    monkeypatch.setattr(registry, "dataset", lambda name: entry)
    monkeypatch.setattr("bench.data.build.of_stage", lambda command, datasets: "the code of a dataset without a file")
    monkeypatch.setattr(code, "ROOT", tmp_path)
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "_sign.py").write_text("first\n")
    return manifest.read(build(Job("gopro", None, {}, 0, "sample"), tmp_path / "data" / "sample" / "gopro", 1).parent)


def map_of(of_target: Callable[[np.ndarray], np.ndarray] = signed) -> AuxiliaryMap:
    return AuxiliaryMap(of_target, signed_input, "methods/_sign.py")


def targets(built: BuiltSet) -> list[np.ndarray]:
    return [as_float(read_png(built.folder / file)) for file in built.split("train")["file_target"]]


# Made -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_a_map_holds_each_training_image_in_the_manifests_order(built, workers):
    out = auxiliary_build.make(built, "sign", map_of(), workers)
    assert out == built.folder.parent / "gopro.auxiliary" / "sign"
    packed = np.fromfile(out / "packed.bin", np.float16)
    assert np.array_equal(packed, np.concatenate([signed(t).astype(np.float16).ravel() for t in targets(built)]))
    about = json.loads((out / "manifest.json").read_text())
    assert (about["images"], about["channels"], about["module"]) == (TRAIN, 2, "methods/_sign.py")
    assert about["manifest_sha256"] == built.digest
    assert sorted(path.name for path in out.parent.iterdir()) == ["sign"]
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "packed.bin"]
    made = auxiliary.read(built, "sign", map_of())
    assert made.channels == 2 and made.digest == sha256(out / "manifest.json")
    areas = [28 * 37, 29 * 37, 30 * 37]
    assert list(made.offsets) == [0, 4 * areas[0], 4 * sum(areas[:2]), 4 * sum(areas)]


@pytest.mark.parametrize("dies", ["", "dies"])
def test_an_interrupted_command_makes_only_the_missing_images(built, tmp_path, dies):
    calls = tmp_path / "calls"
    calls.mkdir()
    (calls / "marker").touch()
    auxiliary_map = map_of(partial(counted, calls=calls, dies=dies))
    message = "was killed, perhaps because memory ran out.*fewer --jobs" if dies else "somewhere: damaged"
    with pytest.raises(UserError, match=message):
        auxiliary_build.make(built, "sign", auxiliary_map, 1)
    assert not auxiliary.folder(built, "sign").exists()
    assert calls_of(calls) == {28: 1, 29: 1} | ({} if dies else {31: 1} if 31 in calls_of(calls) else {})
    (calls / "marker").unlink()
    out = auxiliary_build.make(built, "sign", auxiliary_map, 1)
    assert calls_of(calls) == {28: 1, 29: 1, 30: 1, 31: 1}
    packed = np.fromfile(out / "packed.bin", np.float16)
    assert np.array_equal(packed, np.concatenate([signed(t).astype(np.float16).ravel() for t in targets(built)]))


def test_a_damaged_image_is_made_again_when_the_command_continues(built, tmp_path):
    calls = tmp_path / "calls"
    calls.mkdir()
    (calls / "marker").touch()
    auxiliary_map = map_of(partial(counted, calls=calls))
    with pytest.raises(DataError):
        auxiliary_build.make(built, "sign", auxiliary_map, 1)
    packed = auxiliary.folder(built, "sign").with_name(".sign.making") / "packed.bin"
    with packed.open("r+b") as file:
        file.seek(4 * 28 * 37 + 100)  # in the second image
        file.write(b"\xff\xff")
    (calls / "marker").unlink()
    out = auxiliary_build.make(built, "sign", auxiliary_map, 1)
    assert (calls_of(calls)[28], calls_of(calls)[29]) == (1, 2)
    packed = np.fromfile(out / "packed.bin", np.float16)
    assert np.array_equal(packed, np.concatenate([signed(t).astype(np.float16).ravel() for t in targets(built)]))


@pytest.mark.parametrize("name", ["rows", ".sign.old"])
def test_interrupted_at_the_end_it_makes_no_map_again(built, tmp_path, monkeypatch, name):
    calls = tmp_path / "calls"
    calls.mkdir()
    auxiliary_map = map_of(partial(counted, calls=calls))
    auxiliary_build.make(built, "sign", auxiliary_map, 1)
    (tmp_path / "methods" / "_sign.py").write_text("second\n")
    delete = shutil.rmtree

    def interrupted(path: Path, ignore_errors: bool = False) -> None:
        if path.name == name and path.exists():
            next(path.iterdir()).unlink()
            raise KeyboardInterrupt
        delete(path, ignore_errors)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", interrupted)
        auxiliary_build.make(built, "sign", auxiliary_map, 1)
    out = auxiliary_build.make(built, "sign", auxiliary_map, 1)
    assert calls_of(calls) == {28: 2, 29: 2, 30: 2, 31: 2}
    assert sorted(path.name for path in out.parent.iterdir()) == ["sign"]
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "packed.bin"]
    digest = auxiliary.read(built, "sign", auxiliary_map).digest
    shutil.rmtree(out)
    auxiliary_build.make(built, "sign", auxiliary_map, 1)
    assert auxiliary.read(built, "sign", auxiliary_map).digest == digest


def test_a_symbolic_link_is_kept_and_its_folder_made(built, tmp_path):
    link, disk = auxiliary.folder(built, "sign"), tmp_path / "disk" / "sign"
    link.parent.mkdir()
    link.symlink_to(disk)
    for text in ("first\n", "second\n"):
        (tmp_path / "methods" / "_sign.py").write_text(text)
        auxiliary_build.make(built, "sign", map_of(), 1)
        assert auxiliary.read(built, "sign", map_of()).packed == link / "packed.bin"
        assert link.is_symlink() and [path.name for path in disk.parent.iterdir()] == ["sign"]
        assert sorted(path.name for path in disk.iterdir()) == ["manifest.json", "packed.bin"]


def test_a_changed_file_keeps_nothing_of_an_interrupted_one(built, tmp_path):
    calls = tmp_path / "calls"
    calls.mkdir()
    (calls / "marker").touch()
    auxiliary_map = map_of(partial(counted, calls=calls))
    with pytest.raises(DataError):
        auxiliary_build.make(built, "sign", auxiliary_map, 1)
    (calls / "marker").unlink()
    (tmp_path / "methods" / "_sign.py").write_text("second\n")
    auxiliary_build.make(built, "sign", auxiliary_map, 1)
    assert (calls_of(calls)[28], calls_of(calls)[29]) == (2, 2)


def test_a_current_map_is_kept_and_an_outdated_one_is_made_again(built, tmp_path):
    calls = tmp_path / "calls"
    calls.mkdir()
    auxiliary_map = map_of(partial(counted, calls=calls))
    auxiliary_build.make(built, "sign", auxiliary_map, 1)
    first = auxiliary.read(built, "sign", auxiliary_map).digest
    auxiliary_build.make(built, "sign", auxiliary_map, 1)
    assert set(calls_of(calls).values()) == {1}
    (tmp_path / "methods" / "_sign.py").write_text("second\n")
    auxiliary_build.make(built, "sign", auxiliary_map, 1)
    assert set(calls_of(calls).values()) == {2}
    assert auxiliary.read(built, "sign", auxiliary_map).digest != first


def test_a_missing_outdated_or_short_map_is_refused_with_the_command_to_run(built, tmp_path):
    again = r"; run: python -m bench auxiliary gopro$"
    missing = r"gopro\.auxiliary/sign: the auxiliary map 'sign' has not been made yet"
    with pytest.raises(DataError, match=missing + again):
        auxiliary.read(built, "sign", map_of())
    out = auxiliary_build.make(built, "sign", map_of(), 1)
    other = replace(built, digest="other")
    with pytest.raises(DataError, match="made of another build of gopro than the present one" + again):
        auxiliary.read(other, "sign", map_of())
    (tmp_path / "methods" / "_sign.py").write_text("second\n")
    with pytest.raises(DataError, match=r"the code of methods/_sign\.py has changed since the map was made" + again):
        auxiliary.read(built, "sign", map_of())
    (tmp_path / "methods" / "_sign.py").write_text("first\n")
    size = (out / "packed.bin").stat().st_size
    os.truncate(out / "packed.bin", size - 2)
    with pytest.raises(
        DataError, match=rf"packed\.bin: found {size - 2:,} bytes, expected {size:,}; delete the folder"
    ):
        auxiliary.read(built, "sign", map_of())
    with pytest.raises(ParamsError, match=r"methods/_no\.py: no such file in the project"):
        auxiliary.read(built, "sign", AuxiliaryMap(signed, signed_input, "methods/_no.py"))


def test_a_second_command_at_the_same_time_is_refused(built):
    place = auxiliary.folder(built, "sign").with_name(".sign.making")
    expected = pytest.raises(UserError, match="another process is making the auxiliary map sign of gopro here")
    with locked(place, "making the auxiliary map sign of gopro"), expected:
        auxiliary_build.make(built, "sign", map_of(), 1)


@pytest.mark.parametrize(
    ("kind", "problem"), [("turned", r"\(37, 28, 2\)"), ("nan", "from nan to nan"), ("high", r"from -1 to 1\.5")]
)
def test_a_map_of_a_wrong_shape_or_range_is_refused(built, kind, problem):
    message = rf"n0\.png: its auxiliary map is .*{problem}.*; expected \(28, 37, 'C'\) in \[-1, 1\]"
    with pytest.raises(DataError, match=message):
        auxiliary_build.make(built, "sign", map_of(partial(wrong, kind=kind)), 1)
    assert not auxiliary.folder(built, "sign").exists()


# In a training's batches ----------------------------------------------------------------------------------------------


def crops_of(built: BuiltSet, operations: list[Any], auxiliary_map: AuxiliaryMap | None = None) -> Crops:
    auxiliary_map = auxiliary_map or map_of()
    auxiliary_build.make(built, "sign", auxiliary_map, 1)
    made = auxiliary.read(built, "sign", auxiliary_map)
    return Crops(built, "inpaint", 16, operations, 3, auxiliary={"sign": made})


@pytest.mark.parametrize("operations", [[], ["flip_horizontal", "flip_vertical", "rotate_right_angles"]])
def test_a_maps_crop_is_the_crop_of_the_map(built, operations):
    crops = crops_of(built, operations)
    for epoch in range(6):
        for index in range(TRAIN):
            sample = crops.sample(epoch, index)
            assert np.array_equal(sample["sign"], stored(sample["target"]))


def test_a_map_rotates_with_its_image(built):
    crops = crops_of(built, ["rotate"])
    for index in range(TRAIN):
        sample = crops.sample(0, index)
        # Both are turned by linear interpolation, which commutes with signed(); float16 rounds.
        np.testing.assert_allclose(sample["sign"], signed(sample["target"]), rtol=0, atol=1e-3)


def test_changes_of_colour_leave_the_map_alone(built):
    plain, coloured = crops_of(built, []), crops_of(built, ["permute_channels", "saturation", "noise"])
    changed = 0
    for index in range(TRAIN):
        before, after = plain.sample(0, index), coloured.sample(0, index)
        assert np.array_equal(before["sign"], after["sign"])
        changed += not np.array_equal(before["target"], after["target"])
    assert changed == TRAIN


def test_a_batch_holds_the_map_as_float32_and_is_a_function_of_seed_and_step(built):
    crops = crops_of(built, ["flip_horizontal"])
    batch = crops.batch(5, 3)
    assert batch["sign"].shape == (3, 2, 16, 16) and batch["sign"].dtype == torch.float32
    assert batch["sign"].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch["sign"], crops.batch(5, 3)["sign"])


# For an image to restore ----------------------------------------------------------------------------------------------


class Spy(nn.Module):
    """Gives the map's red channel back as the image, and keeps the sizes it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, x: Tensor, sign: Tensor) -> Tensor:
        self.sizes.append(tuple(sign.shape))
        return (self.scale * sign[:, :1] + 1).expand_as(x) / 2


def spying(auxiliary_map: AuxiliaryMap, **about: Any) -> Method:
    """A method that needs the map, and that has an argument of its option's name."""

    def forward(networks: nn.ModuleDict, batch: Any) -> dict[str, Tensor]:
        return {"pred": networks["network"](batch["x"], batch["sign"])}

    def losses(networks: nn.ModuleDict, batch: Any, outputs: Any) -> dict[str, Tensor]:
        return {"l2": (outputs["pred"] - batch["target"]).square().mean()}

    phase = Phase(forward, {"network": Player(("network",), losses)})
    return Method(
        ("inpaint",),
        lambda gain=1.0: {"network": Spy()},
        {"train": phase},
        lambda networks, batch: forward(networks, batch)["pred"],  # type: ignore[arg-type]
        auxiliary={"sign": auxiliary_map},
        **about,
    )


def image_and_hole(height: int, width: int) -> dict[str, Tensor]:
    x, mask = torch.rand(2, 3, height, width), torch.zeros(2, 1, height, width)
    mask[..., 3:9, 4:20] = 1
    return {"x": x * (1 - mask), "mask": mask}


def test_a_map_of_an_image_to_restore_is_made_whole_and_padded_with_it():
    method, batch = spying(map_of(), multiple=16, tiling="none"), image_and_hole(30, 41)
    made = prepared(method, batch)
    assert {name: tuple(value.shape[1:]) for name, value in made.items()} == {
        "x": (3, 32, 48),
        "mask": (1, 32, 48),
        "sign": (2, 32, 48),
    }
    expected = (2 * batch["x"][:, :2] - 1) * (1 - batch["mask"])
    torch.testing.assert_close(made["sign"][..., :30, :41], expected)
    assert torch.equal(made["sign"][..., 30:, :], made["sign"][..., 27:29, :].flip(-2))
    assert "sign" not in batch


def of_whole(x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A map that no tile could make: each pixel's share of the whole image's brightest."""
    return x[..., :2] / x.max()


def test_tiles_see_the_map_of_the_whole_image():
    method = spying(AuxiliaryMap(signed, of_whole, "methods/_sign.py"), margin=0)
    networks = nn.ModuleDict({"network": Spy()})
    batch = {"x": torch.linspace(0, 0.5, 3 * 90 * 120).reshape(1, 3, 90, 120), "mask": torch.ones(1, 1, 90, 120)}
    whole = restore(method, networks, batch)
    expected = ((batch["x"][:, :1] / batch["x"].max() + 1) / 2).expand_as(batch["x"])
    torch.testing.assert_close(whole, expected)
    tiled = restore(method, networks, batch, whole=0, tile=32)
    assert torch.equal(tiled, whole) and (1, 2, 32, 32) in networks["network"].sizes


def test_costs_and_imports_know_of_auxiliary_maps():
    method = spying(map_of(), tiling="none")
    networks = nn.ModuleDict({"network": Spy()}).eval()
    assert work(Trained({}, method, networks), 32, 48, "meta").parameters == 1
    assert networks_in_use(method, "inpaint", networks) == ["network"]


# Which auxiliary maps a dataset needs ---------------------------------------------------------------------------------

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
