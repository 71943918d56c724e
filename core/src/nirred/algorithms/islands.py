"""Frames of a mosaic that hardly overlap the others: registered among themselves, placed together where expected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nirred.algorithms.register import Registration

#: Frames that share less than this part of their field with all others cannot be expected to share stars.
LITTLE = 0.3

Solve = Callable[[list[int]], tuple[list[Registration | None], int]]


def place_island(
    solve: Solve,
    guesses: ArrayLike,
    solved: Sequence[Registration | None],
    reference: int,
    overlap: NDArray[np.float64],
    sigma: float,
) -> tuple[list[Registration | None], list[int]]:
    """Register frames that hardly overlap the registered ones among themselves, and place them together.

    Parameters
    ----------
    solve : callable
        Registers the frames of these numbers; returns their registrations and the index of their reference among them.
    guesses : float64 (n, 2)
        Expected position of a fixed source in each frame, up to a common constant (px).
    solved : sequence of Registration or None
        Registrations; None for frames that could not be registered.
    reference : int
        Number of the frame to which they refer.
    overlap : float64 (n, n)
        Part of their field that two frames share.
    sigma : float
        1-sigma error of the guesses (px).

    Returns
    -------
    solved : list of Registration or None
        With those of the island, whose errors contain `sigma`; their method is "header".
    island : list of int
        Numbers of its frames; none if fewer than two register to each other.
    """
    done, places = list(solved), np.asarray(guesses, np.float64)
    known = [k for k, found in enumerate(done) if found is not None]
    lost = [k for k, found in enumerate(done) if found is None and overlap[k, known].max(initial=0.0) < LITTLE]
    if len(lost) < 2:
        return done, []
    among, best = solve(lost)
    island = [k for k, found in zip(lost, among, strict=True) if found is not None]
    if len(island) < 2:
        return done, []
    dx, dy = places[lost[best]] - places[reference]
    for k, found in zip(lost, among, strict=True):
        if found is not None:
            done[k] = replace(
                found,
                dx=float(found.dx + dx),
                dy=float(found.dy + dy),
                dx_err=float(np.hypot(sigma, found.dx_err)),
                dy_err=float(np.hypot(sigma, found.dy_err)),
                method="header",
            )
    return done, island


def shared(places: ArrayLike, sides: tuple[float, float]) -> NDArray[np.float64]:
    """Part of their field that frames share, (n, n), from the `places` (n, 2) of one source and (width, height)."""
    at = np.asarray(places, np.float64)
    apart = np.abs(at[:, None] - at[None]) / np.asarray(sides)
    return np.asarray(np.clip(1.0 - apart, 0.0, None).prod(axis=2))
