"""The pipeline as a user runs it: real `dvc repro` in a clone, with the example method of docs/add-a-method.md."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import registry
from bench.data import auxiliary
from bench.params import loading

ROOT = Path(__file__).parents[2]
GROUPS = sorted(path.parent.name for path in ROOT.glob("pipeline/*/dvc.yaml") if "\n  train:" in path.read_text())
FILES = [*sorted(f"pipeline/{path.parent.name}/dvc.yaml" for path in ROOT.glob("pipeline/*/dvc.yaml")), "tour/dvc.yaml"]
PROJECT = yaml.safe_load((ROOT / "params.yaml").read_text())
BATCHES = {"bench/data/augment.py", "bench/data/batches.py", "bench/data/png.py"}
"""What makes a training's batches: the built set's manifest stays when it changes."""


def runs_of(group: str) -> dict[str, dict[str, Any]]:
    """Return the runs that a group trains: those of params.yaml, or the winners of searches."""
    return {**PROJECT["runs"], **PROJECT["searches"]}[group]


def shared_imports(module: Path) -> set[str]:
    """Return the shared files under methods/ that a file imports, those of its imports included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [f"{node.module}.{alias.name}" for alias in node.names] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            parts = name.split(".")
            if len(parts) == 2 and parts[0] == "methods" and parts[1].startswith("_"):
                found |= {parts[1]} | shared_imports(ROOT / "methods" / f"{parts[1]}.py")
    return found


def test_make_repro_runs_every_group_at_once_with_the_others():
    """A group that stood nowhere would still be made, by the last plain `dvc repro`, but one stage at a time."""
    said = re.search(r"^GROUPS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert said is not None
    others = {"data", "combined"}  # what the groups need, and what needs the groups
    assert set(said[1].split()) | others == {path.parent.name for path in ROOT.glob("pipeline/*/dvc.yaml")}


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_depends_on_every_shared_file_that_its_methods_import(group):
    deps = yaml.safe_load((ROOT / "pipeline" / group / "dvc.yaml").read_text())["stages"]["train"]["do"]["deps"]
    files = [ROOT / "methods" / f"{run['method'].replace('-', '_')}.py" for run in runs_of(group).values()]
    needed = {name for file in files for name in shared_imports(file)}
    assert needed == {Path(dep).stem for dep in deps if dep.startswith("methods/_")}


def test_the_tour_depends_on_every_shared_file_that_its_methods_import():
    deps = yaml.safe_load((ROOT / "tour" / "dvc.yaml").read_text())["stages"]["train"]["do"]["deps"]
    files = [ROOT / "methods" / f"{run['method']}.py" for run in PROJECT["tour"]["runs"].values()]
    assert {name for file in files for name in shared_imports(file)} == {
        Path(dep).stem for dep in deps if dep.startswith("methods/_")
    }


@pytest.mark.parametrize("file", FILES)
def test_stages_depend_on_what_makes_their_images_and_on_what_measures(file):
    """An augmentation that changes leaves the built set as it is, and must train anew all the same."""
    stages = yaml.safe_load((ROOT / file).read_text())["stages"]
    profile = "tour" if file.startswith("tour") else "${profile}"
    for stage in (one.get("do", one) for one in stages.values()):
        _, command = re.split(r"--profile \S+ ", stage["cmd"])
        if command.startswith(("train ", "search ")):
            assert set(stage["deps"]) >= BATCHES | {"bench/training"}
        if command.startswith("train "):
            recipes = {f"out/{profile}/settings/runs/${{key}}.yaml", "out/${profile}/search/${item.of.run}/winner.yaml"}
            assert recipes & set(stage["deps"])
        if command.startswith("evaluate "):
            scoring = {"bench/data/batches.py", "bench/data/png.py", "bench/scoring", PROJECT["paths"]["weights"]}
            assert set(stage["deps"]) >= scoring | {f"out/{profile}/settings/evaluate.yaml"}


@pytest.mark.parametrize("group", PROJECT["searches"])
def test_a_search_depends_on_what_its_winners_training_does_but_the_winner(group):
    """And on the code that searches and scores. The winner's file is all that a training has of a search."""
    stages = yaml.safe_load((ROOT / "pipeline" / group / "dvc.yaml").read_text())["stages"]
    found, trained = (stages[name]["do"] for name in ("search", "train"))
    winner = "out/${profile}/search/${item.of.run}/winner.yaml"
    scoring = {"bench/search", "bench/scoring/metrics/catalogue.py", "bench/scoring/restore.py"}
    assert set(found["deps"]) - scoring == set(trained["deps"]) - {winner}
    assert winner in trained["deps"] and scoring < set(found["deps"])
    assert "out/${profile}/settings/runs/${item.of.run}.yaml" in trained["deps"]
    assert set(found["params"]) == {*trained["params"], "search"}
    assert found["outs"] == ["out/${profile}/search/${item.of.run}"]


@pytest.mark.parametrize("file", ["dvc.yaml", "tour/dvc.yaml"])
def test_the_report_depends_on_all_that_it_is_rendered_by(file):
    """But not on the command that compares runs in a terminal, and not on what it writes."""
    deps = yaml.safe_load((ROOT / file).read_text())["stages"]["report"]["deps"]
    others = {"reports/__init__.py", "reports/compare.py", "reports/out", "reports/__pycache__"}
    parts = {f"reports/{path.name}" for path in (ROOT / "reports").iterdir()}
    assert {dep for dep in deps if dep.startswith("reports/")} == parts - others
    assert all((ROOT / dep).exists() for dep in deps if not dep.startswith("out/"))


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_depends_on_the_auxiliary_maps_of_its_methods_and_the_pipeline_makes_them(group):
    """A run whose method has auxiliary maps is in a group that depends on them; other runs are not burdened."""
    deps = yaml.safe_load((ROOT / "pipeline" / group / "dvc.yaml").read_text())["stages"]["train"]["do"]["deps"]
    depended = {Path(dep).parent.name for dep in deps if ".auxiliary/" in dep}
    made = {(stage["dataset"], stage["map"]): stage["module"] for stage in PROJECT["auxiliary"].values()}
    for run in runs_of(group).values():
        declared = registry.method(run["method"]).auxiliary
        assert set(declared) == depended
        for name, auxiliary_map in declared.items():
            assert made[run["dataset"], name] == auxiliary_map.module
            assert (ROOT / auxiliary_map.module).is_file()


def test_the_pipeline_makes_no_auxiliary_map_that_no_run_needs():
    loaded = loading.load(ROOT / "params.yaml")
    for stage in loaded.auxiliary.values():
        assert auxiliary.declared(loaded, stage.dataset)[stage.map].module == stage.module


def repro(folder: Path, *arguments: str, warm: bool = False) -> str:
    """Run `dvc repro` and return what it printed. The environment's own commands come first on the path.

    Args:
        warm: as `make repro` does, with the stages as forks of one process that has imported torch.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "DVC_NO_ANALYTICS": "1", "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", "dvc", "repro", *arguments]
    command = [sys.executable, "-m", "bench.warm", *command] if warm else command
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ran(output: str) -> list[str]:
    """Return the stages that a repro ran, without their file's name."""
    lines = [line for line in output.splitlines() if line.startswith("Running stage '")]
    return [line.split("'")[1].split(":")[-1] for line in lines]


def cloned(folder: Path) -> Path:
    """Clone the committed and uncommitted files, with two short runs left in `params.yaml`."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        kept = not name.startswith(("tests/", "docs/images/")) and not name.endswith("dvc.lock")
        if kept and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "t"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    path = folder / "params.yaml"
    values = yaml.safe_load(path.read_text())
    values["datasets"] = {"gopro": {"offline": {"draws": 1, "test_draws": 1, "max_side": 128}}}
    one = {"mrfnet-gopro": values["runs"]["deblur"]["mrfnet-gopro"]}
    values["runs"] = {group: {} for group in values["runs"]} | {"deblur": one}
    winner = {"mrfnet-gopro-searched": values["searches"]["search"]["mrfnet-gopro-searched"]}
    values["searches"] = {group: {} for group in values["searches"]} | {"search": winner}
    values["search"] = {"sample": {"trials": 2, "share": 1.0, "rungs": [], "images": 1}}
    values["auxiliary"] = {}
    values["methods"]["mrfnet"]["sample"] = {"network": {"channels": 4}, "train": {"steps": 3}}
    values["defaults"]["sample"]["train"] |= {"steps": 3, "batch_size": 2}
    values["baselines"] = {"input-gopro": {"method": "input", "dataset": "gopro"}}
    values["transfers"], values["chains"] = {}, {}
    values["evaluate"]["paper"] |= {"macs_sizes": [], "cost_size": [64, 64]}
    values["evaluate"]["sample"] = {"metrics": ["psnr-rgb8", "ssim-gauss11"], "timing_repeats": 1, "keep_images": 2}
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    return cloned(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def steps(clone) -> dict[str, list[str]]:
    """The stages that ran at first, when nothing had changed, and with one file and two lines more."""
    found = {"first": ran(repro(clone, warm=True)), "again": ran(repro(clone))}
    shutil.copy(ROOT / "docs" / "examples" / "mine.py", clone / "methods" / "mine.py")
    text = (clone / "params.yaml").read_text()
    text = text.replace("methods:\n", "methods:\n  mine: {}\n", 1)
    text = text.replace("  deblur:\n", "  deblur:\n    mine-gopro: {method: mine, dataset: gopro}\n", 1)
    (clone / "params.yaml").write_text(text)
    return found | {"mine": ran(repro(clone))}


def test_one_file_and_two_lines_add_a_method_and_train_it_alone(clone, steps):
    scored = {"evaluate@mrfnet-gopro", "evaluate@mrfnet-gopro-searched", "evaluate@input-gopro"}
    made = {
        "settings",
        "build@gopro",
        "train@mrfnet-gopro",
        "search@mrfnet-gopro-searched",
        "train@mrfnet-gopro-searched",
    }
    assert set(steps["first"]) == {*made, *scored, "report"}
    assert steps["first"][-1] == "report"
    assert steps["again"] == []
    assert steps["mine"] == ["settings", "train@mine-gopro", "evaluate@mine-gopro", "report"]

    page = (clone / "reports" / "out" / "sample" / "index.html").read_text()
    tables = "".join(path.read_text() for path in (clone / "reports" / "out" / "sample" / "tables").glob("*.md"))
    assert "mine" in tables
    assert "mine-gopro" in page
    assert "mrfnet (searched)" in tables


def test_a_changed_method_trains_itself_alone(clone, steps):
    module = clone / "methods" / "mine.py"
    module.write_text(module.read_text().replace("channels: int = 32", "channels: int = 16"))
    assert ran(repro(clone, warm=True)) == ["train@mine-gopro", "evaluate@mine-gopro", "report"]


def test_a_changed_report_or_readme_trains_nothing(clone, steps):
    (clone / "README.md").write_text("other words")
    assert ran(repro(clone)) == []
    template = clone / "reports" / "page.html"
    template.write_text(template.read_text() + "\n")
    assert ran(repro(clone)) == ["report"]


TEXTURED = """
from torch import nn

from bench.contracts import AuxiliaryMap, Method, Phase, Player
from methods.auxiliary.rtv import dark, light


def forward(networks, batch):
    return {"pred": networks["network"](batch["x"]) * batch["texture"]}


def losses(networks, batch, outputs):
    return {"l2": (outputs["pred"] - batch["target"]).square().mean()}


method = Method(
    ("inpaint",),
    lambda: {"network": nn.Conv2d(3, 3, 3, padding=1)},
    {"train": Phase(forward, {"network": Player(("network",), losses)})},
    lambda networks, batch: forward(networks, batch)["pred"],
    auxiliary={"texture": AuxiliaryMap(dark, light, "methods/auxiliary/rtv.py")},
    tiling="in tiles",
)
"""
DARK = """
def dark(target):
    return target / 2


def light(x, mask):
    return x / 2
"""


def test_an_auxiliary_map_is_made_once_and_its_file_trains_its_runs_again(tmp_path):
    folder = cloned(tmp_path)
    (folder / "methods" / "textured.py").write_text(TEXTURED)
    (folder / "methods" / "_rtv.py").write_text(DARK)
    group = folder / "pipeline" / "inpaint-texture" / "dvc.yaml"
    lines = group.read_text().splitlines(keepends=True)
    group.write_text("".join(line for line in lines if "- methods/_" not in line))
    values = yaml.safe_load((folder / "params.yaml").read_text())
    values["datasets"] = {"places2": {"offline": {"draws": 1, "test_draws": 1}}}
    values["methods"]["textured"] = {}
    values["auxiliary"] = {"a": {"dataset": "places2", "map": "texture", "module": "methods/auxiliary/rtv.py"}}
    values["searches"] = {group: {} for group in values["searches"]}
    values["runs"] |= {
        "deblur": {},
        "inpaint-texture": {"textured-places2": {"method": "textured", "dataset": "places2"}},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    target = "pipeline/inpaint-texture/dvc.yaml"
    own = ["auxiliary@a", "train@textured-places2", "evaluate@textured-places2"]
    first = ran(repro(folder, target, warm=True))
    assert set(first) == {"settings", "build@places2", *own}
    assert [stage for stage in first if stage in own] == own
    about = json.loads((folder / "data" / "sample" / "places2.auxiliary" / "texture" / "manifest.json").read_text())
    assert about["channels"] == 3
    (folder / "methods" / "_rtv.py").write_text(DARK.replace("target / 2", "target / 4"))
    assert ran(repro(folder, target, warm=True)) == own


def test_the_example_costs_at_most_25_lines_beyond_its_network():
    source = (ROOT / "docs" / "examples" / "mine.py").read_text()
    network = next(n for n in ast.parse(source).body if isinstance(n, ast.ClassDef))
    assert network.end_lineno is not None
    assert len(source.splitlines()) - (network.end_lineno - network.lineno + 1) <= 25
