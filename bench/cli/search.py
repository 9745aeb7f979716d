"""The command `search`."""

from __future__ import annotations

import click

from bench.cli.common import STAGE_NAME, GlobalOptions, print_table


@click.command("search")
@click.argument("run", type=STAGE_NAME)
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    metavar="N",
    help="Finished trials in total; default: `search` in params.yaml.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="K",
    help="Processes that work on the study; default: `search` in params.yaml.",
)
@click.pass_obj
def command(options: GlobalOptions, run: str, trials: int | None, jobs: int | None) -> None:
    """Search the loss weights of a run, or continue a search that was stopped.

    `searches` in params.yaml defines what is varied, tied or fixed; `search` defines how long and by which metric. A
    trial is a short training of the run with other weights. It is scored on training photographs that are held out from
    it, and pruned when it falls behind the others. The test images are not used. The first trial has the run's own
    weights. The best trial's weights become a new run, whose name may be given in place of RUN. A second process with
    the same command works on the same study.

    \b
    Example:
      python -m bench search mrfnet-gopro
      python -m bench train mrfnet-gopro-searched
      python -m bench evaluate mrfnet-gopro-searched
    """
    from bench.hashes import read_sealed
    from bench.params.resolving import all_searches
    from bench.provenance import warn_without_commit
    from bench.search.engine import search
    from bench.search.results import STUDY

    warn_without_commit()
    params = options.load()
    if run in (by_winner := all_searches(params)):
        run = by_winner[run].of.run
    folder = search(params, run, trials, jobs)
    study = read_sealed(folder / STUDY, f"run: python -m bench search {run}")
    default, best = study["default"], study["winner"]
    rows = [("", "default", f"trial {best['number']}")]
    rows += [(name, f"{default['values'][name]:.4g}", f"{value:.4g}") for name, value in best["values"].items()]
    score = "-" if default["value"] is None else f"{default['value']:.4f}"
    print_table(f"best numbers of {run}", [*rows, (study["metric"], score, f"{best['value']:.4f}")])
    print(f"-> {folder}")
    print(f"next: python -m bench train {study['winner_run']}")
