"""The command group: global options, the list of commands, and what happens to errors.

Each command is a module with one `command`, imported by its name when it runs or when help needs it. So `--help` loads
no heavy package, and a command depends on nothing but its own module and that module's imports.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import click

from bench import __version__, crash, stop_signals
from bench.cli.common import GlobalOptions
from bench.contracts import UserError
from bench.registry import ROOT, nearest

PROGRAM = "sharpbench"
OWN_PACKAGES = ("datasets", "methods", "reports")
"""Packages of the project whose names others use, too, such as Hugging Face's `datasets`. The command `sharpbench`
finds installed packages first, unlike `python -m bench`."""
NO_HOME = "/nonexistent"
"""The home of users who have none, by custom: packages find no settings there and put temporary files elsewhere."""
SECTIONS = {
    "Information": {
        "list": "bench.cli.list_",
        "describe": "bench.cli.describe",
        "settings": "bench.cli.settings",
        "doctor": "bench.cli.doctor",
        "dashboard": "bench.cli.dashboard",
        "screenshots": "bench.cli.screenshots",
    },
    "Data": {
        "verify": "bench.cli.verify",
        "build": "bench.cli.build",
        "auxiliary": "bench.cli.auxiliary",
    },
    "Runs": {
        "train": "bench.cli.train",
        "search": "bench.cli.search",
        "evaluate": "bench.cli.evaluate",
        "import": "bench.cli.import_",
        "restore": "bench.cli.restore",
        "score": "bench.cli.score",
    },
    "Reports": {
        "report": "reports.cli.report",
        "compare": "reports.cli.compare",
        "check": "reports.cli.check",
    },
}
"""The module of each command, in the sections and the order of `--help`."""
MODULES = {name: module for commands in SECTIONS.values() for name, module in commands.items()}


class CommandGroup(click.Group):
    """A group whose commands are imported by name, on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """Import a command. Raises UsageError with the nearest names for an unknown one."""
        if cmd_name not in MODULES:
            ctx.fail(f"no command {cmd_name!r}; the nearest are: {nearest(cmd_name, MODULES)}")
        return self.load(cmd_name)

    def load(self, name: str) -> click.Command:
        """Import a command that exists."""
        return importlib.import_module(MODULES[name]).command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one line per command, in sections."""
        for title, names in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, self.load(name).get_short_help_str(200)) for name in names])


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="""\b
The usual way:
  dvc repro                                   build, train, score and report everything in params.yaml
  dvc repro -s pipeline/deblur/dvc.yaml:train@mrfnet-gopro      one stage of it

\b
By hand:
  python -m bench build gopro                 the stand-in, from photographs inside installed packages
  python -m bench build gopro --originals originals/gopro
  python -m bench auxiliary paris-streetview  auxiliary maps that some methods need (textures)
  python -m bench train mrfnet-gopro          stop it at any time: the same command continues
  python -m bench search mrfnet-gopro         search its loss weights, into out/<profile>/search
  python -m bench evaluate mrfnet-gopro
  python -m bench report
  python -m bench compare mrfnet-gopro dmphn-gopro
  python -m bench restore mrfnet-gopro my-photo.jpg --out restored

\b
Environment variables:
  SHARPBENCH_PROFILE                          paper, sample or tour
  MLFLOW_TRACKING_URI                         a tracking server
""",
)
@click.version_option(__version__, message=f"{PROGRAM} %(version)s")
@click.option(
    "--params",
    type=click.Path(path_type=Path),
    default="params.yaml",
    show_default=True,
    metavar="FILE",
    help="The parameter file.",
)
@click.option("--profile", metavar="NAME", help="paper, sample or tour; default: the profile set in FILE.")
@click.option(
    "--methods",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A folder of further methods, one file each; default: `methods` in FILE.",
)
@click.pass_context
def group(context: click.Context, params: Path, profile: str | None, methods: Path | None) -> None:
    """Measure image-restoration methods the same way, each number next to the one its paper prints.

    `COMMAND --help` explains a command and its options.
    """
    context.obj = GlobalOptions(params, profile, methods)
    # Plots are drawn into files. A notebook's backend, which its shells inherit, may not be in this environment.
    os.environ["MPLBACKEND"] = "agg"
    # A warning (an incomplete dataset, for one) is meant for a person: without the file and line that raised it.
    prefix = f"{PROGRAM} {context.invoked_subcommand}"
    warnings.formatwarning = lambda message, *_, **__: f"{prefix}: warning: {message}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the command line without the program's name; by default that of this process.

    Returns:
        The exit status: 0, 2 after one message about bad input, 130 after Ctrl-C, 143 after SIGTERM, 70 after an error
        that nobody expected, with a file for a report (`bench.crash`).
    """
    context: click.Context | None = None
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with stop_signals.handled():
            _prepare_process()
            context = group.make_context(PROGRAM, list(arguments))
            group.invoke(context)
    except click.exceptions.Exit as end:  # after --help and --version
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return 2
    except click.UsageError as error:
        print(_usage_message(error, _prefix(context)), file=sys.stderr)
        return 2
    except UserError as error:
        print(f"{_prefix(context)}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        stop = error if isinstance(error, stop_signals.Stopped) else stop_signals.Stopped(signal.SIGINT)
        stop_signals.write_line(stop.message(_prefix(context)))
        return stop.status
    except BrokenPipeError:
        # The reader (head, less) has closed the pipe; what Python still flushes at exit must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        return crash.end(error, _prefix(context), arguments)
    return 0


def _prepare_process() -> None:
    """Let every text be printed, the project's own packages be found before others, and packages look for a home.

    Raises:
        UserError: the current folder has been deleted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name in another encoding than the terminal's
            stream.reconfigure(errors="backslashreplace")
    for name in OWN_PACKAGES:
        spec = None if name in sys.modules else importlib.util.find_spec(name)
        if spec is not None and spec.origin != str(ROOT / name / "__init__.py"):
            sys.path.insert(0, str(ROOT))
    if os.path.expanduser("~") == "~":  # no HOME and no entry of this user: MLflow cannot be imported then
        os.environ["HOME"] = NO_HOME
    try:
        os.getcwd()
    except OSError:
        raise UserError("the current folder has been deleted; change to the project's folder and try again") from None


def _prefix(context: click.Context | None) -> str:
    command = context.invoked_subcommand if context else None
    return f"{PROGRAM} {command}" if command else PROGRAM


def _usage_message(error: click.UsageError, prefix: str) -> str:
    """Return one line: the command, the option or argument, what is wrong with it, and how to get help."""
    text = error.format_message()
    if isinstance(error, click.BadParameter) and not isinstance(error, click.MissingParameter) and error.param:
        text = f"{error.param.get_error_hint(error.ctx).strip(chr(39))}: {error.message}"
    text = " ".join(text.split()).rstrip(".?")
    return f"{prefix}: {text[:1].lower()}{text[1:]}; see: python -m bench{prefix.removeprefix(PROGRAM)} --help"
