"""Images of figures: reading them, and encoding them for SVG files and for the page."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError

from bench.contracts import DataError

if TYPE_CHECKING:
    from reports.scores.reading import Evaluation


def read_image(evaluation: Evaluation, file: str) -> Image.Image:
    """Read an image that an evaluation kept as 8-bit RGB; 16-bit images lose their low byte.

    Args:
        evaluation: of which the record has the image.
        file: a path in the evaluation's folder.

    Raises:
        DataError: the file is missing, has changed since it was written, or is not an image.
    """
    data, path = evaluation.read(file), evaluation.folder / file
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"{path}: cannot be read as an image ({error}); evaluate the run again") from error


def at_width(image: Image.Image, width: int) -> Image.Image:
    """An image at a width in pixels, its proportion kept; one that is enlarged keeps its pixels as squares."""
    way = Image.Resampling.NEAREST if image.width < width else Image.Resampling.LANCZOS
    return image.resize((width, max(1, round(width * image.height / image.width))), way)


def data_uri(data: bytes, kind: str) -> str:
    """Encode bytes as an address that holds them, for a page or an SVG file without further files."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def webp(image: Image.Image, max_width: int = 0) -> bytes:
    """Encode as WebP of quality 72; an image wider than `max_width` pixels is made narrower (0: never)."""
    if 0 < max_width < image.width:
        image = at_width(image, max_width)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=72, method=2)
    return out.getvalue()


def jpeg(image: Image.Image) -> bytes:
    """Encode as JPEG of quality 82."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=82)
    return out.getvalue()


def png(image: Image.Image) -> bytes:
    """Encode as PNG, without loss and fast rather than small."""
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()
