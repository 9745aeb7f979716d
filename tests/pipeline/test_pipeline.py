"""The pipeline as a user runs it: real `dvc repro` in a clone, with methods of the project, a folder and a package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import code

ROOT = Path(__file__).parents[2]
FILES = [*ROOT.glob("pipeline/*/dvc.yaml"), ROOT / "tour" / "dvc.yaml", ROOT / "dvc.yaml"]
SCORED = {"evaluate@mrfnet-gopro", "evaluate@mrfnet-gopro-searched", "evaluate@input-gopro"}
TRAINED = {"train@mrfnet-gopro", "search@mrfnet-gopro-searched", "train@mrfnet-gopro-searched"}


# The files ------------------------------------------------------------------------------------------------------------


def stages_of(file: Path) -> dict[str, dict[str, Any]]:
    """Return the stages of a file by name, those of a `foreach` without it."""
    return {name: stage.get("do", stage) for name, stage in yaml.safe_load(file.read_text())["stages"].items()}


def test_make_repro_runs_every_group_at_once_with_the_others():
    """A group that the Makefile leaves out would be made by the last plain `dvc repro`, one stage at a time."""
    groups = re.search(r"^GROUPS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert groups is not None
    others = {"data", "combined"}  # what the groups need, and what needs the groups
    assert set(groups[1].split()) | others == {path.parent.name for path in ROOT.glob("pipeline/*/dvc.yaml")}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_no_stage_names_a_source_file_and_each_depends_on_its_settings(file):
    for name, stage in stages_of(file).items():
        command = re.split(r"--profile \S+ ", stage["cmd"])[1].split()[0]
        if command == "settings":
            continue
        assert sum(f"/settings/{command}" in dep for dep in stage["deps"]) == 1, name
        assert not [dep for dep in stage["deps"] if not dep.startswith(("out/", "data/", "network-weights"))], name
        assert "params" not in stage, name


@pytest.mark.parametrize("file", ["pipeline/data/dvc.yaml", "tour/dvc.yaml"])
def test_settings_depend_on_all_code_that_a_stage_may_run(file):
    deps = stages_of(ROOT / file)["settings"]["deps"]
    folders = [ROOT / dep for dep in deps if "$" not in dep]
    sources = {path for root in code.PROJECT for path in (ROOT / root.package).rglob("*") if path.is_file()}
    left_out = {
        path.relative_to(ROOT).as_posix()
        for path in sources
        if "__pycache__" not in path.parts and not any(path.is_relative_to(folder) for folder in folders)
    }
    assert {name for name in left_out if not name.startswith("reports/out/")} == {"reports/__init__.py"}
    assert "${methods}" in deps


def test_groups_of_trained_runs_differ_in_their_name_alone():
    texts = {path.parent.name: path.read_text() for path in ROOT.glob("pipeline/*/dvc.yaml")}
    groups = yaml.safe_load((ROOT / "params.yaml").read_text())["runs"]
    plain = [name for name in groups if ".auxiliary/" not in texts[name]]
    assert len({texts[name].replace(name, "GROUP") for name in plain}) == 1 and len(plain) >= 6


# Real repros ----------------------------------------------------------------------------------------------------------


def repro(folder: Path, *arguments: str, warm: bool = False, also: str = "") -> str:
    """Run `dvc repro` and return what it printed. The environment's own commands come first on the path.

    Args:
        warm: as `make repro` does, with the stages as forks of one process that has imported torch.
        also: a folder of further packages.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "DVC_NO_ANALYTICS": "1", "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder), also)))
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
    values = yaml.safe_load((folder / "params.yaml").read_text())
    values["datasets"] = {"gopro": {"offline": {"draws": 1, "test_draws": 1, "max_side": 128}}}
    values["runs"] = {group: {} for group in values["runs"]} | {"deblur": one_run("mrfnet")}
    winner = {"mrfnet-gopro-searched": values["searches"]["search"]["mrfnet-gopro-searched"]}
    values["searches"] = {group: {} for group in values["searches"]} | {"search": winner}
    values["search"] = {"sample": {"trials": 2, "share": 1.0, "rungs": [], "images": 1}}
    values["auxiliary"] = {}
    values["recipes"] = {"mrfnet": {"sample": {"network": {"channels": 4}, "train": {"steps": 3}}}}
    values["defaults"]["sample"]["train"] |= {"steps": 3, "batch_size": 2}
    values["baselines"] = {"input-gopro": {"method": "input", "dataset": "gopro"}}
    values["transfers"], values["chains"] = {}, {}
    values["evaluate"]["paper"] |= {"macs_sizes": [], "cost_size": [64, 64]}
    values["evaluate"]["sample"] = {"metrics": ["psnr-rgb8", "ssim-gauss11"], "timing_repeats": 1, "keep_images": 2}
    write_params(folder, values)
    return folder


def one_run(method: str) -> dict[str, Any]:
    return {f"{method}-gopro": {"method": method, "dataset": "gopro"}}


def write_params(folder: Path, values: dict[str, Any]) -> None:
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def add_run(folder: Path, method: str) -> None:
    """Add one line to the runs of params.yaml."""
    values = yaml.safe_load((folder / "params.yaml").read_text())
    values["runs"]["deblur"] |= one_run(method)
    write_params(folder, values)


def tables_of(folder: Path) -> str:
    return "".join(path.read_text() for path in (folder / "reports" / "out" / "sample" / "tables").glob("*.md"))


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    return cloned(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def first(clone) -> list[str]:
    """The stages that ran at first, all of them, in the clone."""
    return ran(repro(clone, warm=True))


def test_everything_runs_once(clone, first):
    assert set(first) == {"settings", "build@gopro", *TRAINED, *SCORED, "report"}
    assert first[-1] == "report"
    assert ran(repro(clone)) == []
    assert "mrfnet (searched)" in tables_of(clone)


@pytest.mark.parametrize("example", ["mine", "mine_gan"])
def test_one_file_and_one_line_add_a_method_and_train_it_alone(clone, first, example):
    shutil.copy(ROOT / "docs" / "examples" / f"{example}.py", clone / "methods" / f"{example}.py")
    add_run(clone, example)
    assert ran(repro(clone, warm=True)) == ["settings", f"train@{example}-gopro", f"evaluate@{example}-gopro", "report"]
    assert example.replace("_", "-") in tables_of(clone)
    assert f"{example}-gopro" in (clone / "reports" / "out" / "sample" / "index.html").read_text()


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new))


def test_a_changed_method_trains_itself_alone_and_changed_words_nothing(clone, first):
    module = clone / "methods" / "mine.py"
    shutil.copy(ROOT / "docs" / "examples" / "mine.py", module)
    add_run(clone, "mine")
    repro(clone, warm=True)
    edit(module, "channels: int = 32", "channels: int = 16")
    own = ["train@mine-gopro", "evaluate@mine-gopro", "report"]
    assert ran(repro(clone, warm=True)) == ["settings", *own]
    module.write_text(f"# A comment.\n{module.read_text()}")
    (clone / "README.md").write_text("other words")
    (clone / "bench" / "files.py").write_text(f"# A comment.\n{(clone / 'bench' / 'files.py').read_text()}")
    assert ran(repro(clone, warm=True)) == ["settings"]


def test_a_changed_template_renders_the_report_alone(clone, first):
    template = clone / "reports" / "page" / "page.html"
    template.write_text(template.read_text() + "\n")
    assert ran(repro(clone, warm=True)) == ["settings", "report"]


def test_a_method_of_a_folder_outside_is_trained_and_tabled(clone, first, tmp_path):
    outside = tmp_path / "my-methods"
    outside.mkdir()
    shutil.copy(ROOT / "docs" / "examples" / "mine.py", outside / "outside.py")
    edit(outside / "outside.py", "from methods.losses.pixel import", "from my_losses import")
    (outside / "my_losses").mkdir()
    (outside / "my_losses" / "__init__.py").write_text("from methods.losses.pixel import charbonnier\n")
    (outside / "outside.yaml").write_text("sample: {network: {channels: 6}}\n")
    values = yaml.safe_load((clone / "params.yaml").read_text())
    write_params(clone, values | {"methods": str(outside)})
    add_run(clone, "outside")
    own = ["train@outside-gopro", "evaluate@outside-gopro", "report"]
    assert ran(repro(clone, warm=True)) == ["settings", *own]
    assert "outside" in tables_of(clone)
    edit(outside / "my_losses" / "__init__.py", "import charbonnier", "import mse as charbonnier")
    assert ran(repro(clone, warm=True)) == ["settings", *own]
    write_params(clone, values)
    repro(clone, warm=True)


def test_a_method_of_an_installed_package_is_trained_and_tabled(clone, first, tmp_path):
    package, metadata = tmp_path / "their_package", tmp_path / "their_package-1.0.dist-info"
    package.mkdir()
    metadata.mkdir()
    (package / "__init__.py").write_text("")
    shutil.copy(ROOT / "docs" / "examples" / "mine.py", package / "network.py")
    edit(package / "network.py", 'tiny={"channels": 4}', "tiny={'channels': 4}")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[sharpbench.methods]\npackaged = their_package.network:method\n")
    add_run(clone, "packaged")
    own = ["train@packaged-gopro", "evaluate@packaged-gopro", "report"]
    assert ran(repro(clone, warm=True, also=str(tmp_path))) == ["settings", *own]
    assert "packaged" in tables_of(clone)
    edit(package / "network.py", "channels: int = 32", "channels: int = 8")
    repro(clone, "--force", "--single-item", "pipeline/data/dvc.yaml:settings", also=str(tmp_path))
    assert ran(repro(clone, warm=True, also=str(tmp_path))) == own
