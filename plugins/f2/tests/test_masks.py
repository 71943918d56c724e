"""The illuminated disc and the guide probe's shadow."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nirred.plugin import Descriptors, MaskInput, Section
from nirred_f2.masks import MASKS, outside_disc, probe_shadow

REAL = Path(__file__).parents[4] / "shared" / "data" / "masks" / "f2_image_illumination.fits.bz2"
TAGS = frozenset({"F2", "IMAGE"})
FULL = 2048


def given(shape: tuple[int, int] = (FULL, FULL), images: Any = (), place: Section | None = None, **other: Any) -> Any:
    return MaskInput(shape, Descriptors(extra={"detector_section": place}), TAGS, images, **other)


def shadow(image: np.ndarray, *, flattened: bool = True, bad: np.ndarray | None = None) -> np.ndarray:
    bad = np.zeros(image.shape, np.uint8) if bad is None else bad
    return probe_shadow(given(image.shape, [image.astype(np.float32)], flattened=flattened, bad=[bad]), {})


@pytest.mark.skipif(not REAL.exists(), reason="the real mask is not on this machine")
def test_disc_is_the_observatorys() -> None:
    from astropy.io import fits

    with fits.open(REAL) as hdus:
        real = next(h.data for h in hdus if h.data is not None) != 0
    ours = outside_disc(given(), {})
    assert real.sum() == 757344
    assert abs(int(ours.sum()) - 757344) < 700
    differs = np.argwhere(real != ours)
    assert len(differs) < 700
    radius = np.hypot(differs[:, 1] - 1049.89, differs[:, 0] - 1055.0)
    assert np.abs(radius - 1054.44).max() < 2.0


def test_disc_moves_and_is_cut() -> None:
    still, moved = outside_disc(given(), {}), outside_disc(given(), {"xshift": 5.0, "yshift": -3.0})
    np.testing.assert_array_equal(moved[:-3, 5:], still[3:, :-5])
    part = outside_disc(given((300, 400), place=Section(50, 450, 10, 310)), {})
    np.testing.assert_array_equal(part, still[10:310, 50:450])


def test_disc_is_for_images_and_flats_but_not_for_darks() -> None:
    disc, probe = MASKS
    assert (disc.bit, disc.scope, probe.bit, probe.scope) == (64, "detector", 64, "frame")
    assert disc.for_tags <= TAGS | {"FLAT"} and "DARK" in disc.not_tags and "FLAT" not in disc.not_tags
    assert {"FLAT", "TWILIGHT"} <= probe.not_tags


# -- guide probe -------------------------------------------------------------------------------------------------
SIDE = 1024  # the lower left quarter of the array, with the rim of the disc in it
Y, X = np.mgrid[:SIDE, :SIDE] / (SIDE / 2) - 1.0


@cache
def draw(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((SIDE, SIDE), np.float32)


def sky(level: float = 5000.0, slope: float = 0.01, seed: int = 1) -> np.ndarray:
    """A flat-fielded sky with a gradient, its photon noise, and 20 e- of read noise and pattern."""
    mean = level * (1 + slope * X)
    return mean + np.sqrt(mean + 400.0) * draw(seed)


def probe(depth: float, reach: float = 0.6, soft: float = 0.05) -> np.ndarray:
    """Transmission behind an arm that comes from the upper left, its penumbra `soft` of the half field wide."""
    along, across = (X * -0.8 + Y * 0.6), (X * 0.6 + Y * 0.8)
    inside = np.minimum(along - (1 - reach), 0.35 - np.abs(across))
    return 1 - depth / (1 + np.exp(-inside / (0.25 * soft)))


def test_a_normal_frame_has_no_shadow() -> None:
    assert not shadow(sky()).any()


@pytest.mark.parametrize(("depth", "level"), [(0.1, 5000.0), (0.4, 5000.0), (0.9, 5000.0), (0.4, 400.0)])
def test_a_shadow_is_marked_to_where_it_ends(depth: float, level: float) -> None:
    light = probe(depth)
    found = shadow(sky(level) * light)
    lit = ~outside_disc(given((SIDE, SIDE)), {})
    dark = lit & (light < 1 - 0.05 - 0.1 * depth)
    assert found[dark].mean() > 0.99
    assert not found[lit & (light > 0.999)].mean() > 0.06
    assert not found[SIDE // 2 :, SIDE // 2 + 150 :].any()


def test_a_soft_rim_is_marked_as_far_as_it_shows() -> None:
    """What a rim takes of the sky beyond the mask is left in the stack; a hard rim costs less of the field."""
    lit, marked = ~outside_disc(given((SIDE, SIDE)), {}), []
    for soft in (0.05, 0.12):
        light = probe(0.25, soft=soft)
        found = shadow(sky() * light)
        assert np.percentile((1 - light)[lit & ~found], 99.9) < 0.001
        marked.append(float(found[lit].mean()))
    assert marked[0] < marked[1] < 1.2 * marked[0]


def test_a_quadrant_in_shadow() -> None:
    found = shadow(sky() * np.where((X > 0.1) & (Y < -0.1), 0.7, 1.0))
    assert found[150, 750] and found[430, 950] and not found[750, 750]


def test_bad_pixels_and_stars_do_not_matter() -> None:
    image = sky() * probe(0.3)
    clean = shadow(image)
    rng = np.random.default_rng(3)
    image[rng.random(image.shape) < 0.02] = 0.0
    image[250:280, 750:780] += 3e5
    image[7, 900:950] = np.nan
    assert (shadow(image) != clean).mean() < 0.01


def nebula(width: float) -> np.ndarray:
    return np.exp(-((X - 0.1) ** 2 + Y**2) / (2 * width**2))


@pytest.mark.parametrize(
    "shape",
    [
        0.5 * nebula(0.2),  # a galaxy
        0.3 * nebula(0.6),  # a nebula that fills the field
        1.0 * nebula(1.0),
        0.5 * nebula(0.4),
        -0.15 * (X**2 + Y**2),  # a flat whose light falls off otherwise than the sky's: a ring all round the rim
        -0.03 * np.maximum(X, 0.0),  # a kink of 3 %
        np.where(X > 0, 0.02, -0.02),  # halves at levels of their own
        -0.3 * (np.hypot(X - 0.1, Y) < 0.2),  # a dark cloud amidst the field touches no rim
    ],
)
def test_other_structure_makes_no_shadow(shape: np.ndarray) -> None:
    assert not shadow(sky() * (1 + shape)).any()


def test_a_rim_that_the_flat_does_not_reach_is_no_shadow() -> None:
    """A smaller disc: its pixels are known to be bad, and were divided by next to nothing."""
    unlit = np.hypot(X - 1.05, Y - 1.06) > 2.0
    assert shadow(np.where(unlit, 20.0, sky())).any()
    assert not shadow(np.where(unlit, 20.0, sky()), bad=unlit.view(np.uint8)).any()


@pytest.mark.parametrize("level", [20.0, 100.0])
def test_too_little_sky_to_tell(level: float) -> None:
    image = sky(level)
    image[:512, :512] -= 15.0  # a quadrant whose zero level is off
    assert not shadow(image).any()


def test_frames_that_are_not_flat_fielded_or_tiny_tell_nothing() -> None:
    assert not shadow(sky() * probe(0.5), flattened=False).any()
    assert not shadow(np.full((40, 30), 1000.0)).any()
    assert not shadow(np.full((256, 256), np.nan)).any()
