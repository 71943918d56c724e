"""What figures of accuracy must reach, and the table that says whether they do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nirred.testing.accuracy import NOISE_RADII, NOTHING, Accuracy
from nirred.testing.photometry import Figure

#: Pixels of a frame in whose stack two left-over objects are none too many.
LARGE = 2048 * 2048


@dataclass(frozen=True)
class Bar:
    """One row of the table: its title, the figure, and the required value.

    `slack` = number of standard errors by which a mean may exceed the limits: from the nights' scatter or the floor,
    whichever is larger, because the scatter of few nights may be small by chance. `where`: nights to which it applies.
    """

    title: str
    figure: Callable[[Accuracy], Figure]
    low: float
    high: float
    must: str
    slack: float = 0.0
    where: Callable[[Accuracy], bool] = lambda _: True


def _level_in_errors(accuracy: Accuracy) -> Figure:
    error = accuracy.level.error
    return Figure(abs(accuracy.level.value) / error, 1.0) if error > 0 else NOTHING


def _of(*groups: str) -> Callable[[Accuracy], bool]:
    return lambda accuracy: accuracy.group in groups


def _bars() -> list[Bar]:
    infinite = math.inf
    bars = [
        Bar("depth: S/N of faint stars, over ideal", lambda a: a.depth, 0.92, infinite, ">= 0.92", where=_of("dither")),
        Bar(
            "depth: S/N of faint stars, over ideal",
            lambda a: a.depth,
            0.885,
            infinite,
            ">= 0.885",
            where=_of("offset", "filling"),
        ),
        Bar("flux bias of bright stars (%)", lambda a: a.flux_bias, -0.1, 0.1, "within 0.1"),
        Bar("flux scatter of bright stars (%)", lambda a: a.flux_scatter, 0.0, infinite, "-"),
        Bar("faint stars, median pull", lambda a: a.pull_median, 0.0, 0.0, "0 within 3 errors", 3.0),
        Bar(
            "faint stars, width of the pull",
            lambda a: a.pull_width,
            0.95,
            1.10,
            "0.95 to 1.10, or within 2 errors",
            2.0,
        ),
        Bar("galaxy's flux kept", lambda a: a.galaxy, 0.99, 1.01, "0.99 to 1.01", where=_of("dither", "offset")),
        Bar("offsets, rms error (pixel)", lambda a: a.offset_rms, 0.0, 0.03, "<= 0.03"),
        Bar("FWHM, stack over ideal", lambda a: a.fwhm_ratio, 0.0, 1.01, "<= 1.01"),
        Bar("left-over objects above 8 sigma", lambda a: a.leftovers, 0.0, 0.0, "0", where=lambda a: a.pixels < LARGE),
        Bar(
            "left-over objects above 8 sigma",
            lambda a: a.leftovers,
            0.0,
            2.0,
            "<= 2",
            where=lambda a: a.pixels >= LARGE,
        ),
    ]
    for index, factor in enumerate(NOISE_RADII):
        title = f"measured over predicted noise, {factor:g} FWHM"
        bars.append(Bar(title, lambda a, i=index: a.noise[i], 0.97, 1.03, "0.97 to 1.03, or within 2 errors", 2.0))  # type: ignore[misc]
    bars.append(Bar("background (% of sky)", lambda a: a.background, -0.01, 0.01, "within 0.01, or 1 error", 1.0))
    bars.append(
        Bar(
            "zero level's error over LEVELERR",
            _level_in_errors,
            0.0,
            1.0,
            "<= 1, or within 2 errors",
            2.0,
            where=_of("filling"),
        )
    )
    return bars


def summary(accuracies: Sequence[Accuracy]) -> list[dict[str, object]]:
    """Rows of the table as data: group, figure, mean, standard error, floor, number of nights, must, passed.

    `error` is of the mean over the nights; `floor` is what the measurement's own noise makes of it (as far as it is
    known: of one star in a night it is not), of left-over objects how many the oracle stack shows.
    """
    rows: list[dict[str, object]] = []
    for group in sorted({item.group for item in accuracies}):
        nights = [item for item in accuracies if item.group == group]
        for bar in _bars():
            figures = [bar.figure(item) for item in nights if bar.where(item)]
            known = [figure for figure in figures if np.isfinite(figure.value)]
            if not known:
                continue
            values = np.array([figure.value for figure in known])
            error = known[0].error if len(known) == 1 else float(values.std(ddof=1) / math.sqrt(len(known)))
            floor = _of_mean([figure.error for figure in known])
            mean, margin = float(values.mean()), bar.slack * max(error, floor) if bar.slack else 0.0  # not 0 x infinity
            passed = bool(bar.low - margin <= mean <= bar.high + margin)
            row = {"group": group, "figure": bar.title, "mean": mean, "error": float(error), "floor": floor}
            rows.append({**row, "nights": len(known), "must": bar.must, "passed": passed})
    return rows


def _of_mean(errors: list[float]) -> float:
    """Error of the mean of figures with these errors, using the known ones; infinite if none is known."""
    known = [error for error in errors if math.isfinite(error)]
    return math.sqrt(sum(error**2 for error in known)) / len(known) if known else math.inf


def table(accuracies: Sequence[Accuracy]) -> str:
    """Figures with their standard errors and the required values; of several nights their means, and the floors."""
    rows = summary(accuracies)
    width = max((len(str(row["figure"])) for row in rows), default=0)
    several = any(row["nights"] != 1 for row in rows)
    more = f" {'floor':8s} {'nights':>6s}" if several else ""
    lines = [f"{'':8s} {'figure':{width}s} {'mean' if several else 'value':>10s}    {'error':8s}{more}  required"]
    for row in rows:
        numbers = f"{row['mean']:10.4f} +- {row['error']:<8.4f}"
        more = f" {row['floor']:<8.4f} {row['nights']:6d}" if several else ""
        verdict = "" if row["passed"] else "   MISSED"
        lines.append(f"{row['group']:8s} {row['figure']:{width}s} {numbers}{more}  {row['must']}{verdict}")
    return "\n".join(lines)


def missed(accuracy: Accuracy, luck: float = 0.0, leftovers: float = 0.0) -> list[str]:
    """Bars that one night misses by more than `luck` errors, as text; `leftovers` left-over objects are accepted."""
    said = []
    for bar in _bars():
        figure = bar.figure(accuracy)
        if not (bar.where(accuracy) and math.isfinite(figure.value)):
            continue
        counted = bar.title.startswith("left-over")
        room = max(leftovers - bar.high, 0.0) if counted else max(luck, bar.slack) * figure.error
        if not bar.low - room <= figure.value <= bar.high + room:
            said.append(f"{bar.title}: {figure.value:.4g} +- {figure.error:.2g}, must be {bar.must}")
    return said
