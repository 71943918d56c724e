"""Second and first registration: if they disagree, the one based on more stars is used."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.register import Registration
from nirred.algorithms.stars import StarList
from nirred.plugin import S
from nirred.steps.register import CONTESTED, AdjustWcs, _reconsidered


def at(dx: float, dy: float, n: int) -> Registration:
    return Registration(dx, dy, 0.1, 0.1, n_matched=n)


FIRST = [at(0, 0, 20), at(40, 30, 13), None]
GUESSES = np.array([(5.0, 5.0), (20.0, 20.0), (30.0, 0.0)])


@pytest.mark.parametrize(("stars", "taken"), [(7, True), (30, False)])
def test_frames_that_two_passes_place_apart(stars: int, taken: bool) -> None:
    asked = []

    def solve(places, sigma):
        asked.append((places.tolist(), sigma))
        return [at(0, 0, 20), at(40.1, 30.1, 12), at(25, -5, 9)], 0

    second = [at(0, 0, 20), at(-27, 10, stars), at(25, -5, 9)]
    found = _reconsidered(solve, GUESSES, second, 0, FIRST)
    assert asked == [([[0.0, 0.0], [40.0, 30.0], [25.0, -5.0]], CONTESTED / 5)]
    assert (found[1].dx == 40.1) is taken


def test_passes_that_agree_are_not_solved_again() -> None:
    second = [at(0, 0, 20), at(41, 29, 7), None]
    assert _reconsidered(pytest.fail, GUESSES, second, 0, FIRST) is second


@pytest.mark.parametrize("label", ["", "again"])
@pytest.mark.parametrize("final", [True, False])
def test_the_recipe_says_which_registration_is_final(make_group, label: str, final: bool) -> None:
    """Whatever the call is labelled: the final one knows the reference, and what cannot be registered goes."""
    group = make_group(["both"] * 3, [np.zeros((160, 160))] * 3)
    rng = np.random.default_rng(1)
    x, y, flux, one = *rng.uniform(20, 140, (2, 30)), np.linspace(900, 300, 30), np.ones(30)
    stars = [StarList(x + d, y, 0.01 * one, flux, 100 * one, 4 * one, 0 * one, flux, 1.0) for d in (0.0, 4.0)]
    group.registration.stars = dict(enumerate([[stars[0]], [stars[1]], [stars[0][:0]]]))
    AdjustWcs().apply(group, AdjustWcs.Params(final=final), S("adjust_wcs_to_reference", label=label))
    assert abs(group.frames[1].dx - group.frames[0].dx) == pytest.approx(4.0, abs=0.05)
    assert (group.registration.reference is not None) is final
    assert group.frames[2].alive is not final


@pytest.mark.parametrize("snr", [5.0, 100.0])
def test_frames_without_stars_stay_where_their_headers_say(make_group, snr: float) -> None:
    """Noise and what is left of cosmic rays are no stars; bright stars that do not match tell against the headers."""
    group = make_group(["both"] * 3, list(np.random.default_rng(2).normal(0, 10, (3, 160, 160))))
    one = np.ones(4)
    places = np.random.default_rng(1).uniform(20, 140, (3, 2, 4))
    group.registration.stars = {
        k: [StarList(x, y, 0.01 * one, 9 * one, snr * one, 4 * one, 0 * one, one, 1.0)]
        for k, (x, y) in enumerate(places)
    }
    AdjustWcs().apply(group, AdjustWcs.Params(), S("adjust_wcs_to_reference"))
    assert [f.alive for f in group.frames].count(True) == (3 if snr < 10 else 1)
    assert ("the frames show no stars: they are placed where their headers say" in group.remarks) is (snr < 10)


@pytest.mark.parametrize("snr", [7.0, 100.0])
def test_frames_that_fail_tell_nothing_if_the_reference_shows_no_sure_star(make_group, snr: float) -> None:
    """Noise hides the one faint star of some frames; clouds hide stars that the reference shows."""
    group = make_group(["both"] * 5, list(np.random.default_rng(2).normal(0, 10, (5, 160, 160))))
    one, rng = np.ones(2), np.random.default_rng(3)

    def star_list(x, y, value):
        return StarList(x, y, 0.01 * one, 9 * one, value * one, 4 * one, 0 * one, one, 1.0)

    seen = np.array([[80.0, 40.0], [30.0, 120.0]])
    lists = [star_list(*(seen + d), snr) for d in (0.0, 1.0)]
    lists += [star_list(*rng.uniform(20, 140, (2, 2)), 5.5)[:0] for _ in range(3)]
    group.registration.stars = {k: [found] for k, found in enumerate(lists)}
    AdjustWcs().apply(group, AdjustWcs.Params(), S("adjust_wcs_to_reference"))
    assert [f.alive for f in group.frames].count(True) == (5 if snr < 10 else 2)
    said = "the frames show hardly any stars: 3 of them are placed where their headers say"
    assert (said in group.remarks) is (snr < 10)


def test_frames_that_hardly_overlap_the_others_are_placed_together(make_group) -> None:
    """A mosaic of two fields without a star in common: nothing is lost, and each field is sharp."""
    group = make_group(["both"] * 6, [np.zeros((160, 160))] * 6)
    rng, one = np.random.default_rng(1), np.ones(30)
    east, west = rng.uniform(20, 140, (2, 2, 30))
    shifts = rng.uniform(-3, 3, (6, 2))
    for k, (frame, shift) in enumerate(zip(group.frames, shifts, strict=True)):
        x, y = (east if k < 3 else west) + shift[:, None]
        flux = np.linspace(900, 300, 30)
        stars = StarList(x, y, 0.01 * one, flux, 100 * one, 4 * one, 0 * one, flux, 1.0)
        group.registration.stars = {**(group.registration.stars or {}), k: [stars]}
        frame.info.wcs[0].wcs.wcs.crpix += (0.0 if k < 3 else 140.0, 0.0)
    AdjustWcs().apply(group, AdjustWcs.Params(), S("adjust_wcs_to_reference"))
    assert all(f.alive for f in group.frames) and group.registration.registered
    found = np.array([(f.dx, f.dy) for f in group.frames]) - shifts
    assert found[:3] == pytest.approx(np.tile(found[0], (3, 1)), abs=0.05)
    assert found[3:] == pytest.approx(np.tile(found[3], (3, 1)), abs=0.05)
    assert abs(found[3, 0] - found[0, 0]) == pytest.approx(140, abs=8) and len(group.remarks) == 1


@pytest.mark.parametrize("final", [True, False])
def test_the_size_of_a_frame_s_stars_is_that_of_those_in_common(make_group, final: bool) -> None:
    """Thirty patches of persistence outnumber the stars of the second frame."""
    group = make_group(["both"] * 3, [np.zeros((160, 160))] * 3)
    rng = np.random.default_rng(1)
    places, one = rng.uniform(20, 140, (2, 42)), np.ones(42)
    wide = np.where(np.arange(42) < 12, 4.4, 15.0)
    lists = [StarList(*places, 0.01 * one, 900 * one, 99 * one, w, 0 * one, one, 1.0) for w in (4 * one, wide, 4 * one)]
    group.registration.stars = {0: [lists[0][:12]], 1: [lists[1]], 2: [lists[2][:12]]}
    for frame, fwhm in zip(group.frames, (4.0, 15.0, 4.0), strict=True):
        frame.fwhm = fwhm
    AdjustWcs().apply(group, AdjustWcs.Params(final=final), S("adjust_wcs_to_reference"))
    assert [f.fwhm for f in group.frames] == pytest.approx([4.0, 4.4 if final else 15.0, 4.0], rel=0.01)
