"""The incomplete gamma function against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import gammainc, gammaincinv

from nirred.algorithms.gamma import gamma_point, gamma_share


@pytest.mark.parametrize("shape", [1.0, 1.4, 2.0, 8.0, 60.0, 1000.0])
def test_share_is_scipys(shape: float) -> None:
    for x in shape * np.array([1e-6, 0.1, 0.5, 1.0, 1.5, 3.0, 50.0]):
        assert gamma_share(shape, float(x)) == pytest.approx(gammainc(shape, x), rel=1e-12, abs=1e-300)


def test_share_at_the_ends() -> None:
    assert gamma_share(2.0, 0.0) == 0.0
    assert gamma_share(2.0, 1e6) == 1.0
    assert gamma_share(3, 0.5) == pytest.approx(1.0 - np.exp(-0.5) * (1.0 + 0.5 + 0.125), rel=1e-12)


@pytest.mark.parametrize("shape", [1.0, 1.4, 2.8, 5.6, 8.0, 100.0])
@pytest.mark.parametrize("share", [0.001, 0.2, 0.5, 0.9, 0.9999])
def test_point_is_scipys(shape: float, share: float) -> None:
    assert gamma_point(shape, share) == pytest.approx(gammaincinv(shape, share), rel=1e-10)
