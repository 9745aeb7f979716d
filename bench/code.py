"""The code that a command runs: the transitive imports of its entry points within the project, and one digest of them.

The pipeline, the resume fingerprint of a training and the work folder of a build all use these functions, so that a
change of any file that takes part makes a result old, and a change of any other file does not. A digest is that of the
syntax trees: comments, docstrings and the layout of the text do not count, and every Python version gives the same one.

Imports are read from the source and followed, those inside functions too. Imports for type checkers alone are not. An
import by a computed name cannot be followed: `closure` refuses it, except in `RESOLVED_BY_NAME`, whose users add what
is imported there to the entry points.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from bench import registry
from bench.contracts import UserError
from bench.registry import Root

ROOT = Path(__file__).parents[1]
PROJECT = tuple(Root(ROOT, package) for package in ("bench", "methods", "datasets", "reports"))
RESOLVED_BY_NAME = frozenset({"bench/registry.py", "bench/cli/main.py"})
"""Files that import an entry or a command by its name: the entry or command is an entry point of its own."""
COMMANDS = ("bench.cli", "reports.cli")
"""The packages in which each command is a module."""
IMPORTERS = frozenset({"import_module", "run_module", "run_path", "resolve_name", "spec_from_file_location"})
"""Functions that import or run code by a name or a path."""


def command_module(command: str) -> str:
    """Return the module of a command of `python -m bench`: "train" is "bench.cli.train"."""
    for package in COMMANDS:
        if locate(name := f"{package}.{command}") is not None:
            return name
    raise UserError(f"no command {command!r} in {', '.join(COMMANDS)}")


def locate(module: str, roots: tuple[Root, ...] = ()) -> Path | None:
    """Return the file of a module of the project, or of one below `roots`; None for a module from elsewhere.

    Args:
        module: its dotted name.
        roots: further places whose modules count.
    """
    parts = module.split(".")
    for root in (*PROJECT, *roots):
        if root.package not in ("", parts[0]):
            continue
        place = root.folder.joinpath(*parts)
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file():
                return path
    return None


def closure(modules: Iterable[str], files: Iterable[Path] = (), roots: tuple[Root, ...] = ()) -> tuple[Path, ...]:
    """Return every file that the given modules run within the project, in order of their paths.

    Args:
        modules: dotted names of entry points.
        files: further entry points, by path: methods from a folder outside the project.
        roots: see `locate`.

    Returns:
        The Python files of the modules and of all that they import, and the data files that these read: a module that
        uses `__file__` depends on every other file of its own folder.
    Raises:
        UserError: a module that does not exist, or an import that cannot be followed.
    """
    waiting = [path.resolve() for path in files]
    for module in modules:
        if locate(module, roots) is None:
            raise UserError(f"no module {module!r} in {ROOT}")
        waiting += located(_with_packages(module), roots)
    reached: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            imported, reads_data = imports(path, roots)
            waiting += imported
            reached |= set(data_files(path.parent)) if reads_data else set()
    return tuple(sorted(reached))


def data_files(folder: Path) -> list[Path]:
    """Return the files of a folder that are not code: templates, style sheets, YAML."""
    return [
        path.resolve()
        for path in folder.iterdir()
        if path.is_file() and path.suffix not in (".py", ".pyc", ".md") and not path.name.startswith(".")
    ]


def _with_packages(module: str) -> list[str]:
    """Return a module's name and those of the packages around it, which Python runs first."""
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def imports(path: Path, roots: tuple[Root, ...] = ()) -> tuple[tuple[Path, ...], bool]:
    """Return the files that a file imports, and whether it reads files of its own folder.

    Raises:
        UserError: an import by a computed name.
    """
    return _imports(path, _changed(path), roots)


def _changed(path: Path) -> tuple[int, int]:
    """Return what tells one content of a file from the next: a file is read once per change."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size


@cache
def _imports(path: Path, changed: tuple[int, int], roots: tuple[Root, ...]) -> tuple[tuple[Path, ...], bool]:
    package = _package_of(path, roots)
    names: set[str] = set()
    reads_data = False
    for node in _running(_tree(path)):
        if isinstance(node, ast.Import):
            names.update(*(_with_packages(alias.name) for alias in node.names))
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            names.update(_with_packages(base), (f"{base}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.Name):
            reads_data |= node.id == "__file__"
        elif isinstance(node, ast.Call) and _importer(node):
            names.update(_with_packages(_imported_by_call(node, path)))
    return tuple(located(names - {""}, roots)), reads_data


def located(names: Iterable[str], roots: tuple[Root, ...]) -> list[Path]:
    """Return the files of those of the named modules that are the project's or below `roots`."""
    return [path.resolve() for name in names if (path := locate(name, roots)) is not None]


def _running(tree: ast.Module) -> Iterator[ast.AST]:
    """Walk a tree without the imports that only type checkers see."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        hidden = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        waiting += node.orelse if isinstance(node, ast.If) and hidden else ast.iter_child_nodes(node)


def _importer(node: ast.Call) -> str:
    """Return the function by which a call imports or runs code, "" for any other call."""
    function = node.func
    if isinstance(function, ast.Name):
        return function.id if function.id in IMPORTERS | {"exec", "eval", "__import__"} else ""
    return function.attr if isinstance(function, ast.Attribute) and function.attr in IMPORTERS else ""


def _imported_by_call(node: ast.Call, path: Path) -> str:
    """Return the module that a call imports by a literal name, "" where its entry points are known otherwise."""
    first = node.args[0] if node.args else None
    if _importer(node) in ("import_module", "__import__") and isinstance(first, ast.Constant):
        return str(first.value)
    if _name_of(path) in RESOLVED_BY_NAME:
        return ""
    raise UserError(
        f"{path}:{node.lineno}: `{ast.unparse(node)}` imports code by a name that is known only when it runs, so the "
        "suite cannot tell when results are old; import it by its name"
    )


def _package_of(path: Path, roots: tuple[Root, ...]) -> str:
    """Return the dotted name of the package that a file is in, "" at the top."""
    for folder in (ROOT, *(root.folder for root in roots)):
        if path.is_relative_to(folder.resolve()):
            return ".".join(path.parent.relative_to(folder.resolve()).parts)
    return ""


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """Return the absolute name of the module that a `from ... import` names."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _tree(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise UserError(f"{path}:{error.lineno}: not Python: {error.msg}") from None


def digest(files: Iterable[Path], roots: tuple[Root, ...] = ()) -> str:
    """Return the SHA-256 of what files say: of the syntax of Python, of the values of YAML, of the bytes of others.

    Args:
        files: of `closure`.
        roots: see `locate`; files are named relative to the project or to these, so that a moved checkout keeps its
            digests.
    """
    content = {_name_of(path, roots): file_digest(path) for path in files}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _name_of(path: Path, roots: tuple[Root, ...] = ()) -> str:
    return _relative(path, (ROOT, *(root.folder for root in roots)))


@cache
def _relative(path: Path, folders: tuple[Path, ...]) -> str:
    """Return a path relative to the first of the folders that it is in."""
    for folder in folders:
        if path.is_relative_to(folder.resolve()):
            return path.relative_to(folder.resolve()).as_posix()
    return path.name


def file_digest(path: Path) -> str:
    """Return the SHA-256 of what one file says."""
    return _file_digest(path, _changed(path))


@cache
def _file_digest(path: Path, changed: tuple[int, int]) -> str:
    content = path.read_bytes()
    if path.suffix == ".py":
        content = json.dumps(canonical(_tree(path))).encode()
    elif path.suffix in (".yaml", ".yml"):
        content = _yaml_text(path).encode()
    return hashlib.sha256(content).hexdigest()


def _yaml_text(path: Path) -> str:
    """Return what a YAML file says as JSON. Raises UserError when it is not YAML, or keys cannot be sorted."""
    from bench import yaml_input

    try:
        return json.dumps(yaml_input.read(path), sort_keys=True, default=str)
    except TypeError:
        raise UserError(f"{path}: keys of several kinds in one mapping; write all of them as text") from None


def canonical(node: Any) -> Any:
    """Return a syntax tree as plain JSON values, the same under every Python: without positions, docstrings and other
    strings that stand alone, and fields that are empty, which newer versions add.
    """
    if isinstance(node, ast.JoinedStr):
        return ["JoinedStr", _merged([canonical(part) for part in node.values])]
    if isinstance(node, ast.Constant):
        return ["Constant", type(node.value).__name__, node.value if isinstance(node.value, str) else repr(node.value)]
    if isinstance(node, ast.AST):
        fields = {
            name: canonical(value) for name, value in ast.iter_fields(node) if name not in ("type_comment", "ctx")
        }
        return [type(node).__name__, {name: value for name, value in fields.items() if value not in (None, [])}]
    if isinstance(node, list):
        return [canonical(part) for part in node if not _is_text(part)]
    return node


def _is_text(node: Any) -> bool:
    """Whether a statement is a docstring or another string that nothing uses."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _merged(parts: list[Any]) -> list[Any]:
    """Join the texts between the fields of an f-string: versions of Python cut them differently."""
    result: list[Any] = []
    for part in parts:
        if part[0] == "Constant" and result and result[-1][0] == "Constant":
            result[-1] = [*part[:2], result[-1][2] + part[2]]
        elif part != ["Constant", "str", ""]:
            result.append(part)
    return result


def of_stage(command: str, methods: Iterable[str] = (), datasets: Iterable[str] = ()) -> str:
    """Return the digest of all code that a stage of the pipeline runs.

    Args:
        command: of `python -m bench`: "build", "auxiliary", "train", "evaluate", "search" or "report".
        methods: the methods that the stage runs, those from elsewhere too.
        datasets: the datasets whose code makes the stage's pixels.
    """
    modules = [command_module(command), *(registry.module_name("datasets", name) for name in datasets)]
    files: list[Path] = []
    roots: list[Root] = []
    for name in methods:
        if (entry := registry.find_outside(name)) is None:
            modules.append(registry.module_name("methods", name))
        else:
            files.append(entry.file)
            roots.append(entry.root)
    return digest(closure(modules, files, tuple(roots)), tuple(roots))
