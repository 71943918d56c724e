"""The fused pass over a group's raw frames."""

from __future__ import annotations

import gzip
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from nirred.calibration_inputs import reciprocal
from nirred.dq import DQ
from nirred.errors import PluginError, StepError
from nirred.fitsio import read_mask
from nirred.frame import Plane
from nirred.framepass import calibrate_group
from nirred.headers import Headers
from nirred.plane_memory import BESIDE_FILES, PLANES_PART, frame_bytes, in_memory, scratch_bytes
from nirred.plugin import Linearity, Section
from nirred.products import plane_keywords
from nirred.results import Calibration, StaticMask
from nirred.steps.frames import AddDQ, DarkCorrect, FlatCorrect, NonlinearityCorrect


def flat_plane(value, shape=(6, 8), dq=None):
    return Plane(np.full(shape, value, np.float32), np.zeros(shape, np.uint16) if dq is None else dq)


def prepared(make_group, infos, roles=None, **setup):
    group = make_group(roles or ["both"] * len(infos), infos=infos)
    group.setup.levels = group.setup.electrons = group.setup.variance = True
    for name, value in setup.items():
        setattr(group.setup, name, value)
    return group


def test_gain_dark_and_flat(make_group, write_raw):
    infos = write_raw([[np.full((6, 8), 100.0 + k)] for k in range(3)])
    group = prepared(make_group, infos, dark=[flat_plane(50.0)], flat=[flat_plane(0.5)])
    calibrate_group(group)
    for k in range(3):
        np.testing.assert_allclose(group.planes[0].sci.frame(k), (2.0 * (100 + k) - 50) / 0.5)
        assert not group.planes[0].dq.frame(k).any()
    # VAR = constant + signal per_electron: read noise 10 e- and the dark's photons, divided by the flat
    np.testing.assert_allclose(group.planes[0].constant, (100.0 + 50.0) / 0.25)
    np.testing.assert_allclose(group.planes[0].per_electron, 2.0)


@pytest.mark.parametrize("unit", ["electron", "adu"])
@pytest.mark.parametrize("per", ["whole", "pixel"])
def test_frames_in_adu_are_those_in_electrons_by_the_gain(make_group, write_raw, per, unit):
    """With curve and read noise, which are in electrons, and with dark and bias in either unit."""
    terms = (1.0, 2e-3, 1e-6)
    given = (terms,) if per == "whole" else lambda: np.multiply.outer(terms, np.ones((6, 8)))
    detector = {"linearity": Linearity(given, per, valid_to=300.0)} | {"saturation": 180.0, "non_linear": 130.0}
    infos = write_raw([[np.linspace(-10, 200, 48).reshape(6, 8)]], detector=detector)
    made = []
    for electrons in (True, False):
        group = prepared(make_group, infos, electrons=electrons, linearity=True, flat=[flat_plane(0.5)])
        factor = 1.0 if unit == "electron" else 0.5
        for kind, level in (("dark", 50.0), ("bias", 8.0)):
            level *= factor
            planes = [Plane(np.full((6, 8), level, np.float32), np.zeros((6, 8), np.uint16), np.full((6, 8), level))]
            group.calibrations[kind] = Calibration(planes, unit=unit, holds_bias=False)
            planes[0].var[:] *= factor
        DarkCorrect().configure(group.setup, DarkCorrect.Params(), group)
        calibrate_group(group)
        state = group.planes[0]
        levels = [plane_keywords(group, infos[0], (0,))[key][0] for key in ("SATLEVEL", "NONLINEA", "GAIN")]
        made.append((state.sci.frame(0), state.constant, state.per_electron, state.dq.frame(0), levels))
    (sci, constant, grain, dq, levels), counted = made
    np.testing.assert_allclose(2.0 * counted[0], sci, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(4.0 * counted[1], constant, rtol=1e-5)
    np.testing.assert_allclose(2.0 * counted[2], grain, rtol=1e-5)
    np.testing.assert_array_equal(counted[3], dq)
    assert counted[4][2] == 2.0 * levels[2] == 2.0
    assert 2.0 * np.array(counted[4][:2]) == pytest.approx(levels[:2], abs=2e-3)


def test_counts_of_a_mode_without_gain_have_no_noise_model(make_group, write_raw):
    infos = write_raw([[np.full((6, 8), 100.0)]], detector={"gain": None})
    with pytest.raises(StepError, match="gain of this mode is not known"):
        calibrate_group(prepared(make_group, infos, electrons=False))
    group = prepared(make_group, infos, electrons=False, variance=False)
    calibrate_group(group)
    assert (group.planes[0].sci.frame(0) == 100.0).all()
    assert "GAIN" not in plane_keywords(group, infos[0], (0,))


def test_gain_gives_the_electrons_of_frames_that_were_multiplied(make_group, write_raw):
    infos = write_raw([[np.full((6, 8), 100.0)]] * 2)
    group = prepared(make_group, infos)
    calibrate_group(group)
    before = plane_keywords(group, infos[0], (0,))["GAIN"][0]
    for i, factor in enumerate((1.2, 1.3)):
        group.frames[i].raised = factor
    assert plane_keywords(group, infos[0], (0,))["GAIN"][0] == pytest.approx(before / 1.25)


def test_memory_or_scratch_makes_no_difference(make_group, write_raw):
    rng = np.random.default_rng(1)
    infos = write_raw([[rng.normal(100, 5, (70, 9))] for _ in range(3)])
    stacks = []
    for memory in (10**9, 1):
        group = prepared(make_group, infos, flat=[flat_plane(0.9, (70, 9))])
        object.__setattr__(group.context, "memory", memory)
        calibrate_group(group)
        assert (group.planes[0].sci.scratch is None) == (memory > 1)
        stacks.append(
            [group.planes[0].sci.frame(k).tobytes() + group.planes[0].dq.frame(k).tobytes() for k in range(3)]
        )
        group.close()
    assert stacks[0] == stacks[1]


def test_the_cache_of_raw_files_makes_room_for_scratch_files(make_group, write_raw, monkeypatch):
    given: list[str] = []
    monkeypatch.setattr("nirred.framepass.give_cache_back", lambda path: given.append(path.name))
    infos = write_raw([[np.full((6, 8), 100.0 + k)] for k in range(2)])
    first, second = (info.path.name for info in infos)
    twice = [*infos, replace(infos[1], exposure=replace(infos[1].exposure, index=1))]  # read twice: worth caching
    all_fit, own, another_s = {}, {"memory": 1}, {"filed": True}
    cases = ((all_fit, infos, []), (own, infos, [first, second]), (another_s, infos, [first, second]))
    for context, frames, expected in (*cases, (own, twice, [first])):
        group = prepared(make_group, frames)
        group.context = replace(group.context, **context)
        calibrate_group(group)
        assert sorted(given) == expected
        given.clear()
        group.close()


def test_frames_that_nobody_looks_at_are_not_read(make_group, write_raw):
    infos = write_raw([[np.full((6, 8), 100.0)]])
    infos[0].path.unlink()
    group = prepared(make_group, infos)
    calibrate_group(group, read=False)
    assert group.planes[0].inputs is not None and group.indices() == [0]


def test_memory_holds_what_fits_of_the_planes_and_files_the_rest(make_group, write_raw):
    task = make_group(["both"], infos=write_raw([[np.zeros((6, 8))]])).task
    sizes = frame_bytes(task)
    assert sizes == {"sub": 192, "dq": 96, "sci": 192}
    assert frame_bytes(replace(task, makes="flat")) == {"dq": 96, "sci": 192}
    everything = int(480 / PLANES_PART) + 1
    assert in_memory(sizes, everything) == {"sub", "dq", "sci"} and scratch_bytes(task, everything) == 0
    held = {384: {"sub", "sci"}, 383: {"sub", "dq"}, 287: {"sub"}, 191: {"dq"}, 95: set()}
    for room, kinds in held.items():
        memory = int(room / BESIDE_FILES) + 1
        assert in_memory(sizes, memory) == kinds
        assert scratch_bytes(task, memory) == 480 - sum(sizes[k] for k in kinds)


def test_levels_masks_and_flat_faults_are_flagged(make_group, write_raw):
    image, flat = np.full((6, 8), 100.0), flat_plane(1.0)
    image[0, 0], image[0, 1], image[0, 2] = 1000.0, 800.0, np.nan
    flat.data[5, 7], flat.data[5, 6] = 0.0, np.nan
    mask = np.zeros((6, 8), np.uint16)
    mask[3, 3] = DQ.BAD_PIXEL
    infos = write_raw([[image]], detector={"saturation": 900.0, "non_linear": 700.0})
    group = prepared(make_group, infos, flat=[flat], masks=[StaticMask("m", [mask])])
    calibrate_group(group)
    dq, sci = group.planes[0].dq.frame(0), group.planes[0].sci.frame(0)
    assert (dq[0, 0], dq[0, 1], dq[0, 2], dq[3, 3]) == (4, 2, 1, 1)
    assert dq[5, 7] == dq[5, 6] == DQ.UNILLUMINATED
    assert np.count_nonzero(dq) == 6 and np.isfinite(sci).all()
    assert group.planes[0].bad(0).sum() == 4
    assert reciprocal(flat)[5, 7] == 0 == reciprocal(flat)[5, 6]


def test_masks_that_the_user_names_stand_for_those_of_plan_and_instrument(make_group, tmp_path):
    planned, own = np.zeros((6, 8), np.uint16), np.zeros((6, 8), np.uint8)
    planned[1, 1], own[2, 2] = DQ.BAD_PIXEL, 4
    path = tmp_path / "own.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(own)]).writeto(path)

    def masked(user=(), **given):
        group = make_group(["both"], [np.zeros((6, 8))])
        group.masks["bpm"], group.masks["user_bpm"] = [StaticMask("planned", [planned])], list(user)
        AddDQ().configure(group.setup, AddDQ.Params(**given), group)
        return {
            (int(y), int(x)): int(mask.planes[0][y, x])
            for mask in group.setup.masks
            for y, x in np.argwhere(mask.planes[0])
        }

    assert masked() == {(1, 1): DQ.BAD_PIXEL}
    assert masked(static_bpm=None) == {}
    users = StaticMask("own.fits", read_mask(path))
    assert masked([users]) == {(1, 1): DQ.BAD_PIXEL, (2, 2): DQ.BAD_PIXEL}
    assert masked([users], static_bpm=None) == {(2, 2): DQ.BAD_PIXEL}
    assert masked(static_bpm=path) == {(2, 2): DQ.BAD_PIXEL}
    assert masked(static_bpm=None, illum_mask=path) == {(2, 2): DQ.UNILLUMINATED}
    assert masked(static_bpm=None, illum_mask=path, add_illum_mask=False) == {}


def test_a_flat_in_counts_is_divided_by_its_median(make_group, write_raw):
    """A raw lamp frame named as the flat: an image in electrons by a flat of 5000 would be 5000 times too faint."""
    infos = write_raw([[np.full((6, 8), 100.0)]])
    made = {}
    for level in (0.8, 1.0, 9.0, 5000.0):
        group = prepared(make_group, infos)
        plane = flat_plane(level)
        plane.data[0] = np.nan
        group.calibrations["flat"] = Calibration([plane], "lamp.fits")
        FlatCorrect().configure(group.setup, FlatCorrect.Params(), group)
        calibrate_group(group)
        made[level] = group.planes[0].sci.frame(0)[3, 3], group.remarks
    assert [value for value, _ in made.values()] == pytest.approx([250.0, 200.0, 200.0 / 9, 200.0])
    assert [remarks for _, remarks in made.values()] == [[]] * 3 + [
        ["lamp.fits is in counts: divided by its median, 5000"]
    ]


@pytest.mark.parametrize(
    ("saved", "step"),
    [
        (lambda flat: flat.astype(np.int16), "1"),
        (np.rint, "1"),
        (lambda flat: np.round(flat, 1), "0.1"),
        (lambda flat: np.rint(100 * flat), ""),
        (lambda flat: np.rint(5000 * flat), ""),
        (np.ones_like, ""),
        (np.asarray, ""),
    ],
)
def test_a_flat_whose_values_were_rounded_is_told(make_group, write_raw, saved, step):
    """A normalised one saved as integers holds 0 and 1: half of the pixels are lost, and the response of all."""
    rng = np.random.default_rng(4)
    group = prepared(make_group, write_raw([[np.full((60, 80), 100.0)]]))
    flat = saved(rng.normal(1.0, 0.03, (60, 80)) - np.linspace(0.0, 0.1, 80)).astype(np.float32)
    flat[7, 5], flat[8, 6] = np.nan, 0.0
    group.calibrations["flat"] = Calibration([Plane(flat, (flat == 0).astype(np.uint16) * (step == ""))], "lamp.fits")
    FlatCorrect().configure(group.setup, FlatCorrect.Params(), group)
    told = [remark for remark in group.remarks if "counts" not in remark]
    assert [remark[: len(step) + 36] for remark in told] == [f"lamp.fits has values in steps of {step}, c"] * (
        step != ""
    )


@pytest.mark.parametrize("kind", ["dark", "flat"])
def test_where_dark_or_flat_is_saturated_nothing_is_known(make_group, write_raw, kind):
    master = flat_plane(50.0 if kind == "dark" else 1.0)
    master.dq[2, 2], master.dq[2, 3] = DQ.SATURATED, DQ.NON_LINEAR
    group = prepared(make_group, write_raw([[np.full((6, 8), 100.0)]]), **{kind: [master]})
    calibrate_group(group)
    assert np.argwhere(group.planes[0].bad(0)).tolist() == [[2, 2]]


def test_unreadable_frames_are_left_out_by_name_and_none_left_is_an_error(make_group, write_raw):
    infos = write_raw([[np.ones((60, 80))] for _ in range(3)])
    infos[1].path.write_bytes(infos[1].path.read_bytes()[:9000])
    group = prepared(make_group, infos)
    calibrate_group(group)
    assert group.indices() == [0, 2]
    assert group.frames[1].state == "unreadable" and "truncated" in group.frames[1].reason
    assert any("f1.fits left out" in r for r in group.remarks)
    for info in infos:
        info.path.write_bytes(infos[1].path.read_bytes()[:9000])
    with pytest.raises(StepError, match=r"no readable frames left: .*f0\.fits"):
        calibrate_group(prepared(make_group, infos))


def test_a_header_that_lies_about_its_pixels_costs_its_frame_alone(make_group, write_raw):
    infos = write_raw([[np.ones((6, 8))] for _ in range(2)])
    path = infos[1].path
    fits.setval(path, "BSCALE", value="abc", ext=1)
    group = prepared(make_group, [infos[0], replace(infos[1], headers=Headers.read(path))])
    calibrate_group(group)
    assert group.indices() == [0] and group.frames[1].state == "unreadable"
    assert group.frames[1].reason == "BSCALE = 'abc' is no number"


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9])
def test_an_added_byte_costs_its_frame_alone(make_group, write_raw, at):
    """All numbers behind it are shifted, and any number may come of it."""
    sky = np.random.default_rng(1).normal(1500.0, 40.0, (60, 80)).astype(np.float32)
    infos = write_raw([[sky] for _ in range(2)])
    raw, size = infos[1].path.read_bytes(), 4 * sky.size
    start = len(raw) - -(-size // 2880) * 2880 + int(at * size)
    infos[1].path.write_bytes(raw[: start + 2] + b"x" + raw[start + 2 :])
    group = prepared(make_group, infos)
    calibrate_group(group)
    assert group.indices() == [0] and group.frames[1].state == "unreadable"
    assert "% of its pixels exceed 1e+09 ADU" in group.frames[1].reason


def exposures(number, shape=(96, 120), level=1500.0):
    rng = np.random.default_rng(4)
    return [[rng.normal(level, 25.0, shape).astype(np.float32)] for _ in range(number)]


@pytest.mark.parametrize("content", [0.0, 7.0])
def test_a_gap_in_a_file_costs_its_rows(make_group, write_raw, content):
    """It begins and ends within a row."""
    frames = exposures(3)
    frames[1][0].reshape(-1)[40 * 120 + 50 : 47 * 120 + 30] = content
    group = prepared(make_group, write_raw(frames))
    calibrate_group(group)
    assert group.indices() == [0, 1, 2]
    bad = group.planes[0].bad(1) != 0
    assert bad[40:48].all() and not bad[:39].any() and not bad[50:].any()
    assert not group.planes[0].bad(0).any() and not group.planes[0].bad(2).any()
    (remark,) = group.remarks
    assert "of the rows of f1.fits are empty: the file has a gap" in remark


def test_a_frame_half_of_zeros_is_left_out(make_group, write_raw):
    frames = exposures(3)
    frames[2][0][48:] = 0.0
    group = prepared(make_group, write_raw(frames))
    calibrate_group(group)
    assert group.indices() == [0, 1]
    assert group.frames[2].reason == "50% of its rows are empty: the file has a gap"


def test_a_lost_byte_of_an_integer_costs_its_frame(make_group, write_raw):
    frames = [[plane.round().astype(np.int32)] for (plane,) in exposures(4)]
    frames[0][0][50:] *= 256
    group = prepared(make_group, write_raw(frames))
    calibrate_group(group)
    assert group.indices() == [1, 2, 3] and "damaged" in group.frames[0].reason


def test_a_frame_with_the_pixels_of_an_earlier_one_is_told(make_group, write_raw):
    frames = exposures(3)
    frames[2] = frames[0]
    group = prepared(make_group, write_raw(frames))
    calibrate_group(group)
    assert group.indices() == [0, 1, 2]
    (remark,) = group.remarks
    assert "the pixels of f2.fits are those of f0.fits: the same light counts twice" in remark


def test_a_mirrored_frame_is_left_out(make_group, write_raw):
    rng = np.random.default_rng(6)
    flat = rng.normal(1.0, 0.02, (96, 120)).astype(np.float32)
    frames = [[(rng.poisson(5000.0 * flat)).astype(np.float32)] for _ in range(3)]
    frames[1] = [frames[1][0][:, ::-1]]
    group = prepared(make_group, write_raw(frames), flat=[flat_plane(flat, flat.shape)])
    calibrate_group(group)
    assert group.indices() == [0, 2]
    assert group.frames[1].reason == "the flat's pattern is not in it: mirrored, displaced or no exposure"


def test_a_flat_of_other_pixels_is_told(make_group, write_raw):
    rng = np.random.default_rng(6)
    flat = rng.normal(1.0, 0.02, (96, 120)).astype(np.float32)
    frames = [[(rng.poisson(20000.0 * flat)).astype(np.float32)] for _ in range(3)]
    told = []
    for used in (flat, flat[:, ::-1]):
        group = prepared(make_group, write_raw(frames), flat=[flat_plane(used, flat.shape)])
        group.calibrations["flat"] = Calibration(group.setup.flat, "F.fits")
        calibrate_group(group)
        assert group.indices() == [0, 1, 2]
        told.append(group.remarks)
    assert told[0] == [] and "of the pattern of F.fits is not in the frames" in told[1][0]


def test_a_flat_of_which_most_is_invalid_leaves_the_noise_of_the_rest(make_group, write_raw):
    flat = np.ones((96, 120), np.float32)
    flat[:60] = 0.0
    group = prepared(make_group, write_raw(exposures(3)), flat=[flat_plane(flat, flat.shape)])
    calibrate_group(group)
    assert group.indices() == [0, 1, 2] and group.planes[0].typical_noise == (100.0, 1.0)


@pytest.mark.parametrize("role", ["sky", "both"])
def test_a_frame_on_a_part_of_which_light_fell_is_left_out(make_group, write_raw, role):
    frames = exposures(4)
    frames[2][0][20:60, 30:80] += 900.0
    group = prepared(make_group, write_raw(frames), [role] * 4)
    calibrate_group(group)
    assert group.indices() == [0, 1, 3]
    assert "from the shape of the others: stray light, or an obstacle" in group.frames[2].reason


def test_saturated_columns_and_rows_cost_their_pixels(make_group, write_raw):
    """A star's core is signal; a line that is saturated from end to end is none."""
    frames = exposures(3)
    frames[1][0][:, 50:53] = frames[1][0][70:75, 90:96] = 65000.0
    frames[1][0][40] += 65000.0
    group = prepared(make_group, write_raw(frames, detector={"saturation": 60000.0}))
    calibrate_group(group)
    assert group.indices() == [0, 1, 2]
    bad = group.planes[0].bad(1) != 0
    assert bad[:, 49:54].all() and bad[39:42].all() and not bad[70:75, 90:96].any() and bad.sum() < 900
    assert [r.split(" of f1.fits ")[1] for r in group.remarks] == [
        "are saturated from end to end; they are not used"
    ] * 2


def test_rows_without_data_in_all_frames_are_the_detectors(make_group, write_raw):
    frames = exposures(3)
    for (plane,) in frames:
        plane[:30] = 0.0
    group = prepared(make_group, write_raw(frames))
    calibrate_group(group)
    assert group.indices() == [0, 1, 2] and not group.remarks
    assert not group.planes[0].dq.frame(1).any()


def test_a_few_damaged_numbers_cost_their_pixels(make_group, write_raw):
    ((sky,),) = exposures(1)
    sky[30, 5:8] = 1e30, -3e12, np.nan
    group = prepared(make_group, write_raw([[sky]]))
    calibrate_group(group)
    assert np.argwhere(group.planes[0].bad(0)).tolist() == [[30, 5], [30, 6], [30, 7]]
    assert not group.planes[0].sci.frame(0)[30, 5:8].any()


def test_blank_pixels_are_bad(make_group, write_raw):
    (info,) = write_raw([[np.ones((6, 8))]])
    values = np.full((6, 8), 100, np.int16)
    values[2, 3] = -32768
    hdu = fits.ImageHDU(values)
    hdu.header["BLANK"] = -32768
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(info.path, overwrite=True)
    group = prepared(make_group, [replace(info, headers=Headers.read(info.path))])
    calibrate_group(group)
    assert np.argwhere(group.planes[0].dq.frame(0)).tolist() == [[2, 3]]
    assert group.planes[0].sci.frame(0)[2, 3] == 0.0


def test_a_frame_of_another_shape_or_number_of_planes_is_left_out(make_group, write_raw):
    good = write_raw([[np.ones((6, 8))], [np.ones((6, 8))], [np.ones((6, 8))]])
    odd = write_raw([[np.ones((6, 8))], [np.ones((8, 6))], [np.ones((6, 8)), np.ones((6, 8))]])
    group = prepared(make_group, [good[0], odd[1], good[2]])
    calibrate_group(group)
    assert group.indices() == [0, 2] and "8" in group.frames[1].reason
    more = write_raw([[np.ones((6, 8))], [np.ones((6, 8)), np.ones((6, 8))]])
    more[0] = good[0]
    group = prepared(make_group, more)
    calibrate_group(group)
    assert group.indices() == [0] and "plane" in group.frames[1].reason


def test_more_frames_than_can_be_counted_are_refused_before_they_are_read(make_group, write_raw, monkeypatch):
    infos = write_raw([[np.ones((6, 8))] for _ in range(3)])
    monkeypatch.setattr("nirred.framepass.MAX_FRAMES", 2)
    monkeypatch.setattr("nirred.framepass.read_raw", None)
    with pytest.raises(StepError, match=r"3 frames: 2 can be combined .*--only"):
        calibrate_group(prepared(make_group, infos))


def test_a_frame_with_more_images_than_planes_is_left_out(make_group, write_raw):
    """Of a compressed file the plan has not counted them: it would have to be inflated."""
    infos = write_raw([[np.ones((6, 8))], [np.ones((6, 8)), np.ones((6, 8))]], planes=1, detector={"hdu": None})
    path = infos[1].path.with_suffix(".fits.gz")
    path.write_bytes(gzip.compress(infos[1].path.read_bytes()))
    group = prepared(make_group, [infos[0], replace(infos[1], path=path, headers=Headers.read(path))])
    calibrate_group(group)
    assert group.indices() == [0] and group.frames[1].reason == "2 images, 1 expected"


def test_images_of_several_detectors_are_read_in_order(make_group, write_raw):
    infos = write_raw([[np.full((6, 8), 1.0), np.full((6, 8), 2.0)]], detector={"hdu": None})
    group = prepared(make_group, infos)
    calibrate_group(group)
    assert [state.sci.frame(0)[0, 0] for state in group.planes] == [2.0, 4.0]


def test_a_frame_with_one_plane_of_nothing_is_left_out(make_group, write_raw):
    good, nothing = np.ones((6, 8)), np.full((6, 8), np.nan)
    infos = write_raw([[good, good], [good, nothing], [good, good]])
    group = prepared(make_group, infos)
    calibrate_group(group)
    assert group.indices() == [0, 2] and group.frames[1].reason == "not one usable pixel in plane 2"


def test_a_frame_s_name_is_said_once(make_group, write_raw):
    infos = write_raw([[np.ones((60, 80))] for _ in range(2)])
    infos[1].path.write_bytes(infos[1].path.read_bytes()[:9000])
    group = prepared(make_group, infos)
    calibrate_group(group)
    assert [r.count("f1.fits") for r in group.remarks] == [1]
    group.frames[0].reject("f0.fits: dull")
    with pytest.raises(StepError) as caught:
        group.need(group.indices(), "frames")
    assert caught.value.message.count("f1.fits") == caught.value.message.count("f0.fits") == 1


def test_a_reason_that_many_frames_share_is_given_once(make_group, write_raw):
    group = prepared(make_group, write_raw([[np.ones((6, 8))] for _ in range(4)]))
    for i, reason in enumerate(["clouds", "clouds", "clouds", "moon"]):
        group.leave_out(i, reason)
    with pytest.raises(StepError) as caught:
        group.need(group.indices(), "frames")
    assert caught.value.message == "no frames left: 3 frames (f0.fits ...): clouds; f3.fits: moon"


def test_an_unknown_gain_refuses_the_frame_by_name(make_group, write_raw):
    infos = write_raw([[np.ones((6, 8))]], detector={"gain": None})
    with pytest.raises(StepError, match=r"f0\.fits: gain"):
        calibrate_group(prepared(make_group, infos))


def test_calibrations_of_a_whole_detector_are_cut_to_the_frames_section(make_group, write_raw):
    whole = np.arange(120, dtype=np.float32).reshape(10, 12)
    infos = write_raw([[np.full((6, 8), 100.0)]], detector={"section": Section(3, 11, 2, 8)})
    group = prepared(make_group, infos, dark=[Plane(whole, np.zeros((10, 12), np.uint16))])
    calibrate_group(group)
    np.testing.assert_allclose(group.planes[0].sci.frame(0), 200 - whole[2:8, 3:11])
    for wrong in (flat_plane(1.0, (5, 5)), flat_plane(1.0, (7, 9))):
        with pytest.raises(StepError, match="the dark is"):
            calibrate_group(prepared(make_group, infos, dark=[wrong]))
    with pytest.raises(StepError, match=r"the mask mine\.fits is 5 x 5, the frames 8 x 6"):
        calibrate_group(prepared(make_group, infos, masks=[StaticMask("mine.fits", [np.zeros((5, 5), np.uint16)])]))
    group = prepared(make_group, infos, dark=[flat_plane(1.0, (5, 5))])
    group.calibrations["dark"] = Calibration(group.setup.dark, "d.fits")
    with pytest.raises(StepError, match=r"the dark d\.fits is 5 x 5, the frames 8 x 6"):
        calibrate_group(group)


def test_a_calibration_with_fewer_planes_is_refused(make_group, write_raw):
    infos = write_raw([[np.ones((6, 8)), np.ones((6, 8))]])
    with pytest.raises(StepError, match="the flat has 1 plane, the frames have more"):
        calibrate_group(prepared(make_group, infos, flat=[flat_plane(1.0)]))
    group = prepared(make_group, infos, flat=[flat_plane(1.0), flat_plane(2.0)])
    calibrate_group(group)
    assert [s.sci.frame(0)[0, 0] for s in group.planes] == [2.0, 1.0]


def test_a_mask_with_fewer_planes_is_refused(make_group, write_raw):
    """The mask of one detector says nothing of another."""
    infos = write_raw([[np.ones((6, 8)), np.ones((6, 8))]])
    mask = np.zeros((6, 8), np.uint16)
    with pytest.raises(StepError, match=r"the mask mine\.fits has 1 plane, the frames have more"):
        calibrate_group(prepared(make_group, infos, masks=[StaticMask("mine.fits", [mask])]))
    calibrate_group(prepared(make_group, infos, masks=[StaticMask("mine.fits", [mask, mask])]))


def test_detectors_without_a_curve_are_named(make_group, write_raw):
    curve = Linearity(((1.0, 1e-6),))

    def said(*curves):
        (info,) = write_raw([[np.ones((6, 8))] * len(curves)])
        own = tuple(replace(d, linearity=c) for d, c in zip(info.detectors, curves, strict=True))
        group = make_group(["both"], infos=[replace(info, detectors=own)])
        NonlinearityCorrect().configure(group.setup, NonlinearityCorrect.Params(), group)
        return group.keywords["LINCORR"]

    assert said(curve, curve) == "polynomial"
    assert said(curve, None, curve) == "polynomial; SKIPPED: no curve for plane 2"
    assert said(None, None) == said(None) == "SKIPPED: no curve for this mode"


def test_coefficients_of_another_shape_name_the_package(make_group, write_raw):
    curve = Linearity(lambda: np.ones((2, 5, 5), np.float32), "pixel")
    infos = write_raw([[np.ones((6, 8))]], detector={"linearity": curve})
    group = prepared(make_group, infos, linearity=True)
    with pytest.raises(PluginError, match=r"linearity of f0\.fits failed: .*\(2, 5, 5\), wanted: \(terms, 6, 8\)"):
        calibrate_group(group)


def test_curves_with_a_time_for_each_parity_of_rows_need_no_other_plane(make_group, write_raw):
    """As darks of such a camera: no dark, no flat, no mask."""
    curve = Linearity(((1.0,), (1.0,)), "row_parity", (0.0, 20.0))
    infos = write_raw([[np.full((6, 8), 100.0)]], detector={"linearity": curve})
    group = prepared(make_group, infos, roles=["dark"], linearity=True)
    calibrate_group(group)
    sci, constant = group.planes[0].sci.frame(0), np.broadcast_to(group.planes[0].constant, (6, 8))
    np.testing.assert_allclose(sci[0::2], 200.0)
    np.testing.assert_allclose(sci[1::2], 100.0)
    np.testing.assert_allclose(constant[0::2], 100.0)
    np.testing.assert_allclose(constant[1::2], 25.0)


def test_an_exposure_of_zero_seconds_is_said_and_no_bug(make_group, write_raw):
    curve = Linearity(((1.0,),), "whole", (0.1,))
    infos = write_raw([[np.ones((6, 8))]], detector={"linearity": curve}, descriptors={"exposure_time": 0.0})
    with pytest.raises(StepError, match="exposure"):
        calibrate_group(prepared(make_group, infos, linearity=True))


def test_persistence_is_flagged_for_its_time_only(make_group, write_raw):
    bright = np.full((6, 8), 10.0)
    bright[2, 2] = 1000.0
    dark = np.full((6, 8), 10.0)
    infos = write_raw([[dark], [bright], [dark], [dark], [dark]], detector={"saturation": 900.0})
    for memory in (10**9, 1):
        group = prepared(make_group, infos, latency=130.0)
        object.__setattr__(group.context, "memory", memory)
        calibrate_group(group)
        flags = [int(group.planes[0].dq.frame(k)[2, 2]) for k in range(5)]
        assert flags == [0, DQ.SATURATED, DQ.COSMIC_RAY, DQ.COSMIC_RAY, 0]
        assert sum(np.count_nonzero(group.planes[0].dq.frame(k)) for k in range(5)) == 3
        group.close()


def test_persistence_lasts_as_long_when_clocks_change(make_group, write_raw, in_london):
    frames = [[np.full((6, 8), 10.0)] for _ in range(5)]
    frames[1][0][2, 2] = 1000.0
    group = prepared(make_group, in_london(write_raw(frames, detector={"saturation": 900.0})), latency=130.0)
    calibrate_group(group)
    flags = [int(group.planes[0].dq.frame(k)[2, 2]) for k in range(5)]
    assert flags == [0, DQ.SATURATED, DQ.COSMIC_RAY, DQ.COSMIC_RAY, 0]


def test_a_saturated_frame_is_left_out_and_takes_no_other_with_it(make_group, write_raw):
    """Its persistence would flag every pixel of the frames after it."""
    dark, full = np.full((6, 8), 10.0), np.full((6, 8), 10.0)
    full[2:] = 1000.0
    infos = write_raw([[dark], [full], [dark]], detector={"saturation": 900.0})
    group = prepared(make_group, infos, latency=90.0)
    calibrate_group(group)
    assert group.indices() == [0, 2] and not group.planes[0].dq.frame(2).any()
    reason = "67% of its pixels are saturated (above 900 ADU)"
    assert group.frames[1].reason == f"{reason}; persistence from it is not flagged"
    with pytest.raises(
        StepError, match=r"no usable frames left: .*: 67% of its pixels are saturated \(above 900 ADU\)"
    ):
        calibrate_group(prepared(make_group, infos[1:2]))


def test_a_frame_without_one_usable_pixel_is_left_out(make_group, write_raw):
    infos = write_raw([[np.ones((6, 8))], [np.full((6, 8), np.nan)]])
    group = prepared(make_group, infos)
    calibrate_group(group)
    assert group.indices() == [0] and group.frames[1].reason == "not one usable pixel"
