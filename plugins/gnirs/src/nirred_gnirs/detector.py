"""GNIRS's detector: one 1024 x 1022 Aladdin III array. Gain, noise and response by array, read mode and well depth."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from nirred.plugin import Detector, Linearity, Section, gemini

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nirred.plugin import Headers

GAIN = 13.5  # e-/ADU, every mode
VERY_BRIGHT, BRIGHT = "Very Bright Objects", "Bright Objects"
FAINT, VERY_FAINT = "Faint Objects", "Very Faint Objects"
SHALLOW, DEEP = "Shallow", "Deep"

_READ_MODES = {(32, 16): VERY_FAINT, (16, 16): FAINT, (1, 16): BRIGHT, (1, 1): VERY_BRIGHT}
_BIAS = {SHALLOW: 0.3, DEEP: 0.6}  # V
_NOISE = {VERY_BRIGHT: 155.0, BRIGHT: 30.0, FAINT: 10.0, VERY_FAINT: 7.0}  # e- per coadd
_NOISE_SOUTH = {VERY_BRIGHT: 145.0, BRIGHT: 38.0, FAINT: 12.0, VERY_FAINT: 7.0}

# Arrays with one published well (e-) and linear fraction of it for all read modes.
_PLAIN_WELL = {SHALLOW: 90_000, DEEP: 180_000}
_PLAIN_SHARE = {"UNKNOWN": 0.714286, "SN7638228.1": 0.714286, "SN7638228.1.3+ARC-III": 0.72}
# The others: well (e-), and the fraction of it up to which the corrected response is within 1 %.
_MEASURED_ARRAYS = ("SN7638228.1.2", "SN7638228.1.3")
_WELL: Mapping[tuple[str, str], tuple[int, float]] = {
    (VERY_BRIGHT, SHALLOW): (92_000, 0.96),
    (VERY_BRIGHT, DEEP): (209_000, 0.93),
    (BRIGHT, SHALLOW): (91_000, 0.96),
    (BRIGHT, DEEP): (207_000, 0.91),
    (FAINT, SHALLOW): (78_000, 0.95),
    (FAINT, DEEP): (190_000, 0.95),
    (VERY_FAINT, SHALLOW): (67_000, 0.98),
    (VERY_FAINT, DEEP): (180_000, 0.72),
}

# Time not in EXPTIME (s); quadratic (1/e-) and cubic (1/e-^2) term of even rows, then of odd ones.
_RESPONSE: Mapping[tuple[str, str], tuple[float, tuple[float, float], tuple[float, float]]] = {
    (VERY_BRIGHT, SHALLOW): (
        -0.00927304429432728,
        (7.31286925e-07, 1.12822847e-11),
        (8.78778457e-07, 4.79246805e-12),
    ),
    (BRIGHT, SHALLOW): (0.08396650606937735, (7.15637971e-07, 1.15383256e-11), (5.69215470e-07, 7.12109353e-12)),
    (FAINT, SHALLOW): (1.3876736162675933, (7.80927834e-07, 1.14904418e-11), (8.25762314e-07, 4.76417974e-12)),
    (VERY_FAINT, SHALLOW): (2.597328770047285, (5.06924968e-08, 2.39898215e-11), (8.35434220e-08, 1.49121259e-11)),
    (VERY_BRIGHT, DEEP): (0.01030521861815561, (3.65581625e-07, 3.10036318e-12), (4.74146254e-07, 1.54197057e-12)),
    (BRIGHT, DEEP): (0.08232950781117235, (3.67280555e-07, 3.17756003e-12), (4.50936807e-07, 1.65522683e-12)),
    (FAINT, DEEP): (1.4466383436198411, (1.76451657e-07, 4.11771903e-12), (2.73057711e-07, 2.43750647e-12)),
}


def read_mode(headers: Headers) -> str:
    """READMODE, else the mode from the numbers of reads and digital averages; Unknown for any other."""
    reads = gemini.integer(headers, "LNRS"), gemini.integer(headers, "NDAVGS")
    return gemini.stated(headers, "READMODE") or _READ_MODES.get(reads, "Unknown")  # type: ignore[arg-type]


def well_depth(headers: Headers) -> str | None:
    """Shallow or Deep, from the detector bias; Unknown for any other bias; None if the header lacks it."""
    bias = gemini.number(headers, "DETBIAS")
    if bias is None:
        return None
    return next((k for k, v in _BIAS.items() if abs(v - abs(bias)) < 0.1), "Unknown")


def array_name(headers: Headers) -> str | None:
    """Name of the array, with its controller if the header names one: calibrations of another pair never match."""
    name, controller = gemini.text(headers, "ARRAYID"), gemini.text(headers, "CONID")
    return f"{name}+{controller}" if name and controller else name


def levels(array: str | None, mode: str, well: str | None) -> tuple[float, int, float] | None:
    """Read noise and full well (e- per coadd), and linear fraction of the well; None for unknown combinations."""
    if array in _PLAIN_SHARE and well in _PLAIN_WELL:
        noise = (_NOISE_SOUTH if array == "UNKNOWN" else _NOISE).get(mode)
        return None if noise is None else (noise, _PLAIN_WELL[well], _PLAIN_SHARE[array])
    if array in _MEASURED_ARRAYS and (mode, well or "") in _WELL:
        return _NOISE[mode], *_WELL[mode, well or ""]
    return None


def unknown_mode(headers: Headers) -> str:
    """Why a frame cannot be converted to electrons; empty if its array, well depth and read mode are in the tables."""
    array, mode, well = array_name(headers), read_mode(headers), well_depth(headers)
    if levels(array, mode, well) is not None:
        return ""
    arrays = (*_MEASURED_ARRAYS, *_PLAIN_SHARE)
    if array not in arrays:
        return f"{_named('array', array, 'ARRAYID, CONID')}: gain and noise are known for {', '.join(arrays)}"
    if well not in _BIAS:
        bias = gemini.text(headers, "DETBIAS")
        return f"{_named('detector bias', bias, 'DETBIAS')}: 0.3 V are a shallow well, 0.6 V a deep one"
    reads = "READMODE" if gemini.stated(headers, "READMODE") else "LNRS, NDAVGS"
    return f"{_named('read mode', mode, reads)}: gain and noise are known for {', '.join(_NOISE)}"


def _named(what: str, value: str | None, keywords: str) -> str:
    return f"{what} {value} ({keywords})" if value else f"no {what} ({keywords})"


def linearity(array: str | None, mode: str, well: str | None) -> Linearity | None:
    """Response curves of even and odd rows; None for modes without a measured curve."""
    found = _RESPONSE.get((mode, well or "")) if array in _MEASURED_ARRAYS else None
    if found is None:
        return None
    delay, even, odd = found
    return Linearity(((1.0, *even), (1.0, *odd)), "row_parity", (delay, delay))


def detectors(headers: Headers, tags: frozenset[str]) -> Sequence[Detector]:
    """The one plane of a GNIRS frame; empty for a file without an image.

    Gain, noise and levels are None for an array or mode not in the tables: the frame is then listed and not reduced.
    """
    image = headers.image
    if image is None:
        return ()
    ny, nx = image.shape[-2:]
    array, mode, well, n = array_name(headers), read_mode(headers), well_depth(headers), gemini.coadds(headers)
    place = gemini.section(headers.get("DETSEC"))
    plane = Detector(
        shape=(ny, nx),
        gain=None,
        read_noise=None,
        coadds=n,
        name="aladdin",
        section=Section(*place) if place else Section(0, nx, 0, ny),
        epoch=array or "",
        linearity=linearity(array, mode, well),
    )
    known = levels(array, mode, well)
    if known is not None:
        noise, electrons, share = known
        full = int(electrons * n / GAIN)
        plane = replace(
            plane,
            gain=GAIN,
            read_noise=noise * math.sqrt(n),
            saturation=float(full),
            non_linear=float(int(share * full)),
        )
    return (gemini.as_stated(plane, headers, tags),)
