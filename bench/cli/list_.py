"""The command `list`."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import click

from bench.cli.common import GlobalOptions, print_table

if TYPE_CHECKING:
    from bench.params.schema import Params


@click.command("list")
@click.argument("what", type=click.Choice(["methods", "datasets", "metrics", "runs"]), required=False)
@click.pass_obj
def command(options: GlobalOptions, what: str | None) -> None:
    """List methods, datasets, metrics or runs, one line each; without an argument, all four."""
    if options.methods is not None or options.params.is_file():
        options.load()  # it names the folder of further methods
    if what in (None, "methods"):
        _list_methods()
    if what in (None, "datasets"):
        _list_datasets()
    if what in (None, "metrics"):
        _list_metrics()
    if what in (None, "runs"):
        _list_runs(options.load())


def _list_methods() -> None:
    from bench import registry

    names = registry.names("methods")
    print_table("methods", [(name, ", ".join(registry.method(name).tasks), _summary(name)) for name in names])


def _summary(name: str) -> str:
    """Return the first line of the docstring of a method's module, which is imported already."""
    from bench import registry

    text = sys.modules[registry.module_name("methods", name)].__doc__ or ""
    return text.strip().partition("\n")[0]


def _list_datasets() -> None:
    from bench import registry
    from bench.cli.dataset_job import counts_text

    entries = [(name, registry.dataset(name)) for name in registry.names("datasets")]
    rows = [
        (name, ", ".join(entry.tasks), f"{entry.title}: {counts_text(entry.counts)}", _address(entry.source))
        for name, entry in entries
    ]
    print_table("datasets", rows)


def _address(source: str) -> str:
    """Return the address inside a dataset's description of its source, "" if it has none."""
    match = re.search(r"(https?://)?([\w-]+\.)+[a-z]{2,}/[\w./-]*[\w/]", source)
    return match[0] if match else ""


def _list_metrics() -> None:
    from bench.scoring.metrics import catalogue, perceptual

    measures = [*catalogue.METRICS.values(), *perceptual.PERCEPTUAL.values()]
    print_table("metrics", [(m.id, f"{m.better} is better", f"{m.protocol}. {m.notes}".strip()) for m in measures])


def _list_runs(params: Params) -> None:
    from bench import runs
    from bench.params import resolving

    trained = resolving.all_runs(params)
    chains = resolving.all_chains(params)
    imported = [name for name in runs.known(params) if name not in trained]
    rows = [(name, run.method, run.dataset) for name, run in trained.items()]
    rows += [(name, f"{chain.first} + {chain.second}", chain.dataset) for name, chain in chains.items()]
    rows += [(name, transfer.run, transfer.dataset) for name, transfer in params.transfers.items()]
    rows += [(name, "imported", "") for name in imported]
    print_table(f"runs of profile {params.profile}", [(*row, _state(params, row[0])) for row in rows])


def _state(params: Params, name: str) -> str:
    from bench import folders
    from bench.record import RECORD

    if (folders.scores_folder(params, name) / RECORD).is_file():
        return "scored"
    return "trained" if (folders.run_folder(params, name) / RECORD).is_file() else "-"
