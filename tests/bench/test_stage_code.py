"""Over the whole project: an edit marks the stages that run its file, and no other stage."""

from __future__ import annotations

import ast
import io
import keyword
import modulefinder
import re
import shutil
import tokenize
from collections.abc import Iterable
from pathlib import Path

import pytest

from bench import code, registry, settings
from bench.params import loading
from bench.registry import Root

ROOT = code.ROOT

Stage = tuple[str, tuple[str, ...], tuple[str, ...]]
"""A command, the methods and the datasets that it runs."""


@pytest.fixture(scope="module")
def stages() -> dict[str, Stage]:
    """The command, methods and datasets of every stage of the project's pipeline, by its name in the settings."""
    asked: dict[str, Stage] = {}

    def of_stage(command: str, methods: Iterable[str] = (), datasets: Iterable[str] = ()) -> str:
        name = f"{command} {len(asked)}"
        asked[name] = (command, tuple(methods), tuple(datasets))
        return name

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code, "of_stage", of_stage)
        listed = settings.stages(loading.load(ROOT / "params.yaml"))
    return {name: asked[values["code"]] for name, values in listed.items()}


def test_every_stage_of_the_pipeline_has_its_code(stages):
    files = [*ROOT.glob("pipeline/*/dvc.yaml"), ROOT / "dvc.yaml"]
    asked = {
        command for text in (path.read_text() for path in files) for command in re.findall(r"settings/([a-z]+)", text)
    }
    assert {name.partition("/")[0] for name in stages} | {"checked"} == asked
    assert stages["train/mrfnet-gopro"] == ("train", ("mrfnet",), ())
    assert stages["evaluate/dmphn+rn"] == ("evaluate", ("dmphn", "rn"), ())
    assert stages["build/gopro"] == ("build", (), ("gopro",))


@pytest.fixture
def copy(tmp_path, monkeypatch) -> Path:
    """A copy of the project's code, in its place."""
    for root in code.PROJECT:
        kept = shutil.ignore_patterns("__pycache__", "out")
        shutil.copytree(ROOT / root.package, tmp_path / root.package, ignore=kept)
    monkeypatch.setattr(code, "ROOT", tmp_path)
    monkeypatch.setattr(code, "PROJECT", tuple(Root(tmp_path, root.package) for root in code.PROJECT))
    return tmp_path


def entry_points(stage: Stage) -> list[str]:
    command, methods, datasets = stage
    named = [registry.module_name("methods", name) for name in methods]
    return [code.command_module(command), *named, *(registry.module_name("datasets", name) for name in datasets)]


def digests(stages: set[Stage]) -> dict[Stage, str]:
    return {stage: code.of_stage(*stage) for stage in stages}


def changed_token(text: str) -> str:
    """Rename the last name, or add one where there is none."""
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.NAME]
    names = [token for token in tokens if not keyword.iskeyword(token.string) and token.string != "annotations"]
    if not names:
        return text + "\nchanged = 1\n"
    row, column = names[-1].end
    lines = text.splitlines(keepends=True)
    lines[row - 1] = f"{lines[row - 1][:column]}_{lines[row - 1][column:]}"
    return "".join(lines)


def changed_text(text: str) -> str:
    """Add a comment at the end of every line that can have one, and words to every docstring."""
    tree = ast.parse(text)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docs = [node for node in ast.walk(tree) if isinstance(node, documented) and ast.get_docstring(node) is not None]
    lines = text.splitlines()
    for node in docs:
        place = node.body[0]
        row = place.lineno - 1
        lines[row] = lines[row].replace('"""', '"""Changed. ', 1)
    return "\n".join([*lines, "# changed", ""])


@pytest.mark.parametrize("package", ["bench", "methods", "datasets", "reports"])
def test_a_changed_token_marks_the_stages_that_run_its_file_and_changed_text_none(stages, copy, package):
    kinds = set(stages.values())
    closures = {stage: set(code.closure(entry_points(stage))) for stage in kinds}
    before = digests(kinds)
    assert len(set(before.values())) == len(kinds)
    for path in sorted((copy / package).rglob("*.py")):
        text = path.read_text()
        path.write_text(changed_text(text))
        unchanged = {stage for stage, files in closures.items() if path in files} or {next(iter(kinds))}
        assert digests(unchanged) == {stage: before[stage] for stage in unchanged}, path
        path.write_text(changed_token(text))
        after = digests(kinds)
        marked = {stage for stage in kinds if after[stage] != before[stage]}
        assert marked == {stage for stage, files in closures.items() if path in files}, path
        path.write_text(text)


def without_type_checking(folder: Path) -> None:
    """Remove the imports for type checkers from every file."""
    for path in folder.rglob("*.py"):
        tree = ast.parse(path.read_text())
        tree.body = [
            node for node in tree.body if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        ]
        path.write_text(ast.unparse(tree))


def test_another_finder_of_imports_finds_the_same_files(stages, copy):
    """Python's own `modulefinder`, which reads bytecode, instead of the syntax tree."""
    without_type_checking(copy)
    for stage in set(stages.values()):
        finder = modulefinder.ModuleFinder([str(copy)])
        for name in entry_points(stage):
            finder.import_hook(name)
        named_by = {Path(module.__file__).resolve() for module in finder.modules.values() if module.__file__}
        python = {path for path in code.closure(entry_points(stage)) if path.suffix == ".py"}
        assert python == named_by, stage


def marked_by(copy: Path, stages: dict[str, Stage], name: str, old: str, new: str) -> set[str]:
    """Return the stages that an edit of a file marks."""
    before = digests(set(stages.values()))
    path = copy / name
    assert path.read_text().count(old) == 1, (name, old)
    path.write_text(path.read_text().replace(old, new))
    after = digests(set(stages.values()))
    return {stage for stage, kind in stages.items() if before[kind] != after[kind]}


def test_reading_originals_differently_marks_every_build(copy, stages):
    old = 'np.asarray(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))'
    marked = marked_by(copy, stages, "bench/data/user_images.py", old, f"{old}[::-1]")
    assert {name for name in stages if name.startswith("build/")} <= marked


def test_training_towards_another_truth_marks_every_training_and_evaluation(copy, stages):
    old = 'outputs["pred"], batch["target"])'
    new = old.replace('"])', '"].flip(-1))')
    marked = marked_by(copy, stages, "bench/contracts/kinds.py", old, new)
    assert {name for name in stages if name.startswith(("train/", "evaluate/", "search/"))} <= marked


def test_networks_without_their_weights_mark_every_evaluation(copy, stages):
    marked = marked_by(copy, stages, "bench/runs.py", "    fit(networks, state, str(where))\n", "")
    assert {name for name in stages if name.startswith(("train/", "evaluate/"))} <= marked


def test_code_of_dmphn_alone_marks_the_runs_of_dmphn_alone(copy, stages):
    old = "wide = layer.in_channels >= MIN_CHANNELS"
    marked = marked_by(copy, stages, "methods/layers/winograd.py", old, old.replace(">=", ">"))
    of_dmphn = {name for name, (_, methods, _) in stages.items() if "dmphn" in methods}
    assert marked == of_dmphn
    assert {name for name in of_dmphn if name.startswith("train/")} == {"train/dmphn-gopro", "train/dmphn-places2"}


def test_a_datasets_module_marks_its_build_alone(copy, stages):
    path = copy / "datasets" / "gopro.py"
    before = digests(set(stages.values()))
    path.write_text(changed_token(path.read_text()))
    after = digests(set(stages.values()))
    assert {name for name, kind in stages.items() if before[kind] != after[kind]} == {"build/gopro"}
