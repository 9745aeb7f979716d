"""What several commands share. It stays small: whatever this module imports, every command depends on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contracts import UserError

if TYPE_CHECKING:
    from bench.params.schema import Params


@dataclass(frozen=True)
class GlobalOptions:
    """The options before the command's name."""

    params: Path
    """The parameter file; default `params.yaml`."""
    profile: str | None
    """The profile's name; None for SHARPBENCH_PROFILE or, where that is not set, the profile in the file."""
    methods: Path | None = None
    """A folder of further methods; None for the one in the file."""

    def load(self) -> Params:
        """Read and check the parameters. Raises ParamsError."""
        from bench.params.loading import load

        return load(self.params, self.profile, self.methods)


def print_table(title: str, rows: Iterable[Sequence[str]]) -> None:
    """Print a title with the number of rows, then the rows in aligned columns.

    >>> print_table("runs", [("mrfnet-gopro", "deblur"), ("rn-places2", "inpaint")])
    runs (2)
      mrfnet-gopro  deblur
      rn-places2    inpaint
    """
    rows = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print(f"{title} ({len(rows)})")
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def parse_yaml(text: str, message: str) -> object:
    """Parse an option's value as `params.yaml` is parsed. Raises UserError with `message` when it is not YAML."""
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):  # PyYAML raises ValueError for impossible dates like 2024-02-30
        raise UserError(message) from None
