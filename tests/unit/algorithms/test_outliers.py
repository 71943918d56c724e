"""Outliers on the detector relative to the median of a sequence, and the values that replace them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nirred.algorithms.medians import medians
from nirred.algorithms.outlier_fill import fill_from_around
from nirred.algorithms.outliers import (
    Expected,
    OnGrid,
    OnPlane,
    OutlierLimits,
    core_slope,
    fill_hidden,
    flag_outliers,
    flank_reach,
)
from nirred.algorithms.pixelmap import PixelMap
from nirred.algorithms.resample_gather import gather_rows


def star(x, y, fwhm, size=48):
    yy, xx = np.indices((size, size), float)
    sigma = fwhm / 2.3548
    return np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * sigma**2))


SKY = 2500.0


def flagged(sub, model, n=3, scale=1.0, bright=False, **limits):
    counts, dq = np.full(model.shape, n, np.uint16), np.full(model.shape, 4 * bright, np.uint16)
    noise = np.zeros(sub.shape, np.float32), np.ones(sub.shape, np.float32)
    expected = Expected(OnPlane(model.astype(np.float32), counts, (0, 0)), *noise, scale, SKY, 1.0)
    return flag_outliers(sub.astype(np.float32), dq, expected, OutlierLimits(bright=4, **limits))


@pytest.mark.parametrize("n", [3, 4, 5, 9])
def test_a_lone_ray_of_more_than_eight_sigma_is_caught(n):
    rng = np.random.default_rng(n)
    frames = 50 * rng.standard_normal((n, 240, 240))
    quiet = flagged(frames[1], np.median(frames, axis=0), n=n)
    where = rng.permutation(240 * 240)[:1000]
    frames[0].reshape(-1)[where] = 8.0 * 50.0 * (1.0 + 0.2 * rng.random(1000))
    flags = flagged(frames[0], np.median(frames, axis=0), n=n)
    assert flags.reshape(-1)[where].mean() >= 0.98
    assert quiet.sum() <= 3


def three_of_seeing(widths, peak, seed):
    """Frames of one star, their median, and the flags of each, as for a group with this seeing."""
    rng = np.random.default_rng(seed)
    usual = float(np.median(widths))
    frames = [peak * (usual / w) ** 2 * star(23.3, 24.6, w) for w in widths]
    frames = [f + np.sqrt(SKY + np.maximum(f, 0)) * rng.standard_normal(f.shape) for f in frames]
    model = np.median(frames, axis=0)
    slopes = [max(0.6, core_slope(w, usual)) for w in widths]
    reach = max(1, round(usual / 2))
    return [
        flagged(f, model, slope_high=k, slope_low=k * 2 / 3, reach=reach, near=min(reach, flank_reach(usual, k)))
        for f, k in zip(frames, slopes, strict=True)
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


@pytest.mark.parametrize("change", [0.7, 0.88, 1.12, 1.3])
@pytest.mark.parametrize("fwhm", [2.5, 5.2, 8.0])
def test_star_flanks_stay_when_the_seeing_changes(fwhm, change):
    """As for a group with this seeing: the tolerance on flanks grows with the change that was measured."""
    usual = 1e5 * star(47.3, 48.6, fwhm, 96)
    other = 1e5 * star(47.3, 48.6, fwhm * change, 96) / change**2
    slope, reach = max(0.6, core_slope(fwhm * change, fwhm)), max(1, round(fwhm / 2))
    allowed = {"slope_high": slope, "slope_low": slope * 2 / 3, "near": min(reach, flank_reach(fwhm, slope))}
    assert flagged(other, usual, n=9, reach=reach, **allowed).sum() == 0


def test_a_ray_on_the_flank_of_a_star_is_caught():
    """It was as bright as the star is half a FWHM nearer to its centre: 3.5 times the light at its place."""
    y, x = np.indices((64, 64)) - 32.0
    model = 12700 * (1 + (x * x + y * y) / 24) ** -3.0  # FWHM 5
    sub = model.copy()
    sub[32, 39] += 2300
    flags = flagged(sub, model, n=9, reach=3, near=flank_reach(5.0, 0.6))
    assert flags[32, 39] == 1 and flags.sum() == 1


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


@pytest.mark.parametrize("depth", [-15, -20, -40])
def test_of_two_frames_what_lies_far_below_the_sky_is_the_outlier(depth):
    """A cosmic ray in a sky frame: of two frames the other one is correct, and is kept."""
    rng = np.random.default_rng(7)
    frames = 50 * rng.standard_normal((2, 48, 48))
    frames[0, 20, 20] = depth * 50
    model, _ = medians(frames.astype(np.float32), 7 * 50.0)
    flags = [flagged(f, model, n=2) for f in frames]
    assert flags[0][20, 20] == 1 and flags[0].sum() <= 2
    assert flags[1].sum() <= 1 and flags[1][20, 20] == 0


def test_without_model_nothing_is_flagged():
    sub = np.full((48, 48), 1e6)
    assert flagged(sub, np.full((48, 48), np.nan)).sum() == 0
    assert flagged(sub, np.zeros((48, 48)), n=1).sum() == 0
    unit, nothing = np.ones((1, 1), np.float32), np.zeros((1, 1), np.uint16)
    expected = Expected(OnPlane(0 * unit, 3 * np.ones((1, 1), np.uint16), (0, 0)), unit, unit, 1.0, 1.0, 1.0)
    assert flag_outliers(1e6 * unit, nothing, expected, OutlierLimits()).tolist() == [[1]]


def filled(data, hidden, model, scale=1.0):
    out = data.copy()
    told = OnPlane(model, np.ones(model.shape, np.uint16), (0, 0))
    fill_hidden(out, 9 * hidden.astype(np.uint16) + 2, 1, told, scale)
    return out


def test_without_a_model_hidden_pixels_take_their_neighbours():
    data, flags = np.arange(64, dtype=np.float32).reshape(8, 8), np.zeros((8, 8), np.uint16)
    hidden = [(1, 1), (5, 5), (5, 6)]
    for where, value in zip(hidden, (1e9, np.nan, -np.inf), strict=True):
        data[where], flags[where] = value, 3
    flags[7, 0] = 2
    out = data.copy()
    fill_from_around(out, flags, 1)
    assert out[1, 1] == 9.0 and np.isfinite(out).all()
    np.testing.assert_array_equal(out[flags != 3], data[flags != 3])
    flags[:] = 1
    fill_from_around(out, flags, 1)
    assert not out.any()


def test_hidden_pixels_take_the_model_then_their_neighbours():
    data = np.arange(25, dtype=np.float32).reshape(5, 5)
    hidden, model = np.zeros((5, 5), np.uint8), np.full((5, 5), np.nan, np.float32)
    hidden[1, 1], hidden[3, 3], model[3, 3] = 1, 1, -7.0
    data[1, 1] = data[3, 3] = 1e9
    out = filled(data, hidden, model, 0.5)
    assert out[3, 3] == -3.5 and out[1, 1] == 6.0
    np.testing.assert_array_equal(out[hidden == 0], data[hidden == 0])
    alone = np.ones((1, 1), np.float32)
    assert filled(5 * alone, np.ones((1, 1), np.uint8), np.nan * alone).tolist() == [[0.0]]


@pytest.mark.parametrize("share", [0.5, 0.95, 0.995])
def test_neighbours_are_sought_in_growing_squares(share):
    rng = np.random.default_rng(1)
    data = rng.normal(size=(40, 53)).astype(np.float32)
    hidden = (rng.random(data.shape) < share).astype(np.uint8)
    out = filled(data, hidden, np.full(data.shape, np.nan, np.float32))
    for y, x in np.argwhere(hidden):
        squares = [np.s_[max(y - r, 0) : y + r + 1, max(x - r, 0) : x + r + 1] for r in (1, 2, 3)]
        values = [data[s][hidden[s] == 0] for s in squares]
        wanted = next((v.astype(float).mean() for v in values if v.size), 0.0)
        assert out[y, x] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("origin", [(0, 0), (3, 5), (-4, 2), (-50, 0), (0, 60)])
def test_every_pixel_is_judged_by_the_frames_behind_it(origin):
    """Against the definition in float64, pixel by pixel."""
    rng = np.random.default_rng(8)
    shape = (40, 43)
    model = (2000 * star(20.0, 18.0, 5.0, 43)[:40] + 5 * rng.standard_normal(shape)).astype(np.float32)
    sub = (0.9 * model + 60 * rng.standard_normal(shape)).astype(np.float32)
    sub[rng.random(shape) < 0.05] += 400
    model[rng.random(shape) < 0.02] = np.nan
    count = rng.integers(0, 6, (45, 44)).astype(np.uint16)
    dq = np.where(rng.random(shape) < 0.1, 6, 0).astype(np.uint16)
    constant, electrons = (1 + rng.random(shape).astype(np.float32) for _ in range(2))
    expected = Expected(OnPlane(model, count, origin), constant, electrons, 0.9, SKY, 1.1)
    limits = OutlierLimits(bright=4)
    flags = flag_outliers(sub, dq, expected, limits)
    far, near = np.zeros(shape, bool), np.zeros(shape, bool)
    for y, x in np.ndindex(shape):
        inside = 0 <= y + origin[1] < 45 and 0 <= x + origin[0] < 44
        n = int(count[y + origin[1], x + origin[0]]) if inside else 0
        m, v = float(model[y, x]), float(sub[y, x])
        if n < 2 or not np.isfinite(m) or (n < 3 and abs(v) <= abs(0.9 * m)):
            continue
        variance = 1.1 * (constant[y, x] + (SKY + max(m, 0) * 0.9) * electrons[y, x])
        sigma = np.sqrt(variance * (0.5 if n < 3 else 1 + 1.6 / n - 4.8 / n**2))
        if dq[y, x] and (0.9 * m if n > 2 else 1.8 * m - v) > 5 * sigma:
            continue
        around = [[model[np.clip(y + dy, 0, 39), np.clip(x + dx, 0, 42)] for dy, dx in
                   ((r, 0), (-r, 0), (0, r), (0, -r))] for r in (1, 2)]  # fmt: skip
        steps = np.nanmax(np.abs(np.array(around, float) - m), axis=1, initial=0.0)
        steep = max(steps[0], min(steps[1], 3 * max(m, 0.0)))
        steep = np.sqrt(max(steep**2 - 9 * variance * 1.6 / n, 0)) * (1 if n > 2 else 0.5)
        far[y, x], near[y, x] = (abs(v - 0.9 * m) > k * sigma + s * steep for k, s in ((5, 0.6), (3, 0.4)))
    grown = np.pad(far, 1)
    beside = np.any([grown[1 + j : 41 + j, 1 + i : 44 + i] for j in (-1, 0, 1) for i in (-1, 0, 1)], axis=0)
    np.testing.assert_array_equal(flags, far | (near & beside))
    assert far.any() or origin in ((-50, 0), (0, 60))


def test_deep_in_a_bad_region_nothing_is_judged() -> None:
    sub, dq = np.full((20, 24), 1e4, np.float32), np.zeros((20, 24), np.uint16)
    dq[4:12, 4:12] = 1
    plane = np.ones(sub.shape, np.float32)
    expected = Expected(OnPlane(0 * plane, np.full(sub.shape, 9, np.uint16), (0, 0)), plane, plane, 1.0, 100.0, 1.0)
    flags = flag_outliers(sub, dq, expected, OutlierLimits(bad=1))
    assert (
        not flags[5:11, 5:11].any() and flags.sum() == flags.size - 36
    )  # those at its edge count for their neighbours


def distorted(shape, step):
    """A frame slightly rotated and distorted on its grid, with this spacing of its map's nodes."""
    y, x = np.mgrid[0 : shape[0] + step : step, 0 : shape[1] + step : step].astype(float)
    bend = 1e-5 * (x - 40) * (y - 30)
    return PixelMap(shape, step, 1.004 * x - 0.02 * y + 3.3 + bend, 0.02 * x + 0.997 * y - 2.4 + bend, np.ones(x.shape))


@pytest.mark.parametrize("step", [2, 8, 16])
@pytest.mark.parametrize("n", [2, 3, 9])
def test_a_model_on_a_grid_tells_what_it_tells_drawn_to_the_plane(step, n):
    rng = np.random.default_rng(step)
    shape, back = (75, 91), distorted((75, 91), step)
    model = (2000 * star(40.0, 30.0, 5.0, 96)[:80] + 300 * star(70.0, 60.0, 4.0, 96)[:80]).astype(np.float32)
    model += 20 * rng.standard_normal(model.shape).astype(np.float32)
    model[rng.random(model.shape) < 0.01], model[60:, :30] = np.nan, np.nan
    count = np.full(model.shape, n, np.uint16)
    count[:20, 50:] = 1
    drawn, near = (gathered(v, back, kernel) for v, kernel in ((model, "bilinear"), (count, "nearest")))
    plane = OnPlane(drawn, np.nan_to_num(near).astype(np.uint16), (0, 0))
    grid = replace(OnGrid.of(model, count), back=back)
    sub = (0.9 * np.nan_to_num(drawn) + 60 * rng.standard_normal(shape)).astype(np.float32)
    for height in (700, -700, 9000):  # from doubtful to certain, beside stars, too
        sub[rng.random(shape) < 0.03] += height
    dq = rng.choice(np.array([0, 3, 4, 5], np.uint16), shape, p=[0.85, 0.05, 0.05, 0.05])
    constant, electrons = (1 + rng.random(shape).astype(np.float32) for _ in range(2))
    flags = [
        flag_outliers(sub, dq, Expected(told, constant, electrons, 0.9, SKY, 1.1), OutlierLimits(bright=4, bad=1))
        for told in (plane, grid)
    ]
    np.testing.assert_array_equal(*flags)
    assert flags[0].sum() > 50
    filled = [sub.copy(), sub.copy()]
    for data, told in zip(filled, (plane, grid), strict=True):
        fill_hidden(data, dq, 1, told, 0.9)
    np.testing.assert_allclose(*filled, rtol=1e-5, atol=1e-3)
    assert (filled[0] != sub).sum() > 100


def gathered(image, back, kernel):
    return gather_rows(image.astype(np.float32), None, back, kernel=kernel, conserve=False)[0]


def test_a_model_on_a_grid_of_one_pixel_or_of_none_and_without_a_map():
    one, noise = np.ones((1, 1), np.float32), (np.ones((1, 1), np.float32), np.ones((1, 1), np.float32))
    nothing = np.zeros((1, 1), np.uint16)
    for value, flag in ((0.0, 1), (np.nan, 0)):
        told = replace(OnGrid.of(value * one, 9 * np.ones((1, 1), np.uint16)), back=PixelMap.from_shift(0, 0, (1, 1)))
        expected = Expected(told, *noise, 1.0, 1.0, 1.0)
        assert flag_outliers(1e6 * one, nothing, expected, OutlierLimits()).tolist() == [[flag]]
    with pytest.raises(ValueError, match="needs the map"):
        fill_hidden(one, nothing, 1, OnGrid.of(one, nothing), 1.0)
