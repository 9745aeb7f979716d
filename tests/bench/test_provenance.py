"""The commit that numbers record: this project's, or none with the reason."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bench import provenance

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A folder that holds one file of the project, in place of the project."""
    folder = tmp_path / "outer" / "project"
    (folder / "bench").mkdir(parents=True)
    (folder / provenance.OWN_FILE).write_text("# code")
    monkeypatch.setattr(provenance, "ROOT", folder)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    provenance.commit.cache_clear()
    yield folder
    provenance.commit.cache_clear()


def committed(folder: Path) -> str:
    """Make a repository of a folder's files with one commit, and return the commit."""
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments], cwd=folder, check=True)
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_commit_of_the_project_and_whether_files_changed(project):
    revision = committed(project)
    assert provenance.commit() == (revision, False, "")
    (project / "dvc.lock").write_text("the pipeline writes it")
    provenance.commit.cache_clear()
    assert provenance.commit() == (revision, False, "")
    (project / provenance.OWN_FILE).write_text("# other code")
    provenance.commit.cache_clear()
    assert provenance.commit() == (revision, True, "")
    assert provenance.here().git_commit == revision and provenance.here().git_dirty is True


def test_variables_of_a_hook_do_not_name_another_repository(project, tmp_path, monkeypatch):
    revision = committed(project)
    other = tmp_path / "other"
    other.mkdir()
    committed(other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "no-index"))
    assert provenance.commit() == (revision, False, "")


def test_the_variables_are_those_of_git_without_the_ones_that_hold_settings():
    listed = subprocess.run(["git", "rev-parse", "--local-env-vars"], check=True, capture_output=True, text=True)
    names = set(listed.stdout.split()) - {"GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT"}
    assert names <= provenance.LOCAL_VARIABLES


def test_an_archive_inside_another_repository_has_no_commit(project):
    outer = project.parent
    (outer / ".gitignore").write_text("project/")
    committed(outer)
    assert provenance.commit().revision == "" and provenance.commit().dirty is None
    assert "inside a repository that does not hold this project" in provenance.commit().problem
    (outer / ".gitignore").unlink()
    provenance.commit.cache_clear()
    revision = committed(outer)
    assert provenance.commit() == (revision, False, "")  # their repository holds it now


def test_an_archive_has_no_commit_and_says_so(project, recwarn):
    assert provenance.commit()[:2] == ("", None)
    provenance.warn_without_commit()
    (warning,) = recwarn
    assert "no git commit can be recorded (git: not a git repository" in str(warning.message)
    assert "marked 'no commit'" in str(warning.message)
    assert provenance.here().git_commit == "" and provenance.here().git_dirty is None


def test_without_git_there_is_no_commit(project, tmp_path, monkeypatch):
    committed(project)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.commit() == ("", None, "git cannot be run: No such file or directory")


def test_a_repository_of_another_owner_says_how_to_allow_it(project, monkeypatch):
    committed(project)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch for tests
    assert provenance.commit()[:2] == ("", None)
    assert "dubious ownership" in provenance.commit().problem
    assert f"git config --global --add safe.directory {project}" in provenance.commit().problem
    # What allows it may come from the environment, as in containers.
    for name, value in {"COUNT": "1", "KEY_0": "safe.directory", "VALUE_0": str(project)}.items():
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    provenance.commit.cache_clear()
    assert provenance.commit().dirty is False


def test_the_warning_is_silent_with_a_commit(project, recwarn):
    committed(project)
    provenance.warn_without_commit()
    assert len(recwarn) == 0
