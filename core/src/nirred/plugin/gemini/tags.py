"""Tags common to all Gemini near-infrared cameras (the observatory's vocabulary), as rules on the primary header."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..tagging import TagRule, evaluate, rule
from .states import why_no_role
from .values import number, text

if TYPE_CHECKING:
    from ...headers import Headers

LAMPS = ("IRhigh", "IRlow")
_PROCESSED = "PROCARC GBIAS PROCBIAS PROCDARK GIFLAT PROCFLAT GIFRINGE PROCFRNG PROCPNHL PROCSTND PROCILLM".split()

Test = Callable[["Headers"], bool]


def says(key: str, *values: str) -> Test:
    """A test: the primary keyword is one of these values."""
    return lambda h: text(h, key) in values


def has(*keys: str) -> Test:
    """A test: one of these keywords is in the primary header."""
    return lambda h: any(k in h.primary for k in keys)


def instrument(*names: str) -> Test:
    """A test: INSTRUME is one of these, in any case."""
    return lambda h: (text(h, "INSTRUME", "") or "").upper() in names


def containing(fragment: str) -> Test:
    """A test: the name of some primary keyword contains this text."""
    return lambda h: any(fragment in k for k in h.primary)


def _observatory(h: Headers) -> str:
    return (text(h, "OBSERVAT") or text(h, "TELESCOP") or "").upper()


def _gemini(h: Headers) -> bool:
    return any((text(h, k, "") or "").upper() in ("GEMINI-NORTH", "GEMINI-SOUTH") for k in ("OBSERVAT", "TELESCOP"))


def _infrared_lamp(h: Headers) -> bool:
    lamp = text(h, "GCALLAMP", "") or ""
    return lamp in LAMPS or lamp.startswith("QH")


def _flat_lamp(h: Headers) -> bool:
    lamp = text(h, "GCALLAMP", "") or ""
    return lamp == "IRhigh" or lamp.startswith("QH")


def _shutter(state: str) -> Test:
    return says("GCALSHUT", state)


def _tracks_sky(h: Headers) -> bool:
    return text(h, "TRKFRAME") in ("FK5", "APPT") or text(h, "FRAME") in ("FK5", "APPT")


def _still(h: Headers) -> bool:
    return number(h, "DECTRACK") == 0 and number(h, "RATRACK") == 0


def _mode(h: Headers) -> bool:
    return bool(text(h, "OBSMODE"))


def both(*tests: Test) -> Test:
    """A test: all of these hold."""
    return lambda h: all(t(h) for t in tests)


def either(*tests: Test) -> Test:
    """A test: one of these holds."""
    return lambda h: any(t(h) for t in tests)


def negation(test: Test) -> Test:
    """A test: this does not hold."""
    return lambda h: not test(h)


COMMON: tuple[TagRule, ...] = (
    rule(_gemini, "GEMINI"),
    rule(lambda h: _observatory(h) == "GEMINI-NORTH", "NORTH"),
    rule(lambda h: _observatory(h) == "GEMINI-SOUTH", "SOUTH"),
    rule(says("OBSCLASS", "acq", "acqCal"), "ACQUISITION"),
    rule(says("FRAME", "AZEL_TOPO"), "AZEL_TARGET"),
    rule(lambda h: text(h, "FRAME") == "AZEL_TOPO" and number(h, "AIRMASS") == 1.0, "AZEL_TARGET AT_ZENITH"),
    rule(both(_tracks_sky, _still), "SIDEREAL"),
    rule(both(_tracks_sky, negation(_still)), "NON_SIDEREAL"),
    rule(_flat_lamp, "GCALFLAT FLAT CAL"),
    rule(both(_infrared_lamp, _shutter("OPEN")), "GCAL_IR_ON LAMPON", blocked_by="PROCESSED"),
    rule(both(_infrared_lamp, _shutter("CLOSED")), "GCAL_IR_OFF LAMPOFF", blocked_by="PROCESSED PINHOLE"),
    rule(both(says("GCALLAMP", "No Value"), _shutter("CLOSED")), "GCAL_IR_OFF LAMPOFF", blocked_by="PROCESSED"),
    rule(says("DATATYPE", "marked-nodandchop"), "NODCHOP"),
    rule(
        either(has("BPMASK", "PROCBPM"), says("OBSTYPE", "BPM")),
        "BPM CAL PROCESSED",
        blocks="IMAGE SPECT NON_SIDEREAL AZEL_TARGET GCALFLAT LAMPON GCAL_IR_ON GCAL_IR_OFF DARK",
    ),
    rule(says("OBSTYPE", "MASK"), "MASK", blocks="IMAGE SPECT"),
    rule(negation(has("GEM-TLM")), "RAW"),
    rule(containing("PREPAR"), "PREPARED"),
    rule(negation(containing("PREPAR")), "UNPREPARED"),
    rule(has(*_PROCESSED), "PROCESSED"),
    rule(
        both(says("OBSTYPE", "OBJECT"), has("GMOSAIC", "PROCSCI")),
        "PROCESSED_SCIENCE PROCESSED",
        blocks="RAW",
    ),
    rule(has("GIFRINGE", "PROCFRNG"), "FRINGE CAL"),
    rule(lambda h: h.primary.get("PROCTELL") is True, "TELLURIC CAL"),
    rule(has("EXTRACT"), "EXTRACTED"),
    rule(containing("TRIMOVER"), "OVERSCAN_TRIMMED"),
    rule(containing("SUBOVER"), "OVERSCAN_SUBTRACTED"),
    rule(both(_mode, negation(says("OBSMODE", "IMAGE"))), "SPECT"),
)
"""The common rules; each instrument adds its own."""


def frame_tags(rules: tuple[TagRule, ...], headers: Headers) -> frozenset[str]:
    """Tags of a frame by the instrument's rules and the common ones; computed once per file and set of rules."""
    known, tags = headers.derived.get("gemini tags", ((), frozenset()))
    if known is not rules:
        mode = text(headers, "OBSMODE")
        own = (rule(lambda h: True, mode.upper()),) if mode else ()
        tags = evaluate((*rules, *COMMON, *own), headers)
        headers.derived["gemini tags"] = rules, tags
    return frozenset(tags)


def unsupported(tags: frozenset[str], headers: Headers, filter_pretty: str | None = None) -> str:
    """Why a Gemini frame cannot be used in an imaging reduction; empty if it can.

    Darks are used for images and spectra alike. Acquisition images are identified by their role, not here.
    `filter_pretty` is the usual name of the filter, by which a closed wheel is recognised.
    """
    if tags & {"DARK", "BPM"}:
        return ""
    kind = (text(headers, "OBSTYPE", "") or "").upper()
    for tag, reason in (("ARC", "arc"), ("PINHOLE", "pinhole"), ("MASK", "mask exposure")):
        if tag in tags or kind == tag:
            return reason
    if "SPECT" in tags:
        return "twilight spectrum" if "TWILIGHT" in tags else "spectrum"
    if "THRUSLIT" in tags:
        return "image through a slit"
    if kind in ("BIAS", "RONCHI", "CAL"):
        return kind.lower()
    return why_no_role(headers, tags, filter_pretty) if "IMAGE" in tags else "not an image"
