"""What an evaluation will do, found before anything heavy is loaded: its runs, its dataset, its rows in the tables."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench import folders, registry, runs
from bench.contracts import UserError
from bench.data.manifest import BuiltSet
from bench.names import check_name, clash_with
from bench.params.resolving import all_chains, all_runs
from bench.params.schema import Params
from bench.record import RECORD, Record, Source, new_record, read_record
from bench.registry import nearest
from bench.tasks import chain_task

if TYPE_CHECKING:
    from bench.scoring.restore import Restorer


@dataclass(frozen=True)
class Plan:
    """What an evaluation will do.

    Args:
        name: name of the evaluation.
        run: what is evaluated: the run or the chain.
        dataset: the dataset whose test images are scored.
        members: the runs: one, or the two of a chain.
        rows: its rows in the published tables, where they are not those of its runs.
    """

    name: str
    run: str
    dataset: str
    members: tuple[str, ...]
    rows: tuple[str, ...]

    def open(self, params: Params, built: BuiltSet) -> tuple[Restorer, Record]:
        """Load the networks; return what restores, and the record of the evaluation as far as the runs fill it.

        Raises:
            UserError: a run is not trained, the two of a chain do not fit together, or the dataset does not serve the
                task.
        """
        from bench.scoring.restore import single
        from bench.training.device import scoring_device

        device = scoring_device()
        parts = [load_member(params, member, built, device) for member in self.members]
        if len(parts) == 1:
            restorer, record = single(parts[0]), parts[0].record
        else:
            restorer, record = self._open_chain(*parts)
        served = registry.dataset(self.dataset).tasks
        if restorer.task not in served:
            raise UserError(f"{self.name}: {self.dataset} serves {', '.join(served)}, not {restorer.task}")
        if self.rows:
            record = replace(record, row=self.rows[0], also=self.rows[1:])
        return restorer, replace(record, evaluation=self.name, run=self.run, dataset=self.dataset, task=restorer.task)

    def _open_chain(self, first: runs.Trained, second: runs.Trained) -> tuple[Restorer, Record]:
        from bench.scoring.restore import chain

        task = chain_task(first.record.task, second.record.task)
        if task is None:
            members = " and ".join(f"{part.record.run} ({part.record.task})" for part in (first, second))
            raise UserError(f"{self.name}: found {members}, expected a run that deblurs and one that fills holes")
        return chain(task, first, second), chain_record(first.record, second.record)


def load_member(params: Params, name: str, built: BuiltSet, device: str) -> runs.Trained:
    """Load a finished run; a method without training needs no files of its own."""
    if not (folders.run_folder(params, name) / RECORD).is_file() and name in all_runs(params):
        recipe, method = runs.resolve(params, name)
        if method.networks is None:
            record = new_record(recipe, method, built, "no training")
            return runs.Trained(record, method, runs.no_networks())
    return runs.load(params, name, device)


def chain_record(first: Record, second: Record) -> Record:
    """Return the record of two runs in a row. Its rows in the published tables combine those of both."""
    rows = ["+".join(pair) for pair in itertools.product(first.rows, second.rows)]
    weights = "+".join(part.provenance.weights_sha256 for part in (first, second))
    provenance = replace(second.provenance, mlflow_run="", weights_sha256=hashlib.sha256(weights.encode()).hexdigest())
    return replace(
        second,
        method=f"{first.method}+{second.method}",
        row=rows[0],
        also=tuple(rows[1:]),
        title=f"{first.title}+{second.title}",
        kind="chain",
        network={"first": first.network, "second": second.network},
        reduced=first.reduced + second.reduced,
        train={"first": first.run, "second": second.run},
        steps=first.steps + second.steps,
        train_seconds=first.train_seconds + second.train_seconds,
        missing_losses=first.missing_losses + second.missing_losses,
        random_helpers=first.random_helpers + second.random_helpers,
        limits=first.limits + second.limits,
        provenance=provenance,
        parts=tuple(
            Source(part.run, part.provenance.weights_sha256, part.provenance.mlflow_run) for part in (first, second)
        ),
    )


def find_plan(params: Params, name: str, dataset: str = "") -> Plan:
    """Find what a name means: a chain, a transfer, a run, or an imported run.

    On a dataset that is not its own an evaluation gets another name and no published row, so that it replaces neither
    the run's own evaluation nor one of a run that was trained there. A transfer of `params.yaml` names its rows.

    Args:
        params: the checked `params.yaml`.
        name: what to evaluate.
        dataset: the dataset whose test images are scored; default: its own.

    Raises:
        UserError: nothing has this name; the message has the nearest ones.
    """
    chains, known = all_chains(params), runs.known(params)
    run = name
    members: tuple[str, ...] = (name,)
    rows: tuple[str, ...] = ()
    if name in chains:
        chain = chains[name]
        own_dataset, members, rows = chain.dataset, (chain.first, chain.second), chain.rows
    elif name in params.transfers:
        transfer = params.transfers[name]
        own_dataset, run, members, rows = transfer.dataset, transfer.run, (transfer.run,), transfer.rows
    elif name in known:
        place = folders.run_folder(params, name) / RECORD
        own_dataset = read_record(place).dataset if place.is_file() else runs.resolve(params, name)[0].dataset
    else:
        raise UserError(f"no run {name!r}; the nearest are: {nearest(name, [*known, *chains, *params.transfers])}")
    if dataset in ("", own_dataset):
        return Plan(name, run, own_dataset, members, rows)
    title = f"{name}-on-{dataset}"
    check_name(title, "--on")
    if taken := clash_with(title, (*known, *chains, *params.transfers)):
        raise UserError(f"--on: these scores would replace those of the run {taken!r}: rename that run")
    return Plan(title, run, dataset, members, (title,))
