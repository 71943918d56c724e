"""Extended objects and the depressions around them."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.profile import hollowed_share


@pytest.mark.parametrize(("depth", "share"), [(0.0, 0.0), (6.0, 0.021)])
def test_share_of_objects_in_hollows(depth: float, share: float) -> None:
    """A sky that contained a galaxy's own light leaves a hollow around it; a neighbour without one does not count."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:160, :320]
    image = rng.normal(0, 1, x.shape)
    for x0, hollow in ((80, depth), (240, 0.0)):
        r = np.hypot(x - x0, y - 80)
        image += 60 * np.exp(-(r**2) / 72) - hollow * np.exp(-(r**2) / 450)
    found = (np.hypot(x - 80, y - 80) < 18.5) | (np.hypot(x - 240, y - 80) < 18.5)
    assert hollowed_share(image.astype(np.float32), found.view(np.uint8)) == pytest.approx(share, abs=0.002)


def test_nothing_lies_in_a_hollow_where_nothing_is_found() -> None:
    image = np.full((8, 8), np.nan, np.float32)
    assert hollowed_share(image, np.zeros(image.shape, np.uint8)) == 0.0
    assert hollowed_share(image, np.ones(image.shape, np.uint8)) == 0.0
    assert hollowed_share(image[:1, :1], np.ones((1, 1), np.uint8)) == 0.0
