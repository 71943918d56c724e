"""Grids, the rows that they draw on, outliers on the detector, and the sums of a stack."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.coadd import (
    Accumulator,
    Grid,
    OutlierLimits,
    common_grid,
    core_slope,
    flag_outliers,
    frame_rows,
    nearest_rows,
    patch_hidden,
    union_grid,
)

SHIFTS = [(0.0, 0.0), (2.4, -3.6), (-5.5, 1.5), (0.49, 7.51)]
SHAPE = (20, 30)


@pytest.mark.parametrize("shift", SHIFTS)
def test_union_grid_holds_every_pixel_and_no_more(shift):
    grid = union_grid([(0.0, 0.0), shift], SHAPE)
    for dx, dy in [(0.0, 0.0), shift]:
        # the frame's corners, in the reference's coordinates, are at most half a pixel outside
        assert grid.x0 - 0.5 <= -dx and SHAPE[1] - 1 - dx <= grid.x0 + grid.shape[1] - 0.5
        assert grid.y0 - 0.5 <= -dy and SHAPE[0] - 1 - dy <= grid.y0 + grid.shape[0] - 0.5
    assert grid.shape[1] <= SHAPE[1] + abs(shift[0]) + 1 and grid.shape[0] <= SHAPE[0] + abs(shift[1]) + 1


def test_grid_of_one_frame_is_the_frame():
    for make in (union_grid, common_grid):
        assert make([(0.0, 0.0)], SHAPE) == Grid(0, 0, SHAPE)
        assert make([(0.0, 0.0)], (1, 1)) == Grid(0, 0, (1, 1))


def test_common_grid_lies_in_every_frame():
    grid = common_grid(SHIFTS, SHAPE)
    for dx, dy in SHIFTS:
        assert grid.x0 + dx >= 0 and grid.x0 + grid.shape[1] - 1 + dx <= SHAPE[1] - 1
        assert grid.y0 + dy >= 0 and grid.y0 + grid.shape[0] - 1 + dy <= SHAPE[0] - 1
    with pytest.raises(ValueError, match="no area in common"):
        common_grid([(0.0, 0.0), (30.0, 0.0)], SHAPE)


@pytest.mark.parametrize("shift", SHIFTS)
def test_nearest_rows_by_tiles_equal_the_whole_and_the_definition(shift):
    plane = np.arange(600, dtype=np.uint16).reshape(SHAPE) + 1
    grid = union_grid(SHIFTS, SHAPE)
    whole = nearest_rows(plane, shift, grid, (0, grid.shape[0]), 0)
    tiles = [nearest_rows(plane, shift, grid, (s, min(s + 7, grid.shape[0])), 0) for s in range(0, grid.shape[0], 7)]
    np.testing.assert_array_equal(np.concatenate(tiles), whole)
    expected = np.zeros(grid.shape, np.uint16)
    for y in range(grid.shape[0]):
        for x in range(grid.shape[1]):
            j, i = int(np.floor(x + grid.x0 + shift[0] + 0.5)), int(np.floor(y + grid.y0 + shift[1] + 0.5))
            if 0 <= i < 20 and 0 <= j < 30:
                expected[y, x] = plane[i, j]
    np.testing.assert_array_equal(whole, expected)


def test_rows_outside_the_frame_are_empty():
    assert frame_rows((0.0, 0.0), Grid(0, 100, (10, 10)), (0, 10), 20) == (0, 0)
    assert frame_rows((0.0, 0.0), Grid(0, 0, (20, 10)), (0, 20), 20) == (0, 20)
    low, high = frame_rows((0.0, 2.4), Grid(0, 0, (200, 10)), (64, 128), 200)
    assert low <= 64 + 2 - 3 and high >= 128 + 2 + 1 + 3  # Lanczos-3 reaches three pixels to either side


# -- outliers -----------------------------------------------------------------------------------------------------


def star(x, y, fwhm, size=48):
    yy, xx = np.indices((size, size), float)
    sigma = fwhm / 2.3548
    return np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * sigma**2))


SKY = 2500.0


def flagged(sub, model, n=3, scale=1.0, bright=False, size=48, **limits):
    counts = np.full(model.shape, n, np.float32)
    core = np.full(model.shape, bright, np.uint8)
    noise = np.zeros((size, size), np.float32), np.ones((size, size), np.float32)
    planes = sub.astype(np.float32), core, (model.astype(np.float32), counts), noise
    return flag_outliers(*planes, (scale, SKY, 1.0), OutlierLimits(**limits))


@pytest.mark.parametrize("n", [3, 4, 5, 9])
def test_a_lone_ray_of_more_than_eight_sigma_is_caught(n):
    rng = np.random.default_rng(n)
    frames = 50 * rng.standard_normal((n, 240, 240))
    quiet = flagged(frames[1], np.median(frames, axis=0), n=n, size=240)
    where = rng.permutation(240 * 240)[:1000]
    frames[0].reshape(-1)[where] = 8.0 * 50.0 * (1.0 + 0.2 * rng.random(1000))
    flags = flagged(frames[0], np.median(frames, axis=0), n=n, size=240)
    assert flags.reshape(-1)[where].mean() >= 0.98
    assert quiet.sum() <= 3


def three_of_seeing(widths, peak, seed):
    """Frames of one star, their median, and the flags of each, as a group of that seeing is treated."""
    rng = np.random.default_rng(seed)
    usual = float(np.median(widths))
    frames = [peak * (usual / w) ** 2 * star(23.3, 24.6, w) for w in widths]
    frames = [f + np.sqrt(SKY + np.maximum(f, 0)) * rng.standard_normal(f.shape) for f in frames]
    model = np.median(frames, axis=0)
    slopes = [max(0.6, core_slope(w, usual)) for w in widths]
    reach = max(1, round(usual / 2))
    return [
        flagged(f, model, slope_high=k, slope_low=k * 2 / 3, reach=reach) for f, k in zip(frames, slopes, strict=True)
    ]


@pytest.mark.parametrize("peak", [1e3, 1e4, 1e5])
@pytest.mark.parametrize("widths", [(4.0, 4.2, 3.8), (4.0, 4.6, 3.4), (2.6, 3.0, 2.2), (6.0, 6.9, 5.1)])
def test_star_cores_stay_in_three_frames_of_changing_seeing(widths, peak):
    assert sum(int(flags.sum()) for flags in three_of_seeing(widths, peak, 3)) == 0


def test_the_allowance_for_seeing_is_none_where_it_is_usual_or_not_known():
    assert core_slope(4.0, 4.0) == core_slope(float("nan"), 4.0) == core_slope(4.0, float("nan")) == 0.0
    assert core_slope(3.4, 4.0) == pytest.approx(2.5 * ((4.0 / 3.4) ** 2 - 1))


@pytest.mark.parametrize("peak", [1e3, 1e4, 1e5])
@pytest.mark.parametrize("change", [0.9, 1.1])
@pytest.mark.parametrize("fwhm", [2.5, 4.0, 7.0])
def test_star_cores_stay_when_the_seeing_changes_by_ten_percent(peak, change, fwhm):
    rng = np.random.default_rng(2)
    usual = peak * star(23.3, 24.6, fwhm)
    other = peak * star(23.3, 24.6, fwhm * change) / change**2
    noise = np.sqrt(SKY + np.maximum(other, 0)) * rng.standard_normal(usual.shape)
    assert flagged(other + noise, usual, n=9, reach=max(1, round(fwhm / 2))).sum() == 0


def test_transparency_is_no_outlier():
    model = 1e4 * star(23.3, 24.6, 4.0)
    assert flagged(0.8 * model, model, scale=0.8).sum() == 0


def test_neighbours_of_an_outlier_go_at_a_lower_limit():
    sub = np.zeros((48, 48))
    sub[10, 10], sub[10, 11], sub[30, 30] = 600.0, 240.0, 240.0  # sigma of the difference: 62
    flags = flagged(sub, np.zeros((48, 48)))
    assert flags[10, 10] == flags[10, 11] == 1 and flags[30, 30] == 0


def test_saturated_cores_are_no_outliers_where_others_are_bright_too():
    model = np.zeros((48, 48))
    model[10:13, 10:13] = 5e4
    sub = model.copy()
    sub[11, 11], sub[30, 30] = 2e5, 2e5
    flags = flagged(sub, model, bright=True)
    assert flags[11, 11] == 0 and flags[30, 30] == 1 and flags.sum() == 1
    assert flagged(sub, model)[11, 11] == 1


def test_of_two_frames_the_higher_value_is_the_outlier():
    rng = np.random.default_rng(6)
    frames = 50 * rng.standard_normal((2, 48, 48))
    frames[0, 20, 20] += 20 * 50
    model = frames.mean(axis=0)
    flags = [flagged(f, model, n=2) for f in frames]
    assert flags[0][20, 20] == 1 and flags[0].sum() <= 2
    assert flags[1].sum() <= 1 and flags[1][20, 20] == 0


def test_without_model_nothing_is_flagged():
    sub = np.full((48, 48), 1e6)
    assert flagged(sub, np.full((48, 48), np.nan)).sum() == 0
    assert flagged(sub, np.zeros((48, 48)), n=1).sum() == 0
    unit = np.ones((1, 1), np.float32)
    one = np.array([[1e6]], np.float32), np.zeros((1, 1), np.uint8), (0 * unit, 3 * unit), (unit, unit)
    assert flag_outliers(*one, (1.0, 1.0, 1.0), OutlierLimits()).tolist() == [[1]]


def test_hidden_pixels_take_the_model_then_their_neighbours():
    data = np.arange(25, dtype=np.float32).reshape(5, 5)
    hidden, model = np.zeros((5, 5), np.uint8), np.full((5, 5), np.nan, np.float32)
    hidden[1, 1], hidden[3, 3], model[3, 3] = 1, 1, -7.0
    data[1, 1] = data[3, 3] = 1e9
    out = patch_hidden(data, hidden, model)
    assert out[3, 3] == -7.0 and out[1, 1] == 6.0
    np.testing.assert_array_equal(out[hidden == 0], data[hidden == 0])
    alone = np.ones((1, 1), np.float32)
    assert patch_hidden(5 * alone, np.ones((1, 1), np.uint8), np.nan * alone).tolist() == [[0.0]]


@pytest.mark.parametrize("share", [0.5, 0.95, 0.995])
def test_neighbours_are_sought_in_growing_squares(share):
    rng = np.random.default_rng(1)
    data = rng.normal(size=(40, 53)).astype(np.float32)
    hidden = (rng.random(data.shape) < share).astype(np.uint8)
    out = patch_hidden(data, hidden, np.full(data.shape, np.nan, np.float32))
    for y, x in np.argwhere(hidden):
        squares = [np.s_[max(y - r, 0) : y + r + 1, max(x - r, 0) : x + r + 1] for r in (1, 2, 3)]
        values = [data[s][hidden[s] == 0] for s in squares]
        wanted = next((v.astype(float).mean() for v in values if v.size), 0.0)
        assert out[y, x] == pytest.approx(wanted, rel=1e-6)


# -- sums ---------------------------------------------------------------------------------------------------------


def test_weighted_mean_and_its_variance_against_a_monte_carlo():
    rng = np.random.default_rng(3)
    truth = np.zeros((100, 100))
    truth[:, 50:] = 4000.0
    sky, transparency = np.array([2000.0, 3000.0, 2500.0]), np.array([0.9, 1.1, 1.0])
    weight = transparency**2 / (sky + 100)
    weight, transparency = weight / weight.sum(), transparency / (weight @ transparency / weight.sum())
    noise = np.full(truth.shape, 100.0, np.float32), np.ones(truth.shape, np.float32)
    stack = Accumulator.empty(100, 100)
    for k in range(3):
        expected = truth * transparency[k] + sky[k]
        seen = rng.poisson(expected) - sky[k] + 10 * rng.standard_normal(truth.shape)
        frame = (float(weight[k]), float(transparency[k]), float(sky[k]), 1.0)
        stack.add(seen.astype(np.float32), np.zeros(truth.shape, np.float32), noise, frame, 0.5)
    sci, var = stack.result()
    pull = (sci - truth) / np.sqrt(var)
    for part in (pull[:, :50], pull[:, 50:]):
        assert abs(part.mean()) < 4 / np.sqrt(part.size)
        assert part.std() == pytest.approx(1.0, abs=0.03)
    assert (stack.count == 3).all()


def test_hidden_and_missing_values_are_left_out():
    ones = np.ones((1, 4), np.float32)
    stack = Accumulator.empty(1, 4)
    stack.add(np.array([[1, np.nan, 3, 4]], np.float32), np.array([[0, 0, 0.4, 0.6]], np.float32), (ones, ones),
              (1.0, 1.0, 0.0, 1.0), 0.5)  # fmt: skip
    sci, var = stack.result()
    assert stack.count.tolist() == [[1, 0, 1, 0]]
    np.testing.assert_array_equal(sci, np.array([[1, np.nan, 3, np.nan]], np.float32))
    np.testing.assert_array_equal(var, np.array([[2, np.nan, 4, np.nan]], np.float32))
