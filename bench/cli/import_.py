"""The command `import`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from bench import yaml_input
from bench.cli.common import GlobalOptions
from bench.contracts import UserError
from bench.contracts.errors import brief


@click.command("import")
@click.argument("method")
@click.argument("weights", nargs=-1, required=True, metavar="[NETWORK=]FILE[:PART]...")
@click.option(
    "--network",
    default="{}",
    show_default=True,
    metavar="YAML",
    help="Arguments of the networks, for example '{channels: 8}'.",
)
@click.option("--dataset", required=True, metavar="NAME", help="The built dataset that the new run is scored on.")
@click.option("--name", required=True, metavar="RUN", help="The new run's name.")
@click.pass_obj
def command(
    options: GlobalOptions, method: str, weights: tuple[str, ...], network: str, dataset: str, name: str
) -> None:
    """Make a run from the authors' released weights, or from a part of a trained run.

    FILE is a file or a folder of files. A method of several networks takes one NETWORK=FILE for each; FILE:PART is one
    state dict of a training checkpoint, or one network inside a run's own file. Then evaluate the new run or restore
    photographs with it.

    \b
    Examples:
      python -m bench import dmphn checkpoints/DMPHN_1_2_4_8 --dataset gopro --name dmphn-authors
      python -m bench import mrfnet out/sample/runs/dffnet-places2/weights.safetensors:stage_one \\
          --network '{channels: 8}' --dataset places2 --name dffnet-stage-one
      python -m bench evaluate dffnet-stage-one
    """
    from bench.importing import import_weights
    from bench.provenance import warn_without_commit

    warn_without_commit()
    sources = _sources(weights, method)
    arguments = yaml_input.parse(network, "--network")
    if not isinstance(arguments, dict) or not all(isinstance(key, str) for key in arguments):
        raise UserError(f"--network: found {brief(network)}, expected arguments by name, as in '{{channels: 8}}'")
    out = import_weights(options.load(), method, sources, dataset.replace("_", "-"), name, arguments)
    print(f"{name}: the weights fit {method} -> {out}")
    print(f"next: python -m bench evaluate {name}")


def _sources(texts: Iterable[str], method: str) -> dict[str, Path]:
    """Return each network's file, "" for the only network. Raises UserError for two files of one network."""
    from bench.state_files import file_and_part

    sources: dict[str, Path] = {}
    for text in texts:
        # A file name may contain "=", as in epoch=3.ckpt; the name of a network does not.
        whole = "=" not in text or file_and_part(Path(text))[0].exists()
        network, path = ("", text) if whole else text.split("=", 1)
        if network in sources:
            raise UserError(f"two files for the network {network or 'of ' + repr(method)}: give NETWORK=FILE for each")
        sources[network] = Path(path)
    return sources
