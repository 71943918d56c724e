"""Numbered regions against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from nirred.algorithms.holes import grown, label


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (57, 43), (200, 300)])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.45, 0.7, 1.0])
@pytest.mark.parametrize("corners", [True, False])
def test_numbers_are_scipys(shape: tuple[int, int], share: float, corners: bool) -> None:
    found = np.random.default_rng(3).random(shape) < share
    labels, number = label(found, corners=corners)
    expected, many = ndimage.label(found, np.ones((3, 3)) if corners else None)
    assert number == many
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, expected)


def test_any_type_will_do_and_corners_touch() -> None:
    labels, number = label(np.array([[2, 0, 0], [0, 255, 0], [0, 0, 0], [1, 0, 7]], np.uint8))
    np.testing.assert_array_equal(labels, [[1, 0, 0], [0, 1, 0], [0, 0, 0], [2, 0, 3]])
    assert number == 3


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (30, 20)])
def test_grown_takes_the_neighbours(shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(4).random(shape) < 0.1
    np.testing.assert_array_equal(grown(mask), ndimage.binary_dilation(mask, np.ones((3, 3))))
