"""The keyhole: geometry, alignment on frames, sub-arrays, outlines on the sky."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import nirred_gnirs
from nirred.plugin import MaskInput
from nirred.testing.headers import headers_from_text
from nirred_gnirs.keyhole import SHAPE, Keyhole, keyhole, unlit

NO_SHIFT = {"xshift": 0.0, "yshift": 0.0}

# Camera, filter, pixels as measured.
MEASURED = [
    ("LongBlue_G5542", "JPHOT", 205000),
    ("LongBlue_G5542", "J", 275000),
    ("LongRed_G5543", "KPHOT", 198000),
    ("LongRed_G5543", "K", 272000),
    ("ShortBlue_G5538", "YPHOT", 25000),
    ("ShortBlue_G5540", "J", 49000),
]


def known(camera: str = "ShortBlue_G5540", filter_name: str = "J") -> Keyhole:
    found = keyhole(camera, filter_name)
    assert found is not None
    return found


def describe(**cards: str) -> Any:
    (instrument,) = nirred_gnirs.nirred_instruments()
    text = instrument.examples[0]
    extra = "".join(f"{k:8}= {v}\n" for k, v in cards.items())
    return nirred_gnirs.nirred_describe(headers_from_text(extra + text))


def frame(lit: np.ndarray, level: float = 2000.0, noise: float = 10.0, seed: int = 1) -> np.ndarray:
    """Light where it falls, noise, and a thousand hot pixels."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0.0, noise, lit.shape) + level * lit
    image[rng.integers(0, lit.shape[0], 1000), rng.integers(0, lit.shape[1], 1000)] += 5000.0
    return image.astype(np.float32)


SHORT_RED = ("ShortRed_G5539", "K")


@pytest.mark.parametrize(("camera", "filter_name", "pixels"), MEASURED)
def test_e8_as_many_pixels_are_lit_as_were_measured(camera: str, filter_name: str, pixels: int) -> None:
    found = known(camera, filter_name)
    assert found.pixels == pixels
    assert np.count_nonzero(found.lit()) == pytest.approx(pixels, rel=0.05)


def test_e8_the_red_cameras_see_the_same_hole_as_the_blue_ones() -> None:
    """Pixels go with the square of the scale: what was measured of three cameras tells those of the fourth."""
    short, red = known(), known(*SHORT_RED)
    long, long_red = known("LongBlue_G5542"), known("LongRed_G5543", "K")
    assert long_red.pixels == pytest.approx(long.pixels * (0.05071 / 0.05095) ** 2, rel=0.01)
    expected = short.pixels * (0.15170 / 0.15) ** 2
    assert np.count_nonzero(red.lit()) == pytest.approx(expected, rel=0.02)
    assert red.pixels == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("camera", "filter_name"), [*(m[:2] for m in MEASURED), SHORT_RED])
def test_the_middle_is_lit_and_the_corners_are_not(camera: str, filter_name: str) -> None:
    found = known(camera, filter_name)
    lit = found.lit()
    assert lit[round(found.y), round(found.x)]
    assert not lit[[0, 0, -1, -1], [0, -1, 0, -1]].any()


def test_wings_are_what_photometric_filters_cut() -> None:
    wide, narrow = known().lit(), known(filter_name="JPHOT").lit()
    assert wide[:, 200].any() and not narrow[:, 200].any()
    assert keyhole("ShortRed_G5539", "KPHOT") is keyhole("Other_G1", "J") is keyhole(None, None) is None


def test_disc_is_below_the_bar() -> None:
    y, x = np.nonzero(known().lit())
    low = y == y.min()
    assert (y.min(), x[low].mean()) == pytest.approx(
        (372, 509), abs=2
    )  # as observed: rows 370 to 386, columns near 506


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (5, -3), (-14, 20), (30, 25)])
@pytest.mark.parametrize(("camera", "filter_name"), [("ShortBlue_G5540", "J"), ("LongBlue_G5542", "JPHOT")])
def test_mask_is_aligned_on_the_frames(camera: str, filter_name: str, dx: int, dy: int) -> None:
    lit = known(camera, filter_name).lit()
    true = np.roll(lit, (dy, dx), (0, 1))
    described = describe(CAMERA=f"'{camera}'", FILTER2=f"'{filter_name}_G1'")
    mask = unlit(MaskInput(SHAPE, described, frozenset(), [frame(true, seed=s) for s in (1, 2)]), NO_SHIFT)
    wrong = np.count_nonzero(mask == true)
    assert wrong < 0.01 * np.count_nonzero(true)  # a displacement by half a pixel


@pytest.mark.parametrize("level", [60.0, 60000.0])
@pytest.mark.parametrize(("camera", "filter_name"), [m[:2] for m in MEASURED if m[0] != "ShortBlue_G5538"])
def test_mask_ends_where_the_light_has_fallen_to_half(camera: str, filter_name: str, level: float) -> None:
    """The hole's edge is out of focus: far above the noise, light is seen pixels beyond it."""
    from scipy.ndimage import gaussian_filter

    true = np.roll(known(camera, filter_name).lit(), (9, -6), (0, 1))
    light = gaussian_filter(true.astype(np.float32), 3.0)
    described = describe(CAMERA=f"'{camera}'", FILTER2=f"'{filter_name}_G1'")
    mask = unlit(
        MaskInput(SHAPE, described, frozenset(), [frame(light, level, seed=s) for s in (1, 2, 3, 4)]), NO_SHIFT
    )
    assert np.count_nonzero(mask == true) < 0.006 * np.count_nonzero(true)


@pytest.mark.parametrize("level", [600.0, 30000.0])
@pytest.mark.parametrize(("camera", "filter_name"), [("ShortBlue_G5540", "J"), ("LongBlue_G5542", "JPHOT")])
def test_mask_is_aligned_in_spite_of_the_quadrants_zero_levels(camera: str, filter_name: str, level: float) -> None:
    """Lamp frames still have their dark pattern: a bright quadrant is connected with the keyhole, and larger."""
    lit = known(camera, filter_name).lit()
    true = np.roll(lit, (-7, 6), (0, 1))
    levels = np.zeros(SHAPE)
    levels[511:, 512:], levels[:511, 512:], levels[511:, :512] = 200.0, 80.0, -60.0
    described = describe(CAMERA=f"'{camera}'", FILTER2=f"'{filter_name}_G1'")
    frames = [(frame(true, level, seed=s) + levels).astype(np.float32) for s in (1, 2)]
    mask = unlit(MaskInput(SHAPE, described, frozenset(), frames), NO_SHIFT)
    assert np.count_nonzero(mask == true) < 0.01 * np.count_nonzero(true)


def test_a_bright_quadrant_is_not_the_keyhole() -> None:
    said: list[str] = []
    dark = np.zeros(SHAPE)
    dark[511:, 512:] = 1.0
    given = MaskInput(SHAPE, describe(), frozenset(), [frame(dark, 200.0)], remark=said.append)
    assert np.array_equal(unlit(given, NO_SHIFT), ~known().lit())
    assert said == ["the keyhole is not visible in the frames: its mask is put at its usual position"]


def test_mask_moves_by_the_users_shift() -> None:
    given = MaskInput(SHAPE, describe(), frozenset(), [frame(known().lit())])
    still, moved = unlit(given, NO_SHIFT), unlit(given, {"xshift": 4.0, "yshift": -6.0})
    inside = np.s_[100:900, 100:900]
    assert np.count_nonzero(np.roll(still, (-6, 4), (0, 1))[inside] != moved[inside]) < 60


def test_dark_frames_give_the_usual_place_and_a_remark() -> None:
    said: list[str] = []
    given = MaskInput(SHAPE, describe(), frozenset(), [frame(np.zeros(SHAPE))], remark=said.append)
    assert np.array_equal(unlit(given, NO_SHIFT), ~known().lit())
    assert said == ["the keyhole is not visible in the frames: its mask is put at its usual position"]


def test_frames_too_dark_to_show_it_have_the_mask_of_their_flat() -> None:
    """The flat shows where the keyhole is now; that may be ten pixels from where it usually is."""
    said: list[str] = []
    dark = [frame(np.zeros(SHAPE))]
    given = MaskInput(SHAPE, describe(), frozenset(), dark, remark=said.append, flattened=True)
    assert not unlit(given, NO_SHIFT).any()
    assert said == ["the keyhole is not visible in the frames: the mask is that of their flat"]
    moved = unlit(given, {"xshift": 3.0, "yshift": 0.0})
    assert np.array_equal(moved, ~known().lit(shift=(3.0, 0.0)))


def test_unknown_cameras_have_no_mask_and_a_remark() -> None:
    said: list[str] = []
    given = MaskInput(SHAPE, describe(CAMERA="'Other_G1'"), frozenset(), [frame(known().lit())], remark=said.append)
    assert not unlit(given, NO_SHIFT).any()
    assert "Other_G1" in said[0]


def test_sub_arrays_show_their_part() -> None:
    part = np.s_[329:585, 379:635]
    true = np.roll(known().lit(), (3, -4), (0, 1))[part]
    section = {"DETSEC": "'[380:635,330:585]'"}
    text = nirred_gnirs.nirred_instruments()[0].examples[0].replace("1024", "256").replace("1022", "256")  # type: ignore[index]
    described = nirred_gnirs.nirred_describe(headers_from_text(f"DETSEC  = {section['DETSEC']}\n{text}"))
    mask = unlit(MaskInput((256, 256), described, frozenset(), [frame(true)]), NO_SHIFT)
    assert np.count_nonzero(mask == true) < 0.02 * np.count_nonzero(true)
    said: list[str] = []
    nowhere = unlit(MaskInput((100, 100), describe(), frozenset(), (), remark=said.append), NO_SHIFT)
    assert not nowhere.any() and "DETSEC" in said[0]


def test_outline_on_the_sky_is_of_the_lit_part() -> None:
    wcs = {"CTYPE1": "'RA---TAN'", "CTYPE2": "'DEC--TAN'", "CRPIX1": "512.", "CRPIX2": "512.", "CRVAL1": "150."}
    wcs |= {"CRVAL2": "2.", "CD1_1": "0.", "CD1_2": "4.214E-05", "CD2_1": "-4.214E-05", "CD2_2": "0."}
    text = "".join(f"{k:8}= {v}\n" for k, v in wcs.items()) + nirred_gnirs.nirred_instruments()[0].examples[0]  # type: ignore[index]
    outlines = nirred_gnirs.nirred_footprint(headers_from_text(text))
    assert outlines is not None and len(outlines) == 2
    area = 0.0
    for outline in outlines:
        x, y = (np.array(outline) - (150.0, 2.0)).T * 3600 / 0.1517
        area += abs(float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))) / 2
    assert area == pytest.approx(40800 + 14750, rel=0.03)  # the bar and the half disc, which overlap
    assert nirred_gnirs.nirred_footprint(headers_from_text(nirred_gnirs.nirred_instruments()[0].examples[0])) is None  # type: ignore[index]
    for place, known in (("'[1:1024,1:1022]'", True), ("'[1:100,1:100]'", False)):
        told = headers_from_text(f"DETSEC  = {place}\n{text}")
        assert (nirred_gnirs.nirred_footprint(told) is not None) == known, place  # one of another size is no place
