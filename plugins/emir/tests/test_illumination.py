"""Rings of stray light told from a camera's response, whatever their shape."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import zoom

from nirred.plugin import S, Section
from nirred.states import Light, PlaneState
from nirred.store import PlaneStack
from nirred_emir import steps
from nirred_emir.illumination import Structure, unresponsive
from nirred_emir.rings import divide_rings

N = 64
V, U = np.meshgrid(*((np.arange(N) + 0.5) * 2 / N - 1,) * 2, indexing="ij")
RADIUS = np.hypot(U, V)
VIGNETTING = {
    "quadratic": 1 - 0.04 * RADIUS**2,
    "skew": 1 - 0.025 * RADIUS**4 + 0.02 * U * V + 0.01 * U,
    "corners": 1 - 0.04 * RADIUS**2 - 0.3 * np.maximum(RADIUS - 1.05, 0) ** 2,
}


def ring(height: float, radius: float, width: float, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    return height * np.exp(-0.5 * ((np.hypot(U - x, V - y) - radius) / width) ** 2)


def split_of(response: np.ndarray, light: np.ndarray) -> tuple[object, np.ndarray]:
    noise = np.random.default_rng(5).normal(0, 3e-4, light.shape)
    seen = response + light + noise
    split = divide_rings(Structure(seen / np.median(seen), (2048, 2048)))
    found = split.response.values
    return split, found / np.median(found) / (response / np.median(response)) - 1


@pytest.mark.parametrize(
    ("light", "count", "response", "allowed"),
    [
        (ring(0.05, 0.5, 0.16), 1, "quadratic", 5e-4),
        (ring(0.05, 0.6, 0.3), 1, "skew", 5e-4),
        (ring(0.05, 0.5, 0.16, 0.2, 0.1), 1, "quadratic", 5e-4),
        (ring(0.05, 0.4, 0.1) + ring(0.03, 0.8, 0.08), 2, "skew", 5e-4),
        (ring(0.05, 0.5, 0.16) * (1 + 0.5 * U / RADIUS), 1, "quadratic", 5e-4),
        (ring(0.05, 0.5, 0.16), 1, "corners", 2e-3),
        (0 * U, 0, "quadratic", 5e-4),
    ],
    ids=["plain", "wide", "off-centre", "double", "one-sided", "steep-corners", "none"],
)
def test_rings_of_any_shape(light: np.ndarray, count: int, response: str, allowed: float) -> None:
    split, error = split_of(VIGNETTING[response], light)
    assert len(split.rings) == count
    assert error.std() < allowed
    assert split.height == pytest.approx(light.max(), rel=0.1, abs=1e-9)


def lumps(seed: int, rms: float, scale: int) -> np.ndarray:
    """Smooth structure of a flat, of knots so many cells apart."""
    knots = np.random.default_rng(seed).standard_normal((N // scale + 3,) * 2)
    smooth = zoom(knots, scale, order=3)[scale : scale + N, scale : scale + N]
    return np.asarray(rms * (smooth - smooth.mean()) / smooth.std())


@pytest.mark.parametrize("scale", [10, 20, 30])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_lumps_of_response_are_no_rings(seed: int, scale: int) -> None:
    split, error = split_of(VIGNETTING["skew"] + lumps(seed, 0.01, scale), 0 * U)
    assert split.rings == ()
    assert error.std() < 5e-4


@pytest.mark.parametrize("shape", [(0.04, 0.5, 0.14), (0.04, 0.55, 0.22), (0.02, 0.7, 0.12)], ids=str)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_rings_among_lumps_of_response(seed: int, shape: tuple[float, float, float]) -> None:
    """Lumps do not become part of the ring: of what it would do to the response three tenths are left at the most."""
    light = ring(*shape, 0.05, -0.03)
    split, error = split_of(VIGNETTING["quadratic"] + lumps(seed, 0.01, 20), light)
    assert split.rings
    assert error.std() < 0.3 * light.std()


def test_a_ring_says_where_it_is() -> None:
    split, _ = split_of(VIGNETTING["quadratic"], ring(0.05, 0.5, 0.16, 0.2, 0.1))
    (found,) = split.rings
    assert found.centre == (pytest.approx(1024 * 1.2 - 0.5, abs=5), pytest.approx(1024 * 1.1 - 0.5, abs=5))
    assert (found.radius, found.width) == (pytest.approx(512, abs=5), pytest.approx(164, abs=5))


def test_a_disc_is_no_ring() -> None:
    """Its light cannot be told from response; what is taken off stays below what there is."""
    split, _ = split_of(VIGNETTING["quadratic"], 0.05 / (1 + np.exp((RADIUS - 0.5) / 0.05)))
    assert split.height < 0.05


def test_pixels_that_do_not_see_the_sky() -> None:
    """Known by most frames; neither vignetting nor objects nor a hot pixel makes or hides one."""
    vignetting = VIGNETTING["quadratic"]
    rng = np.random.default_rng(2)
    frames = [(rng.normal(sky * vignetting, 30).astype(np.float32), sky) for sky in (900.0, 1000.0, 1100.0)]
    for data, sky in frames:
        data[:2] -= np.float32(sky)
        data[40, 40] = 5 * sky
    frames[0][0][0, 7] += 1e5
    frames[1][0][30, 30] = 0.0
    expected = np.zeros((N, N), bool)
    expected[:2] = True
    np.testing.assert_array_equal(unresponsive(frames, Structure(vignetting, (N, N))), expected)


def test_response_beside_dead_cells_has_a_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a fit goes on below what any vignetting leaves, pixels are flagged, and gain no more than five times."""
    values = np.ones((8, 8))
    values[:, :2] = -0.4
    structure = Structure(values, (N, N))
    monkeypatch.setattr(steps, "_sky_of", lambda *_: structure)
    monkeypatch.setattr(steps, "_mask_unresponsive", lambda *_: None)
    state = PlaneState(PlaneStack((2, N, N), np.float32), PlaneStack((2, N, N), np.uint16), constant=100.0)
    for i in range(2):
        state.sci.put(i, np.full((N, N), 1000.0))
    group = SimpleNamespace(
        planes=[state], setup=SimpleNamespace(flat=None), indices=lambda *_: [0, 1], keywords={}, remark=lambda _: None
    )
    step = steps.CorrectIllumination
    step().apply(group, step.Params(response="sky"), S("correct_illumination"))
    dark = structure.evaluate() < steps.DARKEST
    assert dark.any() and not dark.all()
    for i in range(2):
        assert np.array_equal(state.dq.frame(i) != 0, dark)
        np.testing.assert_allclose(state.sci.frame(i)[dark], 1000.0 / steps.DARKEST, rtol=1e-6)
    assert np.all(np.asarray(state.constant) > 0) and np.all(np.asarray(state.per_electron) > 0)


@pytest.mark.parametrize("jump", [200.0, 15.0])
def test_far_levels_are_taken_off_before_there_is_a_sky(jump: float) -> None:
    """The first sky would reject part of such an amplifier as outliers; usual drifts are measured after it."""
    size, noise, sky = 256, 10.0, np.array([1000.0, 900.0, 1050.0, 1000.0])
    v, u = np.mgrid[:size, :size] / size - 0.5
    rng = np.random.default_rng(7)
    flat = (1 - 0.3 * (u**2 + v**2)) * rng.normal(1, 0.05, u.shape)
    boxes = [(slice(0, size), slice(k, k + 64)) for k in range(0, size, 64)]
    state = PlaneState(PlaneStack((4, size, size), np.float32), PlaneStack((4, size, size), np.uint16), 60.0)
    state.per_electron = (1 / flat).astype(np.float32)
    light = np.zeros((4, size, size), np.float32)
    for i in range(4):
        light[i] = sky[i] * (1 + 0.05 * u * v + 0.02 * i * v) + rng.normal(0, noise, u.shape)
        light[i, 40:60, 30 * i : 30 * i + 20] += 5000
        state.sci.put(i, light[i])
        if i == 2:
            state.sci.frame_to_change(i)[boxes[1]] += jump / flat[boxes[1]]
    before = state.sci.frame(2).copy()
    detector = SimpleNamespace(
        amplifiers=[SimpleNamespace(section=Section(c.start, c.stop, 0, size)) for _, c in boxes]
    )
    group = SimpleNamespace(
        planes=[state],
        frames=[SimpleNamespace(info=SimpleNamespace(detectors=[detector]))] * 4,
        keywords={},
        indices=lambda *_: [0, 1, 2, 3],
        unit="electron",
        context=SimpleNamespace(threads=1),
    )
    step = steps.LevelAmplifiers
    step().apply(group, step.Params(frames=True), S("level_amplifiers"))
    if jump < 2 * noise:
        np.testing.assert_array_equal(state.sci.frame(2), before)
        return
    left = np.stack([state.sci.frame(i) for i in range(4)]) - light
    for i in range(4):
        means = np.array([left[i][box].mean() for box in boxes])
        np.testing.assert_allclose(means, means.mean(), atol=0.3 * noise)
        assert max(float(left[i][box].std()) for box in boxes) < 0.1 * noise


@pytest.mark.parametrize("known", [(120.0, 10.0), (20.0, 10.0)], ids=["target", "sky"])
def test_light_of_a_target_that_fills_its_frames_is_no_level(known: tuple[float, float]) -> None:
    """The sky frames tell that it is light; levels of amplifiers are measured where these meet."""
    size, rng = 256, np.random.default_rng(3)
    v, u = np.mgrid[:size, :size] / size - 0.5
    surface = (120 - 150 * (u**2 + v**2)).astype(np.float32)
    if known[0] > 100:
        surface += (80 * np.sin(8 * u + 9 * v)).astype(np.float32)
    boxes = [(slice(0, size), slice(k, k + 64)) for k in range(0, size, 64)]
    state = PlaneState(PlaneStack((2, size, size), np.float32), PlaneStack((2, size, size), np.uint16), 60.0)
    state.subtracted, state.light = PlaneStack((2, size, size), np.float32), Light(*known)
    for i in range(2):
        state.sub.put(i, surface + rng.normal(0, 3, u.shape).astype(np.float32))
        state.sub.frame_to_change(i)[boxes[1]] += 30.0
    detector = SimpleNamespace(
        amplifiers=[SimpleNamespace(section=Section(c.start, c.stop, 0, size)) for _, c in boxes]
    )
    group = SimpleNamespace(
        planes=[state],
        frames=[SimpleNamespace(info=SimpleNamespace(detectors=[detector]), role=role) for role in ("object", "sky")],
        keywords={},
        indices=lambda *_: [0, 1],
        unit="electron",
        context=SimpleNamespace(threads=1),
    )
    step = steps.LevelAmplifiers
    step().apply(group, step.Params(), S("level_amplifiers"))
    left = state.sub.frame(0) - (surface if state.lit else 0.0)
    means = np.array([left[box].mean() for box in boxes])
    np.testing.assert_allclose(means, means.mean(), atol=3.0)
    assert abs(means.mean()) < 10.0, "one level of four has a mean"
    assert abs(state.sub.frame(1).mean()) < 1.0, "a sky frame has a surface, in any case"


def test_boxes_that_an_object_fills_keep_it() -> None:
    """What boxes beside an object show is taken off; what is behind it none shows, nor what its halo adds nearby."""
    v, u = np.mgrid[:400, :400].astype(np.float32)
    radius = np.hypot(u - 200, v - 200)
    galaxy = 500 * np.exp(-radius / 25)
    noise = np.random.default_rng(4).normal(0, 5, galaxy.shape)
    slope = 0.05 * (u - 200)
    state = SimpleNamespace(
        sub=PlaneStack((1, 400, 400), np.float32), covered=lambda i: (radius < 110).astype(np.uint8)
    )
    state.sub.put(0, (galaxy + noise + slope).astype(np.float32))
    steps._smooth(state, 0, [(slice(0, 400), slice(0, 400))], 10)
    left = state.sub.frame(0)
    inside, outside = radius < 80, radius > 190
    assert np.mean((left - galaxy - slope)[inside]) == pytest.approx(0.0, abs=0.2)
    assert np.mean(np.abs(left - noise)[outside]) < 1.0 < np.mean(np.abs(slope[outside]))
