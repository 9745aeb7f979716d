"""What an evaluation will do, before anything heavy is loaded: its run or chain, its dataset, its rows."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench import registry, runs
from bench.contracts import UserError
from bench.data.manifest import BuiltSet
from bench.files import read_json
from bench.params.resolving import all_chains
from bench.params.schema import Params
from bench.registry import nearest
from bench.tasks import chain_task

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Plan:
    """What an evaluation will do, before anything heavy is loaded.

    Args:
        name: of the evaluation.
        run: what is evaluated: the run, or the chain.
        members: the runs: one, or the two of a chain.
        rows: its rows in the published tables, where it has others than its runs.
    """

    name: str
    run: str
    dataset: str
    members: tuple[str, ...]
    rows: tuple[str, ...]

    def open(self, params: Params, built: BuiltSet) -> tuple[Any, dict[str, Any]]:
        """Load the networks; return the restorer and the beginning of the record."""
        from bench.scoring.restore import chain, single
        from bench.training.device import scoring_device

        device = scoring_device()
        parts = [self._part(params, member, built, device) for member in self.members]
        if len(parts) == 2:
            tasks = [part.record["task"] for part in parts]
            task = chain_task(*tasks)
            if task is None:
                members = " and ".join(f"{run} ({name})" for run, name in zip(self.members, tasks, strict=True))
                raise UserError(f"{self.name}: found {members}, expected a run that deblurs and one that fills holes")
            restorer = chain(task, *parts)
            record = self._chain_record(parts)
        else:
            record = dict(parts[0].record)
            restorer = single(parts[0], record["task"])
        record |= {
            "dataset": self.dataset,
            "task": restorer.task,
            "run": self.run,
        }
        if self.rows:
            record |= {"as": self.rows[0], "also_as": list(self.rows[1:])}
        if restorer.task not in registry.dataset(self.dataset).tasks:
            served = ", ".join(registry.dataset(self.dataset).tasks)
            raise UserError(f"{self.name}: {self.dataset} serves {served}, not {restorer.task}")
        return restorer, record

    def _part(self, params: Params, member: str, built: BuiltSet, device: Any) -> Any:
        """Load a finished run; a method without training needs no files of its own."""
        from bench.training.train import about

        if not (runs.folder(params, member) / runs.RECORD).is_file() and member in runs.all_runs(params):
            recipe, method = runs.resolve(params, member)
            if method.networks is None:
                return runs.without_training(about(recipe, method, built, "no training"), method)
        return runs.load(params, member, device)

    def _chain_record(self, parts: list[Any]) -> dict[str, Any]:
        first, second = (part.record for part in parts)
        names = [(record["as"], *record.get("also_as", ())) for record in (first, second)]
        rows = ["+".join(pair) for pair in itertools.product(*names)]
        weights = [record["provenance"].get("weights_sha256", "") for record in (first, second)]
        return dict(second) | {
            "method": f"{first['method']}+{second['method']}",
            "as": rows[0],
            "also_as": rows[1:],
            "title": f"{first['title']}+{second['title']}",
            "kind": "chain",
            "network": {"first": first["network"], "second": second["network"]},
            "reduced": [*first["reduced"], *second["reduced"]],
            "train": {"first": first["run"], "second": second["run"]},
            "steps": first["steps"] + second["steps"],
            "train_seconds": first["train_seconds"] + second["train_seconds"],
            "missing_losses": [*first["missing_losses"], *second["missing_losses"]],
            "random_helpers": [*first.get("random_helpers", ()), *second.get("random_helpers", ())],
            "limits": [*first["limits"], *second["limits"]],
            "provenance": second["provenance"]
            | {"mlflow_run": "", "weights_sha256": hashlib.sha256("+".join(weights).encode()).hexdigest()},
            "parts": [
                {
                    "run": record["run"],
                    "weights_sha256": digest,
                    "mlflow_run": record["provenance"].get("mlflow_run", ""),
                }
                for record, digest in zip((first, second), weights, strict=True)
            ],
        }


def plans(params: Params, name: str, dataset: str = "") -> Plan:
    """Find what a name means: a chain, a transfer, a run, an imported run.

    On another dataset than its own the evaluation has another name, and stands in no published row: it must not take
    the place of the own one, nor of the run that was trained there. A transfer of params.yaml may.

    Raises:
        UserError: there is nothing of this name; the nearest names are given.
    """
    chains, known = all_chains(params), runs.known(params)
    run = name
    members: tuple[str, ...] = (name,)
    rows: tuple[str, ...] = ()
    if name in chains:
        found = chains[name]
        own, members, rows = found.dataset, (found.first, found.second), found.rows
    elif name in params.transfers:
        moved = params.transfers[name]
        own, run, members, rows = moved.dataset, moved.run, (moved.run,), moved.rows
    elif name in known:
        record = runs.folder(params, name) / runs.RECORD
        own = read_json(record)["dataset"] if record.is_file() else runs.resolve(params, name)[0].dataset
    else:
        every = [*known, *chains, *params.transfers]
        raise UserError(f"no run {name!r}; the nearest are: {nearest(name, every)}")
    if dataset in ("", own):
        return Plan(name, run, own, members, rows)
    title = f"{name}-on-{dataset}"
    return Plan(title, run, dataset, members, (title,))
