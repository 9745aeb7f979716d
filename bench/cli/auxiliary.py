"""The command `auxiliary`."""

from __future__ import annotations

import click

from bench.cli.common import STAGE_NAME, GlobalOptions
from bench.contracts import UserError


@click.command("auxiliary")
@click.argument("dataset", type=STAGE_NAME, metavar="DATASET|STAGE")
@click.option("--only", default="", metavar="MAP", help="Make one map; default: all that its runs need.")
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Processes; default: one per usable core.")
@click.pass_obj
def command(options: GlobalOptions, dataset: str, only: str, jobs: int | None) -> None:
    """Make the auxiliary maps of a built dataset, for example the texture of each training image.

    Some methods take a further image per training image that is too slow to make in each training step. This command
    makes it once, into <dataset>.auxiliary next to the built dataset, for all runs on the dataset in params.yaml. Run
    it after `build` and before `train`; if it is stopped, the same command continues. `restore` makes the maps of its
    images itself. STAGE is a name of the section `auxiliary` in params.yaml, for the one map that it names.

    \b
    Examples:
      python -m bench auxiliary paris-streetview
      python -m bench auxiliary paris-texture
    """
    from bench import folders, registry
    from bench.data import auxiliary, auxiliary_build, manifest

    params, name = options.load(), dataset.replace("_", "-")
    if dataset in params.auxiliary and not only:
        stage = params.auxiliary[dataset]
        name, only = stage.dataset, stage.map
    registry.module_name("datasets", name)
    declared = auxiliary.declared(params, name)
    if not declared:
        raise UserError(f"{name}: no method of a run on it needs auxiliary maps; train at once")
    if only and only not in declared:
        raise UserError(f"{name}: no auxiliary map {only!r}; its runs need: {', '.join(sorted(declared))}")
    built = manifest.read(folders.data_folder(params, name))
    for key in [only] if only else sorted(declared):
        print(f"{name}: auxiliary map {key} -> {auxiliary_build.make(built, key, declared[key], jobs)}")
