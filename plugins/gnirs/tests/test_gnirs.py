"""GNIRS: modes, levels, filters, slits, offsets, rules."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import nirred_gnirs
from nirred.headers import Headers
from nirred.plugin import CalibrationRule, Descriptors, Detector, Section
from nirred.registry import Registry
from nirred.testing.headers import headers_from_text
from nirred_gnirs import rules

PRIMARY = """\
INSTRUME= 'GNIRS   '
DATE-OBS= '2012-01-17'
UT      = '05:06:07.5'
OBSTYPE = 'OBJECT  '
OBSCLASS= 'science '
EXPTIME = 60.0
COADDS  = 1
RA      = 150.0
DEC     = 2.0
EPOCH   = 2000.0
PA      = 0.0
POFFSET = 3.0
QOFFSET = 4.0
INPORT  = 3
FRAME   = 'FK5     '
TRKFRAME= 'FK5     '
RATRACK = 0.0
DECTRACK= 0.0
ACQMIR  = 'In      '
SLIT    = 'Acq_G5530'
DECKER  = 'Acq_G5531'
PRISM   = 'MIR_G5537'
GRATING = '32/mmSB_G5533'
CAMERA  = 'ShortBlue_G5540'
FILTER1 = 'Open    '
FILTER2 = 'J_G0517 '
LNRS    = 16
NDAVGS  = 16
DETBIAS = -0.28
ARRAYID = 'SN7638228.1.2'
CTYPE1  = 'RA---TAN'
CTYPE2  = 'DEC--TAN'
CRPIX1  = 512.5
CRPIX2  = 511.5
CRVAL1  = 150.0
CRVAL2  = 2.0
CD1_1   = 0.0
CD1_2   = 4.2E-05
CD2_1   = -4.2E-05
CD2_2   = 0.0
"""
EXTENSION = """\
--- extension ---
XTENSION= 'IMAGE   '
NAXIS   = 2
NAXIS1  = 1024
NAXIS2  = 1022
"""


def headers(**cards: Any) -> Headers:
    """A keyhole frame with other values of some primary keywords; None leaves one out."""
    own = dict(line.split("=", 1) for line in PRIMARY.splitlines())
    changes = {k.replace("__", "-").ljust(8): v for k, v in cards.items()}
    lines = [f"{k}= {v}" for k, v in (own | changes).items() if v is not None]
    return headers_from_text("\n".join(lines) + "\n" + EXTENSION)


def detector(**cards: Any) -> Detector:
    (plane,) = nirred_gnirs.nirred_detectors(headers(**cards))
    return plane


def describe(**cards: Any) -> Descriptors:
    return nirred_gnirs.nirred_describe(headers(**cards))


def test_import_is_light() -> None:
    """Start-up loads every plugin: none of them may bring the heavy packages."""
    code = "import nirred_gnirs, sys; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert "nirred_gnirs" in modules
    assert not modules & {"numpy", "astropy", "pydantic", "scipy", "numba", "erfa", "sqlalchemy"}


@pytest.mark.parametrize(
    ("cards", "reason"),
    [
        ({}, ""),
        ({"SLIT": "'0.30arcsec_G5530'"}, "image through a slit"),
        ({"ACQMIR": "'Out     '"}, "spectrum"),
        ({"OBSTYPE": "'DARK    '", "ACQMIR": "'Out     '"}, ""),
        ({"OBSTYPE": "'ARC     '"}, "arc"),
        ({"OBSTYPE": "'FLAT    '", "SLIT": "'LgPinholes'"}, "pinhole"),
        ({"FILTER1": "'Dark_G0511'"}, "image through a closed filter wheel: Dark&J"),
        ({"DETBIAS": -0.9}, "detector bias -0.9 (DETBIAS): 0.3 V are a shallow well, 0.6 V a deep one"),
        ({"DETBIAS": None}, "no detector bias (DETBIAS): 0.3 V are a shallow well, 0.6 V a deep one"),
    ],
)
def test_keyhole_against_slit_and_spectrum(cards: dict[str, str], reason: str) -> None:
    claim = nirred_gnirs.nirred_claim(headers(**cards))
    assert claim is not None and claim.unsupported == reason
    assert nirred_gnirs.nirred_claim(headers(INSTRUME="'NIRI'")) is None


@pytest.mark.parametrize(
    ("cards", "word"),
    [
        ({"ARRAYID": "'SN99'"}, "array SN99 (ARRAYID, CONID)"),
        ({"ARRAYID": None}, "no array (ARRAYID, CONID)"),
        ({"READMODE": "'Odd'"}, "read mode Odd (READMODE)"),
        ({"LNRS": 5, "NDAVGS": 1}, "read mode Unknown (LNRS, NDAVGS)"),
    ],
)
def test_a_mode_nobody_measured_is_named_with_its_keyword(cards: dict[str, Any], word: str) -> None:
    claim = nirred_gnirs.nirred_claim(headers(**cards))
    assert claim is not None and claim.unsupported.startswith(f"{word}: gain and noise are known for ")
    spectrum = nirred_gnirs.nirred_claim(headers(**cards, ACQMIR="'Out'"))
    assert spectrum is not None and spectrum.unsupported == "spectrum"


def test_the_angle_of_a_grating_out_of_the_beam_divides_no_group() -> None:
    assert describe(GRATWAVE=1.25).configuration == describe(GRATWAVE=2.2).configuration


@pytest.mark.parametrize(
    ("cards", "has", "lacks"),
    [
        ({}, "GNIRS IMAGE RAW SIDEREAL", "THRUSLIT SPECT CAL FLAT DARK"),
        ({"OBSTYPE": "'DARK'"}, "DARK CAL", "IMAGE SPECT"),
        ({"OBSTYPE": "'FLAT'"}, "FLAT CAL IMAGE", "SPECT"),
        ({"SLIT": "'0.30arcsec'"}, "IMAGE THRUSLIT LS", "XD SPECT"),
        ({"SLIT": "'0.30arcsec'", "PRISM": "'SXD_G5536'"}, "IMAGE THRUSLIT XD", "LS SPECT"),
        ({"ACQMIR": "'Out'", "SLIT": "'0.30arcsec'"}, "SPECT LS", "IMAGE XD"),
        ({"ACQMIR": "'Out'", "SLIT": "'0.30arcsec'", "PRISM": "'SXD_G5536'"}, "SPECT XD", "IMAGE LS"),
        ({"ACQMIR": "'Out'", "SLIT": "'LR-IFU_G5541'"}, "SPECT IFU", "IMAGE LS"),
        ({"OBSCLASS": "'acq'"}, "ACQUISITION IMAGE", "SPECT"),
    ],
)
def test_tags(cards: dict[str, str], has: str, lacks: str) -> None:
    tags = nirred_gnirs.nirred_tags(headers(**cards))
    assert tags >= set(has.split())
    assert not tags & set(lacks.split())


# Array, (LNRS, NDAVGS), bias, coadds: read noise, saturation and non-linear level; None where nobody stated them.
LEVELS = [
    ("SN7638228.1.2", (1, 1), -0.3, 1, (155.0, 6814, 6541)),
    ("SN7638228.1.2", (1, 16), -0.28, 2, (30.0 * 2**0.5, 13481, 12941)),
    ("SN7638228.1.3", (16, 16), -0.56, 1, (10.0, 14074, 13370)),
    ("SN7638228.1.3", (32, 16), -0.6, 1, (7.0, 13333, 9599)),
    ("SN7638228.1", (1, 16), -0.3, 1, (30.0, 6666, 4761)),
    ("UNKNOWN", (1, 16), -0.6, 1, (38.0, 13333, 9523)),
    ("SN7638228.1.2", (4, 4), -0.3, 1, None),
    ("SN7638228.1.2", (1, 1), -0.45, 1, None),
    ("another", (1, 1), -0.3, 1, None),
]


@pytest.mark.parametrize(("array", "reads", "bias", "coadds", "wanted"), LEVELS)
def test_levels(array: str, reads: tuple[int, int], bias: float, coadds: int, wanted: tuple[float, ...] | None) -> None:
    cards = {"ARRAYID": f"'{array}'", "LNRS": reads[0], "NDAVGS": reads[1], "DETBIAS": bias, "COADDS": coadds}
    plane = detector(**cards)
    if wanted is None:
        assert plane.gain is plane.read_noise is plane.saturation is plane.non_linear is None
    else:
        assert plane.gain == 13.5
        assert (plane.read_noise, plane.saturation, plane.non_linear) == pytest.approx(wanted)


def test_the_controller_is_part_of_the_epoch() -> None:
    assert detector().epoch == "SN7638228.1.2"
    new = {"ARRAYID": "'SN7638228.1.3'", "CONID": "'ARC-III '"}
    assert detector(**new).epoch == describe(**new).get("array_name") == "SN7638228.1.3+ARC-III"
    assert detector(**new).non_linear == int(0.72 * int(90000 / 13.5))
    assert detector(**new).linearity is None


def test_even_and_odd_rows_have_their_own_curves() -> None:
    """Check: Faint, Shallow, 50000 e- of an even row: 5e4 + 7.80927834e-07 * 25e8 + 1.14904418e-11 * 125e12."""
    linearity = detector().linearity
    assert linearity is not None and linearity.per == "row_parity" and not callable(linearity.coefficients)
    even, odd = (sum(c * 5e4 ** (i + 1) for i, c in enumerate(terms)) for terms in linearity.coefficients)
    assert (even, odd) == pytest.approx((53388.62, 52659.93), abs=0.02)
    assert linearity.time_delta == (1.3876736162675933,) * 2
    assert detector(LNRS=32, DETBIAS=-0.6).linearity is None  # very faint objects, deep well


def test_darks_are_linearised_too() -> None:
    assert detector(OBSTYPE="'DARK    '", ACQMIR="'Out'").linearity == detector().linearity


def test_prepared_files_state_their_own_numbers() -> None:
    plane = detector(PREPARE="'now'", GAIN="1.0", RDNOISE="20.0", SATLEVEL="90000.0", NONLINEA="80000.0")
    assert (plane.gain, plane.read_noise, plane.saturation, plane.non_linear) == (1.0, 20.0, 90000.0, 80000.0)


def test_world_coordinates_come_from_the_primary() -> None:
    planes = nirred_gnirs.nirred_wcs(headers())
    assert planes is not None and planes[0].origin == "header"
    np.testing.assert_allclose(planes[0].wcs.wcs.crval, (150.0, 2.0))
    assert nirred_gnirs.nirred_wcs(headers(OBSTYPE="'DARK'")) is None


def test_offsets_and_rotation_centre() -> None:
    found, upside_down, folded = describe(), describe(INPORT=1), describe(INPORT=1, AOFOLD="'IN'")
    assert (found.detector_x_offset, found.detector_y_offset) == pytest.approx((4.0 / 0.1517, -3.0 / 0.1517))
    assert upside_down.detector_x_offset == pytest.approx(-4.0 / 0.1517)
    assert folded.detector_x_offset == pytest.approx(4.0 / 0.1517)
    assert found.get("rotation_centre") == (629.0, 519.0)
    assert found.get("wcs_flipped") is True
    assert found.position_angle == 90.0


def test_a_wcs_far_from_the_target_gives_the_target() -> None:
    assert describe(CRVAL1="151.0").ra == pytest.approx(150.0, abs=0.01)
    assert describe(CRVAL1="150.1").ra == 150.1


@pytest.mark.parametrize(
    ("cards", "full", "pretty"),
    [
        ({}, "Acq_G5530&Acq_G5531", "Acq"),
        ({"SLIT": "'Acquisition'", "DECKER": "'Acquisition'"}, "Acquisition&Acq", "Acq"),
        ({"SLIT": "'1.0 arcsec_G5530'", "DECKER": "'SCLong_G5531'"}, "1.00arcsec_G5530&SCLong_G5531", "1.00arcsec"),
        ({"SLIT": "'0.30arcsec_G5530'", "DECKER": "'SCXD_G5531'"}, "0.30arcsec_G5530&SCXD_G5531", "0.30arcsecXD"),
        ({"SLIT": "'LR-IFU_G1'", "DECKER": "'LR-IFU_G2'"}, "LR-IFU_G1&LR-IFU_G2", "LR-IFU&LR-IFU"),
    ],
)
def test_slit_and_decker(cards: dict[str, str], full: str, pretty: str) -> None:
    found = describe(**cards)
    assert found.get("focal_plane_mask") == full
    assert found.get("focal_plane_mask", pretty=True) == pretty


@pytest.mark.parametrize(
    ("first", "second", "full", "pretty"),
    [
        ("Open", "J_G0517", "Open&J_G0517", "J"),
        ("YPHOT_G0544", "Open", "YPHOT_G0544&Open", "YPHOT"),
        ("ND100X_G0506", "K_G0515", "ND100X_G0506&K_G0515", "K"),
        ("Dark_G0511", "J_G0517", "Dark_G0511&J_G0517", "Dark&J"),
        ("Open", "Open", "Open&Open", "open"),
    ],
)
def test_filters(first: str, second: str, full: str, pretty: str) -> None:
    found = describe(FILTER1=f"'{first}'", FILTER2=f"'{second}'")
    assert (found.filter_name, found.filter_pretty) == (full, pretty)


def test_group_ids() -> None:
    assert describe(OBSTYPE="'DARK'").get("group_id").startswith("Faint Objects_60.0_1_Shallow")
    assert describe(OBSTYPE="'FLAT'").get("group_id").endswith("_GNIRS_IMAGE_FLAT")


def test_sub_arrays_have_their_place() -> None:
    assert detector(DETSEC="'[251:762,197:708]'").section == Section(250, 762, 196, 708)
    assert detector().section == Section(0, 1024, 0, 1022)


def kinds(**cards: Any) -> dict[str, CalibrationRule]:
    """The rule of each kind that applies to a frame."""
    tags, descriptors = nirred_gnirs.nirred_tags(headers(**cards)), describe(**cards)
    found: dict[str, CalibrationRule] = {}
    for rule in nirred_gnirs.nirred_calibration_rules():
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
    ],
)
def test_calibrations_that_a_frame_asks_for(cards: dict[str, str], wanted: str, needed: str) -> None:
    found = kinds(**cards)
    assert set(found) == set(wanted.split())
    assert {k for k, r in found.items() if not r.optional} == set(needed.split())


@pytest.mark.parametrize(
    ("filter_name", "window"),
    [("J_G0517", ("7 d", "1 d")), ("K_G0515", ("1 d", None)), ("PAH_G0530", ("1 d", None))],
)
def test_lamps_that_glow_are_paired_within_a_day(filter_name: str, window: tuple[str, str | None]) -> None:
    found = kinds(**LAMP, GCALSHUT="'OPEN'", FILTER2=f"'{filter_name}'")["lampoff_flat"]
    assert (found.within, found.remark_beyond) == window


def test_darks_need_nothing_of_the_optics() -> None:
    names = {m.descriptor for m in kinds()["dark"].match}
    assert names == {"array_name", "well_depth_setting", "read_mode", "coadds", "exposure_time", "data_section"}


def test_every_rule_matches_descriptors_that_exist() -> None:
    names = set(describe().names())
    assert {m.descriptor for r in nirred_gnirs.nirred_calibration_rules() for m in r.match} <= names


def test_step_defaults_are_valid_parameters_of_the_steps() -> None:
    from nirred.steps import CORE_STEPS

    steps = {step.name: step for step in CORE_STEPS}
    for name, values in rules.STEP_DEFAULTS.items():
        params = steps[name].Params(**values)
        assert {k: getattr(params, k) for k in values} == values
    assert nirred_gnirs.nirred_step_defaults("associate_sky")["time"] == 600.0
    assert nirred_gnirs.nirred_step_defaults("stack_frames") == {}


def test_simulation_is_wired() -> None:
    found = Registry()
    found.add(nirred_gnirs, "gnirs")
    assert list(found.simulations()) == ["gnirs"]
