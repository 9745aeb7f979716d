"""Check values against their models and arguments against signatures, with messages that name the place."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bench.contracts import ParamsError
from bench.contracts.errors import brief
from bench.names import LONGEST
from bench.params.values import TEXT_FOR_NUMBER
from bench.registry import nearest

Model = TypeVar("Model", bound=BaseModel)
MOST_FAULTS = 5
"""Faults that one message names."""


def checked(model: type[Model], values: Any, where: str) -> Model:
    """Check `values` against a model. Raises ParamsError naming the place, what was found and what is expected."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = [_explain(model, entry, where) for entry in error.errors(include_url=False)]
        more = [f"{where}: {len(faults) - MOST_FAULTS:,} further faults"] if len(faults) > MOST_FAULTS else []
        raise ParamsError("\n".join(faults[:MOST_FAULTS] + more)) from None


def _explain(model: type[BaseModel], error: Mapping[str, Any], where: str) -> str:
    key = ".".join(_part(part) for part in error["loc"] if part != "[key]")
    if error["type"] == "extra_forbidden":
        known = _fields(model, error["loc"])
        return f"{where}: {key}: unknown key; the nearest are: {nearest(str(error['loc'][-1]), known)}"
    value, message = error["input"], error["msg"].removeprefix("Value error, ")
    place = f"{where}: {key}" if key else where
    return f"{place}: found {brief(value)}; {message[0].lower()}{message[1:]}{_hint(value)}"


def _part(part: int | str) -> str:
    """Return a key as a message shows it: a strange one shortened and in quotes."""
    text = str(part)
    return text if text.isprintable() and len(text) <= LONGEST else brief(text)


def _hint(value: Any) -> str:
    text = isinstance(value, str) and TEXT_FOR_NUMBER.fullmatch(value)
    return " (YAML reads 1e-4 as text: write 1.0e-4)" if text else ""


def _fields(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Return the keys allowed next to the unknown one, by walking the models along its location."""
    models = [model]
    for part in location[:-1]:
        # A part that names a key of a mapping instead of a field: the models stay those of its values.
        fields = [f for outer in models for name, f in outer.model_fields.items() if part in (name, f.alias)]
        models = [m for f in fields for m in _models(f.annotation)] or models
    return sorted({f.alias or name for m in models for name, f in m.model_fields.items()})


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _models(part)


@contextmanager
def named(place: str) -> Iterator[None]:
    """Put `place` before the message of a ParamsError: where the refused value is written."""
    try:
        yield
    except ParamsError as error:
        raise ParamsError(f"{place}{error}") from error


EXAMPLES = {"int": 0, "float": 0.0, "str": "", "bool": False}
"""A value of each type that the annotation of an argument without a default of its own may name."""


def check_arguments(
    function: Callable[..., Any] | None,
    arguments: Mapping[str, Any],
    where: str,
    given: Collection[str] = frozenset(),
) -> None:
    """Raise ParamsError unless `function` takes every argument, each of the kind of its default.

    Args:
        function: a network's constructor or a dataset's builder.
        arguments: by name, as a person wrote them.
        where: the place where they are written, for the message.
        given: parameters that the caller fills itself: a person must not.
    """
    if function is None:
        raise ParamsError(f"{where}: this method has no network, so it takes no arguments")
    parameters = inspect.signature(function).parameters.values()
    known = {p.name: p for p in parameters if p.kind is not p.VAR_KEYWORD}
    open_ended = len(known) < len(parameters)
    known = {name: parameter for name, parameter in known.items() if name not in given}
    for name, value in arguments.items():
        if name not in known and not open_ended:
            raise ParamsError(f"{where}.{name}: unknown argument; the nearest are: {nearest(name, known)}")
        if name in known and not _like_default(value, known[name]):
            raise ParamsError(f"{where}.{name}: found {brief(value)}, expected {_expected(name, value, known[name])}")


def _expected(name: str, value: Any, parameter: inspect.Parameter) -> str:
    """Describe the kind of value that a parameter takes, with a hint for a frequent slip."""
    default = parameter.default
    kind = f"{type(default).__name__} like {default!r}"
    if default is None:
        kind = str(parameter.annotation).replace(" | ", " or ").replace("None", "null")
    if kind.startswith("str ") and isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"""{kind} (a number to YAML; as text it is "{value}", and in a shell '{name}="{value}"')"""
    return f"{kind}{_hint(value)}"


def _like_default(value: Any, parameter: inspect.Parameter) -> bool:
    default, kinds = parameter.default, {kind.strip() for kind in str(parameter.annotation).split("|")}
    if default is parameter.empty or (value is None and (default is None or "None" in kinds)):
        return True
    if default is None:
        kinds -= {"None"}
        examples = [parameter.replace(default=EXAMPLES[kind]) for kind in kinds if kind in EXAMPLES]
        return len(examples) < len(kinds) or any(_like_default(value, example) for example in examples)
    if isinstance(default, (int, float)) and not isinstance(default, bool):
        whole = isinstance(default, int) and "float" not in str(parameter.annotation)
        return isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    return isinstance(value, (list, tuple) if isinstance(default, (list, tuple)) else type(default))
