"""Transparencies and weights of frames, and which frames are left out for them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from nirred.plugin import S
from nirred.products import frames_table
from nirred.steps.transparency import ScaleCounts
from tests.unit.steps.conftest import registered

CALL = S("any")


def test_frames_of_bad_seeing_are_left_out_with_a_number(make_group):
    group = registered(make_group(["both"] * 4, [np.ones((20, 20))] * 4), [(0.0, 0.0)] * 4)
    for frame, fwhm in zip(group.frames, (4.0, 4.1, 3.9, 8.0), strict=True):
        frame.fwhm = fwhm
    group.registration.stars = {k: [SimpleNamespace(snr=np.full(9, 50.0))] for k in range(4)}
    ScaleCounts().apply(group, ScaleCounts.Params(scale=False, min_concentration=0), CALL)
    assert [f.state for f in group.frames] == ["used"] * 3 + ["rejected"]
    assert "FWHM 8.0 px" in group.frames[3].reason and any("f3.fits" in r for r in group.remarks)
    table = frames_table(group)
    assert table["weight"].tolist() == pytest.approx([1 / 3] * 3 + [0.0])
    assert table["reason"][3] == group.frames[3].reason.encode()


def test_noisy_frames_weigh_less(make_group):
    group = registered(make_group(["both"] * 2, [np.ones((20, 20))] * 2), [(0.0, 0.0)] * 2)
    group.frames[1].sky = 7500.0
    ScaleCounts().apply(group, ScaleCounts.Params(scale=False, min_concentration=0), CALL)
    assert [f.weight for f in group.frames] == pytest.approx([0.75, 0.25])


def test_a_frame_whose_offset_is_wrong_or_whose_guiding_was_lost_is_left_out(make_group):
    rng = np.random.default_rng(6)
    y, x = np.mgrid[:160, :160]
    shifts = [(0.0, 0.0), (6.0, -4.0), (-5.0, 3.0), (2.0, 7.0), (4.0, 4.0)]
    stars = np.array([(50.0, 60.0), (100.0, 50.0), (70.0, 110.0), (110.0, 105.0)])

    def frame(shift, trail=((0.0, 0.0),)):
        image = rng.normal(0, 5, x.shape)
        for dx, dy in trail:
            for px, py in stars + shift + (dx, dy):
                image += 2000 / len(trail) * np.exp(-4 * np.log(2) * ((x - px) ** 2 + (y - py) ** 2) / 16)
        return image

    trail = [(1.5 * k, 1.0 * k) for k in range(-6, 7)]
    images = [frame(s, trail if k == 3 else [(0.0, 0.0)]) for k, s in enumerate(shifts)]
    believed = [*shifts[:4], (-25.0, 30.0)]
    group = registered(make_group(["both"] * 5, images), believed)
    group.registration.stars = {
        k: [SimpleNamespace(snr=np.full(4, 90.0), x=stars[:, 0], y=stars[:, 1])] for k in range(5)
    }
    ScaleCounts().apply(group, ScaleCounts.Params(), CALL)
    assert [f.state for f in group.frames] == ["used"] * 3 + ["rejected"] * 2
    assert "elongated" in group.frames[3].reason and "none is where its offset says" in group.frames[4].reason


@pytest.mark.parametrize(("sky", "kept"), [(2.0, False), (1.05, True)])
def test_a_frame_exposed_for_twice_the_time_in_its_header_is_left_out(make_group, sky, kept):
    """If only its stars are brighter, the other frames are clouded."""
    rng = np.random.default_rng(6)
    y, x = np.mgrid[:160, :160]
    places = [(50.0, 60.0), (100.0, 50.0), (70.0, 110.0), (110.0, 105.0)]
    stars = sum(2000 * np.exp(-4 * np.log(2) * ((x - a) ** 2 + (y - b) ** 2) / 16) for a, b in places)
    images = [rng.normal(0, 5, x.shape) + stars * (2 if k == 2 else 1) for k in range(4)]
    group = registered(make_group(["both"] * 4, images), [(0.0, 0.0)] * 4)
    group.frames[2].sky *= sky
    a, b = np.array(places).T
    group.registration.stars = {k: [SimpleNamespace(snr=np.full(4, 90.0), x=a, y=b)] for k in range(4)}
    ScaleCounts().apply(group, ScaleCounts.Params(min_transparency=0.0), CALL)
    assert group.frames[2].alive == kept and all(group.frames[i].alive for i in (0, 1, 3))
    if not kept:
        assert "2.0" in group.frames[2].reason and "exposure time" in group.frames[2].reason
        assert [group.frames[i].transparency for i in (0, 1, 3)] == pytest.approx([1.0] * 3, abs=0.01)


def test_a_cosmic_ray_on_one_of_four_common_stars_is_no_transparency(make_group):
    """Of the reference frame's twelve stars the other frames have four, of which the brightest decides."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:180, :240]
    here = [(a, b, 300.0) for a in (30.0, 75.0) for b in (30.0, 70.0, 110.0, 150.0)]
    stars = np.array([*here, (155.0, 30.0, 300.0), (200.0, 70.0, 300.0), (155.0, 110.0, 3000.0), (200.0, 150.0, 300.0)])
    shifts, images = [(0.0, 0.0), (-120.0, 0.0), (-121.0, 2.0), (-118.0, -1.0)], []
    for dx, dy in shifts:
        images.append(rng.normal(0, 5, x.shape))
        for a, b, peak in np.add(stars, (dx, dy, 0)):
            images[-1] += peak * np.exp(-4 * np.log(2) * ((x - a) ** 2 + (y - b) ** 2) / 16)
    images[2][112, 40:42] += 1000  # 4 % of the star's light
    group = registered(make_group(["both"] * 4, images), shifts)
    a, b, _ = stars.T
    group.registration.stars = {k: [SimpleNamespace(snr=np.full(12, 90.0), x=a, y=b)] for k in range(4)}
    ScaleCounts().apply(group, ScaleCounts.Params(min_concentration=0), CALL)
    assert [frame.transparency for frame in group.frames] == pytest.approx([1.0] * 4, abs=0.01)


@pytest.mark.parametrize(
    ("dim", "told"), [({2: 0.9}, "1 of 6 frames, most by 11% +- 0% in f2.fits"), ({2: 0.98}, ""), ({}, "")]
)
def test_a_frame_with_one_quarter_of_other_gain_is_told(make_group, dim, told):
    rng = np.random.default_rng(8)
    y, x = np.mgrid[:260, :260]
    places = np.mgrid[35:240:47, 35:240:47].reshape(2, -1).T + 0.2
    stars = sum(3000 * np.exp(-4 * np.log(2) * ((x - a) ** 2 + (y - b) ** 2) / 16) for a, b in places)
    images = []
    for k in range(6):
        gain = np.where((x > 130) & (y > 130), dim.get(k, 1.0), 1.0)
        images.append(gain * stars + rng.normal(0, 10, x.shape))
    group = registered(make_group(["both"] * 6, images), [(0.0, 0.0)] * 6)
    group.registration.stars = {
        k: [SimpleNamespace(snr=np.full(25, 900.0), x=places[:, 0], y=places[:, 1])] for k in range(6)
    }
    ScaleCounts().apply(group, ScaleCounts.Params(min_concentration=0), CALL)
    assert group.targets == list(range(6))
    assert [told in remark for remark in group.remarks] == [True] * bool(told)


def test_frames_left_out_for_clouds_are_dimmer_than_every_frame_that_is_kept(make_group):
    rng = np.random.default_rng(9)
    y, x = np.mgrid[:160, :160]
    stars = np.array([(50.0, 60.0), (100.0, 50.0), (70.0, 110.0), (110.0, 105.0)])
    light = [sum(np.exp(-4 * np.log(2) * ((x - px) ** 2 + (y - py) ** 2) / 16) for px, py in stars)] * 9
    clear = np.array([1.0, 0.9, 0.6, 0.35, 0.3, 0.4, 0.7, 0.95, 1.0])
    images = [rng.normal(0, 5, x.shape) + 3000 * t * image for t, image in zip(clear, light, strict=True)]
    group = registered(make_group(["both"] * 9, images), [(0.0, 0.0)] * 9)
    group.registration.stars = {
        k: [SimpleNamespace(snr=np.full(4, 90.0), x=stars[:, 0], y=stars[:, 1])] for k in range(9)
    }
    ScaleCounts().apply(group, ScaleCounts.Params(min_concentration=0), CALL)
    kept = np.array([f.state == "used" for f in group.frames])
    told = np.array([f.transparency for f in group.frames])
    assert list(np.flatnonzero(~kept)) == [3, 4, 5]
    assert told[~kept].max() < 0.5 < told[kept].min()
    weight = np.array([f.weight for f in group.frames])
    assert np.sum(weight[kept] * told[kept]) == pytest.approx(1.0)


def test_transparencies_do_not_follow_the_seeing(make_group):
    """Of wings as wide as those of a Moffat profile the share beyond an aperture of one size would."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:200, :200]
    places, widths = np.mgrid[45:200:55, 45:200:55].reshape(2, -1).T + 0.3, np.array([4.4, 4.0, 4.7, 4.2, 4.9, 4.1])
    images = []
    for fwhm in widths:
        alpha = fwhm / 2 / np.sqrt(2 ** (1 / 2.5) - 1)
        images.append(rng.normal(0, 5, x.shape))
        for px, py in places:
            images[-1] += 4e5 * 1.5 / np.pi / alpha**2 * (1 + ((x - px) ** 2 + (y - py) ** 2) / alpha**2) ** -2.5
    group = registered(make_group(["both"] * 6, images), [(0.0, 0.0)] * 6)
    group.registration.stars = {
        k: [SimpleNamespace(snr=np.full(9, 900.0), x=places[:, 0], y=places[:, 1])] for k in range(6)
    }
    for frame, fwhm in zip(group.frames, widths, strict=True):
        frame.fwhm = float(fwhm)
    group.registration.fwhm = float(np.median(widths))
    ScaleCounts().apply(group, ScaleCounts.Params(min_concentration=0), CALL)
    assert np.std([frame.transparency for frame in group.frames]) < 0.002


def test_transparencies_do_not_follow_a_width_that_the_light_does_not(make_group):
    """Behind adaptive optics a halo holds half of the light, and few stars misjudge a core's width by a third."""
    rng = np.random.default_rng(6)
    y, x = np.mgrid[:240, :240]
    places = np.array([[70.0, 80.0], [150.0, 90.0], [110.0, 160.0], [170.0, 170.0]])
    images = []
    for _ in range(6):
        images.append(rng.normal(0, 5, x.shape))
        for px, py in places:
            r2 = (x - px) ** 2 + (y - py) ** 2
            for sigma in (1.7, 9.0):
                images[-1] += 2e5 / (2 * np.pi * sigma**2) * np.exp(-0.5 * r2 / sigma**2)
    group = registered(make_group(["both"] * 6, images), [(0.0, 0.0)] * 6)
    group.registration.stars = {
        k: [SimpleNamespace(snr=np.full(4, 900.0), x=places[:, 0], y=places[:, 1])] for k in range(6)
    }
    for frame, fwhm in zip(group.frames, (5.6, 4.1, 4.0, 4.3, 4.2, 4.1), strict=True):
        frame.fwhm = fwhm
    group.registration.fwhm = 4.1
    ScaleCounts().apply(group, ScaleCounts.Params(min_concentration=0), CALL)
    assert np.ptp([frame.transparency for frame in group.frames]) < 0.01
