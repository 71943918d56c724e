"""Times and settings of frames for comparison, and their wording in messages."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import UTC, datetime
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeVar

from ..plugin.frames import Section

if TYPE_CHECKING:
    from .model import FrameInfo

T = TypeVar("T")
HOUR, DAY = 3600.0, 86400.0
#: Exposure times that differ by less than this (s) are the same setting.
SAME_EXPOSURE = 0.01


def _seconds(moment: datetime | None) -> float:
    if moment is None:
        return math.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def stamp(frame: FrameInfo) -> float:
    """Start of the exposure, s since 1970 UT; NaN when the header does not say."""
    return _seconds(frame.descriptors.ut_datetime)


def end(frame: FrameInfo) -> float:
    """End of the exposure, s since 1970 UT, from the header or start plus exposure time; NaN when unknown."""
    known = _seconds(frame.descriptors.ut_end)
    return known if math.isfinite(known) else stamp(frame) + (frame.descriptors.exposure_time or 0.0)


def order(frame: FrameInfo) -> tuple[float, str, int, str]:
    """Sort key: time, then name; frames without a time last, as the first one gives a product its name and date."""
    t = stamp(frame)
    return (t if math.isfinite(t) else math.inf, frame.path.name, frame.exposure.index, str(frame.path))


def undated(frames: Sequence[FrameInfo]) -> list[str]:
    """Remarks on frames that state no time although others of their camera do."""
    dated = {frame.instrument for frame in frames if math.isfinite(stamp(frame))}
    lost = sorted({f.path.name for f in frames if f.instrument in dated and not math.isfinite(stamp(f))})
    return [f"{name}: its header states no time (date and UT); taken as the last of its sequence" for name in lost]


def exposure(frame: FrameInfo) -> float | None:
    """Exposure time in s; None if the header's value is missing or invalid."""
    value = frame.descriptors.exposure_time
    return float(value) if isinstance(value, Real) and 0 <= value < math.inf else None


def split(items: Iterable[T], new: Callable[[list[T], T], bool]) -> list[list[T]]:
    """Split a sequence into runs; a new run starts at each item for which ``new(run, item)`` is true."""
    runs: list[list[T]] = []
    for item in items:
        if not runs or new(runs[-1], item):
            runs.append([])
        runs[-1].append(item)
    return runs


def by_gap(frames: Iterable[FrameInfo], gap: float) -> list[list[FrameInfo]]:
    """Runs of frames in time order, split at pauses longer than `gap` (s)."""
    return split(sorted(frames, key=order), lambda run, f: stamp(f) - stamp(run[-1]) > gap)


def by_exposure(frames: Iterable[FrameInfo]) -> list[list[FrameInfo]]:
    """Lists of frames with equal exposure time (within 0.01 s of the shortest), each in time order."""

    def new(run: list[FrameInfo], frame: FrameInfo) -> bool:
        first, this = exposure(run[0]), exposure(frame)
        return first != this and (first is None or this is None or this - first >= SAME_EXPOSURE)

    ordered = sorted(frames, key=lambda f: (-1.0 if exposure(f) is None else exposure(f), order(f)))
    return [sorted(run, key=order) for run in split(ordered, new)]


def configuration(frame: FrameInfo) -> Hashable:
    """Settings that must be equal in frames that are combined, as text, so that any plugin's values are comparable."""
    shapes = tuple((d.shape, d.epoch) for d in frame.detectors)
    return tuple((name, str(value)) for name, value in frame.descriptors.configuration), shapes


def lag(seconds: float) -> str:
    """A signed time difference in words: '6.2 h later', '3.1 d earlier'."""
    if not math.isfinite(seconds):
        return "at an unknown time"
    size = abs(seconds)
    for unit, name in ((DAY, "d"), (HOUR, "h"), (60.0, "min")):
        if size >= unit:
            return f"{size / unit:.1f} {name} {'later' if seconds > 0 else 'earlier'}"
    return "at the same time" if size < 1 else f"{size:.0f} s {'later' if seconds > 0 else 'earlier'}"


def text(value: Any) -> str:
    """A descriptor's value for a message."""
    if value is None:
        return "none"
    if isinstance(value, Section):
        return value.iraf
    if isinstance(value, tuple):
        return ", ".join(map(text, value))
    return f"{value:.8g}" if isinstance(value, float) else str(value)
