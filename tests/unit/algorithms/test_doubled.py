from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nirred.algorithms.doubled import find_doubling
from nirred.algorithms.stars import StarList

SIZE = 1000.0


def frame(n: int, seed: int, vector: tuple[float, float] = (0.0, 0.0), light: float = 0.0) -> StarList:
    """A field of stars; each appears again where `vector` carries it inside, with `light` of its flux."""
    rng = np.random.default_rng(seed)
    x, y, flux = rng.uniform(0, SIZE, n), rng.uniform(0, SIZE, n), np.exp(rng.uniform(5, 9, n))
    if light:
        again = (np.abs(x + vector[0] - SIZE / 2) < SIZE / 2) & (np.abs(y + vector[1] - SIZE / 2) < SIZE / 2)
        x, y = np.append(x, x[again] + vector[0]), np.append(y, y[again] + vector[1])
        flux = np.append(flux, light * flux[again])
    x, y = x + rng.normal(0, 0.05, x.size), y + rng.normal(0, 0.05, x.size)
    flux = flux * rng.normal(1, 0.03, x.size)
    order, one = np.argsort(-flux), np.ones(x.size)
    stars = StarList(x, y, 0.05 * one, flux, flux / 5, 4 * one, 0 * one, flux, 1.0)
    return stars[order]


@pytest.mark.parametrize("light", [1.0, 0.5, 0.2])
@pytest.mark.parametrize("n", [15, 60, 300])
def test_a_nod_in_mid_exposure(n: int, light: float) -> None:
    found = find_doubling(frame(n, n, (23.4, -31.2), light))
    assert found is not None
    sign = np.sign(found.dx)  # either of two equal images may be the first
    assert (sign * found.dx, sign * found.dy) == (pytest.approx(23.4, abs=0.2), pytest.approx(-31.2, abs=0.2))
    assert found.light == pytest.approx(light, rel=0.1)
    assert found.doubled <= found.expected


@pytest.mark.parametrize("n", [0, 1, 4, 12, 80, 500])
def test_single_stars_are_not_doubled(n: int) -> None:
    for seed in range(40):
        assert find_doubling(frame(n, seed)) is None


def test_faint_ghosts_and_a_few_pairs_are_no_nod() -> None:
    assert find_doubling(frame(60, 1, (40.0, 5.0), 0.05)) is None
    stars = frame(60, 2)
    pair = replace(stars, x=stars.x.copy(), y=stars.y.copy())
    pair.x[10:14], pair.y[10:14] = pair.x[:4] + 20.0, pair.y[:4] - 9.0
    assert find_doubling(pair) is None
