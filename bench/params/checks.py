"""Check values against their models, and say in one message what is wrong."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from bench.contracts import ParamsError
from bench.params.schema import NUMBER
from bench.registry import nearest

T = TypeVar("T", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """PyYAML's, which takes the last of two equal keys in silence; this one refuses them."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                mark = node.value[number][0].start_mark
                raise yaml.constructor.ConstructorError(problem=f"key {key!r} stands there twice", problem_mark=mark)
        return super().construct_mapping(node, deep)


def checked(model: type[T], values: Any, where: str) -> T:
    """Check `values` against a model. Raises ParamsError naming the place, what was found and what is expected."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ParamsError("\n".join(_explain(model, one, where) for one in error.errors())) from None


def _explain(model: type[BaseModel], error: Mapping[str, Any], where: str) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = _fields(model, error["loc"])
        return f"{where}: {key}: unknown key; the nearest are: {nearest(str(error['loc'][-1]), known)}"
    found, message = error["input"], error["msg"].removeprefix("Value error, ")
    place = f"{where}: {key}" if key else where
    return f"{place}: found {found!r}; {message[0].lower()}{message[1:]}{_hint(found)}"


def _hint(found: Any) -> str:
    text = isinstance(found, str) and NUMBER.fullmatch(found)
    return " (YAML reads 1e-4 as text: write 1.0e-4)" if text else ""


def _fields(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Return the keys allowed beside the unknown one, by walking the models along its location."""
    models = [model]
    for part in location[:-1]:
        # A part that is no field is a key of a mapping: the models stay those of its values.
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
    """Put `place` before what a ParamsError says: where the value stands that a method, a dataset or a step refuses."""
    try:
        yield
    except ParamsError as error:
        raise ParamsError(f"{place}{error}") from error


EXAMPLES = {"int": 0, "float": 0.0, "str": "", "bool": False}
"""A value of each type that the annotation of an argument without a default value of its own may name."""


def check_arguments(
    network: Any, arguments: Mapping[str, Any], where: str, given: Collection[str] = frozenset()
) -> None:
    """Raise ParamsError unless the callable `network` takes every argument, each of the kind of its default.

    Args:
        given: parameters that the caller fills itself: no arguments of a person.
    """
    parameters = inspect.signature(network).parameters.values()
    known = {p.name: p for p in parameters if p.kind is not p.VAR_KEYWORD}
    open_ended = len(known) < len(parameters)
    known = {name: parameter for name, parameter in known.items() if name not in given}
    for name, value in arguments.items():
        if name not in known and not open_ended:
            raise ParamsError(f"{where}.{name}: unknown argument; the nearest are: {nearest(name, known)}")
        if name in known and not _like_default(value, known[name]):
            default = known[name].default
            kind = f"{type(default).__name__} like {default!r}"
            if default is None:
                kind = str(known[name].annotation).replace(" | ", " or ").replace("None", "null")
            hint = _hint(value)
            if kind.startswith("str ") and isinstance(value, (int, float)) and not isinstance(value, bool):
                hint = f""" (a number to YAML; as text it is "{value}", and in a shell '{name}="{value}"')"""
            raise ParamsError(f"{where}.{name}: found {value!r}, expected {kind}{hint}")


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
