"""Every figure of the papers: how it is rebuilt from our runs, or why it is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL.Image import Image

from reports.figures.papers import degradations, insides, plots
from reports.figures.papers.grids import Block, grid
from reports.figures.papers.store import FILE, Drawn, Entry, Store, read_entries
from reports.published import printed
from reports.scores.reading import ORIGINALS, Evaluation

Builder = Callable[[Entry, Store, str, Path], Drawn | str]
"""(entry, store, title, path without ending) to the figure, written, or to the reason why there is none."""
PAPERS = {"mrfnet": "MRFNet", "dffnet": "DFFNet", "dgfnet": "DGFNet", "lmfn": "LMFN", "dmtnet": "DMTNet"}
DRAWING = "architecture-diagram"
"""The kind of figure that is drawn by hand and holds no data."""


@dataclass(frozen=True)
class PaperFigure:
    """One figure of a paper, rendered or not.

    Args:
        number: as printed; "" where the paper gives none.
        caption: what the paper shows, what is shown here, the runs, and what cannot be compared; "" if not rendered.
        runs: the evaluations in it; each has the part `#run-<evaluation>` of the page.
        picture: the pixels of a sheet of photographs, or a chart as `reports.figures.charts` draws it, which the page's
            style colours; None if not rendered.
        missing: why it is not rendered; "" if it is.
    """

    id: str
    paper: str
    number: str
    title: str
    caption: str
    runs: tuple[str, ...]
    picture: Image | str | None
    missing: str


# The registry ---------------------------------------------------------------------------------------------------------

DFFNET_DEBLUR = ("dffnet-4.3.1-2", "dffnet-4.3.1-5")
INPAINTING = "dffnet-4.3.2-1"
SHARPER = "dffnet-4.3.3-1"


def sharper_and_plain(dataset: str) -> list[Block]:
    """DFFNet's sharper inpainting and its inpainting on one dataset: their kept images have other inputs."""
    return [
        Block("sharp-inpaint", tables=(SHARPER,), dataset=dataset, heading="blurred image with a hole"),
        Block("inpaint", tables=(INPAINTING,), dataset=dataset, heading="sharp image with a hole"),
    ]


def ablation(rows: tuple[str, ...]) -> list[Block]:
    """An ablation of the whole DFFNet on both of its datasets."""
    return [Block("sharp-inpaint", rows, dataset=dataset) for dataset in ("places2", "visdrone")]


BUILDERS: Mapping[str, tuple[str, Builder]] = {
    "mrfnet-fig4": ("what each parameter of the blur does", degradations.overview),
    "mrfnet-fig5": ("training loss over the first two epochs",
                    partial(plots.loss_figure, task="deblur", tables=("mrfnet-2", "mrfnet-5"))),
    "mrfnet-fig6": ("deblurring, whole and enlarged",
                    partial(grid, blocks=[Block("deblur", rows=("deblurgan", "dmphn", "siun", "mrfnet"),
                                                tables=("mrfnet-2",))], details=2, below=True)),
    "mrfnet-fig7": ("deblurring, further scenes",
                    partial(grid, blocks=[Block("deblur", tables=("mrfnet-2",))], rules=("worst", "further 1"))),
    "mrfnet-fig18": ("class scores, and large and small receptive fields", insides.fields),
    "dffnet-fig4-attention": ("attention given the blurred and the deblurred image",
                              partial(insides.attention, what="offsets")),
    "dffnet-fig4-augment": ("what each parameter of the blur does", degradations.overview),
    "dffnet-fig5-loss": ("training loss over the first two epochs, deblurring",
                         partial(plots.loss_figure, task="deblur", tables=DFFNET_DEBLUR)),
    "dffnet-fig6-visual": ("deblurring, whole and enlarged",
                           partial(grid, blocks=[Block("deblur", rows=("deblurgan", "dmphn", "siun", "dffnet"),
                                                       tables=DFFNET_DEBLUR)], details=2, below=True)),
    "dffnet-fig7-visual": ("deblurring, further scenes",
                           partial(grid, blocks=[Block("deblur", tables=DFFNET_DEBLUR)],
                                   rules=("worst", "further 1"))),
    "dffnet-fig8": ("inpainting of blurred images, Places2", partial(grid, blocks=sharper_and_plain("places2"))),
    "dffnet-fig9": ("inpainting of blurred images, VisDrone", partial(grid, blocks=sharper_and_plain("visdrone"))),
    "dffnet-fig10": ("training loss of the inpainting methods",
                     partial(plots.loss_figure, task="inpaint", tables=(INPAINTING,))),
    "dffnet-fig11-44": ("ablation, lightweight and residual parts",
                        partial(grid, blocks=ablation(("dffnet-44-v1", "dffnet-44-v2", "dffnet-44-v3")))),
    "dffnet-fig11-433": ("ablation, five variants of sharper inpainting",
                         partial(grid, blocks=ablation(tuple(f"dffnet-433-v{k}" for k in range(1, 6))))),
    "dffnet-fig13": ("training with and without the change of alpha", plots.alpha_figure),
    "dffnet-fig16": ("from the deblurred image to the result", insides.features),
    "dffnet-fig17": ("where the attention goes", partial(insides.attention, what="heat")),
    "dgfnet-fig1": ("texture map and result", insides.texture),
    "dgfnet-fig4": ("inpainting, two examples",
                    partial(grid, blocks=[Block("inpaint")], rules=("median", "worst"))),
    "lmfn-fig4": ("deblurring on GoPro",
                  partial(grid, blocks=[Block("deblur", tables=("lmfn-1",))], rules=("median", "worst", "further 1"))),
    "lmfn-fig5": ("deblurring on Köhler's images",
                  partial(grid, blocks=[Block("deblur", tables=("lmfn-2",))], rules=("median", "worst"))),
    "dmtnet-fig1": ("PSNR against parameters", partial(plots.parameters_figure, table="dmtnet-1", task="dual-pixel")),
    "dmtnet-fig4": ("dual-pixel deblurring with two enlarged boxes",
                    partial(grid, blocks=[Block("dual-pixel", tables=("dmtnet-1",))], rules=("median", "worst"),
                            details=2)),
    "dmtnet-fig5": ("features and weights of each scale", insides.scales),
}  # fmt: skip
"""By id: our title, and what rebuilds it."""
REASONS = {
    "mrfnet-fig1": "An example photograph that the text refers to and the paper does not show; which photograph, and "
    "how it was made, is not said. Both kinds of its blur stand in figure 4.",
}
"""By id: why a figure is not rebuilt, beside the drawings."""
NO_DATA = (
    "A drawing of an architecture, which holds no data: optional, and not rendered. The page of the method describes "
    "its network."
)


# Captions -------------------------------------------------------------------------------------------------------------


def sentence(text: str) -> str:
    """A text in one line that ends in a full stop."""
    text = " ".join(text.split())
    return text if text.endswith((".", "!", "?")) else f"{text}."


def caveats(drawn: Drawn) -> list[str]:
    """What keeps the picture from being compared with the paper's: stand-in data, other settings, part of a set."""
    found = []
    origins = dict.fromkeys([*(str(one.record["origin"]) for one in drawn.used), *drawn.origins])
    if stand_in := [origin for origin in origins if origin != ORIGINALS]:
        found.append(f"The data are stand-ins ({', '.join(stand_in)}), not the official images.")
    if any(one.record["partial"] for one in drawn.used):
        found.append("The official set was used in part.")
    profiles = dict.fromkeys(str(one.record["profile"]) for one in drawn.used if one.record["kind"] == "trained")
    if others := [profile for profile in profiles if profile != "paper"]:
        found.append(
            f"Settings are not the papers' (profile {', '.join(others)}): smaller networks, shorter trainings."
        )
    if lossless := [str(one.record["title"]) for one in drawn.used if one.record["missing_losses"]]:
        found.append(f"Trained with losses left out: {', '.join(lossless)}.")
    return found


def same_run(evaluation: Evaluation) -> tuple[str, ...]:
    """What the evaluations of one run under several seeds share."""
    return tuple(str(evaluation.record[name]) for name in ("kind", "task", "dataset", "origin", "title"))


def caption_of(entry: Entry, drawn: Drawn, store: Store) -> str:
    """The caption: the paper's figure in our words, ours, what is published, who is missing, and the doubts."""
    parts = [f"In the paper: {sentence(entry.shows)}", f"Here: {sentence(drawn.text)}"]
    if entry.printed:
        parts.append(f"Published, not measured: {sentence(entry.printed)}")
    parts += caveats(drawn)
    if drawn.used:
        seeds = Counter(same_run(one) for one in store.evaluations)
        several = any(seeds[same_run(one)] > 1 for one in drawn.used)
        parts.append(f"Runs: {', '.join(one.name for one in drawn.used)}{', the lowest seed of each' * several}.")
    if drawn.absent:
        parts.append(f"Not run: {'; '.join(drawn.absent)}.")
    if entry.remarks:
        parts.append(f"Of the paper's figure: {sentence(entry.remarks)}")
    return " ".join(parts)


# Rendering ------------------------------------------------------------------------------------------------------------


def heading_of(entry: Entry, what: str) -> str:
    """A figure's title: "MRFNet, figure 4: what each parameter of the blur does"."""
    number = f"figure {entry.number}" if entry.number else "a figure without a number"
    return f"{PAPERS[entry.paper]}, {number}: {what}"


def render_one(entry: Entry, store: Store, folder: Path) -> PaperFigure:
    """Render one figure as `<folder>/<id>.png` and `.svg`, or say why there is none."""
    what, builder = BUILDERS.get(entry.id, (sentence(entry.shows).rstrip("."), None))
    title = heading_of(entry, what)
    if builder is None:
        reason = NO_DATA if entry.kind == DRAWING else REASONS[entry.id]
        return PaperFigure(entry.id, entry.paper, entry.number, title, "", (), None, reason)
    drawn = builder(entry, store, title, folder / entry.id)
    if isinstance(drawn, str):
        return PaperFigure(entry.id, entry.paper, entry.number, title, "", (), None, drawn)
    runs = tuple(one.name for one in drawn.used)
    return PaperFigure(
        entry.id, entry.paper, entry.number, title, caption_of(entry, drawn, store), runs, drawn.picture, ""
    )


def render_figures(
    evaluations: Sequence[Evaluation], data: Path, folder: Path, known: printed.Published | None = None
) -> list[PaperFigure]:
    """Render every figure of the papers that has data.

    Args:
        data: the built sets of the profile, one folder a dataset; figures of a set that is not built are left out.
        folder: takes `<id>.png` and `<id>.svg`; exists.
        known: the published tables, where they were read already.

    Returns:
        all figures of `published/figures.yaml` in its order, those that are not rendered with the reason.
    Raises:
        DataError: an image, a loss file or a built set that is damaged.
    """
    store = Store(evaluations, known or printed.load(), data)
    return [render_one(entry, store, folder) for entry in read_entries(FILE)]
