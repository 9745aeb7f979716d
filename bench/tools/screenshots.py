"""Pictures of the report and of MLflow's pages, taken with a headless Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contracts import TASKS, DataError, UserError
from bench.files import need_writable
from bench.params.schema import Params
from bench.tools.dashboard import local, need_store, serve
from bench.tracking import store, uploads, views

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from playwright.sync_api import Browser, ElementHandle, Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
DESKTOP, PHONE = (1400, 1000), (390, 844)
"""Width and height of the window, in pixels."""
SECONDS = 60
"""How long a page may take."""
GREETINGS = ("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "_mlflow_model_registry_promo_modal_dismissed_v1")
"""Marks that MLflow's pages leave in a browser that has seen their panels for newcomers."""
FOLDED = ".ag-cell[col-id*='Run Name'] button"
"""In MLflow's run table: what unfolds the runs nested under one."""


def lacking() -> str:
    """Return what this machine lacks to open a page in Chromium, and how to get it; "" if nothing."""
    import importlib.util

    if importlib.util.find_spec("playwright") is None:
        return "the package playwright is not installed; run: pip install -c constraints.txt -e '.[dev]'"
    if not any(map(shutil.which, PROGRAMS)):
        return f"no Chromium: none of {', '.join(PROGRAMS)} is on the PATH; on Debian: apt install chromium"
    return ""


@contextmanager
def browser() -> Iterator[Browser]:
    """Start this machine's own Chromium without a window, for as long as the block runs.

    Raises:
        UserError: playwright or Chromium is not installed, or Chromium does not start.
    """
    if reason := lacking():
        raise UserError(reason)
    from playwright.sync_api import Error, sync_playwright

    program = next(filter(None, map(shutil.which, PROGRAMS)))
    with sync_playwright() as driver:
        try:
            # Its sandbox needs rights that containers do not give; only our own pages are opened.
            chromium = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        except Error as error:
            raise UserError(f"{program}: does not start: {str(error).splitlines()[0]}") from None
        try:
            yield chromium
        finally:
            chromium.close()


def window(chromium: Browser, size: tuple[int, int] = DESKTOP, dark: bool = False) -> Page:
    """Return an empty page of a fresh profile that MLflow does not greet as a newcomer.

    Args:
        size: width and height in pixels; a narrow one is a phone's, with two pixels a point.
    """
    width, height = size
    context = chromium.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        device_scale_factor=2 if width < 600 else 1,
        has_touch=width < 600,
    )
    context.set_default_timeout(1000 * SECONDS)
    for key in GREETINGS:
        context.add_init_script(f"if (location.protocol !== 'file:') localStorage.setItem('{key}', 'true')")
    return context.new_page()


def screenshots(params: Params, out: Path | None = None) -> list[Path]:
    """Take pictures of the chosen profile's report and of its runs in MLflow; return the files.

    Args:
        out: the folder that they are written to; None for `screenshots` beside the profile's scores.

    Raises:
        DataError: no report or no store yet.
        UserError: no Chromium, a page that does not show its content, a store that does not answer.
    """
    report = Path(params.paths.reports, params.profile, "index.html")
    if not report.is_file():
        raise DataError(f"{report}: no report yet; run: dvc repro")
    uri = store.address(params.tracking)
    need_store(uri)
    if reason := lacking():
        raise UserError(reason)
    out = out or Path(params.paths.out, params.profile, "screenshots")
    need_writable(out)
    client = store.connect(params.tracking)
    from playwright.sync_api import Error

    server = serve(uri, 0) if local(uri) else nullcontext(uri.rstrip("/"))
    try:
        with browser() as chromium, server as place:
            taken = _report(chromium, report.absolute().as_uri(), out)
            return taken + _mlflow(chromium, _pages(client, place, params.profile), out)
    except Error as error:
        raise UserError(f"a page does not show what it should: {str(error).splitlines()[0]}") from None


def _picture(shown: Page | ElementHandle, path: Path) -> Path:
    shown.screenshot(path=path)
    return path


def _report(chromium: Browser, address: str, out: Path) -> list[Path]:
    """Take the report in both themes, on a phone, and its first table and comparison of images where it has them."""
    taken = []
    for name, size, dark in (("light", DESKTOP, False), ("dark", DESKTOP, True), ("phone", PHONE, False)):
        page = window(chromium, size, dark)
        page.goto(address)
        taken.append(_picture(page, out / f"report-{name}.png"))
        page.add_style_tag(content="nav { position: static }")  # else it lies across what is taller than the window
        for part, selector in (("table", "section.table"), ("slider", ".comparison")):
            if found := page.query_selector(selector):
                taken.append(_picture(found, out / f"report-{name}-{part}.png"))
        page.context.close()
    return taken


def _pages(client: MlflowClient, server: str, profile: str) -> list[tuple[str, str, str]]:
    """Return name, address and a text that it must show, of the pages of each task with runs of a profile."""
    pages = []
    for task in TASKS:
        known = client.get_experiment_by_name(task)
        mine = f"tags.profile = '{profile}' and tags.kind"
        runs = client.search_runs([known.experiment_id], f"{mine} != 'trial'", max_results=100) if known else []
        scored = [run for run in runs if uploads.LOGGED in run.data.tags]
        if not scored:
            continue
        place, first = store.experiment(client, task, profile), scored[0].info
        pages += [
            (f"{task}-runs", views.experiment_page(server, place, profile), first.run_name),
            (f"{task}-images", views.experiment_page(server, place, profile, charts=True), "Images"),
            (f"{task}-run", views.run_page(server, place, first.run_id), first.run_name),
        ]
        if len(scored) > 1:
            # What was not trained has no parameters to compare.
            four = sorted(scored, key=lambda run: run.data.tags["kind"] != "trained")[:4]
            compared = views.comparison_page(server, [run.info.run_id for run in four], [place])
            pages.append((f"{task}-compared", compared, four[0].info.run_name))
        if client.search_runs([place], f"{mine} = 'trial'", max_results=1):
            newest = views.experiment_page(server, place, profile, newest=True)
            pages.append((f"{task}-searches", newest, first.run_name))
    return [*pages, ("checkpoints", f"{server}/#/models", "Registered Models")]


def _mlflow(chromium: Browser, pages: list[tuple[str, str, str]], out: Path) -> list[Path]:
    taken = []
    for name, address, text in pages:
        page = window(chromium)
        page.goto(address)
        page.get_by_text(text).first.wait_for()
        folded = page.locator(FOLDED)
        for i in range(folded.count()):
            folded.nth(i).click()
        # Charts and images come after the names, and nothing on the page says when the last has.
        page.wait_for_timeout(2500)
        taken.append(_picture(page, out / f"mlflow-{name}.png"))
        page.context.close()
    return taken
