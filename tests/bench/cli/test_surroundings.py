"""What surrounds a command: packages of our names, a deleted folder, names in no encoding, a user without a home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[3]
CONSOLE_SCRIPT = """
import os, sys
sys.path[:0] = [os.environ["SITE"]]  # a console script has the folder of installed packages before editable ones
from bench.cli.main import main
sys.exit(main(["list", "datasets"]))
"""


def python(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False, errors="replace"
    )


@pytest.mark.parametrize("name", ["datasets", "methods", "reports"])
def test_the_console_script_finds_the_projects_packages_before_others_of_their_names(tmp_path, name):
    package = tmp_path / "site" / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('this is a package of somebody else')\n")
    done = python("-c", CONSOLE_SCRIPT, cwd=tmp_path, SITE=str(tmp_path / "site"))
    assert done.returncode == 0, done.stderr
    assert "gopro" in done.stdout and "visdrone" in done.stdout


def test_in_a_folder_that_was_deleted_a_command_says_so(tmp_path):
    (tmp_path / "gone").mkdir()
    code = "import os, sys; from bench.cli.main import main; os.rmdir(os.getcwd()); sys.exit(main(['list', 'runs']))"
    done = python("-c", code, cwd=tmp_path / "gone")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "sharpbench: the current folder has been deleted; change to the project's folder" in done.stderr


def test_a_name_that_no_encoding_has_is_printed_all_the_same(tmp_path):
    name = os.fsdecode(b"K\xf6hler.png")
    (tmp_path / "params.yaml").write_text("baselines: {input-gopro: {method: input, dataset: gopro}}\n")
    arguments = ("-m", "bench", "restore", "input-gopro", name, "--out", "restored")
    for encoding in ("utf-8", "ascii"):
        done = python(*arguments, cwd=tmp_path, PYTHONIOENCODING=encoding)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert "hler.png: no such file" in done.stderr


@pytest.mark.parametrize(("letters", "status"), [(246, 0), (251, 0), (252, 2), (300, 2)])
def test_a_photograph_with_a_long_name_is_restored_or_refused_before_any_work(tmp_path, monkeypatch, letters, status):
    from bench.cli.main import main

    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("baselines: {input-gopro: {method: input, dataset: gopro}}\n")
    photograph = Path("a" * letters + ".jp")
    if len(photograph.name) <= 255:
        Image.new("RGB", (32, 32)).save(photograph, "JPEG")
    assert main(["restore", "input-gopro", str(photograph), "--out", "restored"]) == status
    assert [path.name for path in Path().glob("restored/*")] == ["a" * letters + ".png"] * (status == 0)


def test_a_user_without_a_home_can_import_mlflow(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import pwd\ndef unknown(number): raise KeyError(number)\npwd.getpwuid = unknown\n"
    )
    code = "from bench.cli.main import main; assert main(['list', 'datasets']) == 0; import mlflow"
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    environment |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_user_without_a_home_gets_the_same_answers(monkeypatch):
    from bench import weights

    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("TORCH_HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    assert weights.find("vgg19") is None
    assert "put it, under this name, into ~/.cache/torch/hub/checkpoints" in weights.explain("vgg19")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "params.yaml: cannot be read: Is a directory"),
        (b"profile: K\xf6hler", "params.yaml: not UTF-8 at byte 10"),
        (b"\xef\xbb\xbfbaselines: {x: {method: input, dataset: gopro}}", ""),
    ],
)
def test_params_yaml_that_is_no_plain_file_is_one_sentence(tmp_path, content, message, monkeypatch, capsys):
    from bench.cli.main import main

    monkeypatch.chdir(tmp_path)
    path = tmp_path / "params.yaml"
    path.mkdir() if content is None else path.write_bytes(content)
    assert main(["list", "runs"]) == (2 if message else 0)
    assert message in capsys.readouterr().err
