"""What a metric declares: its id, title, unit, direction, decimals, protocol, and what it is computed from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal, TypeVar

from numpy.typing import NDArray

from bench.contracts import DataError

Image = NDArray[Any]
"""uint8, uint16 or floats in [0, 1], (H, W, 3) or (H, W). A mask is (H, W), 255 (or 1) = hole."""
Floats = NDArray[Any]
"""float64 of the same shapes; OpenCV's types do not tell."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Everything that tables and figures must know of a number. It is declared next to the function that computes it.

    Args:
        id: names the convention completely: two numbers with one id may be compared. Printed below a table.
        title: the heading of its column, and the name of a figure's axis.
        unit: "dB", "%", "s", ...; "" for a plain number.
        better: whether the higher or the lower value wins.
        decimals: digits after the point in `unit`; a table in another unit shows as many fewer or more.
        protocol: how it is computed, as one phrase without a full stop. Printed below every table that shows it.
        notes: which programs and papers compute it so and what to know before comparing, in sentences; "" for none.
        overview: its place among the columns of an overview, the lowest first; None keeps it out.
        version: raise it when the same images give another value.
    """

    id: str
    title: str
    unit: str
    better: Literal["higher", "lower"]
    decimals: int
    protocol: str
    notes: str = ""
    overview: int | None = None
    version: int = 1


@dataclass(frozen=True, kw_only=True)
class Metric(Measure, ABC):
    """A measure of one restored image. Its class says what it needs besides the image and the truth."""

    needs_mask: ClassVar[bool] = False
    needs_references: ClassVar[bool] = False

    @abstractmethod
    def score(self, pred: Image, target: Image, mask: Image | None = None) -> float:
        """Score one image.

        Args:
            target: the truth, or one of the reference frames.
            mask: of the image, where its task has one; only a metric of the hole looks at it.

        Raises:
            Undefined: the formula has no value for these images.
            DataError: the images cannot be compared, or the mask is missing.
        """


@dataclass(frozen=True, kw_only=True)
class ImageMetric(Metric):
    """A metric of all pixels.

    Args:
        compute: (pred, target) to the value.
    """

    compute: Callable[[Image, Image], float]

    def score(self, pred: Image, target: Image, mask: Image | None = None) -> float:
        """Score one image; the mask is not used."""
        return self.compute(pred, target)


@dataclass(frozen=True, kw_only=True)
class HoleMetric(Metric):
    """A metric of the hole's pixels; it applies to the tasks with a mask.

    Args:
        compute: (pred, target, mask) to the value.
    """

    needs_mask: ClassVar[bool] = True
    compute: Callable[[Image, Image, Image], float]

    def score(self, pred: Image, target: Image, mask: Image | None = None) -> float:
        """Score the hole of one image. Raises DataError without a mask."""
        if mask is None:
            raise DataError(f"{self.id}: a score of the hole needs the image's mask, and there is none")
        return self.compute(pred, target, mask)


@dataclass(frozen=True, kw_only=True)
class ReferenceMetric(ImageMetric):
    """A metric of datasets with several true frames per image; the best frame counts.

    Args:
        compute: (pred, frame) to the value for one of the frames.
    """

    needs_references: ClassVar[bool] = True


@dataclass(frozen=True)
class NotMeasured:
    """A score that could not be taken.

    Args:
        metric: its id.
        reason: why, and what to do where something can be done.
    """

    metric: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class NetworkMetric(Measure):
    """A measure of one restored image that needs a network with other people's weights.

    Args:
        load: (folder of network weights, device) to a function of (pred, target), or to why it cannot be measured here.
            Called once per evaluation.
    """

    load: Callable[[Path | None, str], Callable[[Image, Image], float] | NotMeasured]


@dataclass(frozen=True, kw_only=True)
class SetMetric(Measure):
    """A measure of a whole set of restored images, by the features that a network gives of each.

    Args:
        load: (folder of network weights, device) to a function of one image to its features (D,), or to why it cannot
            be measured here. Called once per evaluation.
        distance: (features of the restored images (N, D), features of the truths (N, D)) to the value.
        needs_mask: whether it is measured for the tasks with a hole only.
    """

    load: Callable[[Path | None, str], Callable[[Image], Floats] | NotMeasured]
    distance: Callable[[Floats, Floats], float]
    needs_mask: bool = False


@dataclass(frozen=True, kw_only=True)
class Cost(Measure):
    """A measure of a run and not of its images: what its network costs, or how its training ended.

    Its scores may have a size ("256x256") but no input, scene or mask.

    Args:
        on_device: whether it depends on the device, which tables then name next to the size.
        plotted: whether the report plots PSNR against it.
    """

    on_device: bool = False
    plotted: bool = False


class Undefined(DataError):
    """The images can be compared, but the metric's formula has no value for them."""


M = TypeVar("M", bound=Measure)


def declared(modules: Iterable[ModuleType], kind: type[M]) -> dict[str, M]:
    """Return the measures of one kind that modules declare, by id, in the order of the declarations."""
    return {value.id: value for module in modules for value in vars(module).values() if isinstance(value, kind)}
