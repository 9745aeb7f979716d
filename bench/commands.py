"""What each command does: it reads the parameters, calls one function of the engine, and says what came of it."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench import registry
from bench.contracts import UserError
from bench.params import loading, resolving, schema

if TYPE_CHECKING:
    from pydantic import BaseModel

    from bench.data.build import Job


def _load(options: argparse.Namespace) -> schema.Params:
    return loading.load(options.params, options.profile)


def _table(title: str, rows: Iterable[Sequence[str]]) -> None:
    rows = [list(map(str, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    print(f"{title} ({len(rows)})")
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def run_list(options: argparse.Namespace) -> None:
    """List entries, each in a line."""
    wanted = [options.what] if options.what else ["methods", "datasets", "metrics", "runs"]
    if "methods" in wanted:
        _table(
            "methods",
            [(n, ", ".join(registry.method(n).tasks), _first_line("methods", n)) for n in registry.names("methods")],
        )
    if "datasets" in wanted:
        entries = [(n, registry.dataset(n)) for n in registry.names("datasets")]
        rows = [(n, ", ".join(e.tasks), f"{e.title}: {_counts(e.counts)}", _address(e.source)) for n, e in entries]
        _table("datasets", rows)
    if "metrics" in wanted:
        from bench.scoring.metrics import catalogue, perceptual

        measures = [*catalogue.METRICS.values(), *perceptual.PERCEPTUAL.values()]
        _table("metrics", [(m.id, f"{m.better} is better", f"{m.protocol}. {m.notes}".strip()) for m in measures])
    if "runs" in wanted:
        _list_runs(_load(options))


def _list_runs(loaded: schema.Params) -> None:
    from bench import runs

    rows = [(name, run.method, run.dataset, _state(loaded, name)) for name, run in resolving.all_runs(loaded).items()]
    rows += [
        (n, f"{c.first} + {c.second}", c.dataset, _state(loaded, n)) for n, c in resolving.all_chains(loaded).items()
    ]
    rows += [(n, t.run, t.dataset, _state(loaded, n)) for n, t in loaded.transfers.items()]
    rows += [(n, "imported", "", _state(loaded, n)) for n in runs.known(loaded) if n not in resolving.all_runs(loaded)]
    _table(f"runs of profile {loaded.profile}", rows)


def _state(loaded: schema.Params, name: str) -> str:
    from bench import runs

    if (runs.scores_folder(loaded, name) / "record.json").is_file():
        return "scored"
    return "trained" if (runs.folder(loaded, name) / runs.RECORD).is_file() else "-"


def _first_line(package: str, name: str) -> str:
    import importlib

    text = importlib.import_module(registry.module_name(package, name)).__doc__ or ""
    return text.strip().partition("\n")[0]


def run_describe(options: argparse.Namespace) -> None:
    """Write the pages of methods."""
    from bench.tools.method_pages import write

    for path in write(options.methods, options.params, options.out):
        print(f"-> {path}")


def run_settings(options: argparse.Namespace) -> None:
    """Print a run's recipe or how runs are scored, as the profile settles it, or write all of that to a folder."""
    loaded = _load(options)
    if options.out is not None:
        from bench.files import write_text

        write_text(options.out / "evaluate.yaml", _settled(resolving.evaluation(loaded)))
        for name in resolving.trained_runs(loaded):
            recipe = resolving.base_recipe(loaded, name)
            write_text(options.out / "runs" / f"{name}.yaml", _settled(recipe, threads=loaded.threads))
    elif options.of == "evaluate":
        print(_settled(resolving.evaluation(loaded)), end="")
    else:
        from bench import runs

        print(_settled(runs.resolve(loaded, options.of)[0]), end="")


def _settled(settings: BaseModel, **more: int) -> str:
    import yaml

    values = more | settings.model_dump(mode="json")
    return yaml.safe_dump(values, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)


def _address(source: str) -> str:
    """Find the address in what a dataset says of its source; nothing where there is none."""
    found = re.search(r"(https?://)?([\w-]+\.)+[a-z]{2,}/[\w./-]*[\w/]", source)
    return found[0] if found else ""


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in counts.items()) or "no official count"


def _made(images: Iterable[tuple[str, str]]) -> tuple[str, dict[str, int]]:
    """Count images and the pictures that they were made from, by split.

    Args:
        images: split and source of each.

    Returns:
        the words for a person, and the pictures by split: these are what official counts count.
    """
    sources: dict[str, list[str]] = {}
    for split, source in images:
        sources.setdefault(split, []).append(source)
    pictures = {split: len(set(found)) for split, found in sources.items()}
    told = [
        f"{len(found):,} {split}"
        + (f" (of {pictures[split]:,} picture{'s' * (pictures[split] > 1)})" if len(found) > pictures[split] else "")
        for split, found in sources.items()
    ]
    return ", ".join(told), pictures


def _job(options: argparse.Namespace, originals: Path | None) -> tuple[schema.Params, Job]:
    from bench.data.build import Job

    loaded = _load(options)
    name = options.dataset.replace("_", "-")
    registry.module_name("datasets", name)
    if originals is None and loaded.profile == "paper":
        originals = Path(loaded.paths.originals, name)
    if originals is None and options.partial:
        raise UserError(
            f"--partial: nothing of {name}'s stand-in can be missing; name the official files by --originals DIR, or "
            "leave it out"
        )
    choices = resolving.dataset_options(loaded, name, originals is not None) | _given(options.option)
    return loaded, Job(name, originals, choices, loaded.seed, loaded.profile, options.partial)


def _given(options: Sequence[str]) -> dict[str, object]:
    """Read NAME=VALUE options as params.yaml would. Raises UserError for one without a value, or that is no YAML."""
    given = {}
    for text in options:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--option: found {text!r}, expected NAME=VALUE, as in resolution=large")
        wrong = f"--option: found {text!r}, whose value is no YAML, expected one as in bands=[20-30, 30-40]"
        given[name] = _from_yaml(value, wrong)
    return given


def _from_yaml(text: str, wrong: str) -> object:
    """Read a value as it would stand in params.yaml. Raises UserError with the message `wrong` for what is no YAML."""
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):  # a ValueError for a date that there is not
        raise UserError(wrong) from None


def run_verify(options: argparse.Namespace) -> None:
    """Check downloaded files."""
    from bench.data.build import verify

    _, job = _job(options, options.originals)
    told, pictures = _made((item.split, item.source) for item in verify(job))
    print(f"{options.dataset}: {told}: layout, sizes and depth are right, every file can be read")
    official = registry.dataset(options.dataset).counts
    if options.partial and pictures != official:
        print(f"partial: the official counts are {_counts(official)}")


def _check_jobs(options: argparse.Namespace) -> None:
    if options.jobs is not None and options.jobs < 1:
        raise UserError(f"--jobs: found {options.jobs}, expected 1 or more")


def run_build(options: argparse.Namespace) -> None:
    """Build a dataset."""
    from bench import runs
    from bench.data.build import build

    loaded, job = _job(options, options.originals)
    _check_jobs(options)
    out = options.out or runs.data_folder(loaded, options.dataset.replace("_", "-"))
    path = build(job, out, options.jobs)
    from bench.data import manifest

    built = manifest.read(path.parent)
    told, _ = _made(zip(built.rows["split"], built.rows["source"], strict=True))
    origin = f"{built.about['origin']}{' (partial)' * built.about['partial']}"
    print(f"{options.dataset}: {told} from {origin} -> {path}")


def run_layers(options: argparse.Namespace) -> None:
    """Make a built set's layers."""
    from bench import runs
    from bench.data import auxiliary, manifest

    loaded, name = _load(options), options.dataset.replace("_", "-")
    registry.module_name("datasets", name)
    found = auxiliary.declared(loaded, name)
    if not found:
        raise UserError(f"{name}: no method of a run on it needs layers; train at once")
    if options.only and options.only not in found:
        raise UserError(f"{name}: no layer {options.only!r}; its runs need: {', '.join(sorted(found))}")
    _check_jobs(options)
    built = manifest.read(runs.data_folder(loaded, name))
    for key in [options.only] if options.only else sorted(found):
        print(f"{name}: layer {key} -> {auxiliary.make(built, key, found[key], options.jobs)}")


def run_train(options: argparse.Namespace) -> None:
    """Train a run."""
    from bench.training.train import train

    train(_load(options), options.run)


def run_search(options: argparse.Namespace) -> None:
    """Search a run and print what was found."""
    from bench.files import read_json
    from bench.search.winner import STUDY, search

    _check_jobs(options)
    if options.trials is not None and options.trials < 1:
        raise UserError(f"--trials: found {options.trials}, expected 1 or more")
    folder = search(_load(options), options.run, options.trials, options.jobs)
    study = read_json(folder / STUDY)
    own, best = study["default"], study["winner"]
    rows = [("", "default", f"trial {best['number']}")]
    rows += [(name, f"{own['values'][name]:.4g}", f"{value:.4g}") for name, value in best["values"].items()]
    score = "-" if own["value"] is None else f"{own['value']:.4f}"
    _table(f"best numbers of {options.run}", [*rows, (study["metric"], score, f"{best['value']:.4f}")])
    print(f"-> {folder}")
    print(f"next: python -m bench train {study['winner_run']}")


def run_evaluate(options: argparse.Namespace) -> None:
    """Score a run and print its means."""
    from bench.scoring.evaluate import evaluate

    _print_means(evaluate(_load(options), options.run, options.on.replace("_", "-"), options.save))


def run_score(options: argparse.Namespace) -> None:
    """Score a folder of predictions and print its means."""
    from bench.scoring.predictions import score_folder

    folder = score_folder(
        _load(options), options.folder, options.dataset.replace("_", "-"), options.label, options.task
    )
    _print_means(folder)


def _print_means(folder: Path) -> None:
    import pandas as pd

    from bench.files import read_json

    scores = pd.read_parquet(folder / "scores.parquet")
    images = scores[(scores["image"] != "") & scores["value"].notna()]
    means = images.groupby(["metric", "input"], sort=False)["value"].mean().unstack()
    first = scores.iloc[0]
    count = images["image"].nunique()
    origin = f"{first['origin']}{', partial' * bool(first['partial'])}"
    print(f"{first['run']} on {first['dataset']} ({origin}): {count} images")
    for metric, row in means.iterrows():
        print(f"  {metric:18s}" + "  ".join(f"{source}: {value:.4f}" for source, value in row.items()))
    # What belongs to a set of images: a distance between distributions.
    sets = scores[(scores["image"] == "") & (scores["input"] != "") & scores["value"].notna()]
    for one in sets.to_dict("records"):
        of = " ".join(filter(None, (one["input"], one["mask_kind"], one["mask_band"])))
        print(f"  {one['metric']:18s}{of}: {one['value']:.4f}")
    for metric, reason in read_json(folder / "record.json")["not_measured"].items():
        print(f"  {metric:18s}not measured: {reason}")
    print(f"-> {folder / 'scores.parquet'}")


def run_report(options: argparse.Namespace) -> None:
    """Bring all scores into MLflow and render the report."""
    from reports.stage import report

    loaded = _load(options)
    page = report(loaded)
    print(f"-> {page}")


def run_compare(options: argparse.Namespace) -> None:
    """Compare evaluated runs."""
    from bench import runs
    from reports import compare

    loaded = _load(options)
    if options.out:
        compare.check_output(options.out)
    root = runs.scores_folder(loaded)
    found = compare.compare(
        compare.find(root, loaded.profile, options.runs, options.on.replace("_", "-")), options.metric
    )
    plain = not sys.stdout.isatty() or "utf" not in (sys.stdout.encoding or "").lower()
    print(compare.text(found, plain), end="")
    if options.out:
        compare.save(found, options.out)
        print(f"-> {options.out}")


def run_check(options: argparse.Namespace) -> None:
    """Check a rendered report."""
    from bench import runs
    from bench.tracking import store
    from reports.checks.check import check, need_report

    loaded = _load(options)
    report = options.report or Path(loaded.paths.reports, loaded.profile)
    need_report(report)
    ask = partial(store.experiment_of, store.connect(loaded.tracking))
    found = check(report, runs.scores_folder(loaded), profile=loaded.profile, experiment_of=ask)
    print(f"{report}: {found}")


def run_import(options: argparse.Namespace) -> None:
    """Make weights that are there a run."""
    from bench.importing import file_and_part, import_weights

    sources: dict[str, Path] = {}
    for text in options.weights:
        # A file's own name may have the sign, as in epoch=3.ckpt; no network's has.
        whole = "=" not in text or file_and_part(Path(text))[0].exists()
        part, path = ("", text) if whole else text.split("=", 1)
        if part in sources:
            raise UserError(f"two files for the network {part or 'of ' + options.method!r}: give NETWORK=FILE for each")
        sources[part] = Path(path)
    wrong = f"--network: found {options.network!r}, expected arguments by name, as in '{{channels: 8}}'"
    network = _from_yaml(options.network, wrong)
    if not isinstance(network, dict):
        raise UserError(wrong)
    dataset = options.dataset.replace("_", "-")
    out = import_weights(_load(options), options.method, sources, dataset, options.name, network)
    print(f"{options.name}: the weights fit {options.method} -> {out}")
    print(f"next: python -m bench evaluate {options.name}")


def run_restore(options: argparse.Namespace) -> None:
    """Restore a person's photographs."""
    # While torch is not there yet: a network may use two libraries' threads in turn, and those of the one that wait
    # must leave their cores to the other's.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from bench.scoring.photographs import restore_files

    for path in restore_files(_load(options), options):
        print(f"-> {path}")


def run_doctor(options: argparse.Namespace) -> None:
    """Show what this machine has."""
    from bench.tools.doctor import report

    report(_load(options))


def run_dashboard(options: argparse.Namespace) -> None:
    """Open MLflow's server on loopback."""
    from bench.tools.dashboard import dashboard

    if not 0 < options.port < 2**16:
        raise UserError(f"--port: found {options.port}, expected 1 to {2**16 - 1}")
    dashboard(_load(options), options.port, options.open)


def run_screenshots(options: argparse.Namespace) -> None:
    """Take pictures of the report and of MLflow."""
    from bench.tools.screenshots import screenshots

    for path in screenshots(_load(options), options.out):
        print(f"-> {path}")
