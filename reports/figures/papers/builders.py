"""The builders of the papers' figures: which function rebuilds each figure from our runs, or why none does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL.Image import Image

from reports.figures.papers import feature_maps, plots
from reports.figures.papers.blur_overview import draw_blur_overview
from reports.figures.papers.captions import caption_of, sentence
from reports.figures.papers.grids import Block, grid
from reports.figures.papers.sources import FILE, Drawn, Entry, Sources, read_entries
from reports.published.printed import Published
from reports.scores.reading import Evaluation

Builder = Callable[[Entry, Sources, str, Path], Drawn | str]
"""(entry, sources, title, path without ending) to the figure, written, or to the reason why there is none."""
PAPERS = {"mrfnet": "MRFNet", "dffnet": "DFFNet", "dgfnet": "DGFNet", "lmfn": "LMFN", "dmtnet": "DMTNet"}
"""The papers' ids and names."""
ARCHITECTURE = "architecture-diagram"
"""The kind of figure that is drawn by hand and holds no data."""


@dataclass(frozen=True)
class PaperFigure:
    """One figure of a paper, drawn or not."""

    id: str
    """Its id, also the name of its files."""
    title: str
    """The paper, the number and what it shows."""
    caption: str
    """What the paper shows, what is shown here, the runs, and what cannot be compared; "" if not drawn."""
    runs: tuple[str, ...]
    """The evaluations in it; `#run-<evaluation>` is the part of the page on each."""
    picture: Image | str | None
    """The pixels of a sheet, or a chart as SVG, which the page colours; None if not drawn."""
    missing: str
    """Why it is not drawn; "" if it is."""


# The registry ---------------------------------------------------------------------------------------------------------

DFFNET_DEBLUR = ("dffnet-4.3.1-2", "dffnet-4.3.1-5")
INPAINTING = "dffnet-4.3.2-1"
SHARPER = "dffnet-4.3.3-1"


def sharper_and_plain(dataset: str) -> list[Block]:
    """DFFNet's sharper inpainting and its inpainting on one dataset, in two parts because their inputs differ."""
    return [
        Block("sharp-inpaint", tables=(SHARPER,), dataset=dataset, heading="blurred image with a hole"),
        Block("inpaint", tables=(INPAINTING,), dataset=dataset, heading="sharp image with a hole"),
    ]


def ablation(rows: tuple[str, ...]) -> list[Block]:
    """An ablation of the whole DFFNet on both its datasets."""
    return [Block("sharp-inpaint", rows, dataset=dataset) for dataset in ("places2", "visdrone")]


BUILDERS: Mapping[str, tuple[str, Builder]] = {
    "mrfnet-fig4": ("what each parameter of the blur does", draw_blur_overview),
    "mrfnet-fig5": ("training loss over the first two epochs",
                    partial(plots.loss_figure, task="deblur", tables=("mrfnet-2", "mrfnet-5"))),
    "mrfnet-fig6": ("deblurring, whole and enlarged",
                    partial(grid, blocks=[Block("deblur", rows=("deblurgan", "dmphn", "siun", "mrfnet"),
                                                tables=("mrfnet-2",))], details=2, below=True)),
    "mrfnet-fig7": ("deblurring, further scenes",
                    partial(grid, blocks=[Block("deblur", tables=("mrfnet-2",))], rules=("worst", "further 1"))),
    "mrfnet-fig18": ("class scores, and large and small receptive fields", feature_maps.receptive_fields),
    "dffnet-fig4-attention": ("attention given the blurred and the deblurred image",
                              partial(feature_maps.attention, kind="offsets")),
    "dffnet-fig4-augment": ("what each parameter of the blur does", draw_blur_overview),
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
    "dffnet-fig16": ("from the deblurred image to the result", feature_maps.intermediate_images),
    "dffnet-fig17": ("where the attention goes", partial(feature_maps.attention, kind="heat")),
    "dgfnet-fig1": ("texture map and result", feature_maps.texture),
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
    "dmtnet-fig5": ("features and weights of each scale", feature_maps.scale_weights),
}  # fmt: skip
"""By id: our title, and the function that rebuilds it."""
REASONS = {
    "mrfnet-fig1": "An example photograph that the text refers to and the paper does not show; the paper does not say "
    "which photograph it is and how it was made. Figure 4 shows both kinds of its blur.",
}
"""By id: why a figure that does not show an architecture is not rebuilt."""
NO_DATA = (
    "A drawing of an architecture, which holds no data, and is not rendered. The page of the method describes its "
    "network."
)

# Drawing --------------------------------------------------------------------------------------------------------------


def title_of(entry: Entry, what: str) -> str:
    """A figure's title: "MRFNet, figure 4: what each parameter of the blur does"."""
    number = f"figure {entry.number}" if entry.number else "a figure without a number"
    return f"{PAPERS[entry.paper]}, {number}: {what}"


def draw_figure(entry: Entry, sources: Sources, folder: Path) -> PaperFigure:
    """Draw one figure as `<folder>/<id>.png` and `.svg`, or give the reason why there is none."""
    what, builder = BUILDERS.get(entry.id, (sentence(entry.shows).rstrip("."), None))
    title = title_of(entry, what)
    if builder is None:
        reason = NO_DATA if entry.kind == ARCHITECTURE else REASONS[entry.id]
        return PaperFigure(entry.id, title, "", (), None, reason)
    drawn = builder(entry, sources, title, folder / entry.id)
    if isinstance(drawn, str):
        return PaperFigure(entry.id, title, "", (), None, drawn)
    runs = tuple(run.name for run in drawn.used)
    return PaperFigure(entry.id, title, caption_of(entry, drawn, sources), runs, drawn.picture, "")


def draw_figures(
    evaluations: Sequence[Evaluation], data: Path, folder: Path, published: Published
) -> list[PaperFigure]:
    """Draw every figure of the papers that has data.

    Args:
        data: the built datasets of the profile, one folder each; a figure whose dataset is not built is not drawn.
        folder: takes `<id>.png` and `<id>.svg`; it exists.

    Returns:
        all figures of `published/figures.yaml` in its order, those that are not drawn with the reason.
    Raises:
        DataError: an image, a loss file or a built dataset that is damaged.
    """
    sources = Sources(evaluations, published, data)
    return [draw_figure(entry, sources, folder) for entry in read_entries(FILE)]
