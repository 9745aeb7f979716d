"""Help, usage errors and exit statuses of every command."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bench import __version__
from bench.cli.main import MODULES, group, main

ROOT = Path(__file__).parents[3]
HEAVY = {
    "torch",
    "pandas",
    "mlflow",
    "numpy",
    "cv2",
    "pydantic",
    "accelerate",
    "matplotlib",
    "scipy",
    "skimage",
    "rich",
}
COMMANDS = {name: group.load(name) for name in MODULES}


def options_of(command: click.Command) -> list[click.Option]:
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


def every_option() -> Iterator[tuple[str, click.Option]]:
    return ((name, option) for name, command in COMMANDS.items() for option in options_of(command))


def required_arguments(command: click.Command) -> list[str]:
    """Return values for what a command requires, so that only a further option can be wrong."""
    values = []
    for parameter in command.params:
        if parameter.required:
            values += [*parameter.opts[:1], "x"] if isinstance(parameter, click.Option) else ["x"]
    return values


def usage_error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a wrong command line; return its one message."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 1
    return printed.err


def python(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


# Help -----------------------------------------------------------------------------------------------------------------


def test_help_lists_every_command_with_a_summary(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"\n  {name} " in text and command.get_short_help_str(200)[:40] in text


def test_every_module_of_the_package_is_a_command_or_shared_by_commands():
    shared = {"main", "common", "dataset_job", "means"}
    files = {path.stem for folder in ("bench", "reports") for path in (ROOT / folder / "cli").glob("[!_]*.py")}
    assert files - shared == {module.rpartition(".")[2] for module in MODULES.values()}


def test_help_answers_within_0_3_seconds():
    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert python("-m", "bench", "--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.3


@pytest.mark.parametrize("arguments", [(), *((name,) for name in MODULES)], ids=lambda names: " ".join(names) or "all")
def test_help_imports_no_heavy_package(arguments):
    done = python("-X", "importtime", "-m", "bench", *arguments, "--help")
    assert done.returncode == 0 and done.stdout.startswith(" ".join(["Usage: sharpbench", *arguments]))
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "click" in imported and not imported & HEAVY


@pytest.mark.parametrize("name", MODULES)
def test_help_of_a_command_explains_its_arguments_and_options(name, capsys):
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Option):
            assert parameter.help and all(f"{option}" in text for option in parameter.opts)
            if not parameter.is_flag:
                assert parameter.metavar or isinstance(parameter.type, click.Choice)
        else:
            assert parameter.make_metavar(click.Context(COMMANDS[name])) in text.splitlines()[0]


def test_the_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"sharpbench {__version__}\n"


# Usage errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian", "x"], "sharpbench: no command 'trian'; the nearest are: train; see: python -m bench --help\n"),
        (["--prams", "x", "list"], "sharpbench: no such option '--prams'. Did you mean '--params'; see: "),
        (["train"], "sharpbench train: missing argument 'RUN'; see: python -m bench train --help\n"),
        (["train", "a", "b"], "sharpbench train: got unexpected extra argument (b); see: "),
        (["build", "gopro", "--jobs", "two"], "sharpbench build: --jobs: 'two' is not a valid integer range; see: "),
        (["build", "gopro", "--jobs", "0"], "sharpbench build: --jobs: 0 is not in the range x>=1; see: "),
        (
            ["dashboard", "--port", "70000"],
            "sharpbench dashboard: --port: 70000 is not in the range 1<=x<=65535; see: ",
        ),
        (["list", "runz"], "sharpbench list: [methods|datasets|metrics|runs]: 'runz' is not one of 'methods', "),
        (["settings"], "sharpbench settings: expected one of RUN, evaluate, --out DIR and"),
        (
            ["settings", "a", "--out", "b"],
            "sharpbench settings: expected one of RUN, evaluate, --out DIR and",
        ),
    ],
)
def test_a_wrong_command_line_is_one_message_with_the_way_to_help(arguments, message, capsys):
    assert usage_error(capsys, *arguments).startswith(message)


def test_without_a_command_help_is_printed_as_an_error(capsys):
    assert main([]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("Usage: sharpbench ")


@pytest.mark.parametrize("name", MODULES)
def test_an_unknown_option_is_refused(name, capsys):
    message = usage_error(capsys, name, *required_arguments(COMMANDS[name]), "--no-such-option")
    assert message.startswith(f"sharpbench {name}: no such option '--no-such-option'")
    assert message.endswith(f"; see: python -m bench {name} --help\n")


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if required_arguments(command)])
def test_a_missing_argument_is_refused(name, capsys):
    assert usage_error(capsys, name).startswith(f"sharpbench {name}: missing ")


@pytest.mark.parametrize(
    ("name", "option"),
    [(name, option) for name, option in every_option() if not option.is_flag],
    ids=lambda value: value if isinstance(value, str) else value.opts[0],
)
def test_an_option_without_its_value_is_refused(name, option, capsys):
    message = usage_error(capsys, name, *required_arguments(COMMANDS[name]), option.opts[0])
    assert message.startswith(f"sharpbench {name}: option '{option.opts[0]}' requires an argument; see: ")


@pytest.mark.parametrize(
    ("name", "option"),
    [
        (name, option)
        for name, option in every_option()
        if isinstance(option.type, click.types.IntParamType | click.Choice)
    ],
    ids=lambda value: value if isinstance(value, str) else value.opts[0],
)
def test_a_value_of_the_wrong_type_is_refused(name, option, capsys):
    message = usage_error(capsys, name, *required_arguments(COMMANDS[name]), option.opts[0], "many")
    assert message.startswith(f"sharpbench {name}: {option.opts[0]}: 'many' is not ")


# Exit status ----------------------------------------------------------------------------------------------------------


def test_a_closed_pipe_is_not_an_error(tmp_path):
    command = f"{sys.executable} -m bench list methods | head -n 1; exit ${{PIPESTATUS[0]}}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr


def test_bad_input_of_the_program_is_status_2_and_one_line(tmp_path):
    (tmp_path / "params.yaml").write_text("runs: {deblur: {mrfnet-gopro: {method: mrfnet, dataset: gopro}}}\n")
    done = python("-m", "bench", "train", "mrfnet-gorpo", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    expected = "sharpbench train: params.yaml: no run 'mrfnet-gorpo'; the nearest are: mrfnet-gopro"
    assert done.stderr.startswith(expected) and len(done.stderr.splitlines()) == 1
