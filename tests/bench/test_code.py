"""What a command's code is: imports followed through a project, and a digest that text does not change."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import code, registry
from bench.contracts import UserError
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
