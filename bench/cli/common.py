"""What several commands share. It stays small: whatever this module imports, every command depends on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bench.params.schema import Params


class StageName(click.ParamType):
    """A name, or the address of a stage, "pipeline/deblur/dvc.yaml:train@mrfnet-gopro", which ends with the name.

    The pipeline's commands give the address, in the variable DVC_STAGE: in the text of a command, a name of
    `params.yaml` that nobody has checked yet would be read by the shell.
    """

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name."""
        return value.rpartition("@")[2]


STAGE_NAME = StageName()


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
