"""Pictures of the page, encoded so that all of them together fit into a number of bytes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from PIL.Image import Image

from reports.figures.comparisons import Comparison
from reports.figures.images import data_uri, webp
from reports.figures.sheets import Sheet
from reports.page.parts import Appendix, Section

WIDTHS = (640, 480, 320, 240, 160)
"""Widths of a compared image, pixels: the largest at which all images fit is chosen."""
COMMON_SHARE = 0.6
"""The share of the bytes for the images that several runs share."""
SMALLEST_SHEET = 10_000
"""A sheet has at least about so many bytes."""
RUN_IMAGE = (2_000, 30_000)
"""Bytes of an image that only one run shows: with fewer it is not tried, and it gets no more."""


def encode_all(images: Sequence[Image], room: float, pool: ThreadPoolExecutor) -> list[str]:
    """Encode images as addresses, all at the largest of WIDTHS at which they fit into `room` bytes; [] if none does."""
    widest = 1.3 * max(image.width for image in images)  # an image is never enlarged: a larger width changes nothing
    for width in WIDTHS:
        if width < widest or width == WIDTHS[-1]:
            addresses = [data_uri(data, "webp") for data in pool.map(partial(webp, max_width=width), images)]
            if sum(map(len, addresses)) <= room:
                return addresses
    return []


def sheets_of(sections: Sequence[Section], appendices: Sequence[Appendix]) -> Iterator[Sheet]:
    """All sheets of the page, the appendices' before those of runs."""
    for appendix in appendices:
        yield from (plot for plot in appendix.plots if isinstance(plot, Sheet))
    for section in sections:
        yield from (run.inside for run in section.runs if run.inside)


def encode_pictures(
    sections: Sequence[Section], appendices: Sequence[Appendix], room: int
) -> Mapping[Comparison | Sheet, Sequence[str]]:
    """Encode the page's pictures into `room` bytes; those that do not fit are absent.

    Comparisons of several runs come first and share COMMON_SHARE of the room by their number of images; then the sheets
    of appendices, the insides of networks, and the images that only one run shows.
    """
    common = [comparison for section in sections for part in section.parts for comparison in part.comparisons]
    single = [comparison for section in sections for run in section.runs for comparison in run.comparisons]
    encoded: dict[Comparison | Sheet, Sequence[str]] = {}
    left = float(room)
    share = COMMON_SHARE * left / max(1, sum(len(comparison.tiles) for comparison in common))
    with ThreadPoolExecutor(2) as pool:
        for comparison in common:
            images = [tile.image for tile in comparison.tiles]
            if addresses := encode_all(images, share * len(images), pool):
                encoded[comparison] = addresses
                left -= sum(map(len, addresses))
        sheets = list(sheets_of(sections, appendices))[: max(0, math.ceil(left / SMALLEST_SHEET))]
        for sheet, data in zip(sheets, pool.map(lambda sheet: webp(sheet.image), sheets), strict=True):
            address = data_uri(data, "webp")
            if len(address) <= left:
                encoded[sheet] = [address]
                left -= len(address)
        least, most = RUN_IMAGE
        for comparison in single:
            images = [tile.image for tile in comparison.tiles]
            allowed = min(left, most * len(images))
            if left > least * len(images) and (addresses := encode_all(images, allowed, pool)):
                encoded[comparison] = addresses
                left -= sum(map(len, addresses))
    return encoded
