"""Formatting of numbers and header text for the page."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

#: Levels of a calibration, 0 to 3.
LEVELS = ("as the observatory plans it", "good", "probably acceptable", "a risk")


def text(value: Any) -> str:
    """Text of a header or table; bytes are decoded as ASCII."""
    return value.decode("ascii", "replace").strip() if isinstance(value, bytes) else str(value).strip()


def number(value: Any, form: str = ".4g") -> str:
    """Format a number, '-' if it is not finite; other values are unchanged."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return text(value)
    return format(value, form) if math.isfinite(value) else "-"


def with_error(value: float, error: float, form: str) -> str:
    """Format a value and its standard error; the value alone if the error is not known, '-' if the value is not."""
    known = math.isfinite(value) and math.isfinite(error)
    return f"{value:{form}} ± {error:{form}}" if known else number(value, form)


def span(values: Iterable[float], form: str = ".4g") -> str:
    """'median (lowest to highest)' of the finite values; '' if there are none."""
    good = sorted(v for v in values if math.isfinite(v))
    if not good:
        return ""
    middle = (good[(len(good) - 1) // 2] + good[len(good) // 2]) / 2
    return f"{middle:{form}}" + (f" ({good[0]:{form}} to {good[-1]:{form}})" if len(good) > 1 else "")


def angle(ra: float, dec: float) -> str:
    """Right ascension and declination, sexagesimal."""
    if not (math.isfinite(ra) and math.isfinite(dec)):
        return "-"
    centis = round(ra % 360 / 15 * 360000)
    deci = round(abs(dec) * 36000)
    hours, minutes, seconds = centis // 360000 % 24, centis // 6000 % 60, centis % 6000 / 100
    sign = "-" if dec < 0 else "+"
    degrees, arcmin, arcsec = deci // 36000, deci // 600 % 60, deci % 600 / 10
    return f"{hours:02d}:{minutes:02d}:{seconds:05.2f} {sign}{degrees:02d}:{arcmin:02d}:{arcsec:04.1f}"
