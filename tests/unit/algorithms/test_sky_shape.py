"""The shape of the sky on scales between a mesh of 64 pixels and single pixels."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.mesh import mesh_background
from nirred.algorithms.sky_shape import continuation_error, sky_shape

SIZE, NOISE = 512, 10.0


def smooth_of(*given):
    return sky_shape(*given)[0]


def halves(truth, seed=1, noise=NOISE):
    """Pattern of two halves of the frames, and of all."""
    rng = np.random.default_rng(seed)
    units = np.ones(truth.shape)
    first, second = ((truth + np.sqrt(2) * noise * rng.standard_normal(truth.shape), units) for _ in range(2))
    return ((first[0] + second[0]) / 2, 2 * units), (first, second)


def ring(height, width):
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    return height * np.exp(-0.5 * ((np.hypot(x, y) - 130.0) / width) ** 2)


@pytest.mark.parametrize(("width", "left"), [(80.0, 0.08), (40.0, 0.1), (20.0, 0.25)])
def test_a_ring_is_followed(width, left):
    """A tenth to a quarter of a pixel's noise is left; the mesh leaves 2 to 6 times that noise."""
    truth = ring(200.0, width)
    patterns = halves(truth)
    error = smooth_of(*patterns) - truth
    assert np.std(error) < left * NOISE, np.std(error)
    assert np.std(error) < 0.1 * np.std(mesh_background(patterns[0][0], None).evaluate() - truth)


def areas(image):
    """Means of areas of 32 pixels a side."""
    return image.reshape(len(image) // 32, 32, -1, 32).mean(axis=(1, 3))


def test_a_broad_ring_brings_little_noise_of_small_cells():
    """A quarter of a ring of 5 % under its noise; without cells of 64 pixels half of the noise of areas is kept."""
    y, x = np.indices((1024, 1024))
    truth = 60.0 * np.exp(-0.5 * ((np.hypot(x, y) - 512.0) / 164.0) ** 2)
    patterns = halves(truth)
    smooth, _, carried = sky_shape(*patterns)
    kept = np.var(areas(smooth - truth)) / np.var(areas(patterns[0][0] - truth))
    assert kept < 0.45
    assert carried == pytest.approx(kept, rel=0.5)


@pytest.mark.parametrize(("height", "share", "off"), [(200.0, 1.0, 0.2), (0.0, 0.0, 0.05)])
def test_the_share_of_noise_is_told(height, share, off):
    """Of a structured sky the shape contains all noise of areas, of an even one none."""
    assert sky_shape(*halves(ring(height, 60.0)))[2] == pytest.approx(share, abs=off)


@pytest.mark.parametrize(("period", "left"), [(200.0, 0.032), (140.0, 0.05)])
def test_fringes_are_followed(period, left):
    """A wave of the sky that boxes of 64 pixels flatten, and cells of 32 by a tenth without the second fit."""
    y, x = np.mgrid[:SIZE, :SIZE]
    truth = 10.0 * np.sin(2 * np.pi * (0.8 * x + 0.6 * y) / period)
    error = smooth_of(*halves(truth, noise=10.0)) - truth
    assert np.std(error[32:-32, 32:-32]) < left * NOISE, np.std(error[32:-32, 32:-32])


def test_noise_alone_adds_next_to_nothing():
    patterns = halves(np.zeros((SIZE, SIZE)))
    shape, mesh = smooth_of(*patterns), mesh_background(patterns[0][0], None).evaluate()
    # cells of 16 pixels scatter by 0.6
    assert np.std(shape) < 0.12 and np.std(shape) < 0.8 * np.std(mesh)


def test_what_fills_a_small_part_of_a_tile_is_seen():
    """The last columns, where a mesh is extrapolated linearly."""
    truth = np.zeros((SIZE, SIZE))
    truth[:, -32:] = np.linspace(0.0, 30.0, 32)
    patterns = halves(truth)
    assert np.std((smooth_of(*patterns) - truth)[:, -32:]) < 0.35 * NOISE
    assert np.std((mesh_background(patterns[0][0], None).evaluate() - truth)[:, -32:]) > 0.7 * NOISE


def test_hot_pixels_and_holes():
    truth = ring(200.0, 60.0)
    (g, u), (first, second) = halves(truth)
    clean = smooth_of((g, u), (first, second))
    hot = np.random.default_rng(3).random(g.shape) < 0.01
    for pattern in (g, first[0], second[0]):
        pattern[hot] += 1000.0
        pattern[100:180, 200:280] = np.nan
    u[100:180, 200:280] = 0.0
    shape = smooth_of((g, u), (first, second))
    assert np.isfinite(shape).all()
    away = np.ones(g.shape, bool)
    away[60:220, 160:320] = False
    assert np.std((shape - clean)[away]) < 0.5


def test_the_sky_goes_on_under_what_hides_it():
    """The bottom of a bowl flattened by the mesh: half of the error there follows from the surroundings."""
    truth = ring(200.0, 30.0)
    (g, u), (first, second) = halves(truth)
    hidden = slice(208, 304), slice(208, 304)
    for pattern in (g, first[0], second[0]):
        pattern[hidden] = np.nan
    u, first, second = (np.where(np.isnan(a), 0.0, b) for a, b in ((g, u), first, second))
    mesh = mesh_background(g, np.isnan(g)).evaluate() - truth
    error = smooth_of((g, u), ((halves(truth)[1][0][0], first), (halves(truth)[1][1][0], second))) - truth
    assert abs(np.mean(error[hidden])) < 0.5 * abs(np.mean(mesh[hidden]))


def test_fringes_are_followed_where_two_of_nine_frames_show_sky_both_in_one_half():
    """Next to a bright star with a halo wider than most of the dither: interpolation there lost half of a fringe."""
    y, x = np.mgrid[:SIZE, :SIZE]
    truth = 30.0 * np.sin(2 * np.pi * (0.8 * x + 0.6 * y) / 140.0)
    rng = np.random.default_rng(5)
    units = np.full((2, SIZE, SIZE), 4.5)
    here = np.s_[180:320, 180:320]
    units[0][here], units[1][here] = 2.0, 0.0
    behind = units.sum(axis=0)
    g = np.array([truth + 30.0 / np.sqrt(np.maximum(u, 1)) * rng.standard_normal(truth.shape) for u in units])
    g[1][here] = np.nan
    whole = np.where(units[1] > 0, np.nan_to_num(g * units).sum(axis=0) / behind, g[0])
    error = smooth_of((whole, behind), ((g[0], units[0]), (g[1], units[1]))) - truth
    assert np.std(error[190:310, 190:310]) < 3.0, np.std(error[190:310, 190:310])


@pytest.mark.parametrize("shape", [(7, 300), (40, 50), (200, 333)])
def test_any_shape_and_nothing_known(shape):
    known = np.full(shape, 3.0), np.ones(shape)
    np.testing.assert_allclose(smooth_of(known, (known, known)), 3.0, rtol=1e-5)
    np.testing.assert_allclose(smooth_of(known), 3.0, rtol=1e-5)
    nothing = np.full(shape, np.nan), np.zeros(shape)
    assert smooth_of(nothing, (nothing, nothing)).shape == shape
    one = np.ones((1, 1)), np.ones((1, 1))
    assert smooth_of(one, (one, one)).shape == (1, 1)


def test_steps_between_amplifiers_stay_sharp():
    truth = ring(200.0, 60.0)
    boxes = [(slice(0, SIZE), slice(64 * k, 64 * k + 64)) for k in range(8)]
    for box, level in zip(boxes, (9.0, -12.0, 3.0, 15.0, -20.0, 1.0, 8.0, -4.0), strict=True):
        truth[box] += level
    patterns = halves(truth)
    error = smooth_of(*patterns, boxes) - truth
    assert np.std(error) < 0.15 * NOISE, np.std(error)
    assert np.std(error) < 0.5 * np.std(smooth_of(*patterns) - truth)


def test_few_boxes_of_a_bar_do_not_bend_the_sky_in_its_middle():
    """A bar one box high, as in GNIRS' keyhole: its middle minus its ends, where the level is measured."""
    lit = np.zeros((SIZE, SIZE), bool)
    lit[210:273] = True
    y, x = np.mgrid[:SIZE, :SIZE]
    truth = 0.002 * x - 0.004 * y
    middle, ends = lit & (abs(x - 256) < 110), lit & (abs(x - 256) > 150)
    errors = []
    for seed in range(12):
        whole, both = halves(truth, seed)
        parts = [(np.where(lit, g, np.nan), np.where(lit, u, 0.0)) for g, u in (whole, *both)]
        shape = smooth_of(parts[0], parts[1:])
        mesh = mesh_background(parts[0][0], ~lit).evaluate()
        errors.append([np.mean((s - truth)[middle]) - np.mean((s - truth)[ends]) for s in (shape, mesh)])
    own, meshed = np.sqrt(np.mean(np.square(errors), axis=0))
    assert own < 0.6 * meshed


def test_does_not_depend_on_threads():
    rng = np.random.default_rng(5)
    halves = [
        ((1.0 + rng.normal(0.0, 0.01, (300, 280))).astype(np.float32), np.full((300, 280), 900.0, np.float32))
        for _ in range(2)
    ]
    whole = np.mean([g for g, _ in halves], axis=0), halves[0][1] + halves[1][1]
    made = [sky_shape(whole, halves, threads=threads) for threads in (1, 3)]
    assert np.array_equal(made[0][0], made[1][0])
    assert made[0][1] == made[1][1]


def rippled(period, size=128):
    """A parabola with ripples of 1 % (rms), and the distance from its middle, both in samples."""
    y, x = np.mgrid[:size, :size] - size // 2
    shape = 1 + 2e-3 * x - 1e-5 * y**2 + 0.01 * np.sqrt(2) * np.sin(2 * np.pi * x / period)
    return shape.astype(np.float32), np.hypot(x, y)


def test_a_parabola_is_continued_behind_objects():
    shape, distance = rippled(20)
    smooth = shape - 0.01 * np.sqrt(2) * np.sin(2 * np.pi * (np.arange(128) - 64) / 20)
    assert continuation_error(smooth.astype(np.float32), distance > 30, distance <= 30) < 1e-6


def test_ripples_narrower_than_an_object_are_not_known_behind_it():
    shape, distance = rippled(20)
    hidden = distance <= 30
    shape[hidden] = 9.0  # whatever is there is not measured
    assert continuation_error(shape, ~hidden, hidden) == pytest.approx(0.01, rel=0.15)


def test_ripples_wider_than_an_object_are():
    shape, distance = rippled(100)
    assert continuation_error(shape, distance > 3, distance <= 3) < 1e-4
    assert continuation_error(shape, distance > 40, distance <= 40) > 3e-3


def test_pixels_that_no_object_hides_do_not_count():
    shape, distance = rippled(20)
    nothing = np.zeros(shape.shape, bool)
    assert continuation_error(shape, distance < 60, nothing) == 0.0
    narrow = continuation_error(shape, (distance < 60) & (distance > 2), distance <= 2)
    assert 0 < narrow < 0.3 * 0.01


def test_a_sky_that_nothing_shows_has_no_error():
    nothing, everything = np.zeros((5, 5), bool), np.ones((5, 5), bool)
    assert continuation_error(np.ones((5, 5), np.float32), nothing, everything) == 0.0
    one = np.ones((1, 1), bool)
    assert continuation_error(np.ones((1, 1), np.float32), ~one, one) == 0.0
