from __future__ import annotations

import math

import pytest

from nirred.report.plots import Point, plot
from nirred.report.words import angle, number, span, with_error

START = 1_768_455_000.0  # 2026-01-15 05:30 UTC


def test_marks_lie_where_the_values_are():
    points = [Point(START + 60 * k, 100 + 10 * k, 1.0, k != 2, f"f{k}") for k in range(4)]
    drawn = plot("Sky level", "electron", {"sky": points})
    assert drawn is not None
    xs, ys = [m.x for m in drawn.marks], [m.y for m in drawn.marks]
    assert xs == sorted(xs) and ys == sorted(ys, reverse=True)
    assert drawn.left <= xs[0] and xs[-1] <= drawn.right and drawn.top <= ys[-1] and ys[0] <= drawn.bottom
    assert [m.used for m in drawn.marks] == [True, True, False, True]
    assert drawn.marks[2].text == "f2: 120 electron, left out"
    place = dict((label, y) for y, label in drawn.yticks)
    assert place["120"] == pytest.approx(ys[2], abs=0.02)
    assert "05:32" in [label for _, label in drawn.xticks] and drawn.xlabel == "UTC, 2026-01-15"


@pytest.mark.parametrize("span_of", [0.0, 5.0, 400.0, 30_000.0, 4e6])
def test_any_span_of_time_has_few_ticks(span_of):
    drawn = plot("x", "", {"x": [Point(START, 1.0), Point(START + span_of, 1.0)]})
    assert drawn is not None and len(drawn.xticks) <= 7 and 1 <= len(drawn.yticks) <= 8


def test_what_is_not_finite_is_left_out():
    assert plot("x", "", {"x": [Point(1, math.nan), Point(math.nan, 1)]}) is None
    drawn = plot("x", "", {"x": [Point(1, 2.0, math.nan), Point(2, math.inf)], "y": [Point(1, 3.0)]}, clock=False)
    assert drawn is not None and len(drawn.marks) == 2 and drawn.names == ("x", "y") and drawn.xlabel == "frame"


def test_numbers_and_angles():
    assert number(1234.5678) == "1235" and number(math.nan) == "-" and number(True) == "True" and number(" a ") == "a"
    assert with_error(1.25, 0.5, ".1f") == "1.2 ± 0.5" and with_error(1.25, math.nan, ".1f") == "1.2"
    assert with_error(math.nan, 0.5, ".1f") == "-"
    assert span([3.0, 1.0, 2.0, math.nan]) == "2 (1 to 3)" and span([]) == "" and span([5.0]) == "5"
    assert angle(150.1162918, 2.2058188) == "10:00:27.91 +02:12:20.9"
    assert angle(359.99999, -0.00001) == "00:00:00.00 -00:00:00.0"
    assert angle(math.nan, 0) == "-"
