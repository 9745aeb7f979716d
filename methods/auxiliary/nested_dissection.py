"""The elimination order of a grid by nested dissection, planned once per image size.

Source: A. George, "Nested dissection of a regular finite element mesh", SIAM Journal on Numerical Analysis, 1973. The
grid is cut into small boxes of vertices, whose interiors are eliminated first. Then two neighbouring boxes at a time
become one, which eliminates the separator, the line of vertices between them. All boxes of one level have one size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Vertices = NDArray[np.intp]
"""Numbers of grid vertices."""

MIN_SIDE = 8
"""The smallest height and width, in pixels, of a grid that can be planned."""


@dataclass(frozen=True)
class Merge:
    """One level of the elimination: boxes become one in pairs, and the separators between them are eliminated.

    The boundary of a box is its four sides in the order top, bottom, left, right, without the corners: a corner has no
    neighbour inside the box.
    """

    axis: int
    """1 joins a left and a right box, 0 an upper and a lower one."""
    separator: Vertices
    """(rows, columns, k) vertices of the separator of each new box, in order."""
    boundary: Vertices
    """(rows, columns, n) vertices of the boundary of each new box."""
    facing: tuple[slice, slice]
    """Where the separator is in the boundary of the low box and in that of the high box."""
    low: list[tuple[slice, slice]]
    """Where the other sides of the low box go: slices of its boundary and of the new box's boundary."""
    high: list[tuple[slice, slice]]
    """The same for the high box."""
    ends: tuple[int | None, int | None]
    """Positions, in the new box's boundary, of the vertices next to the separator's two ends; None in the padding."""
    step: int
    """The difference between the numbers of two successive vertices of the separator."""


@dataclass(frozen=True)
class Dissection:
    """The elimination order of one grid.

    The grid's vertices are numbered row by row. Row 0 and column 0 are padding, and so are rows and columns after the
    image: no edge leads to them.
    """

    shape: tuple[int, int]
    """Rows and columns of the padded grid."""
    interior: Vertices
    """(rows, columns, height - 1, width - 1) vertices in the interior of each smallest box."""
    boundary: Vertices
    """(rows, columns, n) vertices of the boundary of each smallest box."""
    merges: list[Merge]
    """The levels, from small boxes to large ones."""
    last: Vertices
    """The vertices that remain at the end: the grid's last row, its last column, and the corner of both."""


def box_side_and_count(length: int) -> tuple[int, int]:
    """Return the side of the smallest boxes, 4 to 7, and their number, a power of two, that just cover `length` >= 8.

    >>> box_side_and_count(256), box_side_and_count(37)
    ((4, 64), (5, 8))
    """
    choices = [(side, 2**k) for side in (4, 5, 6, 7) for k in range(1, length.bit_length()) if side * 2**k >= length]
    return min(choices, key=math.prod)


def split_pairs(array: NDArray, axis: int) -> tuple[NDArray, NDArray]:
    """Return the low and the high box of each pair along `axis` of an array (rows, columns, ...)."""
    return (array[0::2], array[1::2]) if axis == 0 else (array[:, 0::2], array[:, 1::2])


def consecutive_slices(lengths: Sequence[int]) -> list[slice]:
    """Return the slices of parts of these lengths that follow each other in one array.

    >>> consecutive_slices([2, 3])
    [slice(0, 2, None), slice(2, 5, None)]
    """
    bounds = np.cumsum([0, *lengths]).tolist()
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def plan_merge(boundary: Vertices, lengths: Sequence[int], axis: int, step: int) -> tuple[Merge, list[int]]:
    """Plan the merge of all boxes in pairs along `axis`.

    The grid's first row and column are padding: when only two boxes are left along the axis, that side is dropped.

    Args:
        boundary: (rows, columns, n) vertices of the boundary of each box.
        lengths: vertices of the top, bottom, left and right side; their sum is n.
        axis: 1 joins a left and a right box, 0 an upper and a lower one.
        step: the difference between the numbers of two successive vertices of a separator.

    Returns:
        the merge, and the four lengths of the new boxes.
    """
    old = consecutive_slices(lengths)
    whole, joined = ((2, 3), (0, 1)) if axis == 1 else ((0, 1), (2, 3))  # sides kept as they are, sides joined in pairs
    new_lengths = list(lengths)
    for side in joined:
        new_lengths[side] = 2 * lengths[side] + 1 if lengths[side] else 0
    if boundary.shape[axis] == 2:
        new_lengths[whole[0]] = 0
    new = consecutive_slices(new_lengths)
    low = [(old[whole[0]], new[whole[0]])] if new_lengths[whole[0]] else []
    high = [(old[whole[1]], new[whole[1]])]
    ends: list[int | None] = []
    for side in joined:
        middle = new[side].start + lengths[side]
        if lengths[side]:
            low.append((old[side], slice(new[side].start, middle)))
            high.append((old[side], slice(middle + 1, new[side].stop)))
        ends.append(middle if lengths[side] else None)
    low_boundary, high_boundary = split_pairs(boundary, axis)
    separator = low_boundary[..., old[whole[1]]]
    merged = np.empty((*separator.shape[:2], sum(new_lengths)), dtype=np.intp)
    for box, moves in ((low_boundary, low), (high_boundary, high)):
        for source, destination in moves:
            merged[..., destination] = box[..., source]
    for end, vertex in zip(ends, (separator[..., 0] - step, separator[..., -1] + step), strict=True):
        if end is not None:
            merged[..., end] = vertex
    facing = old[whole[1]], old[whole[0]]
    return Merge(axis, separator, merged, facing, low, high, (ends[0], ends[1]), step), new_lengths


@lru_cache(maxsize=8)
def plan_dissection(height: int, width: int) -> Dissection:
    """Plan the elimination of the grid of an image of `height` x `width` pixels, both at least `MIN_SIDE`.

    >>> plan = plan_dissection(8, 8)
    >>> plan.shape, plan.interior.shape, len(plan.merges), len(plan.last)
    ((9, 9), (2, 2, 3, 3), 2, 15)
    """
    (box_height, rows), (box_width, columns) = box_side_and_count(height), box_side_and_count(width)
    grid = np.arange((box_height * rows + 1) * (box_width * columns + 1)).reshape(box_height * rows + 1, -1)
    windows = np.lib.stride_tricks.sliding_window_view(grid, (box_height + 1, box_width + 1))
    windows = windows[::box_height, ::box_width]
    interior = windows[..., 1:-1, 1:-1].copy()
    sides = windows[..., 0, 1:-1], windows[..., -1, 1:-1], windows[..., 1:-1, 0], windows[..., 1:-1, -1]
    first = boundary = np.concatenate(sides, axis=-1)
    lengths = [box_width - 1, box_width - 1, box_height - 1, box_height - 1]
    merges: list[Merge] = []
    while rows * columns > 1:
        axis = 1 if rows == 1 or (columns > 1 and box_width <= box_height) else 0  # keeps the boxes nearly square
        merge, lengths = plan_merge(boundary, lengths, axis, grid.shape[1] if axis == 1 else 1)
        merges.append(merge)
        boundary = merge.boundary
        if axis == 1:
            columns, box_width = columns // 2, 2 * box_width
        else:
            rows, box_height = rows // 2, 2 * box_height
    last = np.append(boundary[0, 0], grid[-1, -1])
    return Dissection(grid.shape, interior, first, merges, last)
