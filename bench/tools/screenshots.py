"""Take pictures of the report and of MLflow's pages with a headless Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contracts import DataError, UserError
from bench.files import need_writable
from bench.params.resolving import evaluation
from bench.params.schema import Params
from bench.tasks import TASKS
from bench.tools.dashboard import is_local, need_store, serve
from bench.tracking import addresses, store
from bench.tracking.uploads import LOGGED_TAG
from bench.tracking.views import set_up_experiment

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from playwright.sync_api import Browser, ElementHandle, Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
"""Names of Chromium's program, the preferred one first."""
DESKTOP = (1400, 1000)
"""Width and height of a desktop window, in pixels."""
PHONE = (390, 844)
"""Width and height of a phone's screen, in CSS pixels."""
PAGE_TIMEOUT = 60
"""Seconds that a page may take."""
WELCOME_KEYS = ("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "_mlflow_model_registry_promo_modal_dismissed_v1")
"""Keys in the browser's local storage that keep MLflow from opening its welcome panels."""
EXPAND_BUTTONS = ".ag-cell[col-id*='Run Name'] button"
"""CSS selector of the buttons in MLflow's run table that show nested runs."""


def missing_browser() -> str:
    """Return what this machine needs to open a page in Chromium, and how to get it; "" if nothing is missing."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "the package playwright is not installed; run: pip install -c constraints.txt -e '.[dev]'"
    if not any(map(shutil.which, PROGRAMS)):
        return f"no Chromium: none of {', '.join(PROGRAMS)} is on the PATH; on Debian: apt install chromium"
    return ""


@contextmanager
def browser() -> Iterator[Browser]:
    """Run this machine's own Chromium without a window until the block ends.

    Raises:
        UserError: playwright or Chromium is not installed, or Chromium does not start.
    """
    if reason := missing_browser():
        raise UserError(reason)
    from playwright.sync_api import Error, sync_playwright

    program = next(filter(None, map(shutil.which, PROGRAMS)))
    with sync_playwright() as driver:
        try:
            # The sandbox needs rights that containers do not have; only our own pages are opened.
            chromium = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        except Error as error:
            raise UserError(f"{program}: cannot be started: {str(error).splitlines()[0]}") from None
        try:
            yield chromium
        finally:
            chromium.close()


def window(chromium: Browser, size: tuple[int, int] = DESKTOP, dark: bool = False) -> Page:
    """Return an empty page of a new browser profile, in which MLflow opens no welcome panels.

    Args:
        size: width and height in CSS pixels; below a width of 600, a phone with touch and two pixels per CSS pixel.
        dark: prefer the dark colour scheme.
    """
    width, height = size
    context = chromium.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        device_scale_factor=2 if width < 600 else 1,
        has_touch=width < 600,
    )
    context.set_default_timeout(1000 * PAGE_TIMEOUT)
    for key in WELCOME_KEYS:
        context.add_init_script(f"if (location.protocol !== 'file:') localStorage.setItem('{key}', 'true')")
    return context.new_page()


def screenshots(params: Params, out: Path | None = None) -> list[Path]:
    """Take pictures of the profile's report and of its runs in MLflow; return the files.

    Args:
        out: the folder of the pictures; None for `out/<profile>/screenshots`.

    Raises:
        DataError: the report or the store has not been made yet.
        UserError: Chromium is missing, a page does not show its content, or the store does not answer.
    """
    report = Path(params.paths.reports, params.profile, "index.html")
    if not report.is_file():
        raise DataError(f"{report}: no report yet; run: dvc repro")
    uri = store.address(params.tracking)
    need_store(uri)
    if reason := missing_browser():
        raise UserError(reason)
    out = out or Path(params.paths.out, params.profile, "screenshots")
    need_writable(out)
    client = store.connect(params.tracking)
    from playwright.sync_api import Error

    server = serve(uri, 0) if is_local(uri) else nullcontext(uri.rstrip("/"))
    try:
        with browser() as chromium, server as address:
            pictures = _take_report(chromium, report.absolute().as_uri(), out)
            pages = _mlflow_pages(client, address, params.profile, evaluation(params).cost_size)
            return pictures + _take_mlflow(chromium, pages, out)
    except Error as error:
        raise UserError(f"a page does not show its content: {str(error).splitlines()[0]}") from None


def _take(view: Page | ElementHandle, path: Path) -> Path:
    view.screenshot(path=path)
    return path


def _take_report(chromium: Browser, address: str, out: Path) -> list[Path]:
    """Take the report in both colour schemes and on a phone, and its first table and comparison of images, if any."""
    pictures = []
    for name, size, dark in (("light", DESKTOP, False), ("dark", DESKTOP, True), ("phone", PHONE, False)):
        page = window(chromium, size, dark)
        page.goto(address)
        pictures.append(_take(page, out / f"report-{name}.png"))
        page.add_style_tag(content="nav { position: static }")  # otherwise it covers parts taller than the window
        for part, selector in (("table", "section.table"), ("slider", ".comparison")):
            if element := page.query_selector(selector):
                pictures.append(_take(element, out / f"report-{name}-{part}.png"))
        page.context.close()
    return pictures


def _mlflow_pages(
    client: MlflowClient, server: str, profile: str, cost_size: tuple[int, int]
) -> list[tuple[str, str, str]]:
    """Return name, address and an expected text of each page: several per task with runs of the profile."""
    pages = []
    for task in TASKS:
        experiment = client.get_experiment_by_name(task)
        kind = f"tags.profile = '{profile}' and tags.kind"
        runs = (
            client.search_runs([experiment.experiment_id], f"{kind} != 'trial'", max_results=100) if experiment else []
        )
        scored = [run for run in runs if LOGGED_TAG in run.data.tags]
        if not scored:
            continue
        key, first = set_up_experiment(client, task, profile, cost_size), scored[0].info
        pages += [
            (f"{task}-runs", addresses.experiment_page(server, key, profile), first.run_name),
            (f"{task}-images", addresses.experiment_page(server, key, profile, charts=True), "Images"),
            (f"{task}-run", addresses.run_page(server, key, first.run_id), first.run_name),
        ]
        if len(scored) > 1:
            # Trained runs first: others have no parameters to compare.
            four = sorted(scored, key=lambda run: run.data.tags["kind"] != "trained")[:4]
            compared = addresses.comparison_page(server, [run.info.run_id for run in four], [key])
            pages.append((f"{task}-compared", compared, four[0].info.run_name))
        if client.search_runs([key], f"{kind} = 'trial'", max_results=1):
            newest = addresses.experiment_page(server, key, profile, newest=True)
            pages.append((f"{task}-searches", newest, first.run_name))
    return [*pages, ("checkpoints", f"{server}/#/models", "Registered Models")]


def _take_mlflow(chromium: Browser, pages: list[tuple[str, str, str]], out: Path) -> list[Path]:
    """Take each page once it shows its expected text.

    Args:
        pages: name, address and expected text of each page.
    """
    pictures = []
    for name, address, text in pages:
        page = window(chromium)
        page.goto(address)
        page.get_by_text(text).first.wait_for()
        buttons = page.locator(EXPAND_BUTTONS)
        for i in range(buttons.count()):
            buttons.nth(i).click()
        # Charts and images are drawn after the names, and the page has no sign that the last is done.
        page.wait_for_timeout(2500)
        pictures.append(_take(page, out / f"mlflow-{name}.png"))
        page.context.close()
    return pictures
