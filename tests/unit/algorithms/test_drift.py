"""The predicted sky and its error."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nirred.algorithms.drift import FieldBasis, drawn_surface, predict_shapes, predict_sky
from nirred.algorithms.nested import fit_nested
from nirred.algorithms.surface import FIELD_STEP, Surface

TIMES = np.arange(5) * 60.0


def test_a_straight_line_is_met_inside_and_outside():
    levels = 1000 + 0.5 * TIMES
    when = np.array([-90.0, 0.0, 30.0, 120.0, 235.0, 300.0])
    sky = predict_sky(TIMES, levels, np.ones(5), when)
    assert sky.values == pytest.approx(1000 + 0.5 * when, abs=1.0)
    assert np.all(sky.errors > 0) and np.all(sky.errors < 3)
    assert math.isnan(sky.light)


def test_order_of_the_measurements_does_not_matter():
    rng = np.random.default_rng(1)
    levels, order = rng.normal(1000, 10, 5), rng.permutation(5)
    straight = predict_sky(TIMES, levels, np.ones(5), [100.0, 20.0])
    turned = predict_sky(TIMES[order], levels[order], np.ones(5), [20.0, 100.0])
    assert turned.values[::-1].tolist() == straight.values.tolist()
    assert turned.errors[::-1].tolist() == straight.errors.tolist()


def test_none_and_one_measurement():
    sky = predict_sky([], [], [], [10.0])
    assert math.isnan(sky.values[0]) and sky.errors[0] == sky.common == math.inf
    sky = predict_sky([0.0], [200.0], [3.0], [0.0, 100.0])
    assert sky.values == pytest.approx(200.0, rel=0.02)
    assert 2.9 < sky.errors[0] < sky.errors[1] < 40


def test_measurements_at_one_time_are_averaged():
    sky = predict_sky([0.0, 60.0, 60.0, 120.0], [100.0, 110.0, 112.0, 120.0], np.ones(4), [60.0])
    assert 110.0 <= sky.values[0] <= 112.0
    sky = predict_sky(np.zeros(3), [90.0, 100.0, 110.0], np.ones(3), [0.0])
    assert sky.values[0] == pytest.approx(100.0) and math.isfinite(sky.errors[0])


def test_a_long_sequence_is_predicted_in_parts():
    times = np.arange(60) * 40.0
    when = times[:-1] + 20.0
    truth = 1000 + 20 * np.sin(np.append(times, when) / 300.0)
    sky = predict_sky(times, truth[:60], np.full(60, 0.1), when, truth[60:] + 50.0)
    assert sky.values == pytest.approx(truth[60:], abs=0.5)
    assert abs(sky.light - 50) < 3 * sky.light_err < 1


def drifting(rng: np.random.Generator, kind: str) -> np.ndarray:
    """A sky of 1000 that drifts in 12 frames, relative."""
    x = np.arange(12) / 11
    if kind == "smooth":
        return 1000 * (1 + 0.04 * rng.normal() * x + 0.01 * np.sin(5 * x + rng.uniform(0, 6)))
    if kind == "walk":
        return 1000 * (1 + 0.003 * np.cumsum(rng.normal(size=12)))
    return 1000 * (1 + 0.04 * (x - 0.5) + rng.normal(0, 0.002, 12))


@pytest.mark.parametrize("kind", ["smooth", "walk", "alone"])
def test_errors_cover_what_happens_and_the_light_of_a_target_is_found(kind):
    rng = np.random.default_rng(7)
    each, mean, light, size = [], [], [], []
    on = np.arange(12) % 2 == 0
    for _ in range(60):
        truth, times = drifting(rng, kind), np.arange(12) * 30.0
        seen = truth + rng.normal(0, 0.2, 12) + np.where(on, 70.0, 0.0)
        sky = predict_sky(times[~on], seen[~on], np.full(6, 0.2), times[on], seen[on])
        each.extend((sky.values - truth[on]) / sky.errors)
        mean.append((sky.values.mean() - truth[on].mean()) / sky.common)
        light.append((sky.light - 70.0) / sky.light_err)
        size.append(sky.light_err)
    for pulls in (each, mean, light):
        assert 0.15 < np.sqrt(np.mean(np.square(pulls))) < 1.3
        assert np.mean(np.abs(pulls) > 4) < 0.02
    assert np.median(size) < 3.0  # interpolation between two neighbours has errors of 3 to 5


def sloping(slope: float) -> tuple[np.ndarray, np.ndarray]:
    """Image of unit noise with a slope, and the field's lit pixels."""
    image = np.random.default_rng(3).normal(0, 1, (256, 256)) + slope * np.linspace(-1, 1, 256)
    return image.astype(np.float32), np.ones((16, 16), np.uint8)


def test_a_slope_that_may_be_expected_is_taken_off_and_one_that_may_not_is_kept():
    image, lit = sloping(1.0)
    fit = fit_nested(image, None, lit, 1)
    slope = [drawn_surface(fit, (0.0, p, 0.0), sure=sure).coefficients[0, 1] for p in (0.4, 1e-4) for sure in (0, 1)]
    assert slope[0] == pytest.approx(1.0, abs=0.05)
    assert slope[1] == pytest.approx(1.0, abs=0.05)
    assert slope[2] < 0.15  # the target's light: at most 3 sigma of the expected change
    assert slope[3] == pytest.approx(1.0, abs=0.05)  # a blank field measures it


def test_a_strip_tells_next_to_nothing_of_the_slope_across_it():
    """Ends of a bar, as of a keyhole with a galaxy in its middle: a fit to them is extrapolated far."""
    shape, far = (512, 512), (np.array([256.0]), np.array([80.0]))
    y, x = np.mgrid[: shape[0], : shape[1]]
    lit = (abs(y - 240) < 32) | ((np.hypot(x - 256, y - 240) < 130) & (y < 240))
    bad = ~(lit & (abs(x - 256) > 140))
    errors = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        truth = Surface(np.array([[0.0, rng.normal(0, 2)], [rng.normal(0, 2), 0.0]]), shape)
        image = (truth.evaluate() + rng.normal(0.0, 50.0, shape)).astype(np.float32)
        fit = fit_nested(image, bad, lit[::FIELD_STEP, ::FIELD_STEP], 1, least=16)
        drawn = drawn_surface(fit, (0.0, 4.0 * np.trace(fit.degrees[0].field), 0.0), sure=False)
        errors.append([float((s.at(*far) - truth.at(*far))[0]) for s in (drawn, fit.surfaces[1])])
    drawn, whole = np.sqrt(np.mean(np.square(errors), axis=0))
    assert drawn < 2.5 < 4.0 < whole


def test_nothing_is_taken_off_where_nothing_may_be_expected():
    image, lit = sloping(0.0)
    surface = drawn_surface(fit_nested(image, None, lit, 2), (0.0, 0.0, 0.0), sure=False)
    assert not surface.coefficients[1:].any() and not surface.coefficients[0, 1:].any()


def test_amplitudes_over_a_strip_are_those_of_its_pixels():
    shape = (512, 512)
    lit = np.zeros((shape[0] // FIELD_STEP, shape[1] // FIELD_STEP), bool)
    lit[14:18] = True
    basis, rng = FieldBasis.of(lit, shape, 2), np.random.default_rng(5)
    coefficients = np.array([[5.0, 3.0, -2.0], [1.0, -7.0, 0.0], [4.0, 0.0, 0.0]])
    amplitudes = basis.amplitudes(coefficients)
    field = Surface(coefficients, shape).evaluate()[::FIELD_STEP, ::FIELD_STEP][lit]
    assert float(np.sum(amplitudes**2)) == pytest.approx(float(np.mean(field**2)), rel=1e-2)
    assert basis.coefficients(amplitudes) == pytest.approx(coefficients, abs=1e-3)
    # the error of an amplitude is preserved, even if the polynomials are similar
    wrong = basis.coefficients(amplitudes + rng.normal(0.0, 0.1, 6))
    off = Surface(wrong - coefficients, shape).evaluate()[::FIELD_STEP, ::FIELD_STEP][lit]
    assert float(np.sqrt(np.mean(off**2))) < 0.5


def test_a_sky_that_slopes_alike_in_all_directions_shows_less_of_it_across_a_strip():
    shape = (512, 512)
    whole, strip = np.ones((2, 32, 32), bool)
    strip[:14] = strip[18:] = False
    basis = FieldBasis.of(whole, shape, 2)
    assert basis.isotropic(1) == pytest.approx([1 / 3, 1 / 3], rel=0.05)
    assert basis.isotropic(2) == pytest.approx([1 / 5, 1 / 9, 1 / 5], rel=0.1)
    along, across = FieldBasis.of(strip, shape, 2).isotropic(1)
    assert along == pytest.approx(1 / 3, rel=0.05)
    assert across < 0.03 * along


def test_noise_about_a_common_sky_is_not_extrapolated():
    rng, when, own = np.random.default_rng(7), -60.0 - TIMES, (0.0, 0.025, 0.05)
    mean = {"scale": 20.0, "own": own, "different": True}
    drawn = np.array([predict_sky(TIMES, rng.normal(0, 1, 5), np.ones(5), when, **mean).values for _ in range(40)])
    free = np.array([predict_sky(TIMES, rng.normal(0, 1, 5), np.ones(5), when, scale=2000.0).values for _ in range(40)])
    assert np.sqrt(np.mean(drawn**2)) < 1.5 < np.sqrt(np.mean(free**2))


def test_a_shape_that_drifts_clearly_is_followed_beyond_the_sky_frames():
    levels = 0.1 * (TIMES - TIMES.mean())
    scale = 20.0 * float(np.sqrt(np.mean(levels**2)))
    mean = {"scale": scale, "own": (0.0, 0.025, 0.05), "different": True}
    sky = predict_sky(TIMES, levels, np.full(5, 0.5), [-60.0, -120.0], **mean)
    assert sky.values == pytest.approx([-18.0, -24.0], abs=4.0)
    assert np.all(np.abs(sky.values - [-18.0, -24.0]) < 3 * sky.errors)


def test_shapes_that_drift_are_predicted_between_their_measurements_within_their_errors():
    """A sky that becomes brighter and turns its slope; the pulls of many predictions, by degree."""
    basis, rng, when = (
        FieldBasis.of(np.ones((32, 32), bool), (512, 512), 2),
        np.random.default_rng(6),
        TIMES[:-1] + 30.0,
    )
    costs = np.tile([1.0, 2.0, 3.0], (TIMES.size, 1))
    noise = np.sqrt(costs[:, [0, 1, 1, 2, 2, 2]] / [1, 2, 2, 3, 3, 3])
    pulls = []
    for _ in range(20):
        start, drift = rng.normal(0, [3, 8, 8, 4, 4, 4]), rng.normal(0, [3, 8, 8, 4, 4, 4]) / TIMES[-1]
        seen = start + np.outer(TIMES - TIMES.mean(), drift) + noise * rng.standard_normal((TIMES.size, 6))
        values, power = predict_shapes(basis, TIMES, seen, costs, when, 1000.0)
        off = values - start - np.outer(when - TIMES.mean(), drift)
        pulls.append(
            np.stack([(off[:, part] ** 2).sum(axis=1) for part in (np.s_[:1], np.s_[1:3], np.s_[3:])], axis=1) / power
        )
    assert np.all(np.mean(pulls, axis=(0, 1)) < 1.5) and np.all(np.mean(pulls, axis=(0, 1)) > 0.1)
