"""SVG to PNG, by resvg, with the DejaVu letters that come with matplotlib: the same on every machine."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

from bench.contracts import DataError

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
    """Writes the PNGs of a folder's SVG files in other processes, while the report goes on.

    Leaving the block waits for them. The processes are spawned, not forked: the report's process may hold threads of
    the tracking store.

    Args:
        folder: the folder of the SVG files.
        processes: how many run at a time.
    """

    def __init__(self, folder: Path, processes: int = 2):
        self.folder = folder
        self.pool = ProcessPoolExecutor(processes, get_context("spawn"))
        self.begun: set[Path] = set()
        self.waiting: list[Iterator[None]] = []

    def start(self) -> None:
        """Begin with every SVG file of the folder that has no PNG yet."""
        files = [path for path in sorted(self.folder.glob("*.svg")) if not path.with_suffix(".png").exists()]
        todo = [path for path in files if path not in self.begun]
        self.begun.update(todo)
        self.waiting.append(self.pool.map(rasterise, todo, chunksize=8))

    def __enter__(self) -> Rasters:
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is None:
            for results in self.waiting:
                list(results)
        self.pool.shutdown(cancel_futures=True)
