"""The report and MLflow's pages in a real browser: Chromium, without a window."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bench.tasks import TASKS
from bench.tools import screenshots
from bench.tools.dashboard import serve
from bench.tracking import addresses, store, uploads
from bench.tracking.views import set_up_experiment
from reports.page import render
from tests import make_scores
from tests.make_scores import Spec

pytestmark = pytest.mark.skipif(
    bool(screenshots.missing_browser()), reason=f"no browser tests: {screenshots.missing_browser()}"
)

IGNORED = ("/mlflow/users/current", "ResizeObserver loop")
"""Errors of MLflow's own pages: they ask for the user although there is no login, and redraw twice."""


@dataclass
class Opened:
    """A page in the browser."""

    page: Any
    """Playwright's page."""
    errors: list[str]
    """The errors that it reported."""
    requests: list[str]
    """The addresses that it requested."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with screenshots.browser() as browser:
        yield browser


def open_page(chromium: Any, address: str, size: tuple[int, int] = screenshots.DESKTOP, dark: bool = False) -> Opened:
    page = screenshots.window(chromium, size, dark)
    opened = Opened(page, [], [])

    def note(text: str) -> None:
        if not any(part in text for part in IGNORED):
            opened.errors.append(text)

    page.on("console", lambda m: note(f"{m.text} {m.location.get('url')}") if m.type == "error" else None)
    page.on("pageerror", lambda error: note(str(error)))
    page.on(
        "requestfailed",
        lambda request: note(f"failed: {request.url}") if "ERR_ABORTED" not in str(request.failure) else None,
    )
    page.on("request", lambda request: opened.requests.append(request.url))
    page.goto(address)
    return opened


# The report -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report of a few invented runs; its address."""
    root, out = tmp_path_factory.mktemp("scores"), tmp_path_factory.mktemp("report") / "sample"
    kept = ("input", "mrfnet", "dmphn", "telea", "dgfnet", "dpdnet", "dmtnet-b")
    make_scores.write(root, [spec for spec in make_scores.few() if spec.method in kept and not spec.named], images=6)
    render.render(root, out, profile="sample", resolve=lambda record: {"run_id": "a" * 32, "experiment_id": "7"})
    return (out / "index.html").as_uri()


@pytest.fixture
def page(chromium: Any, report: str) -> Iterator[Any]:
    """The open report. At the end it must have reported no error and requested nothing but itself."""
    opened = open_page(chromium, report)
    yield opened.page
    opened.page.context.close()
    assert opened.errors == []
    assert [address for address in opened.requests if not address.startswith(("file:", "data:"))] == []


def test_the_slider_moves_by_key_and_by_mouse(page):
    part = page.locator(".before-after").first
    position = lambda: part.evaluate("part => part.style.getPropertyValue('--at')")  # noqa: E731
    slider = part.locator("input.slider")
    assert (position(), slider.input_value()) == ("50%", "50")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert position() == f"{slider.input_value()}%" == "51%"
    page.keyboard.press("Home")
    assert position() == "0%"
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 3 / 4, box["y"] + box["height"] / 2)
    assert 70 < float(position().removesuffix("%")) < 80
    assert slider.get_attribute("aria-label")


def test_the_slider_uncovers_the_left_image(page):
    """The pixels on the screen change with the slider."""
    part = page.locator(".before-after").first
    slider = part.locator("input.slider")
    slider.fill("0")
    right = part.locator(".views").screenshot()
    slider.fill("100")
    assert part.locator(".views").screenshot() != right
    slider.fill("0")
    assert part.locator(".views").screenshot() == right


def values_of(table: Any, column: int) -> list[float]:
    """The numbers of a column from top to bottom, without cells that have none."""
    read = "(rows, i) => rows.map(row => row.cells[i].dataset.v).filter(v => v !== undefined).map(Number)"
    return table.locator("tbody tr").evaluate_all(read, column)


def test_a_click_on_a_heading_sorts_by_it(page):
    table = page.locator("section.table table").first
    buttons = table.locator("thead button")
    column = next(i for i in range(buttons.count()) if len(set(values_of(table, i + 1))) > 2)
    whole = sorted(values_of(table, column + 1))
    buttons.nth(column).click()
    first = values_of(table, column + 1)
    assert first in (whole, whole[::-1])
    sort = table.locator("thead th:has(button)").nth(column)
    assert sort.get_attribute("aria-sort") == ("ascending" if first == whole else "descending")
    buttons.nth(column).focus()
    page.keyboard.press("Enter")
    assert values_of(table, column + 1) == first[::-1]


def test_filters_hide_tasks_and_datasets_and_the_address_keeps_them(page):
    tasks = page.locator("section.task")
    visible = lambda: {t for t in tasks.evaluate_all("all => all.filter(t => !t.hidden).map(t => t.dataset.task)")}  # noqa: E731
    assert visible() == set(TASKS)
    page.uncheck("[name=task][value=inpaint]")
    assert visible() == set(TASKS) - {"inpaint"}
    page.uncheck("[name=dataset][value=gopro]")
    runs = page.locator("article.run:visible")
    datasets = set(runs.evaluate_all("all => all.map(run => run.dataset.datasets)"))
    assert datasets and "gopro" not in datasets
    page.reload()
    assert visible() == set(TASKS) - {"inpaint"} and not page.is_checked("[name=dataset][value=gopro]")
    page.check("[name=task][value=inpaint]")
    page.fill("[name=run]", "dgfnet")
    assert runs.evaluate_all("all => all.map(run => run.id)") == ["run-dgfnet-paris-streetview-inpaint"]


def test_the_enlarged_window_moves_in_all_images_at_once(page):
    figure = page.locator(".comparison").first
    windows = lambda: figure.locator(".crop").evaluate_all("all => all.map(crop => crop.getAttribute('viewBox'))")  # noqa: E731
    first = windows()
    assert len(first) > 2 and len(set(first)) == 1
    figure.locator("[data-move=in]").click()
    closer = windows()
    assert len(set(closer)) == 1
    assert float(closer[0].split()[2]) < float(first[0].split()[2])
    figure.locator("[data-move=in]").press("ArrowRight")
    moved = windows()
    assert len(set(moved)) == 1 and float(moved[0].split()[0]) != float(closer[0].split()[0])
    view = figure.locator(".whole").first
    view.scroll_into_view_if_needed()
    view.click(position={"x": 8, "y": 8})
    corner = windows()
    assert len(set(corner)) == 1 and corner[0].split()[:2] == ["0.00", "0.00"]


def test_a_phone_shows_the_page_without_scrolling_sideways(chromium, report):
    opened = open_page(chromium, report, screenshots.PHONE)
    width, visible = opened.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= visible == screenshots.PHONE[0]
    opened.page.context.close()
    assert opened.errors == []


def brightness(page: Any) -> tuple[float, float]:
    """The mean of red, green and blue of the page's background and of its text, 0 to 255."""
    read = "name => getComputedStyle(document.body)[name].match(/[0-9.]+/g).slice(0, 3).map(Number)"
    back, text = (page.evaluate(read, name) for name in ("backgroundColor", "color"))
    return sum(back) / 3, sum(text) / 3


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_both_themes_have_no_serious_accessibility_faults(chromium, report, dark):
    from axe_playwright_python.sync_playwright import Axe

    page = open_page(chromium, report, dark=dark).page
    back, text = brightness(page)
    assert (back < 60 and text > 180) if dark else (back > 200 and text < 80)
    result = Axe().run(page)
    faults = [
        f"{fault['id']}: {node['target']} {node['html'][:200]}"
        for fault in result.response["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"][:3]
    ]
    page.context.close()
    assert faults == []


def test_everything_can_be_read_without_script(chromium, report):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report)
    assert (
        page.locator("section.task:visible").count() == len(TASKS) and page.locator("article.run:visible").count() > 5
    )
    context.close()


# MLflow ---------------------------------------------------------------------------------------------------------------


@dataclass
class Store:
    """A tracking store behind a server."""

    server: str
    """The server's address."""
    experiment: str
    """The experiment's id."""
    runs: dict[str, str]
    """Evaluation to MLflow run."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Three invented evaluations of one task and a search with two trials, in a real store with a real server."""
    folder = tmp_path_factory.mktemp("store")
    specs = [
        Spec("input", "gopro", "deblur", 25.0, "input", kind="no training"),
        Spec("mrfnet", "gopro", "deblur", 29.4, "mrfnet"),
        Spec("dmphn", "gopro", "deblur", 28.9, "dmphn"),
    ]
    make_scores.write(folder / "scores", specs, images=4)
    for path in (folder / "scores").glob("*/images/*.png"):  # as evaluations name them
        rule, _, kind = path.stem.partition("-")
        path.rename(path.with_name(f"{rule}.{kind or 'restored'}.png"))
    for spec in specs:
        make_scores.record_files(folder / "scores" / spec.name)
    before, variable = Path.cwd(), os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.chdir(folder)
    try:
        client = store.connect()
        runs = {spec.name: uploads.sync(client, folder / "scores" / spec.name) for spec in specs}
        experiment = client.get_run(next(iter(runs.values()))).info.experiment_id
        record = make_scores.record_of(specs[1])
        parent = store.start(client, replace(record, kind="search", evaluation="search mrfnet-gopro"), "search")
        for number in range(2):
            trial = store.start(client, replace(record, kind="trial", evaluation=f"trial {number}"), f"t{number}")
            client.set_tag(trial, "mlflow.parentRunId", parent)
            store.finish(client, trial)
        store.finish(client, parent)
        set_up_experiment(client, "deblur", "sample", (256, 256))
        uri = store.address()
        with serve(uri, 0) as server:
            yield Store(server, experiment, runs)
    finally:
        os.chdir(before)
        if variable is not None:
            os.environ["MLFLOW_TRACKING_URI"] = variable


def wait_for(opened: Opened, *texts: str) -> None:
    """Wait until the page shows these texts; it must have reported no error."""
    for text in texts:
        opened.page.get_by_text(text, exact=False).first.wait_for()
    assert opened.errors == []


@pytest.mark.slow
def test_the_experiment_opens_with_the_best_first_in_the_columns_that_matter(chromium, served):
    opened = open_page(chromium, addresses.experiment_page(served.server, served.experiment, "sample"))
    wait_for(opened, "mrfnet-gopro-deblur", "dmphn-gopro-deblur", "input-gopro-deblur", TASKS["deblur"].about)
    names = opened.page.locator(".ag-cell[col-id*='Run Name'] a").all_inner_texts()
    assert [name.partition(" ")[0] for name in names][:3] == [
        "mrfnet-gopro-deblur", "dmphn-gopro-deblur", "input-gopro-deblur"
    ]  # fmt: skip
    assert not any("trial" in name for name in names)
    # The columns take their places shortly after they appear.
    in_place = """expected => [...document.querySelectorAll('.ag-header-cell')]
        .map(cell => [cell.getBoundingClientRect().left, cell.getAttribute('col-id')])
        .sort(([x], [y]) => x - y).map(([, name]) => name).join(' ').includes(expected)"""
    first = "attributes.`Run Name` runDateAndNestInfo tags.`method` tags.`dataset` metrics.`test.psnr-rgb8`"
    opened.page.wait_for_function(in_place, arg=first)
    assert opened.page.get_by_text("Judges").count() == 0  # the tools for training, not for language models
    opened.page.context.close()


@pytest.mark.slow
def test_the_trials_of_a_search_unfold_under_it(chromium, served):
    opened = open_page(chromium, addresses.experiment_page(served.server, served.experiment, "sample", newest=True))
    wait_for(opened, "search mrfnet-gopro", "mrfnet-gopro-deblur")
    assert opened.page.get_by_text("trial 0").count() == 0
    opened.page.locator(screenshots.EXPAND_BUTTONS).first.click()
    wait_for(opened, "trial 0", "trial 1")
    opened.page.context.close()


@pytest.mark.slow
def test_the_runs_of_a_table_are_compared_side_by_side(chromium, served):
    runs = [served.runs[f"{name}-gopro-deblur"] for name in ("mrfnet", "dmphn")]
    opened = open_page(chromium, addresses.comparison_page(served.server, runs, [served.experiment]))
    wait_for(opened, "Comparing 2 Runs from 1 Experiment", "mrfnet-gopro-deblur", "dmphn-gopro-deblur")
    links = opened.page.locator("a[href*='/runs/']").evaluate_all("all => all.map(link => link.href)")
    assert all(any(run in link for link in links) for run in runs)
    opened.page.context.close()


@pytest.mark.slow
def test_a_run_shows_its_dataset_curves_and_images(chromium, served):
    run = served.runs["mrfnet-gopro-deblur"]
    opened = open_page(chromium, addresses.run_page(served.server, served.experiment, run))
    wait_for(opened, "mrfnet-gopro-deblur", "gopro (offline photographs)", "test.psnr-rgb8", "loss.generator.total")
    opened.page.goto(addresses.experiment_page(served.server, served.experiment, "sample", charts=True))
    wait_for(opened, "Images", "median.restored")
    images = opened.page.locator("img[src*='median.restored']")
    images.first.wait_for()
    assert images.first.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    assert opened.errors == []
    opened.page.context.close()
