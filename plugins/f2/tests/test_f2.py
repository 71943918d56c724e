"""FLAMINGOS-2: tags, modes, filters, offsets, rules."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from typing import Any

import numpy as np
import pytest

import nirred_f2
from nirred.headers import Headers
from nirred.plugin import CalibrationRule, Descriptors, Detector, Section, gemini
from nirred.registry import Registry
from nirred.testing.headers import headers_from_text
from nirred_f2 import rules

PRIMARY = """\
INSTRUME= 'F2      '
DATE-OBS= '2018-01-17'
UT      = '05:06:07.5'
OBSTYPE = 'OBJECT  '
OBSCLASS= 'science '
GRISM   = 'Open    '
FILTER1 = 'Y_G0811 '
FILTER2 = 'Open    '
LYOT    = 'f/16_G5830'
MOSPOS  = 'Open    '
MASKNAME= 'None    '
DECKER  = 'Open    '
LNRS    = 1
COADDS  = 1
EXPTIME = 120.0
RA      = 150.0
DEC     = 2.0
EPOCH   = 2000.0
PA      = 0.0
POFFSET = 3.0
QOFFSET = 4.0
INPORT  = 5
"""
EXTENSION = """\
--- extension ---
XTENSION= 'IMAGE   '
NAXIS   = 3
NAXIS1  = 2048
NAXIS2  = 2048
NAXIS3  = 1
CTYPE1  = 'RA---TAN'
CTYPE2  = 'DEC--TAN'
CRPIX1  = 1023.91
CRPIX2  = 1023.97
CRVAL1  = 150.0
CRVAL2  = 2.0
CD1_1   = 0.0
CD1_2   = 4.98E-05
CD2_1   = 4.98E-05
CD2_2   = 0.0
CD3_3   = 1.0
RADECSYS= 'FK5     '
"""
LAMP = {"OBSTYPE": "'FLAT'", "GCALLAMP": "'IRhigh'"}
ON, OFF = LAMP | {"GCALSHUT": "'OPEN'"}, LAMP | {"GCALSHUT": "'CLOSED'"}
KS = {"FILTER1": "'Ks_G0804'"}


def headers(extension: str = "", **cards: Any) -> Headers:
    """A science frame with other values of some primary keywords; None leaves one out."""
    own = dict(line.split("=", 1) for line in PRIMARY.splitlines())
    changes = {k.replace("__", "-").ljust(8): v for k, v in cards.items()}
    lines = [f"{k}= {v}" for k, v in (own | changes).items() if v is not None]
    return headers_from_text("\n".join(lines) + "\n" + EXTENSION + extension)


def detector(**cards: Any) -> Detector:
    (plane,) = nirred_f2.nirred_detectors(headers(**cards))
    return plane


def describe(**cards: Any) -> Descriptors:
    return nirred_f2.nirred_describe(headers(**cards))


def test_import_is_light() -> None:
    """Start-up loads every plugin: none of them may bring the heavy packages."""
    code = "import nirred_f2, sys; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"numpy", "astropy", "pydantic", "scipy", "numba"}


@pytest.mark.parametrize("name", ["'F2'", "'f2      '", "'Flam'", "'FLAM    '"])
def test_claims_both_names_in_any_case(name: str) -> None:
    claim = nirred_f2.nirred_claim(headers(INSTRUME=name))
    assert claim is not None and claim.unsupported == ""
    assert nirred_f2.nirred_claim(headers(INSTRUME="'FLAMINGOS'")) is None


@pytest.mark.parametrize(
    ("cards", "reason"),
    [
        ({}, ""),
        ({"GRISM": "'JH_G5801'"}, "not an image"),
        ({"GRISM": "'JH_G5801'", "MOSPOS": "'4pix-slit'"}, "spectrum"),
        ({"GRISM": "'R3K_G5803'", "DECKER": "'Long_slit'"}, "spectrum"),
        ({"GRISM": "'R3K_G5803'", "MOSPOS": "'mos3'"}, "spectrum"),
        ({"MOSPOS": "'mos3'"}, "image through a slit"),
        ({"MOSPOS": "'1pix-slit'"}, "image through a slit"),
        ({"DECKER": "'Long_slit'"}, "image through a slit"),
        ({"GRISM": "'JH_G5801'", "OBSTYPE": "'DARK'"}, ""),
        ({"OBSTYPE": "'ARC'"}, "arc"),
        ({"GRISM": "'JH_G5801'", "OBJECT": "'Twilight'", "OBSTYPE": "'FLAT'"}, "not an image"),
        ({"LNRS": 2}, "2 read pairs (LNRS): gain and noise are known for 1, 4, 6, 8"),
        ({"LNRS": 2, "OBSTYPE": "'DARK'"}, "2 read pairs (LNRS): gain and noise are known for 1, 4, 6, 8"),
        ({"LNRS": 2, "BPMASK": "'now'"}, ""),
        ({"LNRS": None, "OBSTYPE": "'BPM'"}, ""),
        ({"LNRS": None}, "no number of read pairs (LNRS): gain and noise are known for 1, 4, 6, 8"),
    ],
)
def test_unsupported(cards: dict[str, str], reason: str) -> None:
    claim = nirred_f2.nirred_claim(headers(**cards))
    assert claim is not None and claim.unsupported == reason


@pytest.mark.parametrize(
    ("cards", "has", "lacks"),
    [
        ({}, "F2 IMAGE RAW", "SPECT CAL FLAT DARK"),
        ({"OBSTYPE": "'DARK'"}, "DARK CAL", "IMAGE SPECT"),
        ({"FILTER2": "'DK_G0807'"}, "DARK CAL", "IMAGE SPECT"),
        (ON, "FLAT CAL IMAGE LAMPON GCAL_IR_ON", "LAMPOFF"),
        (OFF, "FLAT CAL IMAGE LAMPOFF GCAL_IR_OFF", "LAMPON"),
        ({"OBJECT": "'TWILIGHT'"}, "TWILIGHT CAL IMAGE", "SPECT"),
        ({"GRISM": "'HK_G5802'", "MOSPOS": "'2pix-slit'"}, "LS SPECT", "IMAGE"),
        ({"PROCSTND": "'now'"}, "STANDARD CAL", ""),
        ({"DISPERSR": "'DISP_WOLLASTON'"}, "POL IMAGE", "SPECT"),
        ({"DISPERSR": "'DISP_PRISM'"}, "SPECT IFU", "POL"),
    ],
)
def test_tags(cards: dict[str, str], has: str, lacks: str) -> None:
    tags = nirred_f2.nirred_tags(headers(**cards))
    assert tags >= set(has.split())
    assert not tags & set(lacks.split())


@pytest.mark.parametrize(("pairs", "gain", "noise"), [(1, 4.44, 11.7), (4, 1.11, 6.0), (6, 0.74, 5.3), (8, 0.555, 5.0)])
@pytest.mark.parametrize("coadds", [1, 2])
def test_reads_and_coadds_are_summed(pairs: int, gain: float, noise: float, coadds: int) -> None:
    plane = detector(LNRS=pairs, COADDS=coadds)
    assert plane.gain == pytest.approx(gain)
    assert plane.read_noise == pytest.approx(noise * coadds**0.5)
    assert (plane.saturation, plane.non_linear) == (35000 * pairs * coadds, 25200 * pairs * coadds)
    assert describe(LNRS=pairs).read_mode == str(pairs)
    assert describe(COADDS=coadds).exposure_time == 120.0 * coadds


def test_unknown_mode_has_no_numbers() -> None:
    plane = detector(LNRS=5)
    assert plane.gain is plane.read_noise is plane.saturation is plane.linearity is None


def test_one_response_curve() -> None:
    """Check value of the measured curve: 100000 e- -> 100572.2 e-."""
    linearity = detector(LNRS=8).linearity
    assert linearity is not None and not callable(linearity.coefficients)
    (terms,) = linearity.coefficients
    assert sum(c * 1e5 ** (i + 1) for i, c in enumerate(terms)) == pytest.approx(100572.2, abs=0.1)
    assert linearity.time_delta == (0.0,)


def test_place_on_the_array() -> None:
    assert detector().section == Section(0, 2048, 0, 2048)
    small = headers_from_text(PRIMARY + EXTENSION.replace("2048", "512"))
    (plane,) = nirred_f2.nirred_detectors(small)
    assert (plane.shape, plane.section) == ((512, 512), Section(768, 1280, 768, 1280))
    small = headers_from_text(PRIMARY + EXTENSION.replace("2048", "512") + "DETSEC  = '[101:612,1:512]'")
    assert nirred_f2.nirred_detectors(small)[0].section == Section(100, 612, 0, 512)


def test_prepared_files_state_their_own_numbers() -> None:
    plane = detector(PREPARE="'now'", GAIN="1.0", RDNOISE="11.7", SATLEVEL="155400.0", NONLINEA="111888.0", LNRS=5)
    assert (plane.gain, plane.read_noise, plane.saturation, plane.non_linear) == (1.0, 11.7, 155400.0, 111888.0)
    assert detector(GAIN="1.0").gain == 4.44


@pytest.mark.parametrize(
    ("wheels", "full", "readable", "band"),
    [
        (("Y_G0811", "Open", "f/16_G5830"), "Y_G0811&Open", "Y", "Y"),
        (("Open", "Ks_G0804", "f/16_G5830"), "Open&Ks_G0804", "Ks", "K"),
        (("K-red_G0814", "Open", "f/16_G5830"), "K-red_G0814&Open", "K-red", "K"),
        (("J-lo_G0801", "Open", "f/16_G5830"), "J-lo_G0801&Open", "J-lo", None),
        (("Open", "Open", "J-lo_G0801"), "Open&Open&J-lo_G0801", "J-lo", None),
        (("Open", "Open", "GEMS_over_G5835"), "Open&Open", "open", None),
        (("Open", "Open", "Hart1_G5833"), "Open&Open", "open", None),
        (("H_G0803", "Block", "f/16_G5830"), "H_G0803&Block", "blank", None),
        (("H_G0803", "DK_G0807", "f/16_G5830"), "H_G0803&DK_G0807", "dark", None),
    ],
)
def test_filters(wheels: tuple[str, ...], full: str, readable: str, band: str | None) -> None:
    found = describe(**{k: f"'{n}'" for k, n in zip(("FILTER1", "FILTER2", "LYOT"), wheels, strict=True)})
    assert (found.filter_name, found.filter_pretty) == (full, readable)
    assert found.band == band or readable == "dark"


def test_field_is_a_disc_on_the_whole_array() -> None:
    assert (describe().get("field_diameter"), describe(AOFOLD="'IN'").get("field_diameter")) == (2048.0, 1300.0)
    small = headers_from_text(PRIMARY + EXTENSION.replace("2048", "512"))
    assert nirred_f2.nirred_describe(small).get("field_diameter") is None


def test_names_of_before_2010() -> None:
    text = PRIMARY + EXTENSION
    for new, old in (("FILTER1 ", "FILT1POS"), ("FILTER2 ", "FILT2POS"), ("LYOT    ", "LYOTPOS "),
                     ("GRISM   ", "GRISMPOS"), ("DECKER  ", "DCKERPOS"), ("'F2      '", "'Flam    '")):  # fmt: skip
        text = text.replace(new, old)
    old = headers_from_text(text)
    assert nirred_f2.nirred_tags(old) == nirred_f2.nirred_tags(headers())
    then, now = nirred_f2.nirred_describe(old), describe()
    names = ("instrument", "filter_name", "camera", "lyot_stop", "disperser", "role", "focal_plane_mask")
    assert [then.get(n) for n in names] == [now.get(n) for n in names]


@pytest.mark.parametrize(
    ("cards", "camera"),
    [
        ({}, "f/16_G5830"),
        ({"LYOT": "'J-lo_G0801'", "FOCUS": "'f/16'"}, "f/16_G5830"),
        ({"LYOT": "'J-lo_G0801'", "FOCUS": "'Undefined'"}, "f/16_G5830"),
        ({"LYOT": "'Undefined'", "FOCUS": "'Datum'"}, "f/16_G5830"),
    ],
)
def test_camera(cards: dict[str, str], camera: str) -> None:
    assert describe(**cards).camera == camera


@pytest.mark.parametrize(("port", "sign"), [(5, -1), (1, 1), (None, -1)])
def test_offsets(port: int | None, sign: int) -> None:
    found = describe(INPORT=port)
    s = found.pixel_scale
    assert s == pytest.approx(0.17928)
    assert (found.detector_x_offset, found.detector_y_offset) == pytest.approx((-4.0 / s, sign * 3.0 / s))
    assert (found.position_angle, found.get("wcs_flipped")) == (90.0, False)


def test_the_telescope_s_axes_are_exchanged_and_reversed_on_the_array() -> None:
    found = describe(XOFFSET=1.5, YOFFSET=-4.0)
    assert (found.get("telescope_x_offset"), found.get("telescope_y_offset")) == (4.0, -1.5)
    assert describe(XOFFSET=1.5).get("telescope_x_offset") is None


@pytest.mark.parametrize("angle", [0.0, 31.4, 180.0, 270.0])
def test_offsets_agree_with_the_world_coordinates(angle: float) -> None:
    """Real frames: at position angle 0, +y is east and +x north. p goes along +y, q along +x."""
    found = describe(PA=angle)
    there = found.get("expected_ra"), found.get("expected_dec")
    along_y, along_x = (np.radians(angle + turn) for turn in (90.0, 0.0))
    east = 3.0 * np.sin(along_y) + 4.0 * np.sin(along_x)
    north = 3.0 * np.cos(along_y) + 4.0 * np.cos(along_x)
    assert ((there[0] - 150.0) * 3600 * np.cos(np.radians(2.0)), (there[1] - 2.0) * 3600) == pytest.approx(
        (east, north), abs=1e-3
    )


@pytest.mark.parametrize(("date", "end"), [("'2012-01-17'", "05:08:07.5"), ("'2018-01-17'", "05:30:00")])
def test_end_of_exposure_before_december_2015_is_not_trusted(date: str, end: str) -> None:
    found = describe(DATE__OBS=date, UTEND="'05:30:00.0'").ut_end
    assert found == datetime.fromisoformat(f"{date[1:-1]}T{end}")


def test_world_coordinates_have_two_axes() -> None:
    planes = nirred_f2.nirred_wcs(headers())
    assert planes is not None and planes[0].wcs.naxis == 2 and planes[0].wcs.wcs.radesys == "FK5"
    np.testing.assert_allclose(planes[0].wcs.wcs.crval, (150.0, 2.0))
    assert nirred_f2.nirred_wcs(headers(OBSTYPE="'DARK'")) is None


@pytest.mark.parametrize(
    ("cards", "role"),
    [
        ({}, "science"),
        ({"OBSCLASS": "'partnerCal'"}, "standard"),
        ({"OBSCLASS": "'acq'"}, "acquisition"),
        ({"OBSTYPE": "'DARK'"}, "dark"),
        (ON, "lamp_on"),
        (OFF, "lamp_off"),
        (OFF | KS, "flat"),
        (ON | KS, "flat"),
        ({"OBJECT": "'TWILIGHT'"}, "flat"),
    ],
)
def test_roles(cards: dict[str, str], role: str) -> None:
    assert describe(**cards).role == role


def test_group_ids() -> None:
    assert describe(OBSTYPE="'DARK'").get("group_id") == "120.0_1_1"
    assert describe(**ON).get("group_id").endswith("F2_IMAGE_FLAT")


def kinds(**cards: Any) -> dict[str, CalibrationRule]:
    """The first rule of each kind that applies to a frame."""
    tags, descriptors = nirred_f2.nirred_tags(headers(**cards)), describe(**cards)
    found: dict[str, CalibrationRule] = {}
    for rule in nirred_f2.nirred_calibration_rules():
        if rule.applies(tags, descriptors):
            found.setdefault(rule.kind, rule)
    return found


@pytest.mark.parametrize(
    ("cards", "wanted", "needed"),
    [
        ({}, "dark flat bpm", "flat"),
        ({"OBSCLASS": "'partnerCal'"}, "dark flat bpm", "flat"),
        ({"OBSTYPE": "'DARK'"}, "bpm", ""),
        (ON, "lampoff_flat bpm bpm_dark", ""),
        (OFF, "bpm bpm_dark", ""),
        (OFF | KS, "dark bpm bpm_dark", ""),
        ({"PREPARE": "'now'", "PROCSCI": "'now'"}, "bpm", ""),
    ],
)
def test_calibrations_that_a_frame_asks_for(cards: dict[str, str], wanted: str, needed: str) -> None:
    found = kinds(**cards)
    assert set(found) == set(wanted.split())
    assert {k for k, r in found.items() if not r.optional} == set(needed.split())


def test_windows_and_tolerances() -> None:
    found = kinds() | kinds(**ON)
    assert {k: (r.within, r.remark_beyond) for k, r in found.items()} == {
        "dark": ("90 d", None),
        "flat": ("90 d", None),
        "bpm": (None, None),
        "lampoff_flat": ("7 d", "1 d"),
        "bpm_dark": ("90 d", None),
    }
    assert [m.tol for m in found["dark"].match if m.descriptor == "exposure_time"] == [0.01]
    names = set(describe().names())
    assert {m.descriptor for r in rules.RULES for m in r.match} <= names


def test_step_defaults_are_valid_parameters_of_the_steps() -> None:
    from nirred.steps import CORE_STEPS

    steps = {step.name: step for step in CORE_STEPS}
    for name, values in rules.STEP_DEFAULTS.items():
        params = steps[name].Params(**values)
        assert {k: getattr(params, k) for k in values} == values
    assert nirred_f2.nirred_step_defaults("associate_sky") == {}  # 600 s, as the core


def test_registers() -> None:
    found = Registry()
    info = found.add(nirred_f2, "f2", "nirred-f2")
    assert (info.error, info.instruments) == ("", ("f2",))
    assert list(found.simulations()) == ["f2"]
    assert gemini.text(headers_from_text(nirred_f2.nirred_instruments()[0].examples[0]), "INSTRUME") == "F2"
