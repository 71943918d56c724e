from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.pairwise import pairwise_scales


def test_pairwise_levels():
    rng = np.random.default_rng(6)
    truth = np.array([1.0, 1.1, 0.8, 1.3])
    sky = rng.uniform(800, 1200, (90, 110))
    data = [(sky * s + rng.normal(0, 3, sky.shape)).astype(np.float32) for s in truth]
    dq = [(rng.random(sky.shape) < 0.2).astype(np.uint16) for _ in truth]
    for plane, bits in zip(data, dq):
        plane[bits > 0] = 1e6
    scales = pairwise_scales(data, dq)
    np.testing.assert_allclose(scales.factors, 1 / truth, rtol=1e-3)
    assert scales.common[0, 1:].min() > 5000
    zeros = pairwise_scales([sky, sky + 7, sky - 20], kind="zero", samples=1000)
    np.testing.assert_allclose(zeros.factors, [0, -7, 20], atol=1e-9)


def test_pairwise_without_common_pixels():
    left, right = np.zeros((2, 8, 8), np.uint16)
    left[:, :4], right[:, 4:] = 1, 1
    scales = pairwise_scales([np.ones((8, 8)), np.full((8, 8), 2.0)], [left, right])
    np.testing.assert_array_equal(scales.factors, 1)
    assert scales.common[0, 1] == 0


def test_unknown_kind():
    with pytest.raises(ValueError, match="ratio"):
        pairwise_scales([np.ones((2, 2))], kind="ratio")


def test_one_frame_and_one_pixel():
    np.testing.assert_array_equal(pairwise_scales([np.ones((1, 1))]).factors, [1])
