"""The section of the report on a dark, flat or bad-pixel mask."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..dq import DQ
from ..picture import Levels
from .raster import Picture, Words, picture
from .words import number, text

SIDE = 300
#: Meaning of a flag, for the fractions of a mask.
_FLAGS = {
    DQ.BAD_PIXEL: "bad",
    DQ.NON_LINEAR: "non-linear",
    DQ.SATURATED: "saturated",
    DQ.COSMIC_RAY: "cosmic ray",
    DQ.NO_DATA: "no data",
}
_KEYS = {
    "NCOMBINE": "Frames",
    "EXPTIME": "Exposure (s)",
    "FILTER": "Filter",
    "LINCORR": "Linearity",
    "DARKCOR": "Dark",
}


@dataclass(frozen=True)
class Master:
    """A calibration for the page."""

    facts: tuple[tuple[str, str], ...]
    pictures: tuple[Picture, ...]


def read_master(hdus: Any, kind: str) -> Master:
    """Measure and draw a calibration: pixels, and a map of bad ones for a mask."""
    head = hdus[0].header
    keys = dict(_KEYS)
    if kind != "bpm" and "FLATLEV" in head:
        unit = "adu" if head.comments["FLATLEV"].startswith("[adu]") else "electron"
        keys["FLATLEV"] = f"Level before normalisation ({unit})"
    facts = [(name, number(head[key], ".6g")) for key, name in keys.items() if key in head]
    if kind == "bpm" and "BADFRAC" in head:
        facts.append(("Bad pixels", f"{float(head['BADFRAC']):.3%} of illuminated pixels"))
    pictures = []
    name = "DQ" if kind == "bpm" else "SCI"
    versions = [h.ver for h in hdus if h.name == name]
    for version in versions:
        which = f", detector {version}" if len(versions) > 1 else ""
        dq = np.asarray(hdus["DQ", version].data, np.uint16) if ("DQ", version) in hdus else None
        if kind == "bpm":
            pictures.append(_mask(dq, which))
            facts += [] if "BADFRAC" in head else _shares(dq, which)
        else:
            data = np.array(hdus["SCI", version].data, np.float32)
            unit = text(hdus["SCI", version].header.get("BUNIT", ""))
            pictures.append(_pixels(data, dq, kind, which, unit))
            var = hdus["VAR", version].data if ("VAR", version) in hdus else None
            facts += [(f"{k}{which}", v) for k, v in _levels(data, dq, var, unit)] + _shares(dq, which)
    return Master(tuple(facts), tuple(p for p in pictures if p is not None))


def _good(data: np.ndarray, dq: np.ndarray | None) -> np.ndarray:
    good: np.ndarray = np.isfinite(data)
    return good if dq is None else np.asarray(good & (dq == 0))


def _pixels(data: np.ndarray, dq: np.ndarray | None, kind: str, which: str, unit: str) -> Picture | None:
    good = _good(data, dq)
    shown = np.where(good if good.any() else np.isfinite(data), data, np.nan)
    words = Words(f"{kind}{which}, good pixels only", f"{kind}{which}, good pixels", unit)
    return picture(shown, words, scale="percentile", side=SIDE)


def _mask(dq: np.ndarray | None, which: str) -> Picture | None:
    """Map in which a cell is as dark as its worst pixel, so that single bad pixels are visible."""
    if dq is None:
        return None
    cell = -(-max(dq.shape) // SIDE)
    ny, nx = (max(n // cell, 1) for n in dq.shape)
    bad = (dq[: ny * cell, : nx * cell] != 0).reshape(ny, -1, nx, min(cell, dq.shape[1])).any(axis=(1, 3))
    words = Words(f"bad pixels{which} in black, enlarged", f"bad pixels{which} in black, enlarged")
    return picture(1.0 - bad, words, levels=Levels(0, 1), side=SIDE)


def _levels(data: np.ndarray, dq: np.ndarray | None, var: np.ndarray | None, unit: str) -> list[tuple[str, str]]:
    good = _good(data, dq)
    values = data[good]
    if not values.size:
        return [("Level", "no good pixel")]
    low, middle, high = (float(v) for v in np.percentile(values[:: -(-values.size // 500_000)], (1, 50, 99)))
    unit = f" {unit}" if unit else ""
    facts = [("Level", f"{middle:.4g}{unit}; 1 to 99 % of pixels {low:.4g} to {high:.4g}")]
    if var is not None:
        noise = math.sqrt(max(float(np.median(var[good][:: -(-values.size // 500_000)])), 0.0))
        facts.append(("Noise per pixel", f"{noise:.3g}{unit}"))
    return facts


def _shares(dq: np.ndarray | None, which: str) -> list[tuple[str, str]]:
    """Fraction of flagged pixels among illuminated ones, and of non-illuminated pixels among all."""
    if dq is None or not dq.size:
        return []
    lit = (dq & np.uint16(DQ.UNILLUMINATED)) == 0
    seen = int(np.count_nonzero(lit))
    shares = {
        name: int(np.count_nonzero(lit & ((dq & np.uint16(bit)) != 0))) / max(seen, 1) for bit, name in _FLAGS.items()
    }
    shares["unilluminated"] = 1.0 - seen / dq.size
    shown = ", ".join(f"{share:.3%} {name}" for name, share in shares.items() if share)
    return [(f"Flagged pixels{which}", shown or "none")]
