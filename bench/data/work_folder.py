"""The folder in which a long job works: an interrupted job continues in it, a finished one gives it the final name.

The job is stored in the folder. After `finish` a call of `clean_up` removes it last, so that a job that was interrupted
between the two is recognised as finished.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.files import LOCK, as_user_error, locked, old_folder, put_in_place, read_json_or_empty, write_json

JOB = "job.json"
"""The file with the job; not part of the result."""
ROWS = "rows"
"""The folder with one JSON file per image that is done; not part of the result."""


def start_or_resume(work: Path, job: Mapping[str, Any]) -> None:
    """Keep the content of a work folder if it is of the same job; otherwise empty the folder and store the job.

    Args:
        job: everything that the result depends on, as JSON values.
    """
    job = json.loads(json.dumps(job))
    if read_json_or_empty(work / JOB) == job:
        return
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()
    write_json(work / JOB, job)


def finish(work: Path, out: Path) -> None:
    """Rename a finished work folder to `out`, in place of the older folder.

    Raises UserError when the file system refuses.
    """
    try:
        if (work / ROWS).exists():
            shutil.rmtree(work / ROWS)
        for stale in work.rglob(".*.part"):  # from a process that was killed while it wrote
            stale.unlink()
    except OSError as error:
        raise as_user_error(error, out) from error
    put_in_place(work, out)


def clean_up(out: Path, activity: str) -> None:
    """Delete what `finish` has left next to and in `out`, the stored job last.

    Args:
        activity: as for `bench.files.locked`.

    Raises UserError when another process is doing this.
    """
    if not (out / JOB).exists():
        return
    with locked(out, activity, "paths.data"):
        try:
            if old_folder(out).exists():
                shutil.rmtree(old_folder(out))
            (out / LOCK).unlink(missing_ok=True)
            (out / JOB).unlink(missing_ok=True)
        except OSError as error:
            raise as_user_error(error, out) from error
