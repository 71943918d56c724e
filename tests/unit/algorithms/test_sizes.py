"""Relative sizes of stars in frames."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.register import Registration, rotation_matrix
from nirred.algorithms.sizes import relative_sizes
from nirred.algorithms.stars import StarList

SEEING = np.array([1.0, 1.2, 0.9])
CENTRE = (200.0, 200.0)


def listed(x, y, fwhm) -> StarList:
    one = np.ones(len(x))
    return StarList(x, y, 0.01 * one, 100 * one, 50 * one, fwhm, 0 * one, one, 1.0)


def field(n: int = 12, turn: float = 0.0):
    """Lists of one field in the seeing of three frames, with patches of persistence in the second; their offsets."""
    rng = np.random.default_rng(3)
    sky, size = rng.uniform(20, 380, (n, 2)), rng.uniform(5.0, 6.0, n)
    moves = [(0.0, 0.0), (13.0, -8.0), (-20.0, 5.0)]
    lists, offsets = [], []
    for k, (seeing, move) in enumerate(zip(SEEING, moves, strict=True)):
        places = (sky - CENTRE) @ rotation_matrix(k * turn).T + CENTRE + move + rng.normal(0, 0.05, sky.shape)
        sizes = size * seeing * np.exp(rng.normal(0, 0.02, n))
        if k == 1:
            places, sizes = np.vstack((places, rng.uniform(20, 380, (30, 2)))), np.append(sizes, np.full(30, 15.0))
        lists.append(listed(*places.T, sizes))
        offsets.append(Registration(*move, 0.1, 0.1, k * turn, method="stars" if k else "reference"))
    return lists, offsets


@pytest.mark.parametrize("turn", [0.0, 0.05])
def test_what_only_one_frame_shows_does_not_count(turn: float) -> None:
    lists, offsets = field(turn=turn)
    assert np.median(lists[1].fwhm) == 15.0
    assert relative_sizes(lists, offsets, CENTRE, 5.5) == pytest.approx(SEEING, rel=0.02)


def test_a_frame_with_few_stars_in_common_or_without_an_offset_is_unknown() -> None:
    lists, offsets = field()
    found = relative_sizes([lists[0], lists[1][:2], lists[2]], offsets, CENTRE, 5.5)
    assert np.isfinite(found).tolist() == [True, False, True]
    found = relative_sizes([*lists[:2], lists[2][:0]], [*offsets[:2], None], CENTRE, 5.5)
    assert found[:2] == pytest.approx(SEEING[:2] / 1.1, rel=0.02) and np.isnan(found[2])


@pytest.mark.parametrize("n", [0, 2])
def test_without_stars_or_a_reference_nothing_is_known(n: int) -> None:
    lists, offsets = field(n)
    assert np.isnan(relative_sizes(lists, offsets, CENTRE, 5.5)).all()
    lists, offsets = field()
    assert np.isnan(relative_sizes(lists, [None] * 3, CENTRE, 5.5)).all()
    assert np.isnan(relative_sizes(lists, offsets, CENTRE, np.nan)).all()
