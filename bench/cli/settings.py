"""The command `settings`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.common import GlobalOptions

if TYPE_CHECKING:
    from pydantic import BaseModel


@click.command("settings")
@click.argument("name", required=False, metavar="[RUN|evaluate]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write all settings: evaluate.yaml, and runs/<RUN>.yaml for each training.",
)
@click.pass_obj
def command(options: GlobalOptions, name: str | None, out: Path | None) -> None:
    """Show the resolved recipe of a run in the profile, or how runs are scored.

    The profile's defaults, the method's recipe and the run's own values are merged in this order; names and types are
    checked. The pipeline writes the result to files: a training depends on the file of its run, each evaluation on
    evaluate.yaml.

    \b
    Examples:
      python -m bench settings mrfnet-gopro
      python -m bench --profile paper settings mrfnet-gopro
      python -m bench settings evaluate
    """
    if (name is None) == (out is None):
        raise click.UsageError("expected either RUN, or evaluate, or --out DIR")
    from bench.params import resolving

    params = options.load()
    if out is not None:
        from bench.files import write_text

        write_text(out / "evaluate.yaml", _yaml(resolving.evaluation(params)))
        for run in resolving.trained_runs(params):
            recipe = resolving.base_recipe(params, run)
            write_text(out / "runs" / f"{run}.yaml", _yaml(recipe, threads=params.threads))
    elif name == "evaluate":
        print(_yaml(resolving.evaluation(params)), end="")
    elif name is not None:
        from bench import runs

        print(_yaml(runs.resolve(params, name)[0]), end="")


def _yaml(settings: BaseModel, **more: int) -> str:
    import yaml

    values = more | settings.model_dump(mode="json")
    return yaml.safe_dump(values, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)
