"""Reading Gemini keywords: a value that is absent, of the wrong kind or out of range is None, never an exception."""

from __future__ import annotations

import math
import re
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...headers import Header, Headers

NO_VALUE = ("", "No Value", "INDEF")
"""Values that the observatory writes if a keyword has no value (numbers: -9999)."""

ABSURD = 1e12
"""Limit on keyword values: larger ones come from damaged headers and would overflow later."""

LONGEST = 1e6
"""Longest plausible exposure, seconds."""

_SECTION = re.compile(r"\[\s*(\d+)\s*:\s*(\d+)\s*,\s*(\d+)\s*:\s*(\d+)\s*\]")
_TIME = re.compile(r"(\d{1,2}):(\d{2}):(\d{2}(?:\.\d*)?)$")


def text(headers: Headers, key: str, default: str | None = None) -> str | None:
    """A primary keyword as stripped text; numbers are converted to text."""
    value = headers.primary.get(key)
    return default if value is None else str(value).strip()


def stated(headers: Headers, key: str) -> str | None:
    """Like `text`, but None if the header marks it as having no value."""
    value = text(headers, key)
    return None if value is None or value in NO_VALUE else value


def number(headers: Headers, key: str, low: float = -ABSURD, high: float = ABSURD) -> float | None:
    """A keyword (primary, else image) as a finite number within [low, high].

    Quoted numbers do not count: the observatory's own software ignores them, and they occur in damaged headers.
    """
    value = headers.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value == -9999:
        return None
    return float(value) if math.isfinite(value) and low <= value <= high else None


def integer(headers: Headers, key: str, default: int | None = None) -> int | None:
    """A keyword as a whole number."""
    value = number(headers, key)
    return default if value is None else int(value)


def coadds(headers: Headers) -> int:
    """Number of coadds; 1 if the header does not give it."""
    return max(integer(headers, "COADDS") or 1, 1)


def planes(headers: Headers) -> tuple[tuple[int, Header], ...]:
    """(HDU index, header) of every science plane: images without a name or named SCI (not VAR, DQ and the like).

    This reads all headers of the file; a camera with one plane uses `Headers.image`.
    """
    return tuple((i, h) for i, h in headers.images if h.get("EXTNAME", "SCI") == "SCI")


def strip_id(name: str | None) -> str | None:
    """Remove a component id: 'H_G0203' -> 'H'."""
    return None if name is None else re.sub(r"_G\d+.*$", "", name)


def percentile(headers: Headers, key: str) -> int | None:
    """Observing-condition band: 'Any' -> 100, '70-percentile' -> 70, else None."""
    value = text(headers, key, "") or ""
    if value == "Any":
        return 100
    found = re.fullmatch(r"(\d{1,3})-percentile", value)
    return int(found[1]) if found else None


def section(value: Any) -> tuple[int, int, int, int] | None:
    """Convert '[1:1024,1:1022]' to zero-based half-open (x1, x2, y1, y2); reversed bounds are put in order."""
    found = _SECTION.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found:
        return None
    x1, x2, y1, y2 = map(int, found.groups())
    return min(x1, x2) - 1, max(x1, x2), min(y1, y2) - 1, max(y1, y2)


def clock(value: Any) -> time | None:
    """Convert '07:12:37.1' to a time of day."""
    found = _TIME.match(value.strip()) if isinstance(value, str) else None
    if not found:
        return None
    seconds = float(found[3])
    try:
        return time(int(found[1]), int(found[2]), int(seconds), round((seconds % 1) * 1e6) % 1_000_000)
    except ValueError:
        return None


def _date(value: Any) -> datetime | date | None:
    if not isinstance(value, str):
        return None
    value = value.strip()
    old = re.fullmatch(r"(\d{2})/(\d{2})/(\d{2})", value)  # before 1999: DD/MM/YY
    try:
        if old:
            return date(1900 + int(old[3]), int(old[2]), int(old[1]))
        if "T" in value:
            return datetime.fromisoformat(value).replace(tzinfo=None)
        return date.fromisoformat(value)
    except ValueError:
        return None


def ut_datetime(headers: Headers, days: Sequence[str] = ("DATE-OBS", "DATE", "UTDATE")) -> datetime | None:
    """Start of the exposure, UT: date and time keywords, then MJD-OBS, OBSSTART, frame or file name (date only).

    `days`: keywords of the date, the first that tells it counts.
    """
    day: date | None = None
    for key in days:
        found = _date(headers.primary.get(key))
        if isinstance(found, datetime):
            return found
        if found is not None:
            day = found
            break
    moment = next(filter(None, (clock(headers.get(k)) for k in ("UT", "TIME-OBS", "STARTUT", "UTSTART"))), None)
    if day is not None and moment is not None:
        return datetime.combine(day, moment)
    mjd = number(headers, "MJD-OBS", 1.0, 1e5)
    if mjd is not None:
        return datetime(1858, 11, 17) + timedelta(days=mjd)
    started = _date(headers.get("OBSSTART"))
    if isinstance(started, datetime):
        return started
    if day is None:
        day = _date_in_name(headers)
    return None if day is None else datetime.combine(day, moment or time())


def _date_in_name(headers: Headers) -> date | None:
    names = (headers.get("FRMNAME"), headers.path.name if headers.path else None)
    for name in names:
        found = re.match(r"[A-Za-z](\d{8})", name.strip()) if isinstance(name, str) else None
        if found:
            try:
                return date.fromisoformat(found[1])
            except ValueError:
                continue
    return None


def ut_span(
    headers: Headers, begin: datetime | None, exposure_time: float | None, *, trust_end: bool = True
) -> tuple[datetime | None, datetime | None]:
    """Start and end of the exposure from UTSTART and UTEND, past midnight if necessary.

    An end that is absent, unreliable or more than half a day away is replaced by start + exposure time.
    """
    if begin is None:
        return None, None
    start = _near(begin, clock(headers.get("UTSTART"))) or begin
    end = _near(start, clock(headers.get("UTEND"))) if trust_end else None
    if end is not None and start <= end <= start + timedelta(hours=12):
        return start, end
    return start, start + timedelta(seconds=exposure_time or 0.0)


def _near(when: datetime, moment: time | None) -> datetime | None:
    """The date and time nearest to `when` with this time of day."""
    if moment is None:
        return None
    same = datetime.combine(when.date(), moment)
    return min((same + timedelta(days=d) for d in (-1, 0, 1)), key=lambda t: abs(t - when))
