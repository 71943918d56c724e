"""EMIR: two detectors in time, modes, masters, coordinates, rules."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

import nirred_emir
from nirred.headers import Headers
from nirred.plan.scan import scan
from nirred.plugin import CalibrationRule, Descriptors, Detector
from nirred.registry import Registry
from nirred.testing.headers import headers_from_text
from nirred_emir import rules
from nirred_emir.detector import H2RG, HAWAII2

EXAMPLE = nirred_emir.nirred_instruments()[0].examples[0]  # type: ignore[index]


def headers(path: str | None = None, **cards: Any) -> Headers:
    """The example header with other values of some keywords; None leaves one out."""
    own = dict(line.split("=", 1) for line in EXAMPLE.splitlines())
    own = {k.strip(): v.strip() for k, v in own.items()} | {k.replace("__", "-"): v for k, v in cards.items()}
    text = "\n".join(f"{k:<8}= {v}" for k, v in own.items() if v is not None)
    found = headers_from_text(text)
    found.path = Path(path) if path else None
    return found


def describe(path: str | None = None, **cards: Any) -> Descriptors:
    return nirred_emir.nirred_describe(headers(path, **cards))


def unsupported(path: str | None = None, **cards: Any) -> str:
    claim = nirred_emir.nirred_claim(headers(path, **cards))
    assert claim is not None
    return claim.unsupported


def detector(**cards: Any) -> Detector:
    (plane,) = nirred_emir.nirred_detectors(headers(**cards))
    return plane


def test_import_is_light() -> None:
    code = "import nirred_emir, sys; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"numpy", "astropy", "pydantic", "scipy", "numba", "yaml"}


# -- detectors ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("date", "name", "parts"),
    [
        ("2016-06-01T12:00:00", "HAWAII-2", 4),
        ("2023-03-10T11:59:59.99", "HAWAII-2", 4),
        ("2023-07-01T12:00:00", "H2RG", 32),
        ("2031-01-01T00:00:00", "H2RG", 32),
    ],
)
def test_detector_by_date(date: str, name: str, parts: int) -> None:
    plane = detector(DATE__OBS=f"'{date}'")
    assert (plane.epoch, len(plane.amplifiers), plane.shape) == (name, parts, (2048, 2048))
    assert (plane.gain, plane.read_noise, plane.saturation, plane.linearity) == (
        5.0,
        pytest.approx(28.45),
        55000.0,
        None,
    )
    covered = np.zeros((2048, 2048), int)
    for a in plane.amplifiers:
        covered[a.section.y1 : a.section.y2, a.section.x1 : a.section.x2] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize("size", [256, 500, 64])
@pytest.mark.parametrize("date", ["2018-01-01", "2024-01-01"])
def test_parts_of_a_smaller_read_out_are_those_of_the_arrays_centre(size: int, date: str) -> None:
    plane = detector(DATE__OBS=f"'{date}'", NAXIS1=size, NAXIS2=size)
    covered = np.zeros((size, size), int)
    for a in plane.amplifiers:
        covered[a.section.y1 : a.section.y2, a.section.x1 : a.section.x2] += 1
    assert (covered == 1).all()
    borders = {a.section.x1 for a in plane.amplifiers} - {0}
    assert all((b + 1024 - size // 2) % (64 if plane.epoch == "H2RG" else 1024) == 0 for b in borders)


@pytest.mark.parametrize(
    ("cards", "reason"),
    [
        ({"DATE__OBS": "'2023-03-10T12:00:00'"}, "no detector between 2023-03-10 and 2023-07-01"),
        ({"DATE__OBS": "'2023-07-01T11:59:59'"}, "no detector between 2023-03-10 and 2023-07-01"),
        ({"DATE__OBS": "'2015-01-01T00:00:00'"}, "no detector before 2016-06-01"),
        ({"DATE__OBS": None}, "no DATE-OBS: which detector is not known"),
        ({"INSCONF": f"'{H2RG.uuid}'"}, "INSCONF names the H2RG, which was not mounted on 2018-12-17"),
        ({"DATE__OBS": None, "INSCONF": f"'{H2RG.uuid}'"}, ""),
        ({"DATE__OBS": None, "TSUTC1": 1545091044.72}, ""),
        ({"INSCONF": f"'{HAWAII2.uuid.upper()}'"}, ""),
        ({"INSCONF": "'something'"}, ""),
        ({"GRISM": "'J       '"}, "spectrum"),
        ({"GRISM": "'J       '", "OBSMODE": "'IMAGE_DARK'"}, ""),
        ({"OBSMODE": "'STARE_SPECTRA'"}, "spectrum"),
        ({"GRISM": None}, ""),
    ],
)
def test_fate(cards: dict[str, Any], reason: str) -> None:
    assert unsupported(**cards) == reason


@pytest.mark.parametrize("clock", [{"TSUTC1": 1545091044.72}, {"MJD__OBS": 58469.99820278}])
@pytest.mark.parametrize("date_obs", [None, "'unknown'"])
def test_when_a_file_was_written_does_not_tell_the_detector(date_obs: str | None, clock: dict[str, Any]) -> None:
    cards = {"DATE__OBS": date_obs, "DATE": "'2024-05-01T00:00:00'", **clock}
    assert detector(**cards).name == "HAWAII-2"
    when = describe(**cards).ut_datetime
    assert when is not None and abs(when - datetime(2018, 12, 17, 23, 57, 24, 720000)) < timedelta(seconds=1)


def test_without_another_date_a_file_is_as_old_as_it_says() -> None:
    assert detector(DATE__OBS=None, TSUTC1=None, DATE="'2018-05-01T00:00:00'").name == "HAWAII-2"


# -- modes ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("mode", "role", "tags"),
    [
        ("STARE_IMAGE", "science", "EMIR IMAGE RAW"),
        ("FULL_DITHERED_IMAGE", "science", "EMIR IMAGE RAW"),
        ("IMAGE_SKY", "sky", "EMIR IMAGE RAW"),
        ("IMAGE_DARK", "dark", "EMIR DARK CAL RAW"),
        ("IMAGE_BIAS", "bias", "EMIR BIAS CAL RAW"),
        ("IMAGE_FLAT", "flat", "EMIR IMAGE FLAT CAL RAW"),
        ("IMG_ACQ", "acquisition", "EMIR IMAGE RAW"),
        ("TEST8", "other", "EMIR RAW"),
    ],
)
def test_modes(mode: str, role: str, tags: str) -> None:
    assert describe(OBSMODE=f"'{mode}'").role == role
    assert nirred_emir.nirred_tags(headers(OBSMODE=f"'{mode}'")) == set(tags.split())


def test_mode_from_the_files_name() -> None:
    assert describe("0001877553-20181217-EMIR-IMAGE_DARK.fits", OBSMODE=None).role == "dark"
    assert describe("odd.fits", OBSMODE=None).role == "science"


def test_pattern_and_identity() -> None:
    d = describe(NEXP=3, EXP=2, IMGOBBL=4, OBSBLOCK=2)
    assert [d.get(n) for n in ("exposures", "exposure", "position", "positions", "repetition")] == [3, 2, 4, 7, 2]
    assert (d.sequence_id, d.filter_name, d.band, d.read_mode) == ("18", "F1230", "J", "RAMP")
    assert d.ut_datetime == datetime(2018, 12, 17, 23, 57, 24, 720000)
    assert (d.ra, d.dec) == (pytest.approx(39.9752375), pytest.approx(-1.5759825))
    assert d.target_ra is None, "RA and DEC are those of the telescope, offsets included"


@pytest.mark.parametrize(
    ("ra", "dec", "found"),
    [
        ("'00:00:01.0'", "'-00:30:00'", (1 / 240, -0.5)),
        ("150.5", "2.25", (150.5, 2.25)),
        ("'25:00:00'", "'+91:00:00'", (None, None)),
        ("'x'", "T", (None, None)),
    ],
)
def test_positions(ra: str, dec: str, found: tuple[float | None, float | None]) -> None:
    d = describe(RA=ra, DEC=dec)
    for value, wanted in zip((d.ra, d.dec), found, strict=True):
        assert value == (None if wanted is None else pytest.approx(wanted))


# -- coordinates -----------------------------------------------------------------------------------------------------
def test_distortion_agrees_with_astropy() -> None:
    """Every term and the parity, to 0.01 px at any place; the corners are off by 48 px."""
    (plane,) = nirred_emir.nirred_wcs(headers())  # type: ignore[misc]
    oracle = WCS(fits.Header.fromstring("\n".join(EXAMPLE.splitlines()), sep="\n"))
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(0, 2047, 9), np.linspace(0, 2047, 9)))
    there = oracle.wcs_pix2world(x, y, 0)
    np.testing.assert_allclose(plane.wcs.wcs_world2pix(*there, 0), (x, y), atol=0.01)
    assert np.linalg.det(plane.wcs.wcs.cd) > 0, "the sky is mirrored"
    theta = np.radians(0.02)
    middle = plane.wcs.wcs_world2pix([[39.97524, -1.57598 + 0.02]], 1)[0] - (1022.46, 1016.55)
    linear = np.degrees(theta) / np.hypot(5.396e-5, 5.2e-8)
    assert np.hypot(*middle) / linear == pytest.approx(1 + 14584.8 * theta**2 + 1755295542.4 * theta**4, rel=1e-6)


def test_no_coordinates_for_calibrations() -> None:
    assert nirred_emir.nirred_wcs(headers(OBSMODE="'IMAGE_DARK'")) is None
    assert nirred_emir.nirred_wcs(headers(CD1_1="'x'")) is None


# -- the observatory's masters -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("path", "recipe", "kind", "role"),
    [
        ("a.fits", "'IntensityFlatRecipe2'", "flat", "flat"),
        ("a.fits", "'emirdrp.recipes.image.DarkRecipe'", "dark", "dark"),
        ("a.fits", "'CosmeticsRecipe'", "bpm", "bpm"),
        ("master_bpm.fits", None, "bpm", "bpm"),
        ("master_dark_zeros.fits", None, "dark", "dark"),
        ("master_flat_spec.fits", None, "flat", "flat"),
        ("reduced_image.fits", "'StareImageRecipe2'", "", "science"),
    ],
)
def test_masters_are_known_by_recipe_or_name(path: str, recipe: str | None, kind: str, role: str) -> None:
    cards = {"NUMRNAM": recipe} if recipe else {}
    d = describe(path, **cards)
    assert (d.get("master"), d.role) == (kind, role)
    assert "PROCESSED" in nirred_emir.nirred_tags(headers(path, **cards))
    assert (d.exposure_time is None) == bool(kind)


def write(path: Path, data: np.ndarray, **cards: Any) -> Path:
    header = fits.Header.fromstring("\n".join(EXAMPLE.splitlines()), sep="\n")
    header.update(cards)
    fits.writeto(path, data.astype(np.float32), header)
    return path


def read(path: Path, kind: str, **cards: Any) -> Any:
    return nirred_emir.nirred_read_calibration(path, kind, Headers.read(path), describe(**cards))


def test_reading_masters(tmp_path: Path) -> None:
    """Darks are of one second; any value above 0 is a bad pixel; a flat of 0 is none."""
    values = np.array([[0.0, 2.0], [np.nan, 1.0]])
    dark = read(write(tmp_path / "master_dark.fits", values), "dark")
    assert (dark.unit, dark.planes[0].data[0, 1]) == ("adu", pytest.approx(2 * 29.99926))
    assert dark.planes[0].dq.tolist() == [[0, 0], [1, 0]]
    assert read(write(tmp_path / "master_bpm.fits", values), "bpm").planes[0].dq.tolist() == [[0, 1], [1, 1]]
    assert read(write(tmp_path / "master_flat.fits", values), "flat").planes[0].dq.tolist() == [[1, 0], [1, 0]]
    assert read(write(tmp_path / "own_flat.fits", values, NIRRED="0.1.0"), "flat") is None


def test_a_mask_and_a_dark_of_zeros_are_no_copies(tmp_path: Path) -> None:
    """Only their names tell them apart; a second mask with the same content is a copy."""
    for name in ("bpm_zeros", "dark_zeros", "bpm_zeros_2"):
        write(tmp_path / f"master_{name}.fits", np.zeros((2, 2)))
    records = scan(sorted(tmp_path.iterdir()), Registry.discover())
    copies = {r.path.name: r.reason for r in records if r.verdict == "duplicate"}
    assert copies == {"master_bpm_zeros_2.fits": "same content as master_bpm_zeros.fits"}


@pytest.mark.parametrize(
    ("cards", "seconds"),
    [
        ({"DARKTIME": 31.5}, 31.5),
        ({"EXPTIME": None, "EXPOSED": 12.0}, 12.0),
        ({"EXPTIME": None, "EXPOSED": 12.0, "DARKTIME": 13.0}, 13.0),
        ({"EXPTIME": None}, 1.0),
        ({"EXPTIME": 0.0}, 0.0),
    ],
)
def test_a_dark_is_scaled_by_the_time_it_ran(tmp_path: Path, cards: dict[str, Any], seconds: float) -> None:
    dark = read(write(tmp_path / "master_dark.fits", np.full((2, 2), 2.0)), "dark", **cards)
    assert dark.planes[0].data[0, 0] == pytest.approx(2.0 * seconds)


@pytest.mark.parametrize(
    ("cards", "level"),
    [
        ({"NUMRNAM": "DarkRecipe", "EXPTIME": 10.0}, 2 * 2.999926),
        ({"NUMRNAM": "emirdrp.recipes.DarkRecipe", "EXPTIME": 10.0, "DARKTIME": 20.0}, 2 * 1.499963),
        ({"EXPTIME": 10.0}, 2 * 29.99926),
    ],
)
def test_a_dark_of_the_observatorys_recipe_is_of_its_exposure(
    tmp_path: Path, cards: dict[str, Any], level: float
) -> None:
    """The recipe does not divide by the time, although its corrector multiplies by it."""
    dark = read(write(tmp_path / "master_dark.fits", np.full((2, 2), 2.0), **cards), "dark")
    assert dark.planes[0].data[0, 0] == pytest.approx(level)


def test_a_flat_names_pixels_that_no_mask_does(tmp_path: Path) -> None:
    """A dead pixel and a dead channel are bad, a dark corner is not."""
    flat = np.random.default_rng(1).normal(1, 0.03, (512, 512))
    flat *= np.linspace(0.7, 1.1, 512)
    flat[100, 100], flat[200, 300] = 0.5, 1.8
    flat[:, 128:192] *= 0.02
    dq = read(write(tmp_path / "master_flat.fits", flat), "flat").planes[0].dq
    expected = np.zeros(flat.shape, bool)
    expected[100, 100] = expected[200, 300] = True
    expected[:, 128:192] = True
    np.testing.assert_array_equal(dq != 0, expected)


@pytest.mark.parametrize(
    ("name", "says_nothing"),
    [
        ("master_flat_ones.fits", True),
        ("master_bpm_zeros.fits", True),
        ("master_flat_spec.fits", False),
        ("zones.fits", False),
        ("field_ones.fits", False),
    ],
)
def test_placeholders_are_known_by_name(name: str, says_nothing: bool) -> None:
    assert describe(name).get("placeholder") is says_nothing


# -- rules -------------------------------------------------------------------------------------------------------------
def kinds(**cards: Any) -> dict[str, CalibrationRule]:
    tags, descriptors = nirred_emir.nirred_tags(headers(**cards)), describe(**cards)
    found: dict[str, CalibrationRule] = {}
    for rule in nirred_emir.nirred_calibration_rules():
        if rule.applies(tags, descriptors):
            found.setdefault(rule.kind, rule)
    return found


def test_calibrations_that_a_frame_asks_for() -> None:
    assert set(kinds()) == {"dark", "flat", "bpm"}
    assert set(kinds(OBSMODE="'IMAGE_FLAT'")) == {"dark", "bpm", "bpm_dark"}
    assert set(kinds(OBSMODE="'IMAGE_DARK'")) == {"bpm"}
    assert [k for k, r in kinds().items() if not r.optional] == ["flat"]


def test_step_defaults_are_valid_and_rules_match_what_exists() -> None:
    from nirred.steps import CORE_STEPS

    steps = {step.name: step for step in CORE_STEPS}
    for name, values in rules.STEP_DEFAULTS.items():
        steps[name].Params(**values)
    assert {m.descriptor for r in rules.RULES for m in r.match} <= set(describe().names())


def test_own_steps_are_in_the_recipe() -> None:
    from nirred.recipes import recipe_for

    registry = Registry()
    assert registry.add(nirred_emir, "emir").error == ""
    names = [c.name for c in recipe_for("reduce", registry, nirred_emir.nirred_tags(headers())).steps]
    assert names.index("associate_sky") + 1 == names.index("level_amplifiers_far")
    assert names.index("sky_correct_first") + 1 == names.index("level_amplifiers_first")
    assert names.index("mask_objects") + 1 == names.index("correct_illumination")
    assert names.index("sky_correct") + 1 == names.index("level_amplifiers")
    assert registry.simulations()["emir"].variants.keys() == {"hawaii-2", "h2rg"}
