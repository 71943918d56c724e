from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.ramps import ramp_counts

TIMES = np.array([1.0, 2.0, 4.0, 5.0, 7.0, 8.0])


def ramp(rate: float, shape: tuple[int, int] = (3, 4)) -> np.ndarray:
    return (100.0 + rate * TIMES[:, None, None] * np.ones(shape)).astype(np.float32)


def test_clean_ramp_is_last_less_first() -> None:
    assert ramp_counts(ramp(30.0), TIMES) == pytest.approx(np.full((3, 4), 210.0))


def test_one_pixel_two_reads() -> None:
    assert ramp_counts(np.array([[[5.0]], [[9.0]]]), np.array([0.0, 2.0])).tolist() == [[4.0]]


def test_cosmic_ray_is_left_out() -> None:
    reads = ramp(30.0)
    reads[3:, 1, 2] += 5000.0
    assert ramp_counts(reads, TIMES, gain=4.0, read_noise=10.0)[1, 2] == pytest.approx(210.0)


def test_noise_makes_no_jumps_and_no_bias() -> None:
    rng = np.random.default_rng(1)
    photons = rng.poisson(2000.0 * np.diff(TIMES)[:, None, None], (5, 60, 60))
    reads = np.concatenate([np.zeros((1, 60, 60)), np.cumsum(photons, axis=0)])
    reads += rng.normal(0, 7.0, reads.shape)
    counts = ramp_counts(reads, TIMES, gain=1.0, read_noise=10.0)
    scatter = np.sqrt(14000.0 + 100.0)
    assert counts.mean() == pytest.approx(14000.0, abs=5 * scatter / 60)
    assert counts.std() == pytest.approx(scatter, rel=0.06)


def test_saturated_reads_are_extrapolated_and_full_pixels_keep_their_level() -> None:
    reads = np.minimum(ramp(1000.0), 6000.0)
    reads[:, 0, 0] = 6000.0
    counts = ramp_counts(reads, TIMES, saturation=6000.0)
    assert counts[1, 1] == pytest.approx(7000.0)
    assert counts[0, 0] == 6000.0


def test_nan_reads_cost_their_steps_only() -> None:
    reads = ramp(30.0)
    reads[2, 0, 0] = np.nan
    reads[:, 0, 1] = np.nan
    counts = ramp_counts(reads, TIMES)
    assert counts[0, 0] == pytest.approx(210.0)
    assert np.isnan(counts[0, 1])


@pytest.mark.parametrize("times", [[1.0], [1.0, 1.0], [2.0, 1.0]])
def test_times_must_rise_and_fit(times: list[float]) -> None:
    with pytest.raises(ValueError, match="rising times"):
        ramp_counts(np.zeros((2, 1, 1)), np.array(times))
