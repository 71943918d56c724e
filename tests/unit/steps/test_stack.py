"""From registered frames to the stack: its values, VAR, DQ, NEXP and the keywords of its grid."""

from __future__ import annotations

import numpy as np
import pytest

from nirred import coadd
from nirred.algorithms.noise import aperture_sigma
from nirred.algorithms.placement import Placement
from nirred.algorithms.resample_kernels import kernel_correlation
from nirred.algorithms.response import CalibrationInputs
from nirred.dq import DQ
from nirred.errors import StepError, Unmade
from nirred.geometry import targets_of
from nirred.plugin import S
from nirred.products import wcs_keywords
from nirred.steps import stack as stack_module
from nirred.steps.outliers import FlagOutliers
from nirred.steps.stack import Resample, StackFrames
from nirred.steps.transparency import ScaleCounts
from tests.unit.steps.conftest import registered

CALL = S("any")


def stacked(group, interpolant="lanczos3", crop="union", **params):
    ScaleCounts().apply(group, ScaleCounts.Params(scale=False, min_concentration=0), CALL)
    Resample().apply(group, Resample.Params(interpolant=interpolant, crop=crop), CALL)
    StackFrames().apply(group, StackFrames.Params(**params), CALL)
    return group.streams["main"][0]


def test_one_frame_is_its_own_stack(make_group):
    rng = np.random.default_rng(1)
    image = rng.normal(0, 50, (40, 50)).astype(np.float32)
    group = registered(make_group(["object"], [image]), [(0.0, 0.0)])
    made = stacked(group)
    np.testing.assert_allclose(made.data, image, atol=1e-4)
    np.testing.assert_allclose(made.var, 2500.0 + np.maximum(image, 0), rtol=1e-5)
    assert (group.stack.nexp[0] == 1).all() and group.keywords["CORRFAC"][0] == pytest.approx(1.0)


@pytest.mark.parametrize("rejection", ["detector", "varclip"])
def test_frames_that_are_raised_have_their_noise_raised_alike(make_group, rejection):
    """By measured noise or by the model's alone, of the sky's electrons as of an object's."""
    image = np.random.default_rng(1).normal(0, 50, (40, 50)).astype(np.float32)
    image[15:25, 20:30] += 20_000.0
    made = []
    for factor in (1.0, 1.5):
        group = registered(make_group(["object"] * 3, [image] * 3), [(0.0, 0.0)] * 3)
        group.planes[0].constant, group.planes[0].noise_scale = 100.0, {0: 1.1}
        for i in range(3):
            group.raise_frame(i, factor)
        made.append(stacked(group, "nearest", reject_method=rejection))
    np.testing.assert_allclose(made[1].data, 1.5 * made[0].data, rtol=1e-6)
    np.testing.assert_allclose(made[1].var, 1.5**2 * made[0].var, rtol=1e-5)


def test_what_is_drawn_beside_a_hot_pixel_has_not_its_noise(make_group):
    shape, hot = (40, 50), (20, 25)
    group = registered(make_group(["object"] * 2, [np.zeros(shape)] * 2), [(0.0, 0.0), (0.45, 0.45)])
    state, static = group.planes[0], np.zeros(shape, np.uint16)
    static[hot] = DQ.BAD_PIXEL
    state.constant = np.where(static != 0, np.float32(1e8), np.float32(0))
    state.inputs = CalibrationInputs(static_dq=static)
    for i in range(2):
        state.dq.put(i, static)
    made = stacked(group)
    assert group.stack.nexp[0].min() < 2
    assert made.var[group.stack.nexp[0] > 0].max() == pytest.approx(2500.0)


@pytest.mark.parametrize("interpolant", ["lanczos3", "bilinear", "nearest", "interp", "adaptive", "exact", "none"])
def test_apertures_scatter_as_var_says(make_group, interpolant):
    rng = np.random.default_rng(2)
    shifts = [(0.0, 0.0), (2.5, -1.3), (-3.3, 4.6)]
    group = registered(make_group(["both"] * 3, [rng.normal(0, 50, (260, 260)) for _ in shifts]), shifts)
    made = stacked(group, interpolant)
    inner = made.data[12:-12, 12:-12]
    sums = inner[:234, :234].reshape(26, 9, 26, 9).sum(axis=(1, 3))
    noise = np.median(made.var[12:-12, 12:-12])
    told = aperture_sigma(group.stack.noisecov, np.full((9, 9), noise), np.ones((9, 9)))
    assert sums.std() == pytest.approx(told, rel=0.07)
    if interpolant != "adaptive":  # its kernel is as wide as a small star: correlations matter in this aperture
        assert sums.std() == pytest.approx(np.sqrt(81 * noise), rel=0.1)
    assert inner.std() == pytest.approx(np.sqrt(np.nanmedian(made.var)) * group.keywords["CORRFAC"][0], rel=0.04)
    assert group.stack.noisecov.sum() == pytest.approx(1.0)


def test_noise_of_the_skys_shape_raises_that_of_apertures(make_group):
    """VAR, which holds for apertures, by the share of the frames' variance; the scatter of pixels stays as told."""
    made = []
    for wide in (0.0, 0.2):
        frames = [np.zeros((60, 60))] * 2
        group = registered(make_group(["object"] * 2, frames), [(0.0, 0.0), (20.0, 0.3)])
        group.planes[0].sky_wide.update({0: wide, 1: wide})
        made.append((stacked(group).var[30, 30], group.keywords["CORRFAC"][0], group.stack.noisecov))
    (plain, narrow, before), (raised, broad, after) = made
    assert raised == pytest.approx(1.2 * plain)
    assert broad**2 * raised == pytest.approx(narrow**2 * plain)
    assert after.sum() == pytest.approx(1.0) and after[0, 0] > before[0, 0] + 0.1 / 24


@pytest.mark.parametrize("method", ["interp", "exact"])
def test_reproject_s_kernel_of_a_shift_is_bilinear(method):
    expected = kernel_correlation(0.3, 0.75, "bilinear")
    np.testing.assert_allclose(
        coadd.correlation_of(Placement.shifted(-6.7, 11.75, (20, 20)), method), expected, atol=1e-6
    )


@pytest.mark.parametrize("method", ["interp", "adaptive", "exact"])
def test_reprojected_images_have_a_place_and_an_edge(method):
    v, u = np.mgrid[:40, :50]
    slope = (u + 3.0 * v).astype(np.float32)
    values, footprint = coadd.reprojected(slope, (4.25, -2.5), (-3, 5), (36, 48), method)
    assert values.dtype == footprint.dtype == np.float32
    y, x = np.mgrid[:36, :48]
    inner = (slice(4, -4), slice(4, -5))
    expected = (x - 3 + 4.25) + 3.0 * (y + 5 - 2.5)
    np.testing.assert_allclose(values[inner], expected[inner], atol=0.02)
    np.testing.assert_allclose(footprint[inner], 1.0, atol=1e-5)
    values, footprint = coadd.reprojected(slope, (60.0, 0.0), (0, 0), (9, 9), method)
    assert not footprint.any() and np.isnan(values).all()


@pytest.mark.parametrize("method", ["interp", "adaptive", "exact"])
def test_reproject_leaves_out_what_is_bad_or_outside(make_group, method):
    bad = np.zeros((40, 40), np.uint16)
    bad[20, 20] = DQ.BAD_PIXEL
    images = [np.full((40, 40), 7.0, np.float32), np.full((40, 40), 7.0, np.float32)]
    images[1][30, 30] = np.nan
    shifts = [(0.0, 0.0), (4.5, 0.0)]
    group = registered(make_group(["both"] * 2, images, [bad, np.zeros_like(bad)]), shifts)
    made, grid = stacked(group, method), group.stack.layouts[0].grid
    count, y, x = group.stack.nexp[0], 0 - grid.y0, 0 - grid.x0
    assert count[y + 20, x + 20] == 1 and count[y + 30, x + 26] <= 1 and count[y + 10, x + 10] == 2
    np.testing.assert_allclose(made.data[count > 0], 7.0, rtol=1e-5)
    assert (made.dq[count == 0] == DQ.NO_DATA).all() and np.isnan(made.data[count == 0]).all()
    # 35.5 of 40 columns in common, and the second frame's own
    assert np.count_nonzero(count[y + 10] == 2) >= 32


@pytest.mark.parametrize("interpolant", ["lanczos3", "bilinear", "nearest", "interp", "adaptive", "exact"])
@pytest.mark.parametrize("asked", [{}, {"operation": "median"}, {"nhigh": 1}])
def test_bad_pixels_spoil_none_beside_them_without_outliers_sought(make_group, interpolant, asked):
    rng = np.random.default_rng(8)
    bad = np.where(rng.random((60, 70)) < 0.03, np.uint16(DQ.BAD_PIXEL), np.uint16(0))
    images = [np.where(bad != 0, np.float32(v), np.float32(7)) for v in (1e7, -1e7, np.nan)]
    shifts = [(0.0, 0.0), (4.5, -3.3), (-2.2, 5.6)]
    group = registered(make_group(["both"] * 3, images, [bad] * 3), shifts)
    made = stacked(group, interpolant, **asked)
    there = np.isfinite(made.data)
    assert there.mean() > 0.9
    np.testing.assert_allclose(made.data[there], 7.0, rtol=1e-4)
    assert made.var[there].max() < 4000.0  # that of a single frame: no light of bad pixels


def test_what_outliers_were_sought_in_is_mended_once_and_again_after_another_sky(make_group, monkeypatch):
    bad = np.zeros((40, 40), np.uint16)
    bad[20, 20] = DQ.BAD_PIXEL
    group = registered(make_group(["both"] * 3, [np.full((40, 40), 7.0)] * 3, [bad] * 3), [(0.0, 0.0)] * 3)
    FlagOutliers().apply(group, FlagOutliers.Params(), CALL)
    mended = []
    monkeypatch.setattr("nirred.steps.outliers.fill_from_around", lambda *_: mended.append(1))
    stacked(group)
    assert not mended
    group.planes[0].sub = group.planes[0].sub
    stacked(group)
    stacked(group)
    assert len(mended) == 3


def test_the_word_none_is_a_method():
    for value in ("none", None):
        assert Resample.Params(interpolant=value).interpolant == "none"


@pytest.mark.parametrize("method", ["interp", "adaptive", "exact"])
def test_threads_change_no_bit_with_reproject(make_group, method):
    rng = np.random.default_rng(3)
    images = [rng.normal(0, 50, (150, 90)) for _ in range(2)]
    made = []
    for threads in (1, 2):
        group = registered(make_group(["both"] * 2, images), [(0.0, 0.0), (7.2, -11.6)])
        object.__setattr__(group.context, "threads", threads)
        plane = stacked(group, method)
        made.append([a.tobytes() for a in (plane.data, plane.var, plane.dq, group.stack.nexp[0])])
    assert made[0] == made[1]


def test_tiles_and_threads_change_no_bit(make_group, monkeypatch):
    rng = np.random.default_rng(3)
    shifts = [(0.0, 0.0), (7.2, -11.6), (-3.3, 4.6)]
    images = [rng.normal(0, 50, (150, 90)) for _ in shifts]
    dq = [np.where(rng.random((150, 90)) < 0.02, np.uint16(1), np.uint16(0)) for _ in shifts]
    made = []
    for tile, threads in ((64, 1), (7, 2), (1000, 1), (1, 1)):
        monkeypatch.setattr(stack_module, "TILE", tile)
        monkeypatch.setattr(coadd, "TILE", tile)
        group = registered(make_group(["both"] * 3, images, dq), shifts)
        object.__setattr__(group.context, "threads", threads)
        plane = stacked(group)
        _, model, count = coadd.median_model(group, [0, 1, 2], targets_of(group, [0, 1, 2])[0], "lanczos3")
        made.append([a.tobytes() for a in (plane.data, plane.var, plane.dq, group.stack.nexp[0], model, count)])
    assert all(m == made[0] for m in made)


@pytest.mark.parametrize("kernel", ["nearest", "lanczos3"])
@pytest.mark.parametrize("most", [4, 64])
def test_the_median_of_frames_far_apart_is_nan_between_them(make_group, kernel, most):
    shifts = [(0.0, 300.0 * (k % 2)) for k in range(20)]
    group = registered(make_group(["both"] * 20, [np.full((90, 70), 10.0 + k) for k in range(20)]), shifts)
    _, model, count = coadd.median_model(group, list(range(20)), targets_of(group, [0])[0], kernel, most)
    shows = np.isfinite(model)
    assert (shows == (count > 0)).all() and model.shape == (390, 70)
    assert shows[:90].all() and shows[-90:].all() and not shows[90:-90].any()
    assert count.max() == (10 if most == 64 else 7)


def test_what_no_frame_sees_is_nan_and_flagged(make_group):
    images, bad = [np.ones((30, 30))] * 2, np.zeros((30, 30), np.uint16)
    bad[10, 10] = DQ.BAD_PIXEL
    saturated = bad.copy()
    saturated[20, 20] = DQ.SATURATED
    group = registered(make_group(["both"] * 2, images, [bad, saturated]), [(0.0, 0.0), (0.0, 0.0)])
    made = stacked(group, "nearest")
    assert np.isnan(made.data[10, 10]) and np.isnan(made.var[10, 10]) and made.dq[10, 10] == DQ.BAD_PIXEL
    assert made.data[20, 20] == 1.0 and made.dq[20, 20] == DQ.SATURATED
    group = registered(make_group(["both"] * 2, images), [(0.0, 0.0), (10.0, 10.0)])
    made = stacked(group, "nearest")
    assert made.data.shape == (40, 40) and made.dq[0, 39] == DQ.NO_DATA
    assert stacked(registered(make_group(["both"] * 2, images), [(0, 0), (10, 10)]), crop="common").data.shape == (
        20,
        20,
    )
    with pytest.raises(StepError, match="no area in common"):
        stacked(registered(make_group(["both"] * 2, images), [(0.0, 0.0), (50.0, 0.0)]), crop="common")


def test_a_saturated_pixel_that_is_left_out_for_what_is_beside_it_has_no_data(make_group):
    """It is not bad itself, but no value is no signal."""
    clean, flags = np.zeros((2, 40, 40), np.uint16)
    flags[29:34, 29:34] = DQ.BAD_PIXEL
    flags[31, 31] = DQ.SATURATED
    group = registered(make_group(["both"] * 2, [np.ones((40, 40))] * 2, [clean, flags]), [(0, 0), (-20.4, -20.4)])
    made = stacked(group)
    empty = np.isnan(made.data)
    assert set(made.dq[empty].tolist()) == {DQ.BAD_PIXEL, DQ.NO_DATA, DQ.NO_DATA | DQ.SATURATED}


def test_a_plain_mean_weighs_all_alike_and_knows_its_noise(make_group):
    images = [np.full((20, 20), v) for v in (0.0, 8.0)]
    group = registered(make_group(["both"] * 2, images), [(0.0, 0.0)] * 2)
    group.frames[1].sky = 7500.0
    made = stacked(group, operation="mean")
    assert [f.weight for f in group.frames] == [0.5, 0.5]
    np.testing.assert_allclose(made.data, 4.0, rtol=1e-5)
    np.testing.assert_allclose(made.var, (2500.0 + 7500.0) / 4 + 4.0 / 2, rtol=1e-3)


@pytest.mark.parametrize(
    "asked", [{"operation": "median"}, {"operation": "lmedian"}, {"reject_method": "varclip"}, {"nlow": 1, "nhigh": 2}]
)
def test_other_combinations_and_their_noise(make_group, asked):
    """An outlier that nobody flagged moves a mean, and neither a median nor what is clipped; VAR is what scatters."""
    rng = np.random.default_rng(4)
    images = [rng.normal(0, 50, (200, 200)).astype(np.float32) for _ in range(12)]
    images[5][100, 100] = 1e5
    group = registered(make_group(["both"] * 12, images), [(0.0, 0.0)] * 12)
    plain, made = stacked(group), stacked(group, **asked)
    assert plain.data[100, 100] > 8000 and abs(made.data[100, 100]) < 100
    scatter = np.delete(made.data.ravel(), 100 * 200 + 100).std()
    assert scatter == pytest.approx(float(np.sqrt(np.median(made.var))), rel=0.03)
    assert group.stack.nexp[0][100, 100] == {"operation": 12, "reject_method": 11, "nlow": 9}[next(iter(asked))]
    assert made.var[100, 100] == pytest.approx(float(np.median(made.var)), rel=0.15)  # without the outlier's photons


def test_minmax_leaves_out_so_many_and_a_lower_median_is_one_of_two(make_group):
    images = [np.full((20, 20), float(v)) for v in (0, 1, 5, 100)]
    group = registered(make_group(["both"] * 4, images), [(0.0, 0.0)] * 4)
    np.testing.assert_allclose(stacked(group, nlow=1, nhigh=1, operation="mean").data, 3.0, rtol=1e-5)
    assert (group.stack.nexp[0] == 2).all()
    np.testing.assert_allclose(stacked(group, operation="lmedian").data, 1.0, rtol=1e-5)
    with pytest.raises(StepError, match=r"2\+2 leaves nothing of 4"):
        stacked(group, nlow=2, nhigh=2)
    with pytest.raises(StepError, match="nlow has no effect with reject_method=sigclip"):
        stacked(group, nlow=1, hsigma=4.0)


def test_a_clipped_stack_is_the_same_by_tiles_and_scaled_frames(make_group, monkeypatch):
    """Tiles that a shifted frame does not reach count it all the same; transparencies are taken off before."""
    rng = np.random.default_rng(7)
    shifts = [(0.0, 0.0), (0.4, 30.3), (-2.6, -25.2)]
    images = [rng.normal(1000, 5, (90, 60)).astype(np.float32) * seen for seen in (1.0, 0.5, 2.0)]
    made = []
    for rows in (8, 200):
        group = registered(make_group(["both"] * 3, [image.copy() for image in images]), shifts)
        ScaleCounts().apply(group, ScaleCounts.Params(scale=False), CALL)
        for frame, seen in zip(group.frames, (1.0, 0.5, 2.0), strict=True):
            frame.transparency = seen
        monkeypatch.setattr(stack_module, "tile_rows", lambda *_, rows=rows: rows)
        Resample().apply(group, Resample.Params(), CALL)
        StackFrames().apply(group, StackFrames.Params(nhigh=1), CALL)
        made.append(group.streams["main"][0])
    np.testing.assert_array_equal(made[0].data, made[1].data)
    np.testing.assert_array_equal(made[0].var, made[1].var)
    assert np.nanmedian(made[0].data) == pytest.approx(1000, rel=0.01)


# -- position of the stack -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dead", [False, True])
def test_wcs_of_the_stack_is_that_of_its_reference_frame(make_group, dead):
    """Also where the frame that offsets were measured from has been left out since."""
    group = registered(make_group(["both"] * 2, [np.ones((30, 30))] * 2), [(0.0, 0.0), (4.0, -6.0)])
    group.registration.reference = 0
    if dead:
        group.frames[0].reject("clouds")
    stacked(group)
    info, reference = group.frames[group.reference].info, group.frames[group.reference]
    grid, keywords = group.stack.layouts[0].grid, wcs_keywords(group, info, 0)
    own = info.wcs[0].wcs.wcs.crpix
    # a source at (x, y) of the reference frame lies at (x - dx - x0, y - dy - y0) of the grid
    assert keywords["CRPIX1"][0] == pytest.approx(own[0] - reference.dx - grid.x0)
    assert keywords["CRPIX2"][0] == pytest.approx(own[1] - reference.dy - grid.y0)
    assert keywords["CRVAL1"][0] == pytest.approx(info.wcs[0].wcs.wcs.crval[0])


def test_frames_that_nobody_weighed_are_weighed_by_their_noise(make_group):
    group = registered(make_group(["both"] * 2, [np.ones((20, 20))] * 2), [(0.0, 0.0)] * 2)
    group.frames[1].sky = 7500.0
    Resample().apply(group, Resample.Params(), CALL)
    StackFrames().apply(group, StackFrames.Params(), CALL)
    assert [f.weight for f in group.frames] == pytest.approx([0.75, 0.25])


def test_a_step_without_what_it_builds_on_names_that(make_group):
    group = registered(make_group(["both"] * 2, [np.ones((20, 20))] * 2), [(0.0, 0.0)] * 2)
    with pytest.raises(Unmade, match="layouts"):
        StackFrames().apply(group, StackFrames.Params(), CALL)
    group.planes[0].subtracted = None
    Resample().apply(group, Resample.Params(), CALL)
    with pytest.raises(Unmade, match="sky-subtracted frames"):
        StackFrames().apply(group, StackFrames.Params(), CALL)
    with pytest.raises(Unmade, match="nothing"):
        group.streams["nothing"]
