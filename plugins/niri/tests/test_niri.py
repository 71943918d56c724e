"""NIRI: modes, levels, filters, offsets, rules, and a simulated raw file as the plugin sees it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import nirred_niri
from nirred.headers import Headers
from nirred.plugin import CalibrationRule, Descriptors, Detector, Section, gemini
from nirred.registry import Registry
from nirred.testing.headers import headers_from_text
from nirred_niri import rules

PRIMARY = """\
INSTRUME= 'NIRI    '
OBSTYPE = 'OBJECT  '
OBSCLASS= 'science '
CAMERA  = 'f6      '
FPMASK  = 'f6-cam_G5208'
FILTER1 = 'open    '
FILTER2 = 'H_G0203 '
FILTER3 = 'pupil38_G5207'
LNRS    = 16
NDAVGS  = 16
COADDS  = 1
EXPTIME = 20.002
A_VDDUC = -3.49
A_VDET  = -2.89
RA      = 150.0
DEC     = 2.0
PA      = 0.0
POFFSET = 3.0
QOFFSET = 4.0
INPORT  = 3
"""
EXTENSION = """\
--- extension ---
XTENSION= 'IMAGE   '
NAXIS   = 2
NAXIS1  = 1024
NAXIS2  = 1024
LOWROW  = 0
HIROW   = 1023
LOWCOL  = 0
HICOL   = 1023
CTYPE1  = 'RA---TAN'
CTYPE2  = 'DEC--TAN'
CRPIX1  = 512.0
CRPIX2  = 512.0
CRVAL1  = 150.0
CRVAL2  = 2.0
CD1_1   = -3.25E-05
CD1_2   = 0.0
CD2_1   = 0.0
CD2_2   = 3.25E-05
"""


def headers(**cards: Any) -> Headers:
    """A science frame with other values of some primary keywords; None leaves one out."""
    own = dict(line.split("=", 1) for line in PRIMARY.splitlines())
    changes = {k.ljust(8): v for k, v in cards.items() if k != "size"}
    lines = [f"{k}= {v}" for k, v in (own | changes).items() if v is not None]
    text = "\n".join(lines) + "\n" + EXTENSION
    size = cards.get("size", 1024)
    return headers_from_text(text.replace("1024", str(size)).replace("1023", str(size - 1)))


def detector(**cards: Any) -> Detector:
    (plane,) = nirred_niri.nirred_detectors(headers(**cards))
    return plane


def describe(**cards: Any) -> Descriptors:
    return nirred_niri.nirred_describe(headers(**cards))


def test_import_is_light() -> None:
    """Start-up loads every plugin: none of them may bring the heavy packages."""
    code = "import nirred_niri, sys; print(*sorted(sys.modules))"
    modules = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert "nirred_niri" in modules
    assert not modules & {"numpy", "astropy", "pydantic", "scipy", "numba", "erfa", "sqlalchemy"}


def test_registers_and_claims_its_example() -> None:
    found = Registry()
    info = found.add(nirred_niri, "niri", "nirred-niri")
    assert (info.error, info.instruments) == ("", ("niri",))
    (instrument,) = nirred_niri.nirred_instruments()
    assert found.claim(headers_from_text(instrument.examples[0]))[1].unsupported == ""


@pytest.mark.parametrize("name", ["'niri    '", "'NIRI'"])
def test_claims_in_any_case(name: str) -> None:
    assert nirred_niri.nirred_claim(headers(INSTRUME=name)) is not None
    assert nirred_niri.nirred_claim(headers(INSTRUME="'GNIRS   '")) is None
    assert nirred_niri.nirred_claim(headers(INSTRUME=None)) is None


@pytest.mark.parametrize(
    ("cards", "reason"),
    [
        ({}, ""),
        ({"FILTER3": "'Kgrism_G5204'"}, "spectrum"),
        ({"FILTER3": "'Kgrism_G5204'", "OBSTYPE": "'DARK'"}, ""),
        ({"OBSTYPE": "'ARC'"}, "arc"),
        ({"OBSTYPE": "'MASK'"}, "mask exposure"),
        ({"FILTER2": "'blank'"}, "image through a closed filter wheel: blank"),
    ],
)
def test_unsupported(cards: dict[str, str], reason: str) -> None:
    claim = nirred_niri.nirred_claim(headers(**cards))
    assert claim is not None and claim.unsupported == reason


@pytest.mark.parametrize(
    ("cards", "has", "lacks"),
    [
        ({}, "NIRI IMAGE RAW", "SPECT CAL FLAT DARK"),
        ({"OBSTYPE": "'DARK'"}, "NIRI DARK CAL", "IMAGE SPECT"),
        ({"OBSTYPE": "'FLAT'"}, "FLAT CAL IMAGE", "TWILIGHT"),
        ({"OBJECT": "'Twilight'"}, "TWILIGHT FLAT CAL IMAGE", "SPECT"),
        ({"FILTER3": "'Kgrism_G5204'", "OBJECT": "'Twilight'"}, "SPECT LS", "IMAGE FLAT TWILIGHT"),
        ({"OBSTYPE": "'ARC'"}, "ARC", "CAL"),
    ],
)
def test_tags(cards: dict[str, str], has: str, lacks: str) -> None:
    tags = nirred_niri.nirred_tags(headers(**cards))
    assert tags >= set(has.split())
    assert not tags & set(lacks.split())


@pytest.mark.parametrize(
    ("reads", "averages", "mode", "noise"),
    [
        (16, 16, "Low Background", 12.3),
        (1, 16, "Medium Background", 35.0),
        (1, 1, "High Background", 70.0),
        (4, 16, "Unknown", 35.0),
        (None, 16, "Unknown", 35.0),
    ],
)
@pytest.mark.parametrize("coadds", [1, 4])
def test_read_modes(reads: int | None, averages: int, mode: str, noise: float, coadds: int) -> None:
    cards = {"LNRS": reads, "NDAVGS": averages, "COADDS": coadds}
    assert describe(**cards).read_mode == mode
    assert detector(**cards).read_noise == pytest.approx(noise * coadds**0.5)


@pytest.mark.parametrize(
    ("low", "well", "saturation", "non_linear"),
    [
        ("-2.89", "Shallow", 16260, 11382),
        ("-2.62", "Deep", 22764, 15934),
        ("-2.0", "Unknown", None, None),
        ("'-2.602  '", None, None, None),
        (None, None, None, None),
    ],
)
def test_well_depths(low: str | None, well: str | None, saturation: int | None, non_linear: int | None) -> None:
    plane = detector(A_VDET=low)
    assert describe(A_VDET=low).well_depth_setting == well
    assert (plane.gain, plane.saturation, plane.non_linear) == (12.3, saturation, non_linear)


def test_levels_are_of_all_coadds() -> None:
    assert (detector(COADDS=10).saturation, detector(COADDS=10).coadds) == (int(2e6 / 12.3), 10)


def test_linearity_by_mode_rows_and_well() -> None:
    """Check value: Low Background, 10 s per coadd, 100000 e- -> 107289.0, times 10 / 11.2662732."""
    linearity = detector().linearity
    assert linearity is not None and not callable(linearity.coefficients)
    (terms,) = linearity.coefficients
    corrected = sum(c * 1e5 ** (i + 1) for i, c in enumerate(terms))
    assert corrected == pytest.approx(107289.0, abs=0.1)
    assert corrected * 10 / (10 + np.mean(linearity.time_delta)) == pytest.approx(95230.3, abs=0.1)
    assert linearity.valid_to == 147600.0
    small = detector(LNRS=1, size=256).linearity
    assert small is not None and small.time_delta == (0.01029262589,)


@pytest.mark.parametrize("cards", [{"size": 512}, {"LNRS": 4}, {"A_VDET": "-2.62"}, {"A_VDET": None}])
def test_modes_without_a_measured_curve(cards: dict[str, Any]) -> None:
    assert detector(**cards).linearity is None


@pytest.mark.parametrize(
    ("size", "section", "roi"),
    [
        (1024, Section(0, 1024, 0, 1024), "Full Frame"),
        (768, Section(128, 896, 128, 896), "Central768"),
        (256, Section(384, 640, 384, 640), "Central256"),
        (300, Section(362, 662, 362, 662), "Custom"),
    ],
)
def test_sub_arrays_are_centred(size: int, section: Section, roi: str) -> None:
    plane = detector(size=size)
    assert (plane.section, plane.shape) == (section, (size, size))
    assert describe(size=size).get("detector_roi_setting") == roi
    covered = np.zeros((size, size), int)
    for amplifier in plane.amplifiers:
        s = amplifier.section
        covered[s.y1 : s.y2, s.x1 : s.x2] += 1
    assert (covered == 1).all()


def test_prepared_files_state_their_own_numbers() -> None:
    plane = detector(PREPARE="'now'", GAIN="1.0", RDNOISE="20.0", SATLEVEL="199998.0", NONLINEA="139998.6")
    assert (plane.gain, plane.read_noise, plane.saturation, plane.non_linear) == (1.0, 20.0, 199998.0, 139998.6)
    assert detector(GAIN="1.0").gain == 12.3


@pytest.mark.parametrize(
    ("wheels", "full", "readable", "band"),
    [
        (("open", "H_G0203", "pupil38_G5207"), "H_G0203", "H", "H"),
        (("PK50_G0201", "open", "Jcon(112)_G0235"), "Jcon(112)_G0235&PK50_G0201", "Jcon(112)", "X"),
        (("K_G0204", "H2v=1-0S1_G0216", "Pupil38_G5207"), "H2v=1-0S1_G0216&K_G0204", "H2 1-0 S1", "K"),
        (("Kshort_G0205", "open", "open"), "Kshort_G0205", "K(short)", "K"),
        (("Y_G0241", "PK50_G0201", "open"), "PK50_G0201&Y_G0241", "Y", "Y"),
        (("H_G0203", "blank", "open"), "blank", "blank", None),
        (("open", "open", "open"), "open", "open", None),
        (("H2Oice_G0230", "open", "open"), "H2Oice_G0230", "H2O ice", None),
        (("Mprime_G0208", "open", "open"), "Mprime_G0208", "M(prime)", "M"),
    ],
)
def test_filters(wheels: tuple[str, ...], full: str, readable: str, band: str | None) -> None:
    found = describe(**{f"FILTER{i}": f"'{n}'" for i, n in enumerate(wheels, 1)})
    assert (found.filter_name, found.filter_pretty, found.band) == (full, readable, band)


@pytest.mark.parametrize(
    ("port", "fold", "sign", "flipped"),
    [(3, "'park-pos.'", 1, False), (1, "'park-pos.'", -1, True), (1, "'IN'", 1, False)],
)
def test_offsets(port: int, fold: str, sign: int, flipped: bool) -> None:
    found = describe(INPORT=port, AOFOLD=fold)
    scale = found.pixel_scale
    assert scale == pytest.approx(0.117)
    assert (found.detector_x_offset, found.detector_y_offset) == pytest.approx((sign * 3.0 / scale, -4.0 / scale))
    assert found.get("wcs_flipped") is flipped
    expected = found.get("expected_ra"), found.get("expected_dec")
    assert gemini.separation(expected, (150.0, 2.0)) == pytest.approx(5.0, abs=1e-6)
    assert found.get("expected_dec") > 2.0  # +q moves the telescope up the array's y axis, here north


def test_offsets_that_the_header_lacks() -> None:
    found = describe(POFFSET=None)
    assert found.detector_x_offset is found.get("expected_ra") is None


@pytest.mark.parametrize(("follow", "checked"), [("'no'", False), ("'yes'", True)])
def test_fixed_rotator_with_adaptive_optics_is_not_checked(follow: str, checked: bool) -> None:
    assert describe(AOFOLD="'IN'", CRFOLLOW=follow).get("wcs_check") is checked
    assert describe(CRFOLLOW=follow).get("wcs_check") is True


def test_zero_points_are_for_electrons_and_turn_to_the_datas_unit() -> None:
    assert describe().get("nominal_photometric_zeropoint") == pytest.approx(24.05 + 2.72 - 2.5 * np.log10(12.3))
    assert describe(CAMERA="'f14'").get("nominal_photometric_zeropoint") is None


def test_spectra_have_the_grisms_wavelength() -> None:
    found = describe(FILTER3="'Kgrism_G5204'", FPMASK="'f6-6pix_G5213'")
    assert (found.get("central_wavelength"), found.band, found.role) == (2.263e-6, "K", "other")
    assert found.get("disperser", pretty=True) == "Kgrism"


def test_pupil_mask_is_part_of_the_configuration() -> None:
    assert describe().get("pupil_mask") == "pupil38_G5207"
    assert describe().get("pupil_mask", pretty=True) == "pupil38"
    assert describe().configuration != describe(FILTER3="'open'").configuration


def test_group_ids() -> None:
    dark = describe(OBSTYPE="'DARK'").get("group_id")
    assert dark == "20.002_1_Low Background_Shallow_Section(x1=0, x2=1024, y1=0, y2=1024)"
    assert describe(OBSTYPE="'FLAT'").get("group_id").endswith("_NIRI_IMAGE_FLAT")


def test_world_coordinates() -> None:
    planes = nirred_niri.nirred_wcs(headers())
    assert planes is not None
    np.testing.assert_allclose(planes[0].wcs.wcs.crval, (150.0, 2.0))
    assert planes[0].sigma_arcsec == 1.0
    assert nirred_niri.nirred_wcs(headers(OBSTYPE="'DARK'")) is None


def kinds(**cards: Any) -> dict[str, CalibrationRule]:
    """The first rule of each kind that applies to a frame."""
    tags, descriptors = nirred_niri.nirred_tags(headers(**cards)), describe(**cards)
    found: dict[str, CalibrationRule] = {}
    for rule in nirred_niri.nirred_calibration_rules():
        if rule.applies(tags, descriptors):
            found.setdefault(rule.kind, rule)
    return found


LAMP = {"OBSTYPE": "'FLAT'", "GCALLAMP": "'IRhigh'"}


@pytest.mark.parametrize(
    ("cards", "wanted", "needed"),
    [
        ({}, "dark flat bpm", "flat"),
        ({"OBSCLASS": "'partnerCal'"}, "dark flat bpm", "flat"),
        ({"OBSTYPE": "'DARK'"}, "bpm", ""),
        (LAMP | {"GCALSHUT": "'OPEN'"}, "lampoff_flat bpm bpm_dark", ""),
        (LAMP | {"GCALSHUT": "'CLOSED'"}, "bpm bpm_dark", ""),
        ({"OBJECT": "'TWILIGHT'"}, "dark bpm bpm_dark", ""),
        ({"PREPARE": "'now'", "PROCSCI": "'now'"}, "bpm", ""),
    ],
)
def test_calibrations_that_a_frame_asks_for(cards: dict[str, str], wanted: str, needed: str) -> None:
    found = kinds(**cards)
    assert set(found) == set(wanted.split())
    assert {k for k, r in found.items() if not r.optional} == set(needed.split())


def test_every_rule_matches_descriptors_that_exist() -> None:
    names = set(describe().names())
    assert {m.descriptor for r in nirred_niri.nirred_calibration_rules() for m in r.match} <= names


def test_windows_and_tolerances() -> None:
    found = kinds() | kinds(**LAMP, GCALSHUT="'OPEN'")
    assert {k: (r.within, r.remark_beyond) for k, r in found.items()} == {
        "dark": ("180 d", None),
        "flat": ("180 d", None),
        "bpm": (None, None),
        "lampoff_flat": ("7 d", "1 d"),
        "bpm_dark": ("180 d", None),
    }
    assert found["bpm"].before_only
    assert [m.tol for m in found["dark"].match if m.descriptor == "exposure_time"] == [0.01]
    assert "exposure_time" not in {m.descriptor for m in found["bpm_dark"].match}


@pytest.mark.parametrize("filter_name", ["K_G0204", "Kshort_G0205", "Lprime_G0207"])
def test_lamps_that_glow_are_paired_within_a_day(filter_name: str) -> None:
    found = kinds(**LAMP, GCALSHUT="'OPEN'", FILTER2=f"'{filter_name}'")
    assert (found["lampoff_flat"].within, found["lampoff_flat"].remark_beyond) == ("1 d", None)


def test_step_defaults() -> None:
    assert nirred_niri.nirred_step_defaults("associate_sky") == {"time": 900.0, "distance": 1.0}
    assert nirred_niri.nirred_step_defaults("stack_frames") == {}


def test_step_defaults_are_valid_parameters_of_the_steps() -> None:
    from nirred.steps import CORE_STEPS

    steps = {step.name: step for step in CORE_STEPS}
    for name, values in rules.STEP_DEFAULTS.items():
        params = steps[name].Params(**values)
        assert {k: getattr(params, k) for k in values} == values


def test_simulation_is_wired() -> None:
    found = Registry()
    found.add(nirred_niri, "niri")
    assert list(found.simulations()) == ["niri"]
