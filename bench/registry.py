"""Find methods and datasets by name: an entry is a module, and only the one asked for is imported.

Entries are the modules of `methods/` and `datasets/`; a folder is never one. Methods may come from elsewhere too: from
a folder (`methods` in `params.yaml`, `--methods DIR` or the environment variable SHARPBENCH_METHODS), one module each,
or from an installed package that declares them as entry points of the group "sharpbench.methods". All keep one
contract: a variable `method` in the module, and a recipe of the same name, `.yaml`, next to it.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from bench.contracts import Dataset, Method, UserError
from bench.contracts.errors import brief
from bench.names import LONGEST

ROOT = Path(__file__).parents[1]
GROUP = "sharpbench.methods"
FOLDER = "SHARPBENCH_METHODS"
"""The environment variable that names the folder of further methods: processes that are started know it too."""
OUTSIDE = "methods_from_outside"
"""The package under which modules of that folder are kept: their names may be those of other modules."""


@dataclass(frozen=True)
class Root:
    """A place from which code outside the project is imported.

    Args:
        folder: its modules are named relative to this.
        package: the only top-level package that counts; "" for every module in the folder.
    """

    folder: Path
    package: str = ""


@dataclass(frozen=True)
class Outside:
    """A method from elsewhere.

    Args:
        module: its dotted name.
        file: its source.
        attribute: the variable of the module that holds the `Method`.
        root: where its imports are looked up.
    """

    module: str
    file: Path
    attribute: str
    root: Root


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known names that look most like `name`, or all of them, as text for an error message."""
    name, known = str(name)[:LONGEST], sorted(known)  # comparing takes time that grows with the square of the length
    return ", ".join(difflib.get_close_matches(name, known, n=3) or known)


def use_folder(folder: Path) -> None:
    """Let methods of a folder be found, in this process and in those that it starts.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of methods; name one whose files are methods, as methods/ has them")
    os.environ[FOLDER] = str(folder.resolve())


def names(package: str) -> list[str]:
    """Return the entries of `package` ("methods", "datasets"), with hyphens for underscores."""
    return sorted(_own_names(package) | set(outside()) if package == "methods" else _own_names(package))


def _own_names(package: str) -> set[str]:
    """Return the entries in the project's own folder: its files, but for those that start with an underscore."""
    return {path.stem.replace("_", "-") for path in (ROOT / package).glob("[!_.]*.py")}


def outside() -> dict[str, Outside]:
    """Return the methods from elsewhere by name.

    Raises:
        UserError: two methods have one name.
    """
    listed = [*_in_packages()]
    if folder := os.environ.get(FOLDER):
        listed += _in_folder(Path(folder))
    if not listed:
        return {}
    project = _own_names("methods")
    entries: dict[str, Outside] = {}
    for name, entry in listed:
        if name in project or name in entries:
            other = entries[name].file if name in entries else f"methods/{name.replace('-', '_')}.py"
            raise UserError(f"two methods have the name {name!r}: {entry.file} and {other}; rename one of them")
        entries[name] = entry
    return entries


def _in_folder(folder: Path) -> list[tuple[str, Outside]]:
    root = Root(folder)
    return [
        (path.stem.replace("_", "-"), Outside(f"{OUTSIDE}.{path.stem}", path, "method", root))
        for path in sorted(folder.glob("[!_.]*.py"))
    ]


@cache
def _in_packages() -> tuple[tuple[str, Outside], ...]:
    """Find the methods that installed packages declare, without importing their modules."""
    from importlib.metadata import entry_points

    listed = []
    for entry in entry_points(group=GROUP):
        top = entry.module.partition(".")[0]
        spec = importlib.util.find_spec(entry.module)
        if spec is None or spec.origin is None:
            raise UserError(f"entry point {entry.name!r} of {GROUP}: no module {entry.module!r}; install it again")
        folder = Path(spec.origin).resolve()
        folder = folder.parents[len(entry.module.split(".")) - (0 if folder.name == "__init__.py" else 1)]
        name = entry.name.replace("_", "-")
        listed.append((name, Outside(entry.module, Path(spec.origin), entry.attr or "method", Root(folder, top))))
    return tuple(listed)


def module_name(package: str, name: str) -> str:
    """Return the module of an entry, "methods.deblurgan_v2". Raises UserError with the nearest names."""
    known = names(package)
    if (name := name.replace("_", "-")) not in known:
        raise UserError(f"no entry {brief(name)} in {package}/; the nearest are: {nearest(name, known)}")
    if package == "methods" and name in (others := outside()):
        return others[name].module
    return f"{package}.{name.replace('-', '_')}"


def method_file(name: str) -> Path:
    """Return the source of a method. Raises UserError for an unknown one."""
    module = module_name("methods", name)
    if (entry := find_outside(name)) is not None:
        return entry.file
    return ROOT / "methods" / f"{module.rpartition('.')[2]}.py"


def find_outside(name: str) -> Outside | None:
    """Return a method from elsewhere; None for one of the project."""
    return outside().get(name.replace("_", "-"))


def method(name: str) -> Method:
    """Import one method. Raises UserError for an unknown one, or a module that fails or has no method."""
    module = module_name("methods", name)
    entry = find_outside(name)
    with _errors_name(method_file(name)):
        loaded = importlib.import_module(module) if entry is None else _module_of(entry)
    if entry is None:
        return loaded.method
    if not isinstance(made := getattr(loaded, entry.attribute, None), Method):
        raise UserError(f"{entry.file}: no variable {entry.attribute!r} that holds a bench.contracts.Method")
    return made


@contextmanager
def _errors_name(file: Path) -> Iterator[None]:
    """Turn an error while an entry is imported into a UserError with the line of its file."""
    try:
        yield
    except UserError:
        raise
    except SyntaxError as error:
        raise UserError(f"{error.filename or file}:{error.lineno or 1}: not Python: {error.msg}") from error
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == file]
        place = f"{file}:{lines[-1]}" if lines else str(file)
        raise UserError(f"{place}: cannot be imported: {type(error).__name__}: {error}") from error


def _module_of(entry: Outside) -> ModuleType:
    """Import a method from elsewhere; a file of a folder of methods is imported by its path."""
    if not entry.module.startswith(f"{OUTSIDE}."):
        return importlib.import_module(entry.module)
    loaded = sys.modules.get(entry.module)
    if loaded is not None and loaded.__file__ == str(entry.file):  # not one of the same name from another folder
        return loaded
    if (folder := str(entry.root.folder)) not in sys.path:
        sys.path.append(folder)  # last: its modules must not hide others
    spec = importlib.util.spec_from_file_location(entry.module, entry.file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[entry.module] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[entry.module]
        raise
    return module


def dataset(name: str) -> Dataset:
    """Import one dataset. Raises UserError for an unknown one, or a module that fails."""
    module = module_name("datasets", name)
    with _errors_name(ROOT / f"{module.replace('.', '/')}.py"):
        loaded = importlib.import_module(module)
    return loaded.dataset
