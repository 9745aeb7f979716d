"""The command line. Nothing heavy is imported here: `--help` answers at once, each command imports what it uses."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from bench import __version__
from bench.contracts import UserError

EPILOG = """\
the usual way:
  dvc repro                                   build, train, score and report everything in params.yaml
  dvc repro -s pipeline/deblur/dvc.yaml:train@mrfnet-gopro      one stage of it

by hand:
  python -m bench build gopro                 the stand-in from photographs inside installed packages
  python -m bench build gopro --originals originals/gopro
  python -m bench layers paris-streetview     what some methods need beside it (their textures)
  python -m bench train mrfnet-gopro          stop it whenever you like: the same command goes on
  python -m bench search mrfnet-gopro         its loss weights, into out/<profile>/search
  python -m bench evaluate mrfnet-gopro
  python -m bench report
  python -m bench compare mrfnet-gopro dmphn-gopro
  python -m bench restore mrfnet-gopro my-photo.jpg --out restored

environment: SHARPBENCH_PROFILE (paper, sample, tour), MLFLOW_TRACKING_URI (a tracking server)
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    main = argparse.ArgumentParser(
        prog="sharpbench",
        description="Measure image-restoration methods the same way, beside the numbers that their papers print.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    main.add_argument("--version", action="version", version=f"sharpbench {__version__}")
    main.add_argument("--params", type=Path, default=Path("params.yaml"), metavar="FILE", help="default: params.yaml")
    main.add_argument("--profile", metavar="NAME", help="paper, sample or tour; default: what FILE says")
    commands = main.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, text: str, more: str = "") -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}. {more}".strip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    add = command("list", "list methods, datasets, metrics or runs, with what each is")
    add.add_argument("what", nargs="?", choices=["methods", "datasets", "metrics", "runs"], help="default: all four")

    add = command(
        "describe",
        "write a page on each method: what it is, readings, losses, runs, the paper's recipe, limits",
        "Drawn from docstrings, params.yaml and the networks themselves; never edited by hand.",
    )
    add.add_argument("methods", nargs="*", metavar="METHOD", help="default: all of them")
    add.add_argument("--out", type=Path, default=Path("docs/methods"), metavar="DIR", help="default: docs/methods")

    add = command(
        "settings",
        "show what params.yaml comes to in the profile: a run's recipe, or how runs are scored",
        "\n\nWith the profile's defaults, the method's values and the run's own laid upon each other; names and types\n"
        "are checked. The pipeline keeps them in files: a training depends on its run's, evaluations on `evaluate`'s.",
    )
    which = add.add_mutually_exclusive_group(required=True)
    which.add_argument("of", nargs="?", metavar="RUN|evaluate", help="print these")
    which.add_argument(
        "--out", type=Path, metavar="DIR", help="write all: evaluate.yaml, runs/<RUN>.yaml of what is trained"
    )

    add = command("verify", "check downloaded files: layout, counts, sizes, depth; every file is read whole")
    add.add_argument("dataset")
    add.add_argument("--originals", type=Path, required=True, metavar="DIR", help="the folder of the official files")
    add.add_argument("--partial", action="store_true", help="accept fewer files than the official count")
    add.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="lay over params.yaml's options"
    )

    add = command("build", "build a dataset: degraded pairs and their manifest", "An interrupted build goes on.")
    add.add_argument("dataset")
    add.add_argument(
        "--originals",
        type=Path,
        metavar="DIR",
        help="official files; default: originals/<dataset> in the profile paper, else the stand-in",
    )
    add.add_argument("--out", type=Path, metavar="DIR", help="default: data/<profile>/<dataset>")
    add.add_argument("--partial", action="store_true", help="accept fewer files; every row and table then says so")
    add.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="lay over params.yaml's options"
    )
    add.add_argument("--jobs", type=int, metavar="N", help="processes; default: one a core")

    add = command(
        "layers",
        "make what methods need beside a built set: the texture of each training image, say",
        "Some methods are given further images that are too slow to be made at each training step. This makes them\n"
        "once, into <dataset>.layers beside the built set, for every run on the dataset in params.yaml. Run it after\n"
        "`build` and before `train`; stopped, it goes on. For an image to restore they are made on the spot.",
    )
    add.add_argument("dataset")
    add.add_argument("--only", metavar="LAYER", default="", help="one of them; default: all that its runs need")
    add.add_argument("--jobs", type=int, metavar="N", help="processes; default: one a core")

    add = command(
        "train",
        "train a run of params.yaml, or go on with it where it was stopped",
        "Several processes or machines: torchrun --nproc-per-node N -m bench train RUN",
    )
    add.add_argument("run")

    add = command(
        "search",
        "search a run's loss weights, or go on with a search that was stopped",
        "\n\nWhat is varied, tied or fixed stands under `searches` in params.yaml, how long under `search`. A trial\n"
        "is the run in miniature with weights of its own; it is scored by a metric on training photographs that are\n"
        "held out from it, and pruned when it is behind the others. The test images are not looked at. The first\n"
        "trial has the run's own weights. The best trial's weights become a run of their own:\n\n"
        "  python -m bench search mrfnet-gopro\n"
        "  python -m bench train mrfnet-gopro-searched\n"
        "  python -m bench evaluate mrfnet-gopro-searched\n\n"
        "The same command in a second terminal helps with the same study.",
    )
    add.add_argument("run")
    add.add_argument("--trials", type=int, metavar="N", help="finished trials in all; default: what params.yaml says")
    add.add_argument("--jobs", type=int, metavar="K", help="processes on the study; default: what params.yaml says")

    add = command("evaluate", "score a run, a chain or a transfer on the test images")
    add.add_argument("run")
    add.add_argument("--on", metavar="DATASET", default="", help="another dataset than the run's own")
    add.add_argument("--save", type=Path, metavar="DIR", help="write every restored image there")

    command("report", "render every table and figure and the page from all scores")

    add = command(
        "import",
        "make the authors' released weights, or a part of a trained run, a run of its own",
        "\n\nA method of several networks takes NETWORK=FILE for each; FILE:PART is one network of a run's own file.\n"
        "Then evaluate or restore with it:\n\n"
        "  python -m bench import mrfnet out/sample/runs/dffnet-places2/weights.safetensors:stage_one \\\n"
        "      --network '{channels: 8}' --dataset places2 --name dffnet-stage-one\n"
        "  python -m bench evaluate dffnet-stage-one",
    )
    add.add_argument("method")
    add.add_argument("weights", nargs="+", metavar="[NETWORK=]FILE[:PART]", help="a file, or a folder of files")
    add.add_argument("--network", default="{}", metavar="YAML", help="arguments of the networks, as in params.yaml")
    add.add_argument("--dataset", required=True, help="the built dataset that it will be scored on")
    add.add_argument("--name", required=True, metavar="RUN", help="the new run's name")

    add = command(
        "score",
        "score a folder of images restored by any program",
        "One PNG for each test image, of its name: <FOLDER>/<image>.png; `evaluate --save` shows the names.",
    )
    add.add_argument("folder", type=Path)
    add.add_argument("--dataset", required=True)
    add.add_argument("--label", required=True, metavar="NAME", help="the row's name in the tables")
    add.add_argument("--task", default="", help="which of the dataset's tasks; default: its first")

    add = command(
        "restore",
        "restore your own photographs, of any size, with a trained run",
        "A dual-pixel run takes the left views as IMAGE and the right ones with --right, in the same order.",
    )
    add.add_argument("run")
    add.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    add.add_argument("--out", type=Path, required=True, metavar="DIR")
    add.add_argument("--mask", type=Path, metavar="FILE", help="white = hole; for runs that fill holes")
    add.add_argument("--right", type=Path, nargs="+", metavar="IMAGE", default=[], help="right views")
    add.add_argument("--tile", type=int, default=0, metavar="PX", help="side of the tiles; default: only large images")
    add.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        default="float32",
        help="bfloat16 takes half the time where a processor or GPU has it, within 0.1 dB; default: float32",
    )

    add = command(
        "compare",
        "compare evaluated runs image by image, with the first of them",
        "Prints means, paired differences with their intervals, corrected p-values, wins and losses, the images that\n"
        "differ most, and a plot.",
    )
    add.add_argument("runs", nargs="+", metavar="RUN", help="evaluations, two or more; the first is the reference")
    add.add_argument("--metric", metavar="ID", default="", help="one metric alone; default: all that every run has")
    add.add_argument("--on", metavar="DATASET", default="", help="the runs' evaluations on another dataset")
    add.add_argument("--out", type=Path, metavar="FILE", help="also a plot as .png, .svg or .pdf")

    add = command("check", "check that every number and link of a rendered report leads to what made it")
    add.add_argument("report", nargs="?", type=Path, metavar="REPORT", help="default: the profile's own report")

    command("doctor", "show versions, devices, missing metric weights and free disk")
    add = command(
        "dashboard",
        "open MLflow on this machine's loopback address",
        "Prints the addresses that matter. With a tracking server in MLFLOW_TRACKING_URI nothing is started.",
    )
    add.add_argument("--port", type=int, default=5000, metavar="N", help="default: 5000, as the report's links say")
    add.add_argument("--open", action="store_true", help="open the first address in the browser")

    add = command(
        "screenshots",
        "take pictures of the report and of MLflow's pages with a headless Chromium",
        "Needs Chromium (on Debian: apt install chromium) and the packages of the extra `dev`.",
    )
    add.add_argument("--out", type=Path, metavar="DIR", help="default: out/<profile>/screenshots")
    return main


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 0, or 2 after one message for bad input."""
    options = parser().parse_args(arguments)
    from bench import commands

    # What a dataset leaves out with --partial is news for a person, not for the line of code that noticed it.
    warnings.formatwarning = lambda message, *about: f"sharpbench {options.command}: warning: {message}\n"
    try:
        getattr(commands, f"run_{options.command}")(options)
    except UserError as error:
        print(f"sharpbench {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nsharpbench {options.command}: stopped; the same command goes on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone: nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0
