"""Read YAML that a person wrote: `params.yaml`, recipes, values of options, tables, published numbers.

What PyYAML takes silently, or what would exhaust memory or the stack, is refused in one sentence: a key that is given
twice, aliases that repeat themselves into millions of values, a value inside itself, nesting without end, numbers that
no computer number holds, and characters that neither a terminal nor a file name can show.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from yaml import events
from yaml.constructor import SafeConstructor

from bench.contracts.errors import ParamsError, brief

MOST_VALUES = 100_000
"""Keys and values in one text, those that aliases repeat among them. `params.yaml` has about 2,000."""
MOST_BYTES = 10_000_000
"""The longest file. The longest one of the project has 60,000."""
DEEPEST = 50
"""Lists and mappings inside each other. `params.yaml` has 7 levels."""
HIGHEST = 2**63 - 1
"""The largest whole number; torch, NumPy and Parquet hold no larger one."""
BASE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser where PyYAML was built with it: a tenth of the time."""
INT, FLOAT, MERGE = (f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "merge"))
"""Tags of whole numbers, of other numbers, and of the key `<<`, which lays a mapping below another."""
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters but for tabs and newlines, line separators, halves of characters."""


def parse(text: str, where: str) -> Any:
    """Return the value of a YAML text, of plain Python types.

    Args:
        text: one document.
        where: what the text is, for the message.

    Raises:
        ParamsError: it is not YAML, or see the module's description.

    >>> parse("{channels: 8, rates: [0.5, 1]}", "--network")
    {'channels': 8, 'rates': [0.5, 1]}
    """
    try:
        return _Loader(_checked(yaml.parse(text, BASE))).get_single_data()
    except yaml.YAMLError as error:
        raise ParamsError(f"{where}: not YAML: {_cause(error)}") from None
    except (ValueError, ArithmeticError, LookupError, AttributeError) as error:
        # PyYAML's, for values that their type does not allow: the date 2024-02-30, `!!int ""`, `!!bool 7`.
        raise ParamsError(f"{where}: not YAML: a value that its type does not allow ({brief(str(error))})") from None


def read(path: Path) -> Any:
    """Return the value of a YAML file in UTF-8, with or without a byte order mark.

    Raises:
        FileNotFoundError: there is no such file.
        ParamsError: it cannot be read, or see `parse`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > MOST_BYTES:
        raise ParamsError(f"{path}: longer than {MOST_BYTES:,} bytes; check that it is the right file")
    try:
        return parse(data.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path}: not UTF-8 at byte {error.start:,}; save it in this encoding") from None


def _cause(error: yaml.YAMLError) -> str:
    """Return what PyYAML found and where, on one line."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())[:200]
    mark = error.problem_mark or error.context_mark
    place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{' '.join(filter(None, (error.context, error.problem)))}{place}"[:300]


def _refused(problem: str, place: Any) -> yaml.MarkedYAMLError:
    """Return the error of an event or a node."""
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)


def _checked(stream: Iterable[yaml.Event]) -> Iterable[yaml.Event]:
    """Yield the events of a text, after checking depth, characters, and the number of values with those of aliases.

    Raises:
        yaml.YAMLError: one of these exceeds its limit, or a value contains itself.
    """
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    values = 0
    for event in stream:
        if isinstance(event, events.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_nodes):
                raise _refused(f"the value of &{brief(event.anchor)[1:-1]} contains itself", event)
            values += sizes.get(str(event.anchor), 0)
        elif isinstance(event, events.ScalarEvent):
            if bad := UNPRINTABLE.search(event.value):
                raise _refused(f"the character {bad[0]!a} in a text", event)
            values += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
        elif isinstance(event, events.CollectionStartEvent):
            open_nodes.append((event.anchor, values))
            values += 1
            if len(open_nodes) > DEEPEST:
                raise _refused(f"more than {DEEPEST} lists and mappings inside each other", event)
        elif isinstance(event, events.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor is not None:
                sizes[anchor] = values - before
        if values > MOST_VALUES:
            raise _refused(f"more than {MOST_VALUES:,} values, those that aliases repeat among them", event)
        yield event


class _Loader(yaml.composer.Composer, SafeConstructor, yaml.resolver.Resolver):
    """PyYAML's loader, on events that were checked; it refuses equal keys and numbers that are too large."""

    def __init__(self, checked: Iterable[yaml.Event]):
        self.waiting = list(checked)[::-1]
        yaml.composer.Composer.__init__(self)
        SafeConstructor.__init__(self)
        yaml.resolver.Resolver.__init__(self)

    def check_event(self, *kinds: type[yaml.Event]) -> bool:
        """Whether another event comes, of one of these kinds if any are given."""
        return bool(self.waiting) and (not kinds or isinstance(self.waiting[-1], kinds))

    def peek_event(self) -> yaml.Event:
        """Return the next event and leave it."""
        return self.waiting[-1]

    def get_event(self) -> yaml.Event:
        """Take the next event."""
        return self.waiting.pop()

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Refuse a key that is given twice, of which PyYAML takes the last one, and a key that is a list or mapping."""
        node = super().compose_mapping_node(anchor)
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _refused("a list or mapping as a key", key_node)
            key = key_node.value if key_node.tag == MERGE else self.construct_object(key_node)
            if key in seen:
                raise _refused(f"key {brief(key)} is given twice", key_node)
            seen.add(key)
        return node

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """Refuse whole numbers beyond 64 bits, infinity, and what is not a number."""
        whole = node.tag == INT
        value = self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)
        if not (abs(value) <= HIGHEST if whole else math.isfinite(value)):
            expected = "expected one below 2^63" if whole else "expected a finite one"
            raise _refused(f"the number {brief(node.value)[1:-1]}; {expected}", node)
        return value

    yaml_constructors = SafeConstructor.yaml_constructors | {
        INT: construct_number,
        FLOAT: construct_number,
    }
