"""Islands of a mosaic: placed together by the guesses; frames that should share stars are not."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.islands import place_island, shared
from nirred.algorithms.register import Registration

GUESSES = np.array([(0.0, 0.0), (5.0, 5.0), (90.0, 0.0), (95.0, 0.0), (91.0, 4.0)])
SOLVED = [Registration(0, 0, 0.1, 0.1, method="reference"), Registration(5.2, 5.1, 0.1, 0.1), None, None, None]


def among(some: list[int]) -> tuple[list[Registration | None], int]:
    found = {2: (-5.5, 0.25), 3: (0.0, 0.0)}
    return [Registration(*found[k], 0.3, 0.4, n_matched=5) if k in found else None for k in some], some.index(3)


def test_an_island_is_placed_together() -> None:
    solved, island = place_island(among, GUESSES, SOLVED, 0, shared(GUESSES, (100.0, 100.0)), 4.0)
    assert island == [2, 3] and solved[:2] == SOLVED[:2] and solved[4] is None
    assert [(r.dx, r.dy, r.method) for r in solved[2:4]] == [(89.5, 0.25, "header"), (95.0, 0.0, "header")]
    assert solved[2].dx_err == pytest.approx(np.hypot(4.0, 0.3)) and solved[2].n_matched == 5


@pytest.mark.parametrize("guesses", [0.5 * GUESSES, GUESSES[:3]])
def test_frames_that_should_share_stars_and_single_ones_are_no_island(guesses: np.ndarray) -> None:
    solved = SOLVED[: len(guesses)]
    assert place_island(pytest.fail, guesses, solved, 0, shared(guesses, (100.0, 100.0)), 4.0) == (solved, [])


def test_frames_that_do_not_register_to_each_other_stay_lost() -> None:
    def none(some: list[int]) -> tuple[list[Registration | None], int]:
        return [Registration(0, 0, 0, 0, method="reference"), *[None] * (len(some) - 1)], 0

    assert place_island(none, GUESSES, SOLVED, 0, shared(GUESSES, (100.0, 100.0)), 4.0) == (SOLVED, [])


def test_shared_part_of_the_field() -> None:
    part = shared([(0, 0), (30, 0), (50, -25), (200, 0)], (100, 50))
    assert part[0] == pytest.approx([1.0, 0.7, 0.25, 0.0]) and np.array_equal(part, part.T)
