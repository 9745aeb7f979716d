"""SVG to PNG, by resvg, with the DejaVu letters that come with matplotlib: the same on every machine."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

from bench.child_processes import NoSemaphores, interrupts_kept, process_pool
from bench.contracts import DataError, UserError
from bench.processors import available

FONT_FAMILY = "DejaVu Sans, sans-serif"
"""The `font-family` of every drawing."""


@lru_cache(maxsize=1)
def font_files() -> tuple[str, ...]:
    """DejaVu Sans, regular and bold. matplotlib is located, not imported."""
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("matplotlib, whose letters the figures use, is not installed", name="matplotlib")
    folder = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
    return tuple(str(folder / f"DejaVuSans{ending}.ttf") for ending in ("", "-Bold"))


def png_bytes(svg: str) -> bytes:
    """Draw an SVG as PNG. Raises ValueError when resvg cannot read it."""
    import resvg_py

    return bytes(resvg_py.svg_to_bytes(svg_string=svg, skip_system_fonts=True, font_files=list(font_files())))


def rasterise(path: Path) -> None:
    """Write the PNG of an SVG file, in the same folder. Raises DataError when the file cannot be drawn."""
    try:
        data = png_bytes(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: cannot be drawn ({error})") from error
    path.with_suffix(".png").write_bytes(data)


class Rasters:
    """Writes the PNGs of a folder's SVG files elsewhere, while the report goes on: see `rasters`.

    Args:
        folder: the folder of the SVG files.
        pool: draws them.
    """

    def __init__(self, folder: Path, pool: Executor):
        self.folder = folder
        self.pool = pool
        self.begun: set[Path] = set()
        self.waiting: list[Iterator[None]] = []

    def start(self) -> None:
        """Begin with every SVG file of the folder that has no PNG yet."""
        files = [path for path in sorted(self.folder.glob("*.svg")) if not path.with_suffix(".png").exists()]
        todo = [path for path in files if path not in self.begun]
        self.begun.update(todo)
        with interrupts_kept():
            self.waiting.append(self.pool.map(rasterise, todo, chunksize=8))

    def wait(self) -> None:
        """Wait for all of them. Raises UserError when a process was killed."""
        try:
            for results in self.waiting:
                list(results)
        except BrokenProcessPool:
            raise UserError(
                f"{self.folder}: a process that draws figures was killed, perhaps because memory ran out; run it again"
            ) from None


@contextmanager
def rasters(folder: Path, processes: int = 2) -> Iterator[Rasters]:
    """Draw the SVG files of a folder in other processes; the end of the block waits for them.

    The processes are spawned, not forked: the report's process may hold threads of the tracking store. Where the system
    has no semaphores for processes that share work, a thread draws.

    Args:
        folder: the folder of the SVG files.
        processes: how many run at a time, where this process may use as many cores.
    """
    with ExitStack() as block:
        try:
            pool: Executor = block.enter_context(
                process_pool(min(processes, available()), context=get_context("spawn"))
            )
        except NoSemaphores:
            pool = block.enter_context(ThreadPoolExecutor(1))
        drawing = Rasters(folder, pool)
        yield drawing
        drawing.wait()
