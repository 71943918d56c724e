from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.correlate import cross_correlate
from nirred.algorithms.register import Registration, match_offset
from nirred.algorithms.sequence import solve_offsets
from nirred.algorithms.stars import StarList
from nirred.algorithms.triangles import match_triangles


def star_list(
    x: np.ndarray, y: np.ndarray, flux: np.ndarray, error: np.ndarray | list[float] | float = 0.02
) -> StarList:
    order = np.argsort(-flux)
    one = np.ones(x.size)
    return StarList(
        x=x[order],
        y=y[order],
        position_error=(one * error)[order],
        flux=flux[order],
        snr=50 * one,
        fwhm=4 * one,
        ellipticity=0 * one,
        peak=flux[order],
        noise=1.0,
    )


def sky(n: int, seed: int, size: float = 1000.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(0, size, n), rng.uniform(0, size, n), np.exp(rng.uniform(5, 9, n))


def turned(x: np.ndarray, y: np.ndarray, angle: float, centre: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    c, s = np.cos(angle), np.sin(angle)
    u, v = x - centre[0], y - centre[1]
    return c * u - s * v + centre[0], s * u + c * v + centre[1]


def check(found: Registration | None, dx: float, dy: float, tolerance: float) -> Registration:
    assert found is not None
    assert (found.dx, found.dy) == (pytest.approx(dx, abs=tolerance), pytest.approx(dy, abs=tolerance))
    return found


@pytest.mark.parametrize("n", [2, 3, 20, 300])
def test_offset_with_noise_and_strangers(n: int) -> None:
    rng = np.random.default_rng(n)
    x, y, flux = sky(n, n)
    extra = sky(max(1, n // 3), n + 1000)
    reference = star_list(x, y, flux)
    frame_x = np.append(x + 13.37 + rng.normal(0, 0.02, n), extra[0])
    frame_y = np.append(y - 8.62 + rng.normal(0, 0.02, n), extra[1])
    frame = star_list(frame_x, frame_y, np.append(0.8 * flux, extra[2]))
    found = check(match_offset(reference, frame, (10.0, -5.0), 20.0), 13.37, -8.62, 5 * 0.03 / np.sqrt(n))
    assert found.n_matched >= 0.9 * n
    assert 0.4 * 0.0288 / np.sqrt(n) < found.dx_err < 3 * 0.0288 / np.sqrt(n)


def test_uneven_depth() -> None:
    x, y, flux = sky(200, 5)
    deep = star_list(x, y, flux)
    bright = flux > np.sort(flux)[-8]
    shallow = star_list(x[bright] + 4, y[bright] - 3, 30 * flux[bright])
    check(match_offset(deep, shallow, (0, 0), 20.0), 4, -3, 1e-6)
    check(match_offset(shallow, deep, (0, 0), 20.0), -4, 3, 1e-6)


def test_a_single_star_needs_a_trusted_guess_and_like_brightness() -> None:
    one, other = star_list(*sky(1, 1)), star_list(*[a + d for a, d in zip(sky(1, 1), (3.0, -2.0, 0.0))])
    check(match_offset(one, other, (0, 0), 10.0), 3, -2, 1e-9)
    assert match_offset(one, other, (0, 0), 10.0, trust_guess=False) is None
    assert match_offset(one, other, (50, 0), 10.0) is None
    faint = star_list(other.x, other.y, other.flux / 10)
    assert match_offset(one, faint, (0, 0), 10.0) is None


def test_unrelated_or_empty_lists_do_not_match() -> None:
    empty = star_list(np.empty(0), np.empty(0), np.empty(0))
    matches = 0
    for seed in range(20):
        a, b = star_list(*sky(40, seed)), star_list(*sky(40, seed + 100))
        matches += match_offset(a, b, (0, 0), 30.0, trust_guess=False) is not None
        matches += match_triangles(a, b) is not None
        assert match_offset(a, empty) is None and match_triangles(empty, a) is None
    assert matches <= 1


def test_one_wild_position_is_clipped() -> None:
    x, y, flux = sky(15, 3)
    shifted = x + 5.0
    shifted[4] += 0.9
    found = match_offset(star_list(x, y, flux), star_list(shifted, y, flux), (5, 0), 10.0)
    assert check(found, 5.0, 0.0, 1e-6).n_matched == 14


@pytest.mark.parametrize("angle", [0.002, 0.3, -2.5])
def test_triangles_find_any_rotation(angle: float) -> None:
    x, y, flux = sky(30, 7)
    rng = np.random.default_rng(1)
    xt, yt = turned(x, y, angle, (500, 500))
    frame = star_list(xt + 120.3 + rng.normal(0, 0.02, 30), yt - 77.7 + rng.normal(0, 0.02, 30), flux)
    found = check(match_triangles(star_list(x, y, flux), frame, centre=(500, 500)), 120.3, -77.7, 0.03)
    assert found.rotation == pytest.approx(angle, abs=1e-4) and found.method == "triangles"
    assert match_triangles(star_list(x, y, flux), frame, max_rotation=0.001) is None


def test_small_rotation_is_fitted_when_asked() -> None:
    x, y, flux = sky(60, 8)
    xt, yt = turned(x, y, 0.001, (500, 500))
    frame = star_list(xt + 3, yt + 2, flux)
    found = match_offset(star_list(x, y, flux), frame, (0, 0), 10.0, fit_rotation=True, centre=(500, 500))
    assert check(found, 3, 2, 1e-3).rotation == pytest.approx(0.001, abs=1e-6)


def blobs(size: int, x: np.ndarray, y: np.ndarray, sigma: float = 6.0) -> np.ndarray:
    rows, columns = np.indices((size, size))
    image = np.zeros((size, size))
    for xs, ys in zip(x, y):
        image += 5 * np.exp(-((columns - xs) ** 2 + (rows - ys) ** 2) / (2 * sigma**2))
    return image


def test_correlation_of_faint_extended_light() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.uniform(50, 206, 12), rng.uniform(50, 206, 12)
    a = (blobs(256, x, y) + rng.normal(0, 3, (256, 256))).astype(np.float32)
    b = (blobs(256, x + 7.3, y - 4.6) + rng.normal(0, 3, (256, 256))).astype(np.float32)
    bad = rng.random(a.shape) < 0.01
    a[bad] = 1e5
    b[bad] = np.nan
    found = check(cross_correlate(a, b, bad, bad, guess=(5, -5), max_shift=12), 7.3, -4.6, 0.4)
    assert found.method == "correlation"
    noise = rng.normal(0, 1, (2, 200, 200)).astype(np.float32)
    assert cross_correlate(noise[0], noise[1], max_shift=10) is None
    assert cross_correlate(np.full((9, 9), np.nan, np.float32), noise[1][:9, :9], max_shift=3) is None
    with pytest.raises(ValueError, match="shapes"):
        cross_correlate(noise[0], noise[1][:9], max_shift=3)


def test_cosmic_rays_of_two_frames_and_slopes_of_their_skies_do_not_correlate() -> None:
    rng = np.random.default_rng(4)
    rows, columns = np.mgrid[:400, :400] / 200 - 1
    pair = rng.normal(0, 3, (2, 400, 400)) + 6 * rows * columns
    for image in pair:
        y, x = rng.integers(1, 397, (2, 400))
        for step in range(2):  # tracks of two pixels
            image[y + step, x + rng.integers(0, 2, 400)] += rng.exponential(3000, 400)
    a, b = pair.astype(np.float32)
    assert cross_correlate(a, b, guess=(60, 40), max_shift=45) is None
    star = 400 * np.exp(-((columns * 200) ** 2 + (rows * 200) ** 2) / 2 / 1.5**2)
    a += star.astype(np.float32)
    b += np.roll(star, (35, 70), (0, 1)).astype(np.float32)
    check(cross_correlate(a, b, guess=(60, 40), max_shift=45), 70, 35, 0.2)


def test_two_pairs_that_contradict_each_other_in_brightness_are_no_match() -> None:
    x, y = np.array([100.0, 160.0]), np.array([50.0, 80.0])
    first = star_list(x, y, np.array([9000.0, 300.0]))
    second = star_list(x + 4, y - 3, np.array([300.0, 9000.0]))
    assert match_offset(first, second, (0, 0), 10.0) is None


def test_noise_in_a_small_illuminated_part_does_not_correlate() -> None:
    rng, shape = np.random.default_rng(8), (400, 400)
    dark = np.ones(shape, bool)
    dark[190:215, 50:350] = False
    star = np.exp(-((np.arange(400) - 200.0) ** 2) / 2 / 1.5**2)
    for _ in range(20):
        a, b = rng.normal(0, 50, (2, *shape)).astype(np.float32)
        assert cross_correlate(a, b, dark, dark, max_shift=15) is None
        a += 600 * np.outer(star, star).astype(np.float32)
        b += 600 * np.outer(np.roll(star, 3), np.roll(star, -9)).astype(np.float32)
        check(cross_correlate(a, b, dark, dark, max_shift=15), -9, 3, 1.0)


def night(n_frames: int, seed: int, errors: np.ndarray, angle: float = 0.0) -> tuple[list[StarList], np.ndarray]:
    rng = np.random.default_rng(seed)
    x, y, flux = sky(errors.size, 77)
    truth = rng.uniform(-40, 40, (n_frames, 2))
    lists = []
    for k in range(n_frames):
        xt, yt = turned(x, y, angle * k, (500, 500))
        seen = rng.random(errors.size) < 0.9
        noisy = [c + truth[k, a] + rng.normal(0, errors) for a, c in enumerate((xt, yt))]
        lists.append(star_list(noisy[0][seen], noisy[1][seen], flux[seen], errors[seen]))
    return lists, truth


def test_a_sequence_reaches_the_noise_of_its_stars() -> None:
    errors = 2.4 / np.exp(np.random.default_rng(4).uniform(np.log(20), np.log(100), 20))
    deviations, quoted = [], []
    for seed in range(6):
        lists, truth = night(9, seed, errors)
        guesses = truth + np.random.default_rng(seed + 50).normal(0, 1.0, truth.shape)
        found, reference = solve_offsets(lists, guesses, 1.0)
        offsets = np.array([[r.dx, r.dy] for r in found if r is not None])
        assert len(offsets) == 9 and found[reference].dx == 0.0
        difference = offsets - (truth - truth[reference])
        deviations.append(difference - difference.mean(axis=0))
        quoted.extend(r.dx_err for k, r in enumerate(found) if k != reference)
    rms = np.sqrt(np.mean(np.array(deviations) ** 2))
    limit = 1 / np.sqrt((1 / errors**2).sum() * 0.9)
    assert rms < 1.2 * limit
    assert np.mean(quoted) == pytest.approx(np.sqrt(2) * limit, rel=0.25)


def test_a_sequence_with_rotation() -> None:
    lists, truth = night(5, 3, np.full(40, 0.02), angle=0.0005)
    found, reference = solve_offsets(lists, truth, 1.0, fit_rotation=True, centre=(500, 500))
    for k, r in enumerate(found):
        assert r is not None and r.rotation == pytest.approx(0.0005 * (k - reference), abs=5e-5)
    middle = np.array([[r.dx, r.dy] for r in found])
    # The offset refers to the centre: a source there in the reference is the centre of rotation.
    for k in range(5):
        xs, ys = turned(500 - truth[reference, :1], 500 - truth[reference, 1:], 0.0005 * (k - reference), (500, 500))
        assert middle[k, 0] == pytest.approx(float(xs[0]) + truth[k, 0] - 500, abs=0.03)
        assert middle[k, 1] == pytest.approx(float(ys[0]) + truth[k, 1] - 500, abs=0.03)


def test_a_frame_without_stars_is_left_out_or_correlated() -> None:
    lists, truth = night(4, 9, np.full(15, 0.05))
    empty = star_list(np.empty(0), np.empty(0), np.empty(0))
    lists[2] = empty
    found, reference = solve_offsets(lists, truth, 1.0)
    assert found[2] is None and sum(r is None for r in found) == 1
    rng = np.random.default_rng(0)
    x, y = rng.uniform(40, 120, 8), rng.uniform(40, 120, 8)
    images = {}
    for k in (reference, 2):
        step = truth[k] - truth[reference]
        picture = blobs(160, x + step[0], y + step[1], 3.0) + rng.normal(0, 0.5, (160, 160))
        images[k] = (picture.astype(np.float32), np.zeros((160, 160), np.uint8))
    found, reference = solve_offsets(lists, truth, 1.0, images=lambda k: images[k])
    assert found[2] is not None and found[2].method == "correlation"
    check(found[2], *(truth[2] - truth[reference]), 0.3)


@pytest.mark.parametrize(("off", "registered"), [((3.0, -2.0), True), ((25.0, -30.0), False)])
def test_one_star_far_from_where_the_guesses_of_firm_matches_are_right_is_chance(
    off: tuple[float, float], registered: bool
) -> None:
    """As in a frame with a lamp on: its one source is noise, as bright as a star."""
    rng = np.random.default_rng(5)
    x, y, flux = sky(6, 5)
    dither = rng.uniform(-60, 60, (5, 2))
    lists = [star_list(x + dx, y + dy, flux) for dx, dy in dither + rng.normal(0, 1.0, (5, 2))]
    only = x[:1] + dither[2, 0] + off[0], y[:1] + dither[2, 1] + off[1]
    lists[2] = star_list(*only, flux[:1])
    found, reference = solve_offsets(lists, dither, 8.5)
    assert reference != 2 and all(found[k] is not None for k in (0, 1, 3, 4))
    assert (found[2] is not None) == registered


@pytest.mark.parametrize("n", [5, 8, 25])
def test_triangles_take_over_where_the_guess_is_far_off(n: int) -> None:
    """A shift of 300 px missing in the headers, a slight rotation and other stars: found, confirmed by brightness."""
    rng = np.random.default_rng(n)
    x, y, flux = sky(n, 40 + n)
    xt, yt = turned(x, y, 0.004, (500, 500))
    strange = sky(n // 3, 60 + n)
    frame = star_list(
        np.append(xt + 301.0 + rng.normal(0, 0.02, n), strange[0]),
        np.append(yt - 120.0 + rng.normal(0, 0.02, n), strange[1]),
        np.append(flux * rng.normal(1.0, 0.05, n), strange[2]),
        0.05,
    )
    lists = [star_list(x, y, flux, 0.02), frame]
    found, reference = solve_offsets(lists, np.zeros((2, 2)), 1.0, centre=(500, 500))
    assert reference == 0
    registration = check(found[1], 301, -120, 0.05)
    assert registration.method == "triangles" and registration.rotation == pytest.approx(0.004, abs=2e-4)


@pytest.mark.parametrize("n", [3, 6, 20, 60])
def test_unrelated_lists_are_never_registered(n: int) -> None:
    accepted = 0
    for seed in range(25):
        lists = [star_list(*sky(n, 1000 * n + 2 * seed + k)) for k in range(2)]
        found, reference = solve_offsets(lists, np.full((2, 2), 5000.0 * np.arange(2)[:, None]), 1.0)
        accepted += found[1 - reference] is not None
    assert accepted == 0


def test_triangles_that_only_geometry_supports_need_the_images() -> None:
    """Three equal triangles of different brightnesses: refused, unless the images correlate there."""
    x, y = np.array([100.0, 300.0, 180.0]), np.array([120.0, 150.0, 320.0])
    lists = [star_list(x, y, np.array([9.0, 3.0, 1.0])), star_list(x + 60, y + 40, np.array([1.0, 9.0, 3.0]))]
    guesses = np.zeros((2, 2))
    assert solve_offsets(lists, guesses, 1.0)[0].count(None) == 1
    shapes = [blobs(400, x + k * 60, y + k * 40, 3.0) for k in range(2)]
    rng = np.random.default_rng(2)
    noisy = [((s + rng.normal(0, 0.3, s.shape)).astype(np.float32), np.zeros(s.shape, np.uint8)) for s in shapes]
    found, reference = solve_offsets(lists, guesses, 1.0, images=lambda k: noisy[k])
    sign = 1.0 if reference == 0 else -1.0
    check(found[1 - reference], sign * 60, sign * 40, 0.05)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="guesses"):
        solve_offsets([], np.empty((0, 2)), 1.0)


@pytest.mark.parametrize("angle", [0.0, 0.002])
def test_a_walk_longer_than_the_field(angle: float) -> None:
    """Frames far from the reference share no star with it, but with the frames in between."""
    x, y, flux = sky(400, 9)
    truth = np.array([(90.0 * k, -70.0 * k) for k in range(6)])
    rng = np.random.default_rng(2)
    lists = []
    for k, (dx, dy) in enumerate(truth):
        u, v = turned(x, y, angle * k, (500.0, 500.0))
        u, v = u + dx + rng.normal(0, 0.02, x.size), v + dy + rng.normal(0, 0.02, x.size)
        seen = (u > 400) & (u < 600) & (v > 400) & (v < 600)
        lists.append(star_list(u[seen], v[seen], flux[seen]))
    found, reference = solve_offsets(
        lists, truth + rng.uniform(-3, 3, truth.shape), 2.0, fit_rotation=angle > 0, centre=(500.0, 500.0)
    )
    for k, one in enumerate(found):
        c, s = np.cos(angle * (k - reference)), np.sin(angle * (k - reference))
        turned_back = np.array([[c, -s], [s, c]]) @ truth[reference]
        wanted = truth[k] - turned_back
        check(one, *wanted, 1.0 if angle else 0.1)


def test_few_pairs_among_many_bright_stars_are_no_offset() -> None:
    """The error of the guess exceeds the search radius: chance agreements are not used."""
    rng = np.random.default_rng(4)
    for number in (6, 10, 30):
        for _ in range(15):
            x, y, flux = rng.uniform(60, 940, number), rng.uniform(60, 940, number), 10 ** rng.uniform(2, 4, number)
            lists = [star_list(x, y, flux), star_list(x + 60.0, y, flux)]
            assert match_offset(*lists, (0.0, 0.0), 42.0) is None


def test_one_star_that_outshines_faint_strays_is_enough() -> None:
    x, y, flux = np.array([500.0, 100.0, 800.0]), np.array([500.0, 700.0, 300.0]), np.array([1e4, 90.0, 80.0])
    moved = star_list(np.array([505.0, 640.0]), np.array([497.0, 220.0]), np.array([1e4, 85.0]))
    check(match_offset(star_list(x, y, flux), moved, (0.0, 0.0), 40.0), 5.0, -3.0, 0.01)


def test_one_star_that_outshines_many_faint_strays_is_enough() -> None:
    """Of a hundred random pairs some agree somewhere; they are not accepted, and do not hide the match."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        lists = []
        for dx, dy in ((0.0, 0.0), (12.0, -7.0)):
            x, y = rng.uniform(440, 560, (2, 10))
            flux = np.append(rng.uniform(60, 120, 10), 1e4)
            lists.append(star_list(np.append(x, 500.0 + dx), np.append(y, 500.0 + dy), flux))
        check(match_offset(*lists, (0.0, 0.0), 40.0), 12.0, -7.0, 0.2)
        assert match_offset(*lists, (60.0, 0.0), 40.0) is None


def test_one_bright_star_is_enough_though_a_brighter_one_lies_outside_the_other_frame() -> None:
    """A narrow field: two stars, one of which a dither moves off the detector, and false detections in both frames."""
    rng = np.random.default_rng(6)
    bright, strays = [(509.0, 397.0), (82.0, 1017.0)], rng.uniform(60, 960, (2, 2, 15))
    x, y = (np.append([star[axis] for star in bright], strays[0, axis]) for axis in (0, 1))
    reference = star_list(x, y, np.append([2e6, 3e6], np.full(15, 1.5e4)))
    moved = star_list(
        np.append(638.0, strays[1, 0]), np.append(677.0, strays[1, 1]), np.append(1.8e6, np.full(15, 2e4))
    )
    found = check(match_offset(reference, moved, (125.0, 270.0), 200.0), 129.0, 280.0, 0.01)
    assert found.n_matched == 1
    assert match_offset(reference, moved, (-60.0, 20.0), 40.0) is None
    alone = star_list(np.array([509.0, 640.0, 300.0]), np.array([397.0, 500.0, 900.0]), np.array([2e6, 1.9e6, 2e4]))
    assert match_offset(alone, moved, (125.0, 270.0), 200.0) is None  # two such stars are there, one is expected here


def test_two_stars_that_disagree_leave_the_better_one() -> None:
    """A cosmic ray moves the fainter of two stars by 0.7 px in one frame, which is registered with the other star."""
    x, y, flux, error = np.array([500.0, 600.0]), np.array([480.0, 500.0]), np.array([2e5, 3e4]), [0.001, 0.015]
    shifts = np.array([(0.0, 0.0), (21.0, -37.0), (-30.0, 4.0), (9.0, 33.0)])
    lists = [star_list(x + dx, y + dy + [0.0, 0.7 * (k == 2)], flux, error) for k, (dx, dy) in enumerate(shifts)]
    solved, reference = solve_offsets(lists, shifts, 2.0)
    for one, wanted in zip(solved, shifts - shifts[reference], strict=True):
        found = check(one, *wanted, 0.01)
        assert found.n_matched >= 1


def test_star_moved_by_a_cosmic_ray_does_not_move_the_frame() -> None:
    """The star with the smallest error, of six, is off by 0.4 px in one of five frames; it outweighs the others."""
    rng = np.random.default_rng(3)
    x, y, flux = sky(6, 3, 300.0)
    error = np.array([0.03, 0.06, 0.09, 0.2, 0.2, 0.3])[np.argsort(np.argsort(-flux))]
    lists, shifts = [], [(0.0, 0.0), (5.3, -2.1), (-4.2, 6.6), (8.8, 3.3), (-7.1, -5.2)]
    for k, (dx, dy) in enumerate(shifts):
        there_x, there_y = x + dx + rng.normal(0, error), y + dy + rng.normal(0, error)
        there_x[np.argmax(flux)] += 0.4 * (k == 3)
        lists.append(star_list(there_x, there_y, flux, error))
    solved, reference = solve_offsets(lists, np.array(shifts), 1.0)
    here = solved[3]
    assert here is not None
    assert here.dx == pytest.approx(shifts[3][0] - shifts[reference][0], abs=0.2)
    found = match_offset(lists[0], lists[3], (8.0, 3.0), 10.0)
    assert found is not None
    assert found.dx == pytest.approx(8.8, abs=0.2)


def test_a_chance_pair_with_the_reference_yields_to_a_firm_match_between() -> None:
    """The last frame shares no star with the reference, but one star of each is 4 pixels from a possible match."""
    rng = np.random.default_rng(4)
    x, y = np.repeat([0.0, 40.0, 80.0, 120.0], 3), np.tile([0.0, 47.0, 91.0], 4)  # no other pair is near
    flux = np.exp(rng.uniform(6, 9, 12))
    middle = star_list(x, y, flux, 0.1)
    first = star_list(np.append(x[:6], 300.0), np.append(y[:6], 300.0), np.append(flux[:6], 500.0), 0.005)
    last = star_list(np.append(x[6:], 304.0), np.append(y[6:], 300.0), np.append(flux[6:], 500.0), 0.1)
    found, reference = solve_offsets([first, middle, last], np.zeros((3, 2)), 2.0)
    assert reference == 0
    check(found[2], 0.0, 0.0, 0.1)


def turned_sequence(n: int, angles: list[float], seed: int = 4) -> list[StarList]:
    """Lists of one field, shifted and turned about (500, 500)."""
    rng = np.random.default_rng(seed)
    x, y, flux = sky(n, seed)
    lists = []
    for k, angle in enumerate(angles):
        u, v = turned(x, y, angle, (500.0, 500.0))
        noise = rng.normal(0, 0.02, (2, n))
        lists.append(star_list(u + 3.3 * k + noise[0], v - 1.7 * k + noise[1], flux))
    return lists


def test_the_stars_tell_a_turn_where_it_matters() -> None:
    angles = [0.0, 6e-4, -1.5e-3, 1e-4]
    lists = turned_sequence(60, angles)
    guesses = np.array([[3.3 * k, -1.7 * k] for k in range(4)])
    found, reference = solve_offsets(lists, guesses, 1.0, centre=(500.0, 500.0), least_turn=2e-4)
    turns = [r.rotation if r is not None else np.nan for r in found]
    expected = np.array(angles) - angles[reference]
    assert turns == pytest.approx([a if abs(a) > 2e-4 else 0.0 for a in expected], abs=5e-5)
    for k, r in enumerate(found):
        away = guesses[k] - guesses[reference]
        c, s = np.cos(angles[k] - angles[reference]), np.sin(angles[k] - angles[reference])
        here = guesses[k] - np.array([[c, -s], [s, c]]) @ guesses[reference]
        check(r, *(here if turns[k] else away), 0.02)
    plain, _ = solve_offsets(lists, guesses, 1.0, centre=(500.0, 500.0))
    assert all(r is not None and r.rotation == 0 for r in plain)


def test_few_stars_and_noise_tell_no_turn() -> None:
    guesses = np.array([[0.0, 0.0], [3.3, -1.7]])
    for n, angle in ((5, 2e-3), (60, 0.0)):
        found, _ = solve_offsets(turned_sequence(n, [0.0, angle]), guesses, 1.0, centre=(500.0, 500.0), least_turn=1e-6)
        assert [r.rotation if r is not None else None for r in found] == [0.0, 0.0]
