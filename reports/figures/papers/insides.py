"""Figures of a network's inside, from the maps and weights that a run's evaluation kept of its median image."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image

from reports.figures import comparisons
from reports.figures.papers.sheet import Picture, Strip, save_sheet
from reports.figures.papers.store import Drawn, Entry, Store, datasets_in, image_of, insides_of, standing, title_of
from reports.scores.reading import Evaluation

Inside = Mapping[str, Image.Image | list[float]]
WITH, WITHOUT = "stage two, ", "stage two without deblurring, "
"""What DFFNet's maps begin with: of the deblurred image, and of the same network given the blurred one."""
CONTRAST = {"texture given": 3.0, "texture result": 3.0, "fused result": 1.0}
"""Factors of DGFNet's images: texture is faint."""
ATTENTION = r"attention (\d+): {what}"


def colours(grey: Image.Image, name: str, logarithmic: bool = False) -> Image.Image:
    """A grey map in the colours of one of matplotlib's maps.

    Args:
        grey: RGB of three equal channels.
        logarithmic: each step of colour is a factor, so that one bright place does not hide all others.
    """
    values = np.asarray(grey.convert("L"), float) / 255
    values = np.log1p(255 * values) / np.log(256) if logarithmic else values
    return Image.fromarray((colormaps[name](values)[..., :3] * 255).round().astype(np.uint8))


def stronger(image: Image.Image, factor: float) -> Image.Image:
    """An image whose middle grey is zero, its values times a factor and clipped."""
    values = (np.asarray(image, float) - 127.5) * factor + 127.5
    return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))


def images(inside: Inside) -> dict[str, Image.Image]:
    """Those of a network's insides that are images."""
    return {name: shown for name, shown in inside.items() if isinstance(shown, Image.Image)}


def numbered(inside: Inside, start: str, what: str) -> list[tuple[str, Image.Image]]:
    """The attention maps of one kind in the order of their modules: the number and the map."""
    pattern = re.compile(re.escape(start) + ATTENTION.format(what=what))
    found = [(match[1], image) for name, image in images(inside).items() if (match := pattern.fullmatch(name))]
    return sorted(found, key=lambda pair: int(pair[0]))


def kept(evaluation: Evaluation, field: str) -> Image.Image:
    """Input or target of the median image, which the insides are of. Raises DataError when it cannot be read."""
    entry = image_of(evaluation, "median")
    assert entry is not None, "an evaluation that looks inside keeps its median image"
    return comparisons.read_image(evaluation.folder / entry[field])


def looking(store: Store, task: str, rows: Iterable[str], datasets: Iterable[str]) -> list[Evaluation]:
    """The runs of some rows that kept what happens inside them, dataset by dataset."""
    found = [one for dataset in datasets for one in standing(store, task, tuple(rows), dataset).values()]
    return [one for one in found if one.record.get("insides") and image_of(one, "median")]


def none_of(what: str) -> str:
    """Why a figure cannot be drawn whose run is missing or keeps no insides."""
    return f"There is no run of {what} whose evaluation kept what happens inside its network."


def attention(entry: Entry, store: Store, title: str, path: Path, *, what: str) -> Drawn | str:
    """Attention of DFFNet's second stage given the blurred and the deblurred image (figures 4 and 17).

    Where the ablation without deblurring was run on the same dataset its maps stand below: there the network never
    learnt from deblurred images.

    Args:
        what: "offsets", in the colours that the network's code gives them, or "heat".

    Returns:
        the figure, or why it cannot be drawn.
    """

    def pictures(inside: Inside, start: str) -> tuple[Picture, ...]:
        found = numbered(inside, start, what)
        if what == "heat":
            found = [(number, colours(image, "inferno", logarithmic=True)) for number, image in found]
        return tuple(Picture(f"attention {number}", image) for number, image in found)

    strips: list[Strip] = []
    used: list[Evaluation] = []
    ablated = False
    for run in looking(store, "sharp-inpaint", ("dffnet",), datasets_in(store.known, ("dffnet-4.3.3-1",))):
        inside, given, where = insides_of(run), kept(run, "input"), title_of(run)
        ways = [("given the blurred image", given, pictures(inside, WITHOUT))]
        if isinstance(sharp := inside.get("deblurred"), Image.Image):
            ways.append(("given the deblurred image", sharp, pictures(inside, WITH)))
        used.append(run)
        for rival in looking(store, "sharp-inpaint", ("dffnet-433-v1",), (run.record["dataset"],)):
            ways.append(("trained without deblurring", kept(rival, "input"), pictures(insides_of(rival), WITH)))
            used.append(rival)
            ablated = True
        strips += [Strip(f"{where}: {how}", (Picture("input", image), *shown)) for how, image, shown in ways if shown]
    if not strips:
        return none_of("dffnet (sharp-inpaint)")
    meaning = {
        "offsets": "The hue of a place of the hole is the direction of its best match among the known places (right "
        "is red, then clockwise yellow, green, left cyan, blue and magenta), its strength the distance; known places "
        "are white.",
        "heat": "How much attention each place has received from the hole, over the most that any place has: black "
        "none, yellow the most, each step of colour a factor.",
    }[what]
    text = (
        f"{meaning} Rows given the blurred image are of the same trained network, its second stage looking at the "
        "blurred image instead of the deblurred one."
    )
    if ablated:
        text += " Rows trained without deblurring are of the ablation's own network."
    absent = () if ablated else ("dffnet-433-v1, the network trained without deblurring",)
    return Drawn(save_sheet(title, strips, path), text, tuple(used), absent)


def between(run: Evaluation, pictures: Sequence[Picture]) -> Strip:
    """A strip of a run's pictures between its input and its target."""
    first, last = (Picture(name, kept(run, name)) for name in ("input", "target"))
    return Strip(title_of(run), (first, *pictures, last))


def features(entry: Entry, store: Store, title: str, path: Path) -> Drawn | str:
    """DFFNet's intermediate images: deblurred, edges, coarse and refined filling, result (figure 16)."""
    names = {
        "deblurred": "deblurred patches",
        "edges, predicted in the hole": "edge map, predicted in the hole",
        f"{WITH}coarse": "inpainting, coarse",
        f"{WITH}refined": "inpainting, refined",
        "result": "result",
    }
    runs = looking(store, "sharp-inpaint", ("dffnet",), datasets_in(store.known, ("dffnet-4.3.3-1",)))
    strips = [
        between(run, [Picture(names[name], image) for name in names if (image := images(insides_of(run)).get(name))])
        for run in runs
    ]
    if not strips:
        return none_of("dffnet (sharp-inpaint)")
    text = (
        "From left to right what each stage makes of the median test image; the edge map is the edge model's in the "
        "hole and Canny's of the deblurred image elsewhere."
    )
    return Drawn(save_sheet(title, strips, path), text, tuple(runs))


def texture(entry: Entry, store: Store, title: str, path: Path) -> Drawn | str:
    """DGFNet's texture map beside its result (figure 1)."""
    names = {
        "texture given": "texture of the known part",
        "texture result": "generated texture map",
        "fused result": "final result",
    }
    runs = [
        run
        for run in looking(store, "inpaint", ("dgfnet",), entry.datasets)
        if "texture result" in images(insides_of(run))
    ]
    strips = [
        between(run, [Picture(names[name], stronger(shown[name], CONTRAST[name])) for name in names])
        for run in runs
        for shown in [images(insides_of(run))]
    ]
    if not strips:
        return none_of("dgfnet (inpaint) with its texture branch")
    text = (
        "The median test image. Texture is what smoothing takes away, its contrast tripled here: grey is none. Its "
        "known part is as given."
    )
    return Drawn(save_sheet(title, strips, path), text, tuple(runs))


def fields(entry: Entry, store: Store, title: str, path: Path) -> Drawn | str:
    """MRFNet's class-score maps, and its paths from the largest receptive field to the smallest (figure 18).

    The class scores exist at one receptive field, that of the classifier; the paths see the same image at 1/8 to full
    size, so that a pixel of the first stands for the most of it.
    """
    runs = [one for one in store.evaluations if one.record["method"] == "mrfnet_edges" and image_of(one, "median")]
    runs.sort(key=lambda one: one.record["seed"] or 0, reverse=True)
    runs = list({title_of(one): one for one in runs}.values())  # the lowest seed on each dataset
    strips: list[Strip] = []
    used = []
    for run in runs:
        inside = insides_of(run)
        given, found = kept(run, "input"), images(inside)
        scores = [(name, image) for name, image in found.items() if name.startswith("location of ")]
        paths = sorted(
            ((int(match[1]), image) for name, image in found.items()
             if (match := re.match(r"path (\d+): difference", name))), reverse=True,
        )  # fmt: skip
        if not scores or not paths:
            continue
        edges = [Picture("edge map", found["edge map"])] * ("edge map" in found)
        classes = (Picture(name.split(",")[0], colours(image, "inferno")) for name, image in scores)
        largest = f"from the largest receptive field, path {paths[0][0]}, to the smallest, path {paths[-1][0]}"
        strips += [
            Strip(f"{title_of(run)}: class-score maps", (Picture("input", given), *edges, *classes)),
            Strip(
                f"{title_of(run)}: what the paths change, {largest}",
                tuple(
                    Picture(f"path {k}: a pixel stands for {(side := round(given.width / image.width))}×{side}",
                            colours(image, "inferno"))
                    for k, image in paths
                ),
            ),
        ]  # fmt: skip
        used.append(run)
    if not strips:
        return none_of("mrfnet_edges (MRFNet with edges and classes)")
    text = (
        "Class scores by place, each map in its own range: the classifier has one receptive field. What a large and a "
        "small field see is shown by the refinement paths below: how far each path's image differs from the blurred "
        "one at its own scale, each in its own range. The paper does not define its maps at several fields."
    )
    return Drawn(save_sheet(title, strips, path), text, tuple(used))


def scales(entry: Entry, store: Store, title: str, path: Path) -> Drawn | str:
    """DMTNet's feature maps and scale weights in each DMSSRM (figure 5)."""
    runs = looking(store, "dual-pixel", entry.methods, entry.datasets)
    strips: list[Strip] = []
    used = []
    for run in runs:
        inside = insides_of(run)
        first = Picture("input", kept(run, "input"))
        for name, weights in inside.items():
            match = re.fullmatch(r"DMSSRM (\d+): scales (.+)", name)
            if match is None or isinstance(weights, Image.Image):
                continue
            pictures = [
                Picture(f"scale {k} (size {scale}), weight {weight:.4g}", colours(image, "viridis"))
                for k, (scale, weight) in enumerate(zip(match[2].split(", "), weights, strict=True), 1)
                for label, image in images(inside).items()
                if label.startswith(f"DMSSRM {match[1]}, scale {scale}:")
            ]
            heading = f"{title_of(run)}, {run.record['title']}: DMSSRM {match[1]}"
            strips.append(Strip(heading, (first, *pictures)))
            used.append(run)
    if not strips:
        return none_of(f"{', '.join(entry.methods)} (dual-pixel)")
    text = (
        "The mean over the channels of each scale's features before they are fused, each map in its own range, and the "
        "weight that the module gives that scale for this image; the weights of a module sum to 1."
    )
    return Drawn(save_sheet(title, strips, path), text, tuple({one.name: one for one in used}.values()))
