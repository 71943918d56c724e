"""Descriptors shared by the Gemini cameras: rules, precision, and cases of None."""

from __future__ import annotations

from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import pytest

from nirred.headers import Headers
from nirred.plugin import Descriptors, Detector, Section, gemini
from nirred.testing.headers import headers_from_text

DETECTOR = Detector((100, 200), 4.0, 10.0, 1000.0, 700.0, section=Section(0, 200, 0, 100))


def describe(text: str, tags: str = "IMAGE", **own: Any) -> Descriptors:
    given: dict[str, Any] = {"detectors": (DETECTOR,), "filter_name": "K_G0204", "filter_pretty": "K"} | own
    return gemini.describe(headers_from_text(text), frozenset(tags.split()), gemini.Own(**given))


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("AIRMASS = 1.25", "airmass", 1.25),
        ("AIRMASS = 0.99", "airmass", None),
        ("AIRMASS = ''", "airmass", None),
        ("AOSEEING= 0.7", "ao_seeing", 0.7),
        ("RZEROVAL= 20.0", "ao_seeing", 206265 * 0.98 * 0.5e-6 / 0.2),
        ("RZEROVAL= 0.0", "ao_seeing", None),
        ("AZIMUTH = -52.5", "azimuth", -52.5),
        ("ELEVATIO= 57.4", "elevation", 57.4),
        ("CRPA    = 359.0", "cass_rotator_pa", 359.0),
        ("CRPA    = 361.0", "cass_rotator_pa", None),
        ("XBIN    = 2\nYBIN    = 4", "binning", "2x4"),
        ("OBJECT  = 'x'", "binning", "1x1"),
        ("DATALAB = 'GN-1-2-003_stack'", "calibration_key", "GN-1-2-003"),
        ("COADDS  = 4", "coadds", 4),
        ("OBJECT  = 'x'", "coadds", 1),
        ("COADDS  = 'many'", "coadds", 1),
        ("EXPTIME = 0.301\nCOADDS  = 50", "exposure_time", 15.05),
        ("EXPTIME = -1.0", "exposure_time", None),
        ("EXPTIME = 1E30", "exposure_time", None),
        ("LT      = '21:12:37.1'", "local_time", time(21, 12, 37, 100000)),
        ("LT      = '25:12:37.1'", "local_time", None),
        ("AOFOLD  = 'IN'", "is_ao", True),
        ("AOFOLD  = 'park-pos.'", "is_ao", False),
        ("BUNIT   = 'electron'", "is_in_adu", False),
        ("BUNIT   = 'ADU'", "is_in_adu", True),
        ("OBJECT  = 'x'", "is_in_adu", True),
        ("RAWIQ   = 'Any'", "raw_iq", 100),
        ("RAWIQ   = '70-percentile'", "raw_iq", 70),
        ("RAWIQ   = 'UNKNOWN'", "raw_iq", None),
        ("REQBG   = '80-percentile'", "requested_bg", 80),
        ("XOFFSET = -6.5", "telescope_x_offset", -6.5),
        ("TELESCOP= 'Gemini-North'", "telescope", "Gemini-North"),
        ("OBSCLASS= 'No Value'", "observation_class", None),
        ("DECKER  = 'Acq_G5531'", "decker", "Acq_G5531"),
        ("OBSID   = 'GN-1-2'", "sequence_id", "GN-1-2"),
    ],
)
def test_single_keywords(text: str, name: str, value: Any) -> None:
    found = describe(text).get(name)
    assert found == (pytest.approx(value) if isinstance(value, float) else value)


@pytest.mark.parametrize(
    ("wanted", "gemini_says", "state"),
    [
        ("YES", "USABLE", "Pass"),
        ("NO", "USABLE", "Usable"),
        ("YES", "BAD", "Fail"),
        ("CHECK", "USABLE", "CHECK"),
        ("UNKNOWN", "USABLE", "Undefined"),
        ("YES", "ODD", "YES:ODD"),
    ],
)
def test_qa_state(wanted: str, gemini_says: str, state: str) -> None:
    assert describe(f"RAWPIREQ= '{wanted}'\nRAWGEMQA= '{gemini_says}'").qa_state == state
    assert describe(f"RAWPIREQ= '{wanted}'").qa_state is None


@pytest.mark.parametrize(
    ("lamp", "shutter", "value"),
    [
        ("IRhigh", "OPEN", "IRhigh"),
        ("IRhigh", "CLOSED", "Off"),
        ("QH", "CLOSED", "QH"),
        ("No Value", "OPEN", "Off"),
        ("", "CLOSED", "Off"),
        ("Ar", "CLOSED", "Ar"),
    ],
)
def test_gcal_lamp(lamp: str, shutter: str, value: str) -> None:
    assert gemini.gcal_lamp(headers_from_text(f"GCALLAMP= '{lamp}'\nGCALSHUT= '{shutter}'")) == value
    assert gemini.gcal_lamp(headers_from_text(f"GCALLAMP= '{lamp}'")) is None


@pytest.mark.parametrize(
    ("states", "sensor", "guiding"),
    [
        ({}, None, None),
        ({"PWFS1_ST": "parked", "OIWFS_ST": "frozen"}, None, False),
        ({"PWFS2_ST": "guiding", "OIWFS_ST": "guiding"}, "OIWFS&PWFS2", True),
        ({"AOWFS_ST": "guiding", "GWFS1CFG": "TTGS1"}, "AOWFS&GEMS", True),
    ],
)
def test_guiding(states: dict[str, str], sensor: str | None, guiding: bool | None) -> None:
    found = describe("OBJECT  = 'x'\n" + "\n".join(f"{k:8}= '{v}'" for k, v in states.items()))
    assert (found.get("wavefront_sensor"), found.guiding) == (sensor, guiding)


@pytest.mark.parametrize(
    ("cards", "when"),
    [
        ("DATE-OBS= '2002-06-20'\nUT      = '07:12:37.1'", datetime(2002, 6, 20, 7, 12, 37, 100000)),
        ("DATE-OBS= '2018-12-17T23:57:24.72'\nUT      = '01:00:00'", datetime(2018, 12, 17, 23, 57, 24, 720000)),
        ("DATE-OBS= '20/06/98'\nTIME-OBS= '07:12:37'", datetime(1998, 6, 20, 7, 12, 37)),
        ("DATE-OBS= 'soon'\nDATE    = '2002-06-20'\nUTSTART = '07:12:37'", datetime(2002, 6, 20, 7, 12, 37)),
        ("DATE-OBS= '2002-06-20'\nUT      = 'noon'\nSTARTUT = '07:12:37'", datetime(2002, 6, 20, 7, 12, 37)),
        ("MJD-OBS = 51544.5", datetime(2000, 1, 1, 12)),
        ("OBSSTART= '2002-06-20T07:12:37Z'", datetime(2002, 6, 20, 7, 12, 37)),
        ("FRMNAME = 'N20070818S0031:0'", datetime(2007, 8, 18)),
        ("DATE-OBS= '2002-06-20'", datetime(2002, 6, 20)),
        ("DATE-OBS= '2002-13-40'\nFRMNAME = 'N20071318S0031:0'", None),
        ("OBJECT  = 'x'", None),
    ],
)
def test_ut_datetime(cards: str, when: datetime | None) -> None:
    found = describe(cards)
    assert found.ut_datetime == when
    assert found.get("ut_date") == (when.date() if when else None)
    assert found.get("ut_time") == (when.time() if when else None)


def test_date_in_the_files_name() -> None:
    headers = headers_from_text("OBJECT  = 'x'")
    named = Headers(headers.primary, (), Path("/data/S20141130S0001.fits"))
    assert gemini.ut_datetime(named) == datetime(2014, 11, 30)


@pytest.mark.parametrize(
    ("start", "end", "trusted", "found"),
    [
        ("23:59:50", "00:00:20", True, datetime(2020, 1, 2, 0, 0, 20)),
        ("23:59:50", "00:00:20", False, datetime(2020, 1, 2, 0, 0, 10)),
        ("23:59:50", "20:00:00", True, datetime(2020, 1, 2, 0, 0, 10)),
        ("23:59:50", "", True, datetime(2020, 1, 2, 0, 0, 10)),
    ],
)
def test_end_of_an_exposure_over_midnight(start: str, end: str, trusted: bool, found: datetime) -> None:
    text = f"DATE-OBS= '2020-01-01'\nUT      = '{start}'\nUTEND   = '{end}'\nEXPTIME = 20.0"
    assert describe(text, trust_end=trusted).ut_end == found


@pytest.mark.parametrize(
    ("tags", "own", "effective", "band"),
    [
        ("IMAGE", {}, 2.2e-6, "K"),
        ("IMAGE", {"filter_pretty": "H", "wavelengths": {"H": 1.65}}, 1.65e-6, "H"),
        ("IMAGE", {"filter_pretty": "H"}, 1.635e-6, "H"),
        ("IMAGE", {"filter_pretty": "unheard of"}, None, None),
        ("IMAGE", {"filter_pretty": "Jcon(112)", "wavelengths": {"Jcon(112)": 1.122}}, 1.122e-6, "X"),
        ("SPECT", {"central_wavelength": 2.263}, 2.263e-6, "K"),
        ("DARK", {}, None, None),
    ],
)
def test_wavelengths(tags: str, own: dict[str, Any], effective: float | None, band: str | None) -> None:
    found = describe("OBJECT  = 'x'", tags, **own)
    assert found.get("effective_wavelength") == effective
    assert found.band == found.get("wavelength_band") == band


def test_central_wavelength_has_the_digits_of_a_float32() -> None:
    assert describe("OBJECT  = 'x'", central_wavelength=2.20769548228953).get("central_wavelength") == 2.207695e-06


def test_prepared_exposure_times_are_totals() -> None:
    text = "EXPTIME = 10.0\nCOADDS  = 3"
    assert describe(text).exposure_time == 30.0
    assert describe(text, "IMAGE PREPARED").exposure_time == 10.0


@pytest.mark.parametrize(("unit", "value"), [("adu", 26.15 - 2.5 * 0.6020599913), ("electron", 26.15)])
def test_zero_point_in_the_datas_unit(unit: str, value: float) -> None:
    found = describe(f"BUNIT   = '{unit}'\nAIRMASS = 1.5", zero_point=26.15)
    assert found.get("nominal_photometric_zeropoint") == pytest.approx(value)
    assert found.get("nominal_atmospheric_extinction") == 0.0


def test_readable_forms() -> None:
    found = describe(
        "DECKER  = 'Acq_G5531'", camera="ShortBlue_G5540", disperser="Kgrism_G5204", focal_plane_mask="f6-cam_G5208"
    )
    wanted = {
        "filter_name": "K",
        "camera": "ShortBlue",
        "disperser": "Kgrism",
        "focal_plane_mask": "f6-cam",
        "decker": "Acq",
        "data_section": "[1:200,1:100]",
        "detector_section": "[1:200,1:100]",
        "slit": None,
    }
    assert {k: found.get(k, pretty=True) for k in wanted} == wanted
    assert found.filter_name == "K_G0204"
    assert str(found.get("data_section")) == "Section(x1=0, x2=200, y1=0, y2=100)"


def test_offsets_in_pixels_need_a_scale() -> None:
    found = describe("OBJECT  = 'x'", shift=(3.0, -1.0), pixel_scale=0.5)
    assert (found.detector_x_offset, found.detector_y_offset) == (6.0, -2.0)
    assert describe("OBJECT  = 'x'", shift=(3.0, -1.0)).detector_x_offset is None
    assert describe("OBJECT  = 'x'", pixel_scale=0.5).detector_x_offset is None


@pytest.mark.parametrize(("pa", "turn", "angle"), [("30.", 0.0, 30.0), ("300.", 90.0, 30.0), ("-9999.", 90.0, None)])
def test_position_angle(pa: str, turn: float, angle: float | None) -> None:
    assert describe(f"PA      = {pa}", turn=turn).position_angle == angle


@pytest.mark.parametrize(
    ("tags", "own", "checked"), [("IMAGE", True, True), ("IMAGE FLAT", True, False), ("IMAGE", False, False)]
)
def test_which_pointings_are_checked(tags: str, own: bool, checked: bool) -> None:
    assert describe("OBJECT  = 'x'", tags, wcs_check=own).get("wcs_check") is checked


def test_parked_telescope_has_no_place_on_the_sky() -> None:
    text = "RA      = 22.0\nDEC     = 89.97"
    assert describe(text).ra == 22.0
    assert (describe(text, "AZEL_TARGET").ra, describe(text, "AZEL_TARGET").dec) == (None, None)


def test_configuration_leaves_the_exposure_time_out() -> None:
    one, other = describe("EXPTIME = 10.0"), describe("EXPTIME = 20.0")
    assert one.configuration == other.configuration
    assert hash(one.configuration) == hash(other.configuration)
    for cards, own in (("COADDS  = 2", {}), ("XBIN    = 2", {}), ("DECKER  = 'x'", {}), ("A = 1", {"camera": "f6"})):
        assert describe(cards, **own).configuration != one.configuration


def test_several_planes_have_several_sections() -> None:
    found = describe("OBJECT  = 'x'", detectors=(DETECTOR, DETECTOR))
    assert found.get("detector_section") == (DETECTOR.section, DETECTOR.section)
    assert found.get("detector_section", pretty=True) == ("[1:200,1:100]",) * 2


OBJECT = "OBSTYPE = 'OBJECT'\n"


@pytest.mark.parametrize(
    ("tags", "text", "role"),
    [
        ("DARK", "OBSTYPE = 'DARK'", "dark"),
        ("IMAGE", f"{OBJECT}OBSCLASS= 'science'", "science"),
        ("IMAGE", f"{OBJECT}OBSCLASS= 'partnerCal'", "standard"),
        ("IMAGE", f"{OBJECT}OBSCLASS= 'progCal'", "standard"),
        ("IMAGE", f"{OBJECT}OBSCLASS= 'acq'", "acquisition"),
        ("IMAGE", f"{OBJECT}OBSCLASS= 'acqCal'", "acquisition"),
        ("IMAGE", f"{OBJECT}OBSCLASS= 'dayCal'", "other"),
        ("IMAGE", f"{OBJECT}GEMPRGID= 'GN-CAL20030325'", "standard"),
        ("IMAGE", f"{OBJECT}GEMPRGID= 'GN-2003A-Q-5'", "science"),
        ("IMAGE", OBJECT, "science"),
        ("IMAGE AZEL_TARGET", f"{OBJECT}OBSCLASS= 'science'", "other"),
        ("IMAGE FLAT", "GCALLAMP= 'IRhigh'\nGCALSHUT= 'OPEN'", "lamp_on"),
        ("IMAGE FLAT", "GCALLAMP= 'IRhigh'\nGCALSHUT= 'CLOSED'", "lamp_off"),
        ("IMAGE FLAT", "GCALLAMP= 'QH'\nGCALSHUT= 'OPEN'", "lamp_on"),
        ("IMAGE FLAT LAMPOFF", "GCALLAMP= 'QH'\nGCALSHUT= 'CLOSED'", "lamp_off"),
        ("IMAGE FLAT", "GCALLAMP= 'Ar'\nGCALSHUT= 'OPEN'", "other"),
        ("IMAGE FLAT", "OBSTYPE = 'FLAT'", "other"),
        ("IMAGE FLAT TWILIGHT", OBJECT, "flat"),
        ("FLAT PROCESSED IMAGE", "OBSTYPE = 'FLAT'", "flat"),
        ("BPM FLAT PROCESSED", "OBSTYPE = 'FLAT'", "bpm"),
        ("SPECT", OBJECT, "other"),
        ("IMAGE THRUSLIT", OBJECT, "other"),
        ("IMAGE ARC", "OBSTYPE = 'ARC'", "other"),
    ],
)
def test_roles(tags: str, text: str, role: str) -> None:
    assert describe(text, tags).role == role


@pytest.mark.parametrize("closed", ["blank", "dark", "Dark&blank", "Dark&J", "Block&blank"])
def test_object_behind_a_closed_filter_is_no_science(closed: str) -> None:
    assert describe(OBJECT, filter_pretty=closed).role == "other"


@pytest.mark.parametrize(
    ("value", "found"),
    [("[1:1024,1:1022]", (0, 1024, 0, 1022)), ("[1024:513,2048:1]", (512, 1024, 0, 2048)), ("all", None), (3, None)],
)
def test_sections(value: Any, found: Any) -> None:
    assert gemini.section(value) == found


def test_ids_are_cut_off() -> None:
    assert [gemini.strip_id(n) for n in ("H_G0203", "HK_G0806_good", "K_(order_3)_G5", "open", None)] == [
        "H", "HK", "K_(order_3)", "open", None,
    ]  # fmt: skip


def test_nothing_but_an_empty_header() -> None:
    found = describe("", detectors=())
    assert isinstance(found.get("ut_date"), date | None)
    assert found.exposure_time is found.ra is found.gain is None
