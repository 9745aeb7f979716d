"""Figures of feature maps and weights: the insides of a network that a run's evaluation kept of its median image."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image

from reports.figures.images import read_image
from reports.figures.insides import Insides, insides_of
from reports.figures.naming import dataset_title
from reports.figures.papers.sources import Drawn, Entry, Sources, datasets_in, image_of, runs_of_rows
from reports.figures.sheets import Picture, Strip, save_sheet
from reports.scores.reading import Evaluation

DEBLURRED, BLURRED = "stage two, ", "stage two without deblurring, "
"""The begin of the names of DFFNet's maps: of the deblurred image, and of the same network given the blurred one."""
CONTRAST = {"texture given": 3.0, "texture result": 3.0, "fused result": 1.0}
"""By the name of DGFNet's images, the factor of their contrast: texture is faint."""
ATTENTION = r"attention (\d+): {kind}"
"""The end of the names of attention maps."""


def in_colours(grey: Image.Image, name: str, logarithmic: bool = False) -> Image.Image:
    """A grey map in the colours of one of matplotlib's colour maps.

    Args:
        grey: RGB of three equal channels.
        name: of the colour map.
        logarithmic: each step of colour is a factor, so that one bright place does not hide all others.
    """
    values = np.asarray(grey.convert("L"), float) / 255
    values = np.log1p(255 * values) / np.log(256) if logarithmic else values
    return Image.fromarray((colormaps[name](values)[..., :3] * 255).round().astype(np.uint8))


def with_contrast(image: Image.Image, factor: float) -> Image.Image:
    """An image with its differences from middle grey multiplied by a factor, clipped."""
    values = (np.asarray(image, float) - 127.5) * factor + 127.5
    return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))


def maps_of(insides: Insides) -> dict[str, Image.Image]:
    """The insides that are images, without the weights."""
    return {name: inside for name, inside in insides.items() if isinstance(inside, Image.Image)}


def attention_maps(insides: Insides, start: str, kind: str) -> list[tuple[str, Image.Image]]:
    """The attention maps of one kind in the order of their modules: the module's number and the map."""
    pattern = re.compile(re.escape(start) + ATTENTION.format(kind=kind))
    maps = [(match[1], image) for name, image in maps_of(insides).items() if (match := pattern.fullmatch(name))]
    return sorted(maps, key=lambda pair: int(pair[0]))


def median_image(evaluation: Evaluation, field: str) -> Image.Image:
    """Input or target of the median image, to which the insides belong. Raises DataError when it cannot be read."""
    entry = image_of(evaluation, "median")
    assert entry is not None, "an evaluation with insides keeps its median image"
    return read_image(evaluation, getattr(entry, field))


def runs_with_insides(
    sources: Sources, task: str, rows: Iterable[str], datasets: Iterable[str]
) -> list[tuple[Evaluation, Insides]]:
    """The runs of some rows that kept the insides of their network, and these, dataset by dataset."""
    runs = [run for dataset in datasets for run in runs_of_rows(sources, task, tuple(rows), dataset).values()]
    return [(run, insides) for run in runs if image_of(run, "median") and (insides := insides_of(run))]


def without_run(what: str) -> str:
    """Why a figure cannot be drawn when its run is missing or kept no insides."""
    return f"There is no run of {what} whose evaluation kept the insides of its network."


# Attention ------------------------------------------------------------------------------------------------------------

MEANINGS = {
    "offsets": "The hue of a place in the hole is the direction of its best match among the known places (right is "
    "red, then clockwise yellow, green, left cyan, blue and magenta), its strength the distance; known places are "
    "white.",
    "heat": "How much attention each place received from the hole, relative to the place with the most: black for "
    "none, yellow for the most, each step of colour a factor.",
}
"""What attention maps of each kind show."""


def attention_pictures(insides: Insides, start: str, kind: str) -> tuple[Picture, ...]:
    """The attention maps of one kind, with the number of their module."""
    maps = attention_maps(insides, start, kind)
    if kind == "heat":
        maps = [(number, in_colours(image, "inferno", logarithmic=True)) for number, image in maps]
    return tuple(Picture(f"attention {number}", image) for number, image in maps)


def attention(entry: Entry, sources: Sources, title: str, path: Path, *, kind: str) -> Drawn | str:
    """Draw the attention of DFFNet's second stage for the blurred and for the deblurred image (figures 4 and 17).

    Where the ablation without deblurring was run on the same dataset, its maps are shown too: its network never learnt
    from deblurred images.

    Args:
        kind: "offsets", in the colours of the network's code, or "heat".

    Returns:
        the figure, or why it cannot be drawn.
    """
    strips: list[Strip] = []
    used: list[Evaluation] = []
    datasets = datasets_in(sources.published, ("dffnet-4.3.3-1",))
    ablated = False
    for run, insides in runs_with_insides(sources, "sharp-inpaint", ("dffnet",), datasets):
        given = median_image(run, "input")
        rows = [("given the blurred image", given, attention_pictures(insides, BLURRED, kind))]
        if isinstance(deblurred := insides.get("deblurred"), Image.Image):
            rows.append(("given the deblurred image", deblurred, attention_pictures(insides, DEBLURRED, kind)))
        used.append(run)
        same_dataset = (run.record.dataset,)
        for ablation, maps in runs_with_insides(sources, "sharp-inpaint", ("dffnet-433-v1",), same_dataset):
            pictures = attention_pictures(maps, DEBLURRED, kind)
            rows.append(("trained without deblurring", median_image(ablation, "input"), pictures))
            used.append(ablation)
            ablated = True
        for how, image, pictures in rows:
            if pictures:
                strips.append(Strip(f"{dataset_title(run)}: {how}", (Picture("input", image), *pictures)))
    if not strips:
        return without_run("dffnet (sharp-inpaint)")
    text = (
        f"{MEANINGS[kind]} In rows given the blurred image the second stage of the same trained network sees the "
        "blurred image in place of the deblurred one."
    )
    if ablated:
        text += " Rows trained without deblurring are of the ablation, another trained network."
    absent = () if ablated else ("dffnet-433-v1, the network trained without deblurring",)
    return Drawn(save_sheet(title, strips, path), text, tuple(used), absent)


# Intermediate images --------------------------------------------------------------------------------------------------


def between_input_and_target(run: Evaluation, pictures: Sequence[Picture]) -> Strip:
    """A strip of a run's pictures between its input and its target."""
    given, target = (Picture(name, median_image(run, name)) for name in ("input", "target"))
    return Strip(dataset_title(run), (given, *pictures, target))


def named_maps(insides: Insides, names: Mapping[str, str]) -> list[Picture]:
    """The maps of some names that a run has, under the names of the figure."""
    maps = maps_of(insides)
    return [Picture(title, maps[name]) for name, title in names.items() if name in maps]


def intermediate_images(entry: Entry, sources: Sources, title: str, path: Path) -> Drawn | str:
    """Draw DFFNet's intermediate images: deblurred, edges, coarse and refined filling, result (figure 16)."""
    names = {
        "deblurred": "deblurred patches",
        "edges, predicted in the hole": "edge map, predicted in the hole",
        f"{DEBLURRED}coarse": "inpainting, coarse",
        f"{DEBLURRED}refined": "inpainting, refined",
        "result": "result",
    }
    datasets = datasets_in(sources.published, ("dffnet-4.3.3-1",))
    runs = runs_with_insides(sources, "sharp-inpaint", ("dffnet",), datasets)
    strips = [between_input_and_target(run, named_maps(insides, names)) for run, insides in runs]
    if not strips:
        return without_run("dffnet (sharp-inpaint)")
    text = (
        "The result of each stage for the median test image, from left to right. The edge map is the edge model's in "
        "the hole and Canny's of the deblurred image elsewhere."
    )
    return Drawn(save_sheet(title, strips, path), text, tuple(run for run, _ in runs))


def texture(entry: Entry, sources: Sources, title: str, path: Path) -> Drawn | str:
    """Draw DGFNet's texture map and its result (figure 1)."""
    names = {
        "texture given": "texture of the known part",
        "texture result": "generated texture map",
        "fused result": "final result",
    }
    strips, used = [], []
    for run, insides in runs_with_insides(sources, "inpaint", ("dgfnet",), entry.datasets):
        maps = maps_of(insides)
        if "texture result" in maps:
            pictures = [Picture(names[name], with_contrast(maps[name], CONTRAST[name])) for name in names]
            strips.append(between_input_and_target(run, pictures))
            used.append(run)
    if not strips:
        return without_run("dgfnet (inpaint) with its texture branch")
    text = (
        "The median test image. Texture is what smoothing removes, here with three times its contrast: grey is none. "
        "The texture of the known part is given, not generated."
    )
    return Drawn(save_sheet(title, strips, path), text, tuple(used))


# Receptive fields and scales ------------------------------------------------------------------------------------------


def field_strips(run: Evaluation, insides: Insides) -> list[Strip]:
    """MRFNet's class scores in one strip, and its refinement paths in another; none where it kept neither."""
    maps = maps_of(insides)
    scores = [(name, image) for name, image in maps.items() if name.startswith("location of ")]
    numbered = [(match[1], image) for name, image in maps.items() if (match := re.match(r"path (\d+): diff", name))]
    paths = sorted(((int(number), image) for number, image in numbered), reverse=True)
    if not scores or not paths:
        return []
    given = median_image(run, "input")
    edges = [Picture("edge map", maps["edge map"])] if "edge map" in maps else []
    classes = [Picture(name.split(",")[0], in_colours(image, "inferno")) for name, image in scores]
    differences = []
    for number, image in paths:
        side = round(given.width / image.width)
        label = f"path {number}: a pixel covers {side}×{side}"
        differences.append(Picture(label, in_colours(image, "inferno")))
    largest = f"from the largest receptive field, path {paths[0][0]}, to the smallest, path {paths[-1][0]}"
    return [
        Strip(f"{dataset_title(run)}: class-score maps", (Picture("input", given), *edges, *classes)),
        Strip(f"{dataset_title(run)}: what the paths change, {largest}", tuple(differences)),
    ]


def receptive_fields(entry: Entry, sources: Sources, title: str, path: Path) -> Drawn | str:
    """Draw MRFNet's class scores, and its paths from the largest receptive field to the smallest (figure 18).

    The class scores exist at one receptive field, that of the classifier. The paths see the same image at 1/8 to full
    size, so that one pixel of the first path covers the largest part of it.
    """
    runs = [run for run in sources.evaluations if run.record.method == "mrfnet_edges" and image_of(run, "median")]
    runs.sort(key=lambda run: run.record.seed, reverse=True)
    lowest_seeds = {dataset_title(run): run for run in runs}
    strips: list[Strip] = []
    used = []
    for run in lowest_seeds.values():
        if added := field_strips(run, insides_of(run)):
            strips += added
            used.append(run)
    if not strips:
        return without_run("mrfnet_edges (MRFNet with edges and classes)")
    text = (
        "Class scores by place, each map in its own range; the classifier has one receptive field. The refinement "
        "paths below have a large or a small field: shown is how much the image of each path differs from the blurred "
        "one at its own scale, each in its own range. The paper does not define its maps at several fields."
    )
    return Drawn(save_sheet(title, strips, path), text, tuple(used))


def scale_weights(entry: Entry, sources: Sources, title: str, path: Path) -> Drawn | str:
    """Draw DMTNet's feature maps and scale weights of each DMSSRM (figure 5)."""
    strips: list[Strip] = []
    used: dict[str, Evaluation] = {}
    for run, insides in runs_with_insides(sources, "dual-pixel", entry.methods, entry.datasets):
        first = Picture("input", median_image(run, "input"))
        for name, weights in insides.items():
            match = re.fullmatch(r"DMSSRM (\d+): scales (.+)", name)
            if match is None or isinstance(weights, Image.Image):
                continue
            pictures = [
                Picture(f"scale {k} (size {scale}), weight {weight:.4g}", in_colours(image, "viridis"))
                for k, (scale, weight) in enumerate(zip(match[2].split(", "), weights, strict=True), 1)
                for label, image in maps_of(insides).items()
                if label.startswith(f"DMSSRM {match[1]}, scale {scale}:")
            ]
            heading = f"{dataset_title(run)}, {run.record.title}: DMSSRM {match[1]}"
            strips.append(Strip(heading, (first, *pictures)))
            used[run.name] = run
    if not strips:
        return without_run(f"{', '.join(entry.methods)} (dual-pixel)")
    text = (
        "The features of each scale before they are fused, averaged over the channels, each map in its own range, and "
        "the weight that the module gives to that scale for this image; the weights of a module sum to 1."
    )
    return Drawn(save_sheet(title, strips, path), text, tuple(used.values()))
