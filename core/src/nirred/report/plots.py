"""Plots against time, as lines and marks of an SVG drawn by the page's template."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ..picture import round_up

WIDTH, HEIGHT = 400, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 10, 12, 34


@dataclass(frozen=True)
class Point:
    """One measurement: `t` Unix seconds (or a number in order), its value and error, whether the frame was used."""

    t: float
    value: float
    error: float = 0.0
    used: bool = True
    name: str = ""


@dataclass(frozen=True)
class Mark:
    """A point on the page, y down; `low` and `high` are the ends of its error bar."""

    x: float
    y: float
    low: float
    high: float
    used: bool
    text: str
    series: int


@dataclass(frozen=True)
class Plot:
    """A plot ready to be drawn."""

    title: str
    alt: str
    names: tuple[str, ...]
    marks: tuple[Mark, ...]
    xticks: tuple[tuple[float, str], ...]
    yticks: tuple[tuple[float, str], ...]
    xlabel: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float
    step: float = field(default=1.0)

    def place(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 2)


def plot(title: str, unit: str, series: Mapping[str, Sequence[Point]], *, clock: bool = True) -> Plot | None:
    """Lay out a plot.

    Parameters
    ----------
    title, unit : str
        Of the values.
    series : {name: points}
        Marks distinguish at most two series.
    clock : bool
        `t` is a time; otherwise a sequence number.

    Returns
    -------
    Plot or None
        None if there is no finite value.
    """
    shown = {n: [p for p in ps if math.isfinite(p.value) and math.isfinite(p.t)] for n, ps in series.items()}
    points = [p for ps in shown.values() for p in ps]
    if not points:
        return None
    ys = _axis([v for p in points for v in (p.value - _err(p), p.value + _err(p))], HEIGHT - _BOTTOM, _TOP)
    xs = _axis([p.t for p in points], _LEFT + 8, WIDTH - _RIGHT - 8)
    marks = tuple(
        Mark(xs.place(p.t), ys.place(p.value), ys.place(p.value - _err(p)), ys.place(p.value + _err(p)), p.used,
             f"{p.name}: {p.value:.5g}{' ' + unit if unit else ''}{'' if p.used else ', left out'}", k)
        for k, ps in enumerate(shown.values()) for p in ps
    )  # fmt: skip
    heading = f"{title} ({unit})" if unit else title
    values = [p.value for p in points]
    alt = f"{heading} of {len(points)} measurements against time: from {min(values):.4g} to {max(values):.4g}"
    xticks, xlabel = _clock(xs) if clock else (_order(points, xs), "frame")
    digits = max(0, -math.floor(math.log10(ys.step) + 1e-9))
    yticks = tuple((ys.place(v), f"{v:.{digits}f}") for v in _steps(ys))
    return Plot(heading, alt, tuple(shown) if len(shown) > 1 else (), marks, xticks, yticks, xlabel)


def _err(p: Point) -> float:
    return p.error if math.isfinite(p.error) else 0.0


def _axis(values: Sequence[float], start: float, end: float) -> _Axis:
    """An axis that extends 5 % beyond the values, with a round step."""
    low, high = min(values), max(values)
    span = (high - low) or max(abs(high) * 0.02, 1e-3)
    return _Axis(low - 0.05 * span, high + 0.05 * span, start, end, round_up(span / 4))


def _steps(axis: _Axis) -> list[float]:
    first = math.ceil(axis.low / axis.step)
    return [k * axis.step for k in range(first, math.floor(axis.high / axis.step) + 1)]


def _order(points: Sequence[Point], axis: _Axis) -> tuple[tuple[float, str], ...]:
    numbers = sorted({int(p.t) for p in points})
    return tuple((axis.place(n), str(n)) for n in numbers[:: -(-len(numbers) // 8)])


def _clock(axis: _Axis) -> tuple[tuple[tuple[float, str], ...], str]:
    """Ticks at round times, and the date."""
    span = axis.high - axis.low
    step = next((s for s in (10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200) if span / s <= 5), 86400)
    step *= math.ceil(span / step / 6)
    moments = range(math.ceil(axis.low / step) * step, math.floor(axis.high) + 1, step)
    form = "%H:%M:%S" if step < 60 else "%H:%M" if step < 86400 else "%m-%d"
    ticks = tuple((axis.place(t), datetime.fromtimestamp(t, UTC).strftime(form)) for t in moments)
    return ticks, f"UTC, {datetime.fromtimestamp(axis.low, UTC):%Y-%m-%d}"
