from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.signal import correlate2d, fftconvolve

from nirred.algorithms import catalogue_kernels as kernels
from nirred.algorithms.catalogue import COLUMNS, Catalogue, detect
from nirred.algorithms.catalogue_search import Image, search
from nirred.algorithms.noise import noise_covariance
from nirred.algorithms.overlap import disc

FWHM = 4.0
WIDTH = FWHM / 2.3548
SIGMA = 10.0
WHITE = np.zeros((7, 7))
WHITE[3, 3] = 1.0


def star(shape: tuple[int, int], x: float, y: float, flux: float, ratio: float = 1.0) -> np.ndarray:
    v, u = np.ogrid[: shape[0], : shape[1]]
    profile = np.exp(-0.5 * ((u - x) ** 2 / WIDTH**2 + (v - y) ** 2 / (ratio * WIDTH) ** 2))
    return flux * profile / (2.0 * math.pi * ratio * WIDTH**2)


def field(seed: int, low: float, high: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stars on a jittered grid: image, positions (x, y), fluxes."""
    rng = np.random.default_rng(seed)
    places = np.array([(32 * i + 16, 32 * j + 16) for j in range(20) for i in range(20)], float)
    places += rng.uniform(-3.0, 3.0, places.shape)
    fluxes = rng.uniform(low, high, len(places))
    image = np.zeros((640, 640))
    for (x, y), flux in zip(places, fluxes, strict=True):
        i, j = int(x) - 14, int(y) - 14
        rows, columns = slice(max(j, 0), j + 29), slice(max(i, 0), i + 29)
        cut = image[rows, columns]
        cut += star(cut.shape, x - columns.start, y - rows.start, flux)
    return image, places, fluxes


def noise(seed: int, kernel: np.ndarray | None) -> np.ndarray:
    white = np.random.default_rng(seed).normal(0.0, SIGMA, (640, 640))
    return white if kernel is None else fftconvolve(white, kernel, mode="same")


def matched(catalogue: Catalogue, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of the nearest catalogue row to each place, and its distance."""
    columns = catalogue.columns
    distance = np.hypot(columns["X_IMAGE"][:, None] - 1 - places[:, 0], columns["Y_IMAGE"][:, None] - 1 - places[:, 1])
    return distance.argmin(axis=0), distance.min(axis=0)


def lanczos_kernel() -> np.ndarray:
    lines = []
    for fraction in (0.5, 0.3):
        x = np.arange(-2, 4) - fraction
        weights = np.sinc(x) * np.sinc(x / 3.0)
        lines.append(weights / weights.sum())
    return np.outer(*lines)


@pytest.mark.parametrize("resampled", [False, True])
def test_fluxes_are_unbiased_and_errors_right(resampled: bool) -> None:
    kernel = lanczos_kernel() if resampled else None
    covariance = noise_covariance([correlate2d(kernel, kernel)[2:9, 2:9]], [1.0]) if resampled else WHITE
    image, places, fluxes = field(1, 800.0, 6000.0)
    catalogue = detect(image + noise(2, kernel), np.full(image.shape, SIGMA**2), None, noisecov=covariance, fwhm=FWHM)
    nearest, distance = matched(catalogue, places)
    assert np.all(distance < 1.0)
    # pixels blur the edge of the aperture: enclosed fraction of a Gaussian with a variance larger by 1/12
    enclosed = 1.0 - math.exp(-(FWHM**2) / (2.0 * (WIDTH**2 + 1.0 / 12.0)))
    flux, error = catalogue.columns["FLUX_APER"][nearest], catalogue.columns["FLUXERR_APER"][nearest]
    pull = (flux - fluxes * enclosed) / error
    assert flux.sum() / fluxes.sum() == pytest.approx(enclosed, rel=0.01)
    assert abs(np.median(pull)) < 3.0 * 1.25 / math.sqrt(len(pull))
    assert 0.9 < 1.4826 * np.median(np.abs(pull - np.median(pull))) < 1.1
    kron = (catalogue.columns["FLUX_AUTO"] / catalogue.columns["FLUXERR_AUTO"])[nearest]
    assert np.all(np.isfinite(kron)) and np.all(kron > 0)
    assert catalogue.columns["FLUX_AUTO"][nearest].sum() / fluxes.sum() == pytest.approx(1.0, abs=0.03)


def test_positions_and_shapes() -> None:
    image, places, _ = field(3, 2e4, 5e4)
    catalogue = detect(image + noise(4, None), np.full(image.shape, SIGMA**2), None, noisecov=WHITE, fwhm=FWHM)
    nearest, distance = matched(catalogue, places)
    assert np.median(distance) < 0.02
    assert np.median(catalogue.columns["FWHM_IMAGE"][nearest]) == pytest.approx(FWHM, rel=0.01)
    assert np.median(catalogue.columns["ELLIPTICITY"][nearest]) < 0.03
    assert np.mean(catalogue.columns["FLAGS"][nearest] == 0) > 0.95
    assert catalogue.aperture_radius == FWHM
    assert np.array_equal(catalogue.columns["NUMBER"], np.arange(1, len(catalogue.columns["NUMBER"]) + 1))


def test_an_elongated_source_and_its_angle() -> None:
    image = star((80, 80), 40.2, 39.7, 1e5, 0.7) + np.random.default_rng(5).normal(0.0, 1.0, (80, 80))
    columns = detect(image, np.ones(image.shape), None, noisecov=WHITE, fwhm=FWHM).columns
    assert columns["ELLIPTICITY"][0] == pytest.approx(0.3, abs=0.02)
    assert columns["A_IMAGE"][0] == pytest.approx(WIDTH, rel=0.02)
    assert abs(columns["THETA_IMAGE"][0]) < 3.0


def test_flags_of_blends_edges_and_saturation() -> None:
    shape = (120, 120)
    image = star(shape, 40, 40, 2e4) + star(shape, 46, 40, 1.5e4) + star(shape, 90, 90, 2e4) + star(shape, 60, 1.0, 2e4)
    image += np.random.default_rng(6).normal(0.0, 1.0, shape)
    saturated = np.zeros(shape, bool)
    saturated[90, 90] = True
    columns = detect(image, np.ones(shape), None, noisecov=WHITE, fwhm=FWHM, saturated=saturated).columns
    flags = {
        name: int(columns["FLAGS"][np.hypot(columns["X_IMAGE"] - 1 - x, columns["Y_IMAGE"] - 1 - y).argmin()])
        for name, x, y in [("first", 40, 40), ("second", 46, 40), ("hot", 90, 90), ("edge", 60, 1)]
    }
    assert flags == {"first": 3, "second": 3, "hot": 4, "edge": 8}


@pytest.mark.parametrize("peak", [1e4, 1e5, 1e6])
def test_saturated_star_round_a_hole_is_one_source(peak: float) -> None:
    v, u = np.mgrid[:160, :160]
    light = peak * (1.0 + ((u - 80.3) ** 2 + (v - 79.6) ** 2) / 3.9**2) ** -3.0
    variance = 1.0 + 0.2 * light
    image = light + np.random.default_rng(8).normal(0.0, np.sqrt(variance)) + star(light.shape, 40, 40, 2e4)
    core = light > 3000.0
    columns = detect(image, np.ones(light.shape), core, noisecov=WHITE, fwhm=FWHM, saturated=core).columns
    near = np.hypot(columns["X_IMAGE"] - 81.3, columns["Y_IMAGE"] - 80.6)
    assert np.count_nonzero(near < 20.0) == 1 and near.min() < 0.5
    assert columns["FLAGS"][near.argmin()] & 4
    other = np.hypot(columns["X_IMAGE"] - 41, columns["Y_IMAGE"] - 41).argmin()
    assert columns["FLAGS"][other] == 0 and columns["FLUX_AUTO"][other] == pytest.approx(2e4, rel=0.02)


def test_saturated_pixels_without_light_round_them_are_no_source() -> None:
    image = np.random.default_rng(9).normal(0.0, 1.0, (100, 100))
    core = np.zeros(image.shape, bool)
    core[40:44, 50:54] = True
    assert (
        detect(image, np.ones(image.shape), core, noisecov=WHITE, fwhm=FWHM, saturated=core).columns["NUMBER"].size == 0
    )


@pytest.mark.parametrize("depth", [-3.0, -10.0])
def test_saturated_core_in_a_hollow_stays_where_it_is(depth: float) -> None:
    shape = (100, 100)
    image = np.random.default_rng(9).normal(0.0, 1.0, shape) + star(shape, 52, 47, 600.0)
    core = np.zeros(shape, bool)
    core[40:44, 50:54] = True
    image[35:42, 47:57] += depth  # over-subtracted next to the core: its total flux is about zero
    columns = detect(image, np.ones(shape), None, noisecov=WHITE, fwhm=FWHM, saturated=core).columns
    assert columns["NUMBER"].size >= 1
    assert (np.hypot(columns["X_IMAGE"] - 52.5, columns["Y_IMAGE"] - 43.0) < 10.0).any()
    assert ((columns["X_IMAGE"] >= 1) & (columns["X_IMAGE"] <= 100)).all()


def test_bad_pixels_are_mirrored_and_flagged() -> None:
    shape = (60, 60)
    image = star(shape, 30.0, 30.0, 1e4)
    clean = detect(image, np.ones(shape), None, noisecov=WHITE, fwhm=FWHM).columns
    bad = np.zeros(shape, np.uint16)
    bad[29:32, 31], image[29:32, 31] = 1, np.nan
    bad[31, 30], image[31, 30] = 1, 1e6
    mended = detect(image, np.ones(shape), bad, noisecov=WHITE, fwhm=FWHM).columns
    assert mended["FLUX_APER"][0] == pytest.approx(clean["FLUX_APER"][0], rel=0.01)
    assert mended["X_IMAGE"][0] == pytest.approx(31.0, abs=0.05)


def test_a_pixel_that_stands_in_for_a_bad_one_is_as_noisy_as_both() -> None:
    shape = (61, 61)
    image, variance = star(shape, 30.0, 30.0, 1e4), np.ones(shape)
    clean = detect(image, variance, None, noisecov=WHITE, fwhm=FWHM).columns
    bad = np.zeros(shape, np.uint8)
    bad[31:33, 31:33] = 1  # entirely in the aperture, as are their mirror images
    variance[28:30, 28:30] = 9.0
    mended = detect(image, variance, bad, noisecov=WHITE, fwhm=FWHM).columns
    assert clean["FLUXERR_APER"][0] ** 2 == pytest.approx(np.sum(disc(FWHM, 0.0, 0.0) ** 2))
    assert mended["FLUXERR_APER"][0] ** 2 == pytest.approx(clean["FLUXERR_APER"][0] ** 2 + 4 * (2**2 * 9.0 - 2))


def test_nothing_found_gives_empty_columns() -> None:
    for image in (np.zeros((40, 40)), np.full((40, 40), np.nan), np.zeros((1, 1))):
        columns = detect(image, np.ones(image.shape), None, noisecov=WHITE, fwhm=FWHM).columns
        assert list(columns) == list(COLUMNS)
        assert all(column.size == 0 for column in columns.values())
    assert columns["FLAGS"].dtype == np.int64


def test_unfit_arguments() -> None:
    with pytest.raises(ValueError, match="FWHM"):
        detect(np.ones((9, 9)), np.ones((9, 9)), None, noisecov=WHITE, fwhm=0.0)
    with pytest.raises(ValueError, match="shape"):
        detect(np.ones((9, 9)), np.ones((9, 8)), None, noisecov=WHITE, fwhm=4.0)


def test_kron_fluxes_mirror_bad_pixels_and_neighbours() -> None:
    shape = (100, 100)
    image = star(shape, 40.0, 50.0, 1e4)
    noisy = image + np.random.default_rng(8).normal(0.0, 1.0, shape)
    clean = detect(noisy, np.ones(shape), None, noisecov=WHITE, fwhm=FWHM).columns
    bad = np.zeros(shape, np.uint8)
    bad[50, 41] = 1
    mended = detect(np.where(bad, np.nan, noisy), np.ones(shape), bad, noisecov=WHITE, fwhm=FWHM).columns
    assert mended["FLUX_AUTO"][0] == pytest.approx(clean["FLUX_AUTO"][0], rel=0.01)
    beside = detect(noisy + star(shape, 52.0, 50.0, 1e4), np.ones(shape), None, noisecov=WHITE, fwhm=FWHM).columns
    assert beside["FLUX_AUTO"] == pytest.approx([1e4, 1e4], rel=0.03)
    radius = math.sqrt(np.sum(clean["FLUXERR_AUTO"][0] ** 2) / math.pi)  # white noise: the aperture's area
    assert 2.0 * FWHM < radius < 3.5 * FWHM


def test_own_sum_mirrors_what_is_not_the_source_s_and_sums_pairs() -> None:
    data = np.arange(25.0).reshape(5, 5)
    good, labels = np.ones((5, 5), bool), np.zeros((5, 5), np.int64)
    good[1, 1], labels[2, 3], labels[2, 1] = False, 2, 3  # mirrored; two neighbours at mirrored positions: not counted
    covariance = np.zeros((7, 7))
    covariance[3, 3], covariance[3, 2], covariance[3, 4] = 0.6, 0.2, 0.2
    target = 1, (1, 1), np.array([2.2, 1.9])
    noise = np.where(good & (labels == 0), 4.0, 1e6)
    total, variance = kernels.own_sum((data, noise), good, labels, target, np.ones((3, 3)), covariance)
    assert total == data[1:4, 1:4].sum() - data[1, 1] + data[3, 3] - data[2, 1] - data[2, 3]
    # for (0, 1, 1), (0, 1, 0), (1, 1, 2): squares, and products of neighbours in a row
    assert variance == pytest.approx(4.0 * (9 * 0.6 + 2 * 4 * 0.2))


def test_kron_apertures_end_with_the_image_and_where_nothing_tells_their_size() -> None:
    image = star((40, 40), 38.0, 20.0, 1e4)
    columns = detect(image, np.ones(image.shape), None, noisecov=WHITE, fwhm=FWHM).columns
    assert columns["FLUX_AUTO"][0] == pytest.approx(image.sum(), rel=0.05)
    sources = np.array([[20.0, 20.0, 1.0, 1.0, 0.0], [20.0, 20.0, 3.0, 3.0, 0.0]])
    ring, radii = np.zeros((41, 41)), np.empty(2)
    ring[20, 20], ring[20, 15], ring[20, 25] = -9.9, 5.0, 5.0
    labels = np.zeros(ring.shape, np.int64)
    kernels.kron_radii(ring, np.ones(ring.shape, bool), labels, 1, sources, (6.0, 2.5, 1.4), radii)
    assert np.all(np.isnan(radii))
    kernels.kron_radii(-ring, np.ones(ring.shape, bool), labels, 1, sources, (6.0, 2.5, 1.4), radii)
    assert radii == pytest.approx([3.5, 3.5])


def test_threads_change_nothing() -> None:
    image, places, _ = field(7, 800.0, 6000.0)
    image += noise(3, None)
    hot = np.zeros(image.shape, bool)
    for k in (3, 40, 41):
        hot[int(places[k, 1]), int(places[k, 0])] = True
    bad = np.random.default_rng(1).random(image.shape) < 0.01
    one, three = (
        detect(
            image, np.full(image.shape, SIGMA**2), bad, noisecov=WHITE, fwhm=FWHM, saturated=hot, threads=threads
        ).columns
        for threads in (1, 3)
    )
    assert one["NUMBER"].size > 350 and all(one[name].tobytes() == three[name].tobytes() for name in COLUMNS)


def test_small_islands_are_no_sources_and_leave_no_labels() -> None:
    image = star((60, 60), 40.0, 40.0, 1e4)
    image[10, 10] = 40.0  # a single pixel; fewer than five exceed the threshold after smoothing
    both = search(Image.of(image, np.ones(image.shape), None, WHITE, 1.0), np.zeros(image.shape, np.uint8), 4.5)
    assert both is not None and both.labels.max() == 1 and both.labels[10, 10] == 0
    assert np.array_equal(np.argwhere(both.labels), np.column_stack([both.y, both.x]))
