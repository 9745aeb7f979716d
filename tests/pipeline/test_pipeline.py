"""The pipeline as a user runs it: real `dvc repro` in a clone, with methods of the project, a folder and a package."""

from __future__ import annotations

import ast
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
EXAMPLES = ROOT / "docs" / "examples"
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
        command = re.split(r"-m bench (?:--profile tour )?", stage["cmd"])[1].split()[0]
        if command == "settings":
            continue
        assert sum(f"/settings/{command}" in dep for dep in stage["deps"]) == 1, name
        assert sum(dep.endswith("/settings/checked.yaml") for dep in stage["deps"]) == 1, name
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


def git(*arguments: str, cwd: Path = ROOT) -> str:
    """Run git and return what it printed."""
    return subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout


def archived(folder: Path) -> Path:
    """Copy the project's files, also where it is no repository, with two short runs left in `params.yaml`."""
    empty = folder.with_suffix(".git")
    git("init", "-q", "--bare", str(empty))
    listed = git(f"--git-dir={empty}", f"--work-tree={ROOT}", "ls-files", "--others", "--exclude-standard")
    for name in listed.splitlines():
        kept = not name.startswith(("tests/", "docs/images/")) and not name.endswith("dvc.lock")
        if kept and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
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


def cloned(folder: Path) -> Path:
    """Copy the project's files as `archived`, into a repository."""
    archived(folder)
    for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "t"]):
        git(*command, cwd=folder)
    return folder


def one_run(method: str) -> dict[str, Any]:
    return {f"{method}-gopro": {"method": method, "dataset": "gopro"}}


def write_params(folder: Path, values: dict[str, Any]) -> None:
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def tables_of(folder: Path) -> str:
    return "".join(path.read_text() for path in (folder / "reports" / "out" / "sample" / "tables").glob("*.md"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new))


def add_comment(path: Path) -> None:
    path.write_text(f"# A comment.\n{path.read_text()}")


def add_to_folder(folder: Path) -> None:
    """Write a method with a shared part and a recipe into a folder outside the project."""
    (folder / "my_losses").mkdir(parents=True)
    shutil.copy(EXAMPLES / "mine.py", folder / "outside.py")
    edit(folder / "outside.py", "from methods.losses.pixel import", "from my_losses import")
    (folder / "my_losses" / "__init__.py").write_text("from methods.losses.pixel import charbonnier\n")
    (folder / "outside.yaml").write_text("sample: {network: {channels: 6}}\n")


def install(site: Path) -> None:
    """Write an installed package that declares a method."""
    package, metadata = site / "their_package", site / "their_package-1.0.dist-info"
    package.mkdir(parents=True)
    metadata.mkdir()
    (package / "__init__.py").write_text("")
    shutil.copy(EXAMPLES / "mine.py", package / "network.py")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[sharpbench.methods]\npackaged = their_package.network:method\n")


def of_runs(*methods: str) -> set[str]:
    return {f"{stage}@{method}-gopro" for method in methods for stage in ("train", "evaluate")}


@pytest.mark.slow
def test_what_is_added_or_changed_runs_and_nothing_else(tmp_path):
    """One story, because each step starts where the last one ended."""
    clone, outside, site = cloned(tmp_path / "clone"), tmp_path / "my-methods", tmp_path / "site"
    first = ran(repro(clone, warm=True))
    assert set(first) == {"settings", "build@gopro", *TRAINED, *SCORED, "report"} and first[-1] == "report"
    assert ran(repro(clone)) == []

    # A method is its file and one line: in the project (one network, a GAN), in a folder outside, in a package.
    for example in ("mine", "mine_gan"):
        shutil.copy(EXAMPLES / f"{example}.py", clone / "methods" / f"{example}.py")
    add_to_folder(outside)
    install(site)
    values = yaml.safe_load((clone / "params.yaml").read_text()) | {"methods": str(outside)}
    for method in ("mine", "mine_gan", "outside", "packaged"):
        values["runs"]["deblur"] |= one_run(method)
    write_params(clone, values)
    added = of_runs("mine", "mine_gan", "outside", "packaged")
    assert set(ran(repro(clone, warm=True, also=str(site)))) == {"settings", *added, "report"}
    page = (clone / "reports" / "out" / "sample" / "index.html").read_text()
    tables = tables_of(clone)
    for method in ("mine", "mine-gan", "outside", "packaged", "mrfnet (searched)"):
        assert method in tables, method
    assert all(f"{method}-gopro" in page for method in ("mine", "mine_gan", "outside", "packaged"))

    # A changed method, or a part that it imports, runs what runs it.
    edit(clone / "methods" / "mine.py", "channels: int = 32", "channels: int = 16")
    edit(outside / "my_losses" / "__init__.py", "import charbonnier", "import mse as charbonnier")
    changed = {*of_runs("mine", "outside"), "report"}
    assert set(ran(repro(clone, warm=True, also=str(site)))) == {"settings", *changed}
    # Of a package in site-packages DVC sees nothing: after an upgrade `settings` is run by hand.
    edit(site / "their_package" / "network.py", "channels: int = 32", "channels: int = 8")
    repro(clone, "--force", "--single-item", "pipeline/data/dvc.yaml:settings", also=str(site))
    assert set(ran(repro(clone, warm=True, also=str(site)))) == {*of_runs("packaged"), "report"}

    # Words run nothing; a template renders the report.
    for name in ("methods/mine.py", "bench/files.py", "reports/page/templates.py"):
        add_comment(clone / name)
    (clone / "README.md").write_text("other words")
    assert ran(repro(clone, warm=True, also=str(site))) == ["settings"]
    edit(clone / "reports" / "page" / "page.html", "</body>", "<!-- --></body>")
    assert ran(repro(clone, warm=True, also=str(site))) == ["settings", "report"]


@pytest.mark.slow
def test_an_archive_runs_without_git_and_says_that_it_has_no_commit(tmp_path, monkeypatch):
    folder = archived(tmp_path / "archive")
    values = yaml.safe_load((folder / "params.yaml").read_text())
    values["runs"]["deblur"], values["searches"]["search"] = {}, {}
    write_params(folder, values)
    monkeypatch.setenv("PATH", str(tmp_path))  # no git
    done = repro(folder)
    assert ran(done) == ["settings", "build@gopro", "evaluate@input-gopro", "report"]
    assert ran(repro(folder)) == []
    assert "no commit of 1 runs" in (folder / "reports" / "out" / "sample" / "index.html").read_text()
    record = yaml.safe_load((folder / "out" / "sample" / "scores" / "input-gopro" / "record.json").read_text())
    assert record["provenance"]["git_commit"] == "" and record["provenance"]["git_dirty"] is None


def test_the_example_costs_at_most_25_lines_beyond_its_network():
    source = (EXAMPLES / "mine.py").read_text()
    network = next(n for n in ast.parse(source).body if isinstance(n, ast.ClassDef))
    assert network.end_lineno is not None
    assert len(source.splitlines()) - (network.end_lineno - network.lineno + 1) <= 25
