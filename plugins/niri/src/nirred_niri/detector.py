"""NIRI's detector: one 1024 x 1024 Aladdin array. Gain, noise and response by read mode and well depth."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nirred.plugin import Amplifier, Detector, Linearity, Section, gemini

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nirred.plugin import Headers

SIZE = 1024
GAIN = 12.3  # e-/ADU
WELL = {"Shallow": 200_000.0, "Deep": 280_000.0}  # e-
NON_LINEAR = 0.7  # of saturation

_READ_MODES = {(16, 16): "Low Background", (1, 16): "Medium Background", (1, 1): "High Background"}
_READ_NOISE = {"Low Background": 12.3, "Medium Background": 35.0, "High Background": 70.0}  # e- per coadd
_BIAS = {"Shallow": -0.60, "Deep": -0.87}  # V, A_VDDUC - A_VDET

# (read mode, NAXIS2, well): time not in EXPTIME (s), quadratic (1/e-) and cubic (1/e-^2) term. Measured to 12,000 ADU
# in shallow and 21,000 ADU in deep wells.
_RESPONSE = {
    ("Low Background", 1024, "Shallow"): (1.2662732, 6.006310407e-07, 1.282732019e-12),
    ("Medium Background", 1024, "Shallow"): (0.09442515154, 2.787629143e-07, 3.178236042e-12),
    ("Medium Background", 256, "Shallow"): (0.01029262589, 5.540988347e-07, 1.404726339e-12),
    ("High Background", 1024, "Shallow"): (0.009697324059, 2.471574550e-07, 3.067478573e-12),
    ("High Background", 1024, "Deep"): (0.007680816203, 2.912125336e-07, 1.203254464e-12),
}
_MEASURED_TO = {"Shallow": 147_600.0, "Deep": 258_300.0}  # e- per coadd


def read_mode(headers: Headers) -> str:
    """Read mode, from the numbers of reads and digital averages."""
    reads = gemini.integer(headers, "LNRS"), gemini.integer(headers, "NDAVGS")
    return _READ_MODES.get(reads, "Unknown")  # type: ignore[arg-type]


def read_noise(mode: str) -> float:
    """Read noise of a coadd, e-; that of the medium mode for unknown modes."""
    return _READ_NOISE.get(mode, _READ_NOISE["Medium Background"])


def well_depth(headers: Headers) -> str | None:
    """Shallow or Deep, from the detector bias; Unknown for any other bias; None if the header lacks it."""
    high, low = gemini.number(headers, "A_VDDUC"), gemini.number(headers, "A_VDET")
    if high is None or low is None:
        return None
    return next((k for k, v in _BIAS.items() if abs(high - low - v) < 0.05), "Unknown")


def section(headers: Headers) -> Section | None:
    """Section of the array covered by the frame; subarrays are centred on the array.

    Rows in the keywords are x, columns are y.
    """
    keys = ("LOWROW", "HIROW", "LOWCOL", "HICOL")
    low_x, high_x, low_y, high_y = (gemini.integer(headers, k) for k in keys)
    if low_x is None or high_x is None or low_y is None or high_y is None:
        return None
    nx, ny, half = high_x - low_x + 1, high_y - low_y + 1, SIZE // 2
    if not (0 < nx <= SIZE and 0 < ny <= SIZE):
        return None
    return Section(half - nx // 2, half + nx // 2, half - ny // 2, half + ny // 2)


def roi(headers: Headers) -> str | None:
    """Full Frame, Central768, Central512, Central256 or Custom."""
    place = section(headers)
    if place is None:
        return None
    ny, nx = place.shape
    origin = gemini.integer(headers, "LOWROW"), gemini.integer(headers, "LOWCOL")
    if (nx, ny) == (SIZE, SIZE):
        return "Full Frame"
    return f"Central{nx}" if nx == ny and nx % 256 == 0 and origin == (0, 0) else "Custom"


def linearity(mode: str, rows: int, well: str | None) -> Linearity | None:
    """Response curve; None for modes without a measured curve."""
    found = _RESPONSE.get((mode, rows, well or ""))
    if found is None:
        return None
    delay, quadratic, cubic = found
    return Linearity(((1.0, quadratic, cubic),), time_delta=(delay,), valid_to=_MEASURED_TO[well or ""])


def detectors(headers: Headers, tags: frozenset[str]) -> Sequence[Detector]:
    """The one plane of a NIRI frame; empty for a file without an image."""
    image = headers.image
    if image is None:
        return ()
    ny, nx = image.shape[-2:]
    mode, well, n = read_mode(headers), well_depth(headers), gemini.coadds(headers)
    full = None if well not in WELL else int(WELL[well] * n / GAIN)
    plane = Detector(
        shape=(ny, nx),
        gain=GAIN,
        read_noise=read_noise(mode) * math.sqrt(n),
        saturation=None if full is None else float(full),
        non_linear=None if full is None else float(int(NON_LINEAR * full)),
        coadds=n,
        name="aladdin",
        section=section(headers),
        amplifiers=_quadrants(nx, ny),
        linearity=linearity(mode, ny, well),
    )
    return (gemini.as_stated(plane, headers, tags),)


def _quadrants(nx: int, ny: int) -> tuple[Amplifier, ...]:
    """The four independently read quadrants of the array, in pixels of a centred frame."""
    x, y = nx // 2, ny // 2
    return tuple(
        Amplifier(f"{name_y}{name_x}", Section(x1, x2, y1, y2))
        for name_y, y1, y2 in (("lower-", 0, y), ("upper-", y, ny))
        for name_x, x1, x2 in (("left", 0, x), ("right", x, nx))
    )
