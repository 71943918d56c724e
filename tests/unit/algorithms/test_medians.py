"""Medians of images with missing pixels."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from nirred.algorithms.medians import medians, shifted_medians
from nirred.algorithms.resample_shift import shift_rows


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 9, 10, 33])
def test_it_is_numpys_median_of_what_is_there(n: int) -> None:
    rng = np.random.default_rng(n)
    images = rng.normal(size=(n, 11, 53)).astype(np.float32)
    images[rng.random(images.shape) < 0.3] = np.nan
    images[rng.random(images.shape) < 0.02] = np.inf
    images[0, 0, :5], images[:, 1, :5] = -np.inf, np.nan
    there = np.where(np.isfinite(images), images, np.nan).astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = np.nanmedian(there, axis=0)
    values, count = medians(images)
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(count, np.isfinite(there).sum(axis=0))
    assert values.dtype == np.float32 and count.dtype == np.uint16


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_shifted_frames_need_not_be_drawn(n: int) -> None:
    """As drawn by the nearest pixels; some frames reach none or few of the pixels."""
    rng = np.random.default_rng(n)
    data = rng.normal(size=(n + 2, 30, 600)).astype(np.float32)
    data[rng.random(data.shape) < 0.1] = np.nan
    dq = rng.choice([0, 1, 2], data.shape, p=[0.7, 0.2, 0.1]).astype(np.uint16)
    places = np.arange(n + 1, 1, -1)
    rows, columns = (rng.integers(-size, size, n) for size in (30, 400))
    drawn = np.full((n, 25, 700), np.nan, np.float32)
    for image, k, y, x in zip(drawn, places, rows, columns, strict=True):
        whole = np.full((85, 1900), np.nan, np.float32)
        whole[30:60, 600:1200] = np.where(dq[k] & 1, np.nan, data[k])
        image[:] = whole[30 + y : 55 + y, 600 + x : 1300 + x]
    expected = medians(drawn, 0.5)
    for start, stop in ((0, 25), (0, 7), (7, 25)):
        out = np.empty((stop - start, 700), np.float32), np.empty((stop - start, 700), np.uint16)
        shifted_medians(data, dq, (places, rows + start, columns), 1, 0.5, out)
        for got, wanted in zip(out, expected, strict=True):
            assert got.tobytes() == wanted[start:stop].tobytes()


def test_a_pixel_does_not_depend_on_those_beside_it() -> None:
    rng = np.random.default_rng(1)
    images = np.where(rng.random((6, 9, 400)) < 0.3, np.nan, rng.normal(size=(6, 9, 400))).astype(np.float32)
    whole = medians(images, 1.0)
    parts = [medians(images[:, :, s], 1.0) for s in (slice(0, 1), slice(1, 300), slice(300, 400))]
    for k in (0, 1):
        assert np.concatenate([p[k] for p in parts], axis=1).tobytes() == whole[k].tobytes()
    assert medians(np.full((3, 1, 1), np.nan, np.float32))[1].tolist() == [[0]]


def test_a_cosmic_ray_in_one_of_two_frames_leaves_the_model() -> None:
    rng = np.random.default_rng(1)
    images = rng.normal(0.0, 10.0, (3, 8, 40)).astype(np.float32)
    images[2, :, 20:] = np.nan  # two frames on the right
    images[0, 3, 10], images[0, 4, 30] = 20000.0, 20000.0
    images[0, 5, 35], images[1, 5, 35] = 9000.0, 8000.0  # a star's core, whose seeing changed
    plain, spared = medians(images)[0], medians(images, 70.0)[0]
    assert spared[4, 30] == images[1, 4, 30] and plain[4, 30] > 9000
    plain[4, 30] = spared[4, 30]
    assert np.array_equal(spared, plain)


def test_where_a_cosmic_ray_rings_in_one_of_two_frames_the_other_is_the_model() -> None:
    """With Lanczos-3, 60000 electrons ring to -7000 next to them: the lower value would flag both frames there."""
    ray = np.zeros((1, 21), np.float32)
    ray[0, 10] = 60000.0
    drawn = shift_rows(ray, np.zeros(ray.shape, np.uint8), 0.5, 0.0, shape=(1, 21), origin=(0, 0))[0]
    clean = np.full(ray.shape, 3.0, np.float32)
    assert np.nanmin(drawn) < -5000
    model, _ = medians(np.stack([drawn, clean]), 70.0)
    assert np.abs(model).max() < 70.0
    assert np.array_equal(model[0, 7:13], clean[0, 7:13])


@pytest.mark.parametrize(("n", "struck"), [(4, 2), (6, 3)])
def test_cosmic_rays_in_half_of_the_frames_leave_the_model(n: int, struck: int) -> None:
    """For the sky and a faint cosmic ray the mean is wrong for both; differences due to seeing are still averaged."""
    values = np.zeros((n, 1, 2), np.float32)
    values[:struck, 0, 0] = 5000.0 + np.arange(struck)
    values[:struck, 0, 1] = -100.0
    model, count = medians(values, 70.0)
    assert (model[0, 0], count[0, 0]) == (0.0, n)
    star = np.linspace(1000.0, 1400.0, n, dtype=np.float32)[:, None, None]
    assert medians(star, 70.0)[0][0, 0] == pytest.approx(1200.0)


def test_images_that_show_nothing_of_a_part_change_nothing() -> None:
    rng = np.random.default_rng(4)
    images = rng.normal(size=(9, 3, 700)).astype(np.float32)
    for k, image in enumerate(images[:8]):
        image[:, : 80 * k] = np.nan
        image[:, 80 * k + 333 :] = np.nan
    values, count = medians(images, 0.7)
    for x in (0, 90, 250, 420, 555, 699):
        there = images[:, :, x][np.isfinite(images[:, :, x]).all(axis=1)]
        alone = medians(there[:, :, None], 0.7)
        assert values[:, x].tobytes() == alone[0].tobytes() and np.all(count[:, x] == len(there))
