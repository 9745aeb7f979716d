"""What a command's code is: imports followed through a project, and a digest that text does not change."""

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
from bench.contracts import UserError
from bench.params import loading
from bench.registry import Root

ROOT = code.ROOT
SOURCES = sorted(path for root in code.PROJECT for path in (ROOT / root.package).rglob("*.py"))


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A small project of one package `bench`, in place of the real one."""
    monkeypatch.setattr(code, "ROOT", tmp_path)
    monkeypatch.setattr(code, "PROJECT", (Root(tmp_path, "bench"),))
    write(tmp_path, {"bench/__init__.py": ""})
    return tmp_path


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def reached(folder: Path, *modules: str) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in code.closure(modules)}


# Imports --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "import bench.part",
        "from bench import part",
        "from bench.part import name",
        "from . import part",
        "from .part import name as other",
        "def f():\n    from bench.part import name",
        "class A:\n    def f(self):\n        import bench.part as part",
        "if True:\n    import os\nelse:\n    import bench.part",
        "import importlib\nimportlib.import_module('bench.part')",
    ],
)
def test_every_form_of_import_is_followed(project, statement):
    write(project, {"bench/entry.py": statement, "bench/part.py": "name = 1", "bench/other.py": ""})
    assert reached(project, "bench.entry") == {"bench/__init__.py", "bench/entry.py", "bench/part.py"}


def test_imports_are_followed_to_the_end_and_packages_run_too(project):
    write(
        project,
        {
            "bench/entry.py": "import bench.a.one",
            "bench/a/__init__.py": "from bench import c",
            "bench/a/one.py": "import bench.entry, numpy, bench.nothing",
            "bench/a/two.py": "",
            "bench/c.py": "",
        },
    )
    names = {"bench/__init__.py", "bench/entry.py", "bench/a/__init__.py", "bench/a/one.py", "bench/c.py"}
    assert reached(project, "bench.entry") == names


def test_imports_that_only_type_checkers_see_do_not_count(project):
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import bench.part\nelse:\n    import bench.other"
    write(project, {"bench/entry.py": text, "bench/part.py": "", "bench/other.py": ""})
    assert reached(project, "bench.entry") == {"bench/__init__.py", "bench/entry.py", "bench/other.py"}


def test_a_module_that_uses_its_own_path_reads_the_data_of_its_folder(project):
    text = "from pathlib import Path\nTEXT = (Path(__file__).parent / 'page.html').read_text()"
    files = {
        "bench/a/__init__.py": "",
        "bench/a/page.py": text,
        "bench/a/page.html": "<p>",
        "bench/a/numbers.yaml": "1",
    }
    write(project, {"bench/entry.py": "import bench.a.page", "bench/far.yaml": "1", **files})
    assert reached(project, "bench.entry") == {"bench/__init__.py", "bench/entry.py", *files}


@pytest.mark.parametrize(
    "statement",
    [
        "importlib.import_module(name)",
        "from importlib import import_module\nimport_module('bench.' + name)",
        "__import__(name)",
        "exec(text)",
        "import runpy\nrunpy.run_path(name)",
        "def f():\n    importlib.util.spec_from_file_location(name, path)",
    ],
)
def test_an_import_that_cannot_be_followed_is_refused(project, statement):
    write(project, {"bench/entry.py": statement})
    with pytest.raises(UserError, match=r"entry\.py:\d: .*known only when it runs.*import it by its name"):
        code.closure(["bench.entry"])


def test_torchs_eval_is_no_import(project):
    write(project, {"bench/entry.py": "network.eval()\nseries.exec('x')"})
    assert reached(project, "bench.entry") == {"bench/__init__.py", "bench/entry.py"}


def test_an_unknown_entry_point_is_refused(project):
    with pytest.raises(UserError, match=r"no module 'bench\.nothing'"):
        code.closure(["bench.nothing"])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_import_of_the_project_can_be_followed(path):
    code.imports(path)


def test_only_files_that_exist_may_import_by_name():
    assert all((ROOT / name).is_file() for name in code.RESOLVED_BY_NAME)


# Digests --------------------------------------------------------------------------------------------------------------

TEXT = '''\
"""A module."""

import os


def f(x: int, *, y=2) -> str:
    """Return it."""
    # why
    value = f"{x!r:>{y}} and {os.sep}"  # a comment
    return value


class A:
    """A class."""

    field: int = 3
    """Its meaning."""
'''
DIGEST = "ea7468ff20adaf2a99083c81244bee074c004c9be8cc5a3b3d7bf70e6e702eeb"


def digest_of(folder: Path, text: str) -> str:
    (folder / "bench" / "entry.py").write_text(text)
    return code.digest(code.closure(["bench.entry"]))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# why", "# because"),
        ("  # a comment", ""),
        ('"""A module."""', '"""Another\n\ntext."""'),
        ('    """Return it."""\n', ""),
        ('"""Its meaning."""', '"""Millimetres."""'),
        ("y=2", "y = 2"),
        ("    value = f", "\n\n    value = (\n        f"),
        ("'", '"'),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(project, old, new):
    text = TEXT if "(\n" not in new else TEXT.replace('os.sep}"', 'os.sep}")')
    assert digest_of(project, TEXT) == digest_of(project, text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("y=2", "y=3"),
        ("y=2", "y=2.0"),
        ("x: int", "x: str"),
        (" and ", " or "),
        ("!r", "!s"),
        (":>", ":<"),
        ("return value", "return x"),
        ("class A", "class B"),
        ("field: int = 3", "field: int = 4"),
        ("import os", "import os as o"),
        ("*, y", "y"),
    ],
)
def test_every_other_change_counts(project, old, new):
    assert old in TEXT
    assert digest_of(project, TEXT) != digest_of(project, TEXT.replace(old, new, 1))


def test_a_file_that_is_moved_or_added_counts(project):
    write(project, {"bench/entry.py": "from bench.a import f", "bench/a.py": "f = 1"})
    before = code.digest(code.closure(["bench.entry"]))
    write(project, {"bench/entry.py": "from bench.b import f", "bench/b.py": "f = 1"})
    assert code.digest(code.closure(["bench.entry"])) != before


def test_data_counts_by_its_values_where_it_is_yaml_else_by_its_bytes(project):
    write(project, {"bench/entry.py": "__file__", "bench/a.yaml": "x: 1  # one", "bench/a.css": "p {}"})
    before = code.digest(code.closure(["bench.entry"]))
    write(project, {"bench/a.yaml": "# one\nx: 1"})
    assert code.digest(code.closure(["bench.entry"])) == before
    write(project, {"bench/a.yaml": "x: 2"})
    assert code.digest(code.closure(["bench.entry"])) != before
    write(project, {"bench/a.yaml": "x: 1", "bench/a.css": "p { }"})
    assert code.digest(code.closure(["bench.entry"])) != before


def test_a_digest_does_not_depend_on_where_the_project_is(project, tmp_path_factory, monkeypatch):
    first = digest_of(project, TEXT)
    other = tmp_path_factory.mktemp("moved")
    write(other, {"bench/__init__.py": "", "bench/entry.py": TEXT})
    monkeypatch.setattr(code, "ROOT", other)
    monkeypatch.setattr(code, "PROJECT", (Root(other, "bench"),))
    assert code.digest(code.closure(["bench.entry"])) == first


def test_every_python_gives_the_same_digest(project):
    """The value is that of Python 3.11, 3.12 and 3.13, whose trees and f-strings differ."""
    assert digest_of(project, TEXT) == DIGEST


# Methods from elsewhere -----------------------------------------------------------------------------------------------


def test_a_method_of_a_folder_brings_what_it_imports_there(tmp_path, monkeypatch):
    write(
        tmp_path, {"plain.py": "from methods.losses.pixel import mse\nimport helper", "helper.py": "x = 1", "no.py": ""}
    )
    monkeypatch.setenv(registry.FOLDER, str(tmp_path))
    entry = registry.find_outside("plain")
    assert entry is not None
    names = {path.name for path in code.closure([], [entry.file], (entry.root,))}
    assert {"plain.py", "helper.py", "pixel.py"} <= names and "no.py" not in names
    before = code.of_stage("train", ["plain"])
    write(tmp_path, {"no.py": "x = 2", "helper.py": "x = 1  # one"})
    assert code.of_stage("train", ["plain"]) == before
    write(tmp_path, {"helper.py": "x = 22"})
    assert code.of_stage("train", ["plain"]) != before


# The rule over the whole project --------------------------------------------------------------------------------------

Stage = tuple[str, tuple[str, ...], tuple[str, ...]]
"""A command, the methods and the datasets that it runs."""


@pytest.fixture(scope="module")
def stages() -> dict[str, Stage]:
    """The code that every stage of the project's pipeline is said to run."""
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
    assert {name.partition("/")[0] for name in stages} == asked
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
    (row, column), name = names[-1].end, names[-1].string
    lines = text.splitlines(keepends=True)
    lines[row - 1] = f"{lines[row - 1][:column]}_{lines[row - 1][column:]}"
    assert name
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
    """Take the imports for type checkers out of every file."""
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


# Edits that once left results that looked fresh ----------------------------------------------------------------------


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
    marked = marked_by(copy, stages, "bench/runs.py", "    fit(networks, state, str(weights))\n", "")
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
