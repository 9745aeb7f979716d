"""What killed processes leave between the results is in no dependency of a stage."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench.files import old_folder, only_writer, temporary

ROOT = Path(__file__).parents[2]
STAGE = """
stages:
  report:
    cmd: python3 -c "import os; os.makedirs('reports', exist_ok=True); open('reports/page', 'w').write('made')"
    deps: [out/sample/scores]
    outs: [reports]
"""


def repro(folder: Path) -> str:
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "dvc", "repro"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def test_a_hidden_leftover_among_the_scores_runs_no_stage_again(tmp_path):
    shutil.copytree(ROOT / ".dvc", tmp_path / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
    shutil.copy(ROOT / ".dvcignore", tmp_path)
    (tmp_path / "dvc.yaml").write_text(STAGE)
    scores = tmp_path / "out" / "sample" / "scores"
    (scores / "a").mkdir(parents=True)
    (scores / "a" / "record.json").write_text("{}")
    assert "Running stage 'report'" in repro(tmp_path)
    with only_writer(scores / "a", "evaluating a"):
        for leftover in (temporary(scores / "a"), old_folder(scores / "a"), scores / ".a.building"):
            leftover.mkdir()
            (leftover / "record.json").write_text("half")
        assert (scores / ".a.lock").is_file()
        assert "Running stage" not in repro(tmp_path)
    (scores / "a" / "record.json").write_text("{}\n")
    assert "Running stage 'report'" in repro(tmp_path)
