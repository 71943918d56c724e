"""The tag engine and the observatory's common rules."""

from __future__ import annotations

import pytest

from nirred.plugin import evaluate, gemini, rule
from nirred.testing.headers import headers_from_text

NORTH = "OBSERVAT= 'Gemini-North'\nTELESCOP= 'Gemini-North'\n"
CAMERA = (
    rule(gemini.says("OBSTYPE", "DARK"), "DARK CAL", blocks="IMAGE"),
    rule(gemini.says("OBSTYPE", "FLAT"), "FLAT CAL"),
    rule(lambda h: True, "IMAGE"),
)


def tags(text: str) -> frozenset[str]:
    return gemini.frame_tags(CAMERA, headers_from_text(text))


def lamp(name: str, shutter: str, extra: str = "") -> frozenset[str]:
    return tags(f"GCALLAMP= '{name}'\nGCALSHUT= '{shutter}'\n{extra}")


def test_engine_order_does_not_depend_on_the_rules_order() -> None:
    rules = [
        rule(lambda h: True, "A"),
        rule(lambda h: True, "B", if_present="A"),
        rule(lambda h: True, "C", blocked_by="A"),
        rule(lambda h: True, "D E", blocks="F"),
        rule(lambda h: True, "F G"),
        rule(lambda h: True, "H", remove="A2"),
        rule(lambda h: True, "A2"),
    ]
    nothing = headers_from_text("")
    assert evaluate(rules, nothing) == evaluate(rules[::-1], nothing) == set("ABDEH")


@pytest.mark.parametrize("site", ["North", "South"])
def test_observatory(site: str) -> None:
    found = tags(f"TELESCOP= 'Gemini-{site}'")
    assert found >= {"GEMINI", site.upper()}
    assert not found & ({"NORTH", "SOUTH"} - {site.upper()})


@pytest.mark.parametrize(
    ("frame", "tracking", "rates", "expected"),
    [
        ("FK5", "FK5", "0.", {"SIDEREAL"}),
        ("APPT", "APPT", "0.001", {"NON_SIDEREAL"}),
        ("AZEL_TOPO", "FK5", "1.002", {"NON_SIDEREAL", "AZEL_TARGET"}),
        ("AZEL_TOPO", "", "-9999.", {"AZEL_TARGET"}),
        ("FK5", "", "", {"NON_SIDEREAL"}),
        ("FK5", "FK5", "'zero'", {"NON_SIDEREAL"}),
        ("No Value", "No Value", "-9999.", set()),
    ],
)
def test_tracking(frame: str, tracking: str, rates: str, expected: set[str]) -> None:
    text = f"FRAME   = '{frame}'\nTRKFRAME= '{tracking}'\n"
    if rates:
        text += f"RATRACK = {rates}\nDECTRACK= {rates}\n"
    assert tags(text) & {"SIDEREAL", "NON_SIDEREAL", "AZEL_TARGET", "AT_ZENITH"} == expected


@pytest.mark.parametrize(("airmass", "zenith"), [("1.", True), ("1.0001", False)])
def test_zenith_is_an_airmass_of_exactly_one(airmass: str, zenith: bool) -> None:
    assert ("AT_ZENITH" in tags(f"FRAME   = 'AZEL_TOPO'\nAIRMASS = {airmass}")) == zenith


@pytest.mark.parametrize(
    ("name", "shutter", "expected"),
    [
        ("IRhigh", "OPEN", "GCALFLAT FLAT CAL LAMPON GCAL_IR_ON"),
        ("IRhigh", "CLOSED", "GCALFLAT FLAT CAL LAMPOFF GCAL_IR_OFF"),
        ("IRlow", "OPEN", "LAMPON GCAL_IR_ON"),
        ("QH", "OPEN", "GCALFLAT FLAT CAL LAMPON GCAL_IR_ON"),
        ("No Value", "CLOSED", "LAMPOFF GCAL_IR_OFF"),
        ("No Value", "OPEN", ""),
        ("Ar", "OPEN", ""),
    ],
)
def test_lamps(name: str, shutter: str, expected: str) -> None:
    assert lamp(name, shutter) - {"IMAGE", "RAW", "UNPREPARED"} == set(expected.split())


def test_processed_flat_keeps_flat_and_loses_its_lamp() -> None:
    found = lamp("IRhigh", "OPEN", "OBSTYPE = 'FLAT'\nPREPARE = 'now'\nPROCFLAT= 'now'\nGEM-TLM = 'now'")
    assert found >= {"PROCESSED", "FLAT", "GCALFLAT", "CAL", "PREPARED"}
    assert not found & {"LAMPON", "LAMPOFF", "RAW", "UNPREPARED"}


def test_processed_dark() -> None:
    found = tags("OBSTYPE = 'DARK'\nPREPARE = 'now'\nPROCDARK= 'now'\nGEM-TLM = 'now'")
    assert found == {"PROCESSED", "DARK", "CAL", "PREPARED"}


@pytest.mark.parametrize("mark", ["BPMASK  = 'now'\nOBSTYPE = 'FLAT'", "PROCBPM = 'now'", "OBSTYPE = 'BPM'"])
def test_bad_pixel_mask_is_no_image(mark: str) -> None:
    found = lamp("IRhigh", "OPEN", f"{mark}\nFRAME   = 'AZEL_TOPO'")
    assert found >= {"BPM", "CAL", "PROCESSED"}
    assert not found & {"IMAGE", "LAMPON", "GCALFLAT", "AZEL_TARGET", "DARK"}
    assert ("FLAT" in found) == ("FLAT" in mark)


def test_stack_is_a_processed_science_frame() -> None:
    found = tags("OBSTYPE = 'OBJECT'\nPROCSCI = 'now'\nPREPARE = 'now'")
    assert found >= {"PROCESSED", "PROCESSED_SCIENCE", "IMAGE"}
    assert "RAW" not in found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("OBSCLASS= 'acqCal'", "ACQUISITION"),
        ("OBSTYPE = 'MASK'", "MASK"),
        ("DATATYPE= 'marked-nodandchop'", "NODCHOP"),
        ("PROCTELL= T", "TELLURIC CAL"),
        ("GIFRINGE= 'now'", "FRINGE CAL PROCESSED"),
        ("EXTRACT = 'now'", "EXTRACTED"),
        ("TRIMOVER= 'now'", "OVERSCAN_TRIMMED"),
        ("SUBOVER = 'now'", "OVERSCAN_SUBTRACTED"),
        ("OBSMODE = 'IFS'", "IFS SPECT"),
        ("OBSMODE = 'IMAGE'", "IMAGE"),
    ],
)
def test_single_keywords(text: str, expected: str) -> None:
    found = tags(text)
    assert found >= set(expected.split())
    assert ("SPECT" in found) == ("SPECT" in expected)
    assert ("IMAGE" in found) == ("MASK" not in expected)


@pytest.mark.parametrize(
    ("own", "text", "reason"),
    [
        ("IMAGE", "OBSTYPE = 'OBJECT'", ""),
        ("DARK", "OBSTYPE = 'DARK'", ""),
        ("SPECT LS", "OBSTYPE = 'OBJECT'", "spectrum"),
        ("SPECT TWILIGHT FLAT", "OBSTYPE = 'OBJECT'", "twilight spectrum"),
        ("SPECT ARC", "OBSTYPE = 'ARC'", "arc"),
        ("IMAGE", "OBSTYPE = 'ARC'", "arc"),
        ("IMAGE PINHOLE", "OBSTYPE = 'FLAT'", "pinhole"),
        ("IMAGE THRUSLIT", "OBSTYPE = 'OBJECT'", "image through a slit"),
        ("MASK", "OBSTYPE = 'MASK'", "mask exposure"),
        ("IMAGE", "OBSTYPE = 'RONCHI'", "ronchi"),
        ("GEMINI", "OBSTYPE = 'OBJECT'", "not an image"),
        ("BPM FLAT PROCESSED", "OBSTYPE = 'FLAT'", ""),
        ("IMAGE FLAT PROCESSED", "OBSTYPE = 'FLAT'", ""),
        ("IMAGE FLAT", "GCALLAMP= 'IRhigh'", "flat with no known lamp: GCALLAMP = IRhigh, GCALSHUT = not stated"),
        ("IMAGE FLAT", "GCALLAMP= 'IRhigh'\nGCALSHUT= 'OPEN'", ""),
        ("IMAGE", "OBSTYPE = 'OBJECT'\nOBSCLASS= 'dayCal'", "OBJECT that is no target: OBSCLASS = dayCal"),
        ("IMAGE", "OBSTYPE = 'OBJECT'\nOBSCLASS= 'acq'", ""),
        ("IMAGE AZEL_TARGET", "OBSTYPE = 'OBJECT'\nOBSCLASS= 'science'",
         "image with the telescope parked: FRAME = AZEL_TOPO"),
    ],
)  # fmt: skip
def test_what_is_not_for_imaging(own: str, text: str, reason: str) -> None:
    assert gemini.unsupported(frozenset(own.split()), headers_from_text(text)) == reason
