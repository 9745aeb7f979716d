"""Methods and datasets by name: those of the project, of a folder, and of installed packages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import registry
from bench.cli.main import main
from bench.contracts import UserError

ROOT = Path(__file__).parents[2]
PLAIN = (ROOT / "docs" / "examples" / "mine.py").read_text()


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder of one method, `plain-net`, that is used."""
    place = tmp_path / "more"
    place.mkdir()
    (place / "plain_net.py").write_text(PLAIN)
    monkeypatch.setenv(registry.FOLDER, str(place))
    return place


@pytest.fixture
def package(tmp_path, monkeypatch) -> Iterator[Path]:
    """An installed package that declares one method, `packaged`."""
    place, metadata = tmp_path / "site" / "their_package", tmp_path / "site" / "their_package-1.0.dist-info"
    place.mkdir(parents=True)
    metadata.mkdir()
    (place / "__init__.py").write_text("")
    (place / "network.py").write_text(PLAIN)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[sharpbench.methods]\npackaged = their_package.network:method\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    registry._in_packages.cache_clear()
    yield place
    registry._in_packages.cache_clear()
    for name in ("their_package", "their_package.network"):
        sys.modules.pop(name, None)


def test_entries_are_files_and_have_hyphens():
    methods, datasets = registry.names("methods"), registry.names("datasets")
    assert {"mrfnet", "mrfnet-edges", "dffnet-inpaint"} <= set(methods)
    assert {"layers", "losses", "families", "auxiliary", "--init--"} & set(methods) == set()
    assert {"canon-dp", "gopro", "kohler", "paris-streetview", "places2", "visdrone"} <= set(datasets)
    assert {"degradations", "photographs", "--init--"} & set(datasets) == set()
    assert registry.module_name("methods", "mrfnet_edges") == "methods.mrfnet_edges"
    assert registry.method_file("mrfnet-edges") == ROOT / "methods" / "mrfnet_edges.py"


def test_an_unknown_entry_names_the_nearest():
    with pytest.raises(UserError, match=r"no entry 'mrfnt' in methods/; the nearest are: mrfnet"):
        registry.method("mrfnt")
    with pytest.raises(UserError, match=r"no entry 'goprro' in datasets/; the nearest are: gopro"):
        registry.dataset("goprro")


def test_a_method_of_a_folder_is_one_like_any_other(folder):
    assert "plain-net" in registry.names("methods")
    assert registry.method("plain_net").tasks == ("deblur",)
    assert registry.method("plain-net") is registry.method("plain_net")
    assert registry.method_file("plain-net") == folder / "plain_net.py"


def test_files_with_an_underscore_and_folders_are_no_methods(folder):
    (folder / "_shared.py").write_text("")
    (folder / "blocks").mkdir()
    (folder / "blocks" / "__init__.py").write_text("")
    assert set(registry.outside()) == {"plain-net"}


def test_a_method_of_an_installed_package_is_one_like_any_other(package):
    assert "packaged" in registry.names("methods")
    assert registry.method("packaged").tasks == ("deblur",)
    assert registry.method_file("packaged") == package / "network.py"
    entry = registry.find_outside("packaged")
    assert entry is not None and entry.root == registry.Root(package.parent, "their_package")


def test_two_methods_of_one_name_are_refused(folder, package):
    (folder / "packaged.py").write_text(PLAIN)
    with pytest.raises(UserError, match=r"two methods have the name 'packaged': .*packaged\.py and .*network\.py"):
        registry.names("methods")
    (folder / "packaged.py").rename(folder / "mrfnet.py")
    with pytest.raises(UserError, match=r"two methods have the name 'mrfnet': .*mrfnet\.py and methods/mrfnet\.py"):
        registry.names("methods")


def test_a_file_without_a_method_is_refused(folder):
    (folder / "empty.py").write_text("method = 1")
    with pytest.raises(UserError, match=r"empty\.py: no variable 'method' that holds a bench\.contracts\.Method"):
        registry.method("empty")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("class Mine(nn.Module:", r"plain_net\.py:1: not Python"),
        ("number = 1 / 0", r"plain_net\.py:1: cannot be imported: ZeroDivisionError: division by zero"),
        ("import no_such_package", r"plain_net\.py:1: cannot be imported: ModuleNotFoundError: .*no_such_package"),
        ("text = '\x00'", r"plain_net\.py"),
    ],
)
def test_a_method_that_cannot_be_imported_is_named_with_its_line(folder, line, expected):
    (folder / "plain_net.py").write_text(f"{line}\n")
    with pytest.raises(UserError, match=expected):
        registry.method("plain-net")


def test_a_package_that_is_gone_is_refused(package):
    (package / "network.py").unlink()
    with pytest.raises(UserError, match=r"entry point 'packaged' of sharpbench\.methods: no module .*install it again"):
        registry.names("methods")


def test_the_command_line_and_the_file_name_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(registry.FOLDER, "")  # so that what the commands set is taken back
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}_net.py").write_text(PLAIN)
    (tmp_path / "params.yaml").write_text("profile: sample\nmethods: first\n")
    assert main(["list", "methods"]) == 0
    assert "first-net" in capsys.readouterr().out
    assert main(["--methods", "second", "list", "methods"]) == 0
    listed = capsys.readouterr().out
    assert "second-net" in listed and "first-net" not in listed
    assert main(["--methods", "third", "list", "methods"]) == 2
    assert "third: no such folder of methods" in capsys.readouterr().err


def test_registry_names_are_hyphened_and_leave_shared_files_out():
    assert "paris-streetview" in registry.names("datasets") and "edgeconnect" in registry.names("methods")
    assert not [name for name in registry.names("methods") if name.startswith(("-", "_"))]
    assert registry.module_name("datasets", "paris-streetview") == "datasets.paris_streetview"
