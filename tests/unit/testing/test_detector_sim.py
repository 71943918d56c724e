from dataclasses import replace

import numpy as np
import pytest

from nirred.plugin.simulation import SimulatedDetector
from nirred.testing.detector_sim import (
    Cosmics,
    calibrate,
    cosmic_rays,
    expose,
    linearise,
    load_truth,
    make_truth,
    respond,
    save_truth,
)

NIRI = SimulatedDetector(
    (48, 40), 12.3, 35.0, 0.25, 16260.0, 11382.0, ((1.0, 2.787629143e-07, 3.178236042e-12),), (0.0944,)
)
NONE = Cosmics(np.zeros(0, np.int64), np.zeros(0))


@pytest.mark.parametrize(
    "curve",
    [
        ((1.0, 2.8e-7, 3.2e-12),),
        ((1.0, -8e-8, 2e-12), (1.0, 6e-7, 0.0)),
        ((0.998, 1.1e-6, -1e-12),),
        ((1.0,),),
    ],
)
def test_response_inverts_the_correction(curve):
    detector = replace(NIRI, linearity=curve)
    collected = np.linspace(-200.0, 280000.0, 48 * 40).reshape(48, 40)
    np.testing.assert_allclose(linearise(respond(collected, detector), detector), collected, atol=1e-6)


def test_published_check_value_of_the_correction():
    low = replace(NIRI, linearity=((1.0, 6.006310407e-07, 1.282732019e-12),))
    assert linearise(np.full((1, 1), 1e5), low)[0, 0] == pytest.approx(107289.0, abs=0.1)


@pytest.mark.parametrize("coadds", [1, 3])
def test_calibrated_frames_equal_the_truth_in_the_mean(coadds):
    rng = np.random.default_rng(4)
    truth = make_truth(NIRI, rng)
    light = np.full(NIRI.shape, 40000.0)
    frames = [
        calibrate(expose(light, truth, NIRI, (10.0, coadds), NONE, rng), truth, NIRI, (10.0, coadds)) for _ in range(60)
    ]
    good = ~truth.bad
    mean = np.mean(frames, axis=0)[good]
    sigma = np.std(frames, axis=0)[good] / np.sqrt(60)
    assert (mean - 40000).mean() == pytest.approx(0.0, abs=4 * sigma.mean() / np.sqrt(good.sum()))
    assert np.std((mean - 40000) / sigma) == pytest.approx(1.0, abs=0.1)


def test_bright_pixels_clip_at_saturation():
    rng = np.random.default_rng(1)
    truth = make_truth(NIRI, rng)
    raw = expose(np.full(NIRI.shape, 1e6), truth, NIRI, (10.0, 2), NONE, rng)
    assert raw.max() == 2 * NIRI.saturation


def test_unlit_pixels_are_bad_and_dark():
    masked = replace(NIRI, illuminated=lambda shape: np.arange(shape[1])[None] + np.zeros(shape) < 30)
    truth = make_truth(masked, np.random.default_rng(2))
    assert truth.bad[:, 30:].all() and not truth.flat[:, 30:].any()
    assert np.median(truth.flat[~truth.bad]) == pytest.approx(1.0, abs=1e-6)


def test_truth_survives_the_disk(tmp_path):
    truth = make_truth(NIRI, np.random.default_rng(3))
    save_truth(truth, tmp_path / "d.npz")
    again = load_truth(tmp_path / "d.npz")
    for name in ("flat", "dark", "pattern", "noisy", "bad"):
        np.testing.assert_array_equal(getattr(truth, name), getattr(again, name))


def test_cosmic_rays_come_at_the_stated_rate_and_lie_inside():
    rays = [cosmic_rays((512, 512), 20.0, np.random.default_rng(seed), 100.0) for seed in range(20)]
    assert all(ray.index.min() >= 0 and ray.index.max() < 512 * 512 for ray in rays)
    events = np.mean([ray.electrons.sum() for ray in rays]) / 4000.0
    assert 26 < events < 26 * 6  # lognormal mean 1.65 times the median, tracks longer
    assert cosmic_rays((64, 64), 0.0, np.random.default_rng(0)).index.size == 0
