"""The command `settings`."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli.common import GlobalOptions


@click.command("settings")
@click.argument("name", required=False, metavar="[RUN|evaluate]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write the settings of every stage of the pipeline, with the digests of their code, to this folder.",
)
@click.option("--pipeline", is_flag=True, help="Write them to the profile's own folder, out/<profile>/settings.")
@click.pass_obj
def command(options: GlobalOptions, name: str | None, out: Path | None, pipeline: bool) -> None:
    """Show the resolved recipe of a run in the profile, or how runs are scored.

    The profile's defaults, the method's recipe and the run's own values are merged in this order; names and types are
    checked. The pipeline writes the settings of every stage to files, together with the digest of all code that the
    stage runs: each stage depends on its file.

    \b
    Examples:
      python -m bench settings mrfnet-gopro
      python -m bench --profile paper settings mrfnet-gopro
      python -m bench settings evaluate
      python -m bench settings --out my-settings
    """
    if (name is not None) + (out is not None) + pipeline != 1:
        raise click.UsageError("expected one of RUN, evaluate, --out DIR and --pipeline")
    from bench import settings

    params = options.load()
    if pipeline:
        settings.write_for_pipeline(params)
    elif out is not None:
        settings.write(params, out)
    elif name == "evaluate":
        from bench.params import resolving

        print(settings.as_yaml(resolving.evaluation(params)), end="")
    elif name is not None:
        from bench import runs

        print(settings.as_yaml(runs.resolve(params, name)[0]), end="")
