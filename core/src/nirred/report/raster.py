"""Pictures of arrays for the page: PNG as data: URI, with overlays and colour bars."""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from ..picture import Levels, Orientation, Scale, binned, limits

#: Red, green, blue of pixels without data; the other 255 entries of the palette are grey.
NO_DATA = (0x3A, 0x4D, 0x7A)


@dataclass(frozen=True)
class Line:
    """A line from (x1, y1) to (x2, y2) with a label at (x, y); pixels of the picture, y down."""

    x1: float
    y1: float
    x2: float
    y2: float
    label: str
    x: float
    y: float


@dataclass(frozen=True)
class Picture:
    """A picture for the page.

    Parameters
    ----------
    uri : str
        PNG as data: URI.
    width, height : int
        Its pixels.
    alt : str
        Text description for readers who cannot see it.
    ticks : sequence of (place from 0 to 1, label)
        Ticks of its colour bar.
    """

    uri: str
    width: int
    height: int
    alt: str
    caption: str
    unit: str = ""
    ticks: tuple[tuple[float, str], ...] = ()
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True)
class Words:
    """Texts of a picture; `alt` describes it for readers who cannot see it."""

    alt: str
    caption: str
    unit: str = ""


def picture(
    data: np.ndarray,
    words: Words,
    *,
    scale: Scale = "sky",
    levels: Levels | None = None,
    side: int = 640,
    sky: Orientation | None = None,
) -> Picture | None:
    """Draw an array.

    Parameters
    ----------
    data : float (ny, nx)
        NaN where nothing was measured.
    words : Words
        What is written to it.
    scale : str
        As of `picture.limits`: sky with an asinh stretch, others linear.
    levels : Levels
        Instead.
    side : int
        Most pixels of the longer side; larger arrays are binned by a whole number.
    sky : Orientation
        Adds arrows and a scale bar.

    Returns
    -------
    Picture or None
        None where no pixel is finite.
    """
    cell = -(-max(data.shape) // side)
    shown = binned(data, cell)
    if not np.isfinite(shown).any():
        return None
    levels = levels or Levels(*limits(shown, scale), "asinh" if scale == "sky" else "linear")
    height, width = shown.shape
    lines = () if sky is None else compass(sky, cell, width, height)
    uri = png_uri(levels.shade(shown))
    return Picture(uri, width, height, words.alt, words.caption, words.unit, tuple(levels.ticks(0.16)), lines)


def png_uri(shade: np.ndarray) -> str:
    """A PNG of 255 greys and one colour for NaN as data: URI; row 0 of `shade` (0 to 1) is the lowest."""
    with np.errstate(invalid="ignore"):
        index = np.where(np.isfinite(shade), 1 + np.rint(shade * 254), 0).astype(np.uint8)[::-1]
    height, width = index.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), index], axis=1).tobytes()
    palette = bytes(NO_DATA) + bytes(v for k in range(255) for v in (round(k * 255 / 254),) * 3)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", palette),
        (b"IDAT", zlib.compress(rows, 6)),
        (b"IEND", b""),
    ]
    chunks = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts]
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)).decode()


def compass(sky: Orientation, cell: int, width: int, height: int) -> tuple[Line, ...]:
    """Arrows to north and east in the lower right corner, a bar of a round number of arcsec in the lower left."""
    side = min(width, height)
    x, y = width - 0.16 * side, height - 0.16 * side
    lines = [
        Line(x, y, x + 0.1 * side * dx, y - 0.1 * side * dy, name, x + 0.135 * side * dx, y - 0.135 * side * dy)
        for name, (dx, dy) in (("N", sky.north), ("E", sky.east))
    ]
    length, label = sky.bar(width * cell)
    if length:
        left, low, right = 0.05 * width, 0.95 * height, 0.05 * width + length / cell
        lines.append(Line(left, low, right, low, label, (left + right) / 2, low - 0.03 * side))
    return tuple(lines)
