"""Commands as the pipeline gives them: a stage's address in place of a name, and settings in the profile's folder."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import yaml

from bench.cli.common import STAGE_NAME
from bench.params import loading
from bench.params.schema import Paths
from tests.bench.params.toys import written
from tests.conftest import Project

PARAMS = """\
profile: sample
runs: {deblur: {a: {method: mrfnet, dataset: gopro}}}
auxiliary: {maps: {dataset: gopro, map: texture}}
"""


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("mrfnet-gopro", "mrfnet-gopro"),
        ("pipeline/deblur/dvc.yaml:train@mrfnet-gopro", "mrfnet-gopro"),
        ("dvc.yaml:train@mrfnet-gopro", "mrfnet-gopro"),
        ("train@mrfnet-gopro", "mrfnet-gopro"),
        ("../deblur/dvc.yaml:chain@dmphn+rn", "dmphn+rn"),
    ],
)
def test_a_stages_address_ends_with_the_name(text, name):
    assert STAGE_NAME.convert(text, None, None) == name


@pytest.fixture
def bare_project(tmp_path) -> Project:
    """A project with a small file of parameters."""
    (tmp_path / "params.yaml").write_text(PARAMS)
    return Project(tmp_path)


@pytest.fixture
def folder(bare_project) -> Path:
    return bare_project.folder


@pytest.mark.parametrize("command", ["train", "evaluate", "search", "build", "auxiliary"])
def test_every_command_of_a_stage_takes_its_address(command):
    from bench.cli.main import group

    with click.Context(group) as context:
        name = group.get_command(context, command).params[0]
    assert name.type is STAGE_NAME and name.name in ("run", "dataset")


def test_the_pipelines_settings_are_in_the_profiles_folder(folder, bare_project):
    (folder / "params.yaml").write_text(PARAMS.replace("auxiliary", "# auxiliary"))
    bare_project.good("settings", "--pipeline")
    settings = folder / "out" / "sample" / "settings"
    assert {path.name for path in settings.iterdir()} == {"train", "evaluate", "report.yaml", "checked.yaml"}
    assert yaml.safe_load((settings / "checked.yaml").read_text()) is None
    before = (settings / "checked.yaml").read_text()
    (folder / "params.yaml").write_text(PARAMS.replace("auxiliary", "# auxiliary").replace("a:", "b:"))
    bare_project.good("settings", "--pipeline")
    assert (settings / "checked.yaml").read_text() == before, "a stage would run again for a run that it does not use"


@pytest.mark.parametrize(("name", "place"), [("data", "/large/disk"), ("out", "../out"), ("reports", "out; ls")])
def test_the_pipeline_refuses_a_folder_that_its_stages_do_not_use(folder, bare_project, name, place):
    (folder / "params.yaml").write_text(f"{PARAMS}paths: {{{name}: {place!r}}}\n")
    message = bare_project.bad("settings", "--pipeline")
    assert f"paths.{name}: found {place!r}, but the pipeline has this folder in {getattr(Paths(), name)}" in message


@pytest.mark.parametrize("place", ["/large/disk", "../elsewhere", "a b; touch RAN", "größe"])
def test_a_folder_may_be_anywhere(tmp_path, place):
    assert loading.load(written(tmp_path, {"paths": {"resume": place}})).paths.resume == place


@pytest.mark.parametrize("place", ["", "a\nb", "a\tb"])
def test_a_folder_that_no_message_can_show_is_refused(tmp_path, place):
    with pytest.raises(loading.ParamsError, match=r"paths\.resume: found .*; expected 1 to 1,000 printable characters"):
        loading.load(written(tmp_path, {"paths": {"resume": place}}))


def test_one_way_to_write_settings_is_chosen(folder, bare_project):
    message = bare_project.bad("settings", "--pipeline", "--out", "elsewhere")
    assert "expected one of RUN, evaluate, --out DIR and --pipeline" in message
