"""Find methods and datasets by name: an entry is a module of its package, and only the one asked for is imported."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable

from bench.contracts import Dataset, Method, UserError


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known names that look most like `name`, or all of them, as text for an error message."""
    known = sorted(known)
    return ", ".join(difflib.get_close_matches(name, known, n=3) or known)


def names(package: str) -> list[str]:
    """Return the entries of `package` ("methods", "datasets"): its modules, with hyphens for underscores."""
    path = importlib.import_module(package).__path__
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(path) if not m.ispkg)


def module_name(package: str, name: str) -> str:
    """Return the module of an entry, "methods.deblurgan_v2". Raises UserError with the nearest names."""
    known = names(package)
    if name.replace("_", "-") not in known:
        raise UserError(f"no entry {name!r} in {package}/; the nearest are: {nearest(name, known)}")
    return f"{package}.{name.replace('-', '_')}"


def method(name: str) -> Method:
    """Import one method. Raises UserError for an unknown one."""
    return importlib.import_module(module_name("methods", name)).method


def dataset(name: str) -> Dataset:
    """Import one dataset. Raises UserError for an unknown one."""
    return importlib.import_module(module_name("datasets", name)).dataset
