"""Gemini NIRI imaging.

NIRI: Gemini North, one 1024 x 1024 InSb array behind cameras f6 (0.117), f14 (0.050) and f32 (0.022 arcsec per pixel).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nirred.plugin import CalibrationRule, Claim, Instrument, gemini, hookimpl

from . import detector, rules
from . import headers as own

if TYPE_CHECKING:
    from nirred.plugin import Descriptors, Detector, Headers, PlaneWcs, Simulation

NIRRED_API = (1, 0)

POINTING_ERROR = 1.0  # arcsec, 1 sigma between frames of a dither sequence

_EXAMPLE = """\
INSTRUME= 'NIRI    '
TELESCOP= 'Gemini-North'
OBSERVAT= 'Gemini-North'
OBSTYPE = 'OBJECT  '
OBSCLASS= 'science '
CAMERA  = 'f6      '
FILTER1 = 'open    '
FILTER2 = 'H_G0203 '
FILTER3 = 'pupil38_G5207'
LNRS    =                   16
NDAVGS  =                   16
COADDS  =                    1
EXPTIME =               20.002
--- extension ---
XTENSION= 'IMAGE   '
BITPIX  =                  -32
NAXIS   =                    2
NAXIS1  =                 1024
NAXIS2  =                 1024
"""


@hookimpl
def nirred_instruments() -> Iterable[Instrument]:
    """The one instrument: NIRI."""
    return (Instrument("niri", "Gemini NIRI", "INSTRUME = NIRI", (_EXAMPLE,)),)


@hookimpl
def nirred_claim(headers: Headers) -> Claim | None:
    """Claim by INSTRUME, not by file name or directory: GNIRS frames have been filed as NIRI."""
    if (gemini.text(headers, "INSTRUME") or "").upper() != "NIRI":
        return None
    reason = gemini.unsupported(own.tags(headers), headers, own.filters(headers)[1])
    return Claim("niri", unsupported=reason)


@hookimpl
def nirred_tags(headers: Headers) -> frozenset[str]:
    """Tags in the observatory's vocabulary."""
    return own.tags(headers)


@hookimpl
def nirred_describe(headers: Headers) -> Descriptors:
    """Descriptors from the header."""
    return own.describe(headers)


@hookimpl
def nirred_detectors(headers: Headers) -> Sequence[Detector]:
    """The one array."""
    return detector.detectors(headers, own.tags(headers))


@hookimpl
def nirred_wcs(headers: Headers) -> Sequence[PlaneWcs] | None:
    """WCS of the extension, else of the primary header; None for darks."""
    if "DARK" in own.tags(headers):
        return None
    return gemini.plane_wcs(headers, gemini.ut_datetime(headers), POINTING_ERROR)


@hookimpl
def nirred_calibration_rules() -> Iterable[CalibrationRule]:
    """Rules that match darks, flats and bad-pixel masks to frames."""
    return rules.RULES


@hookimpl
def nirred_step_defaults(step: str) -> Mapping[str, Any]:
    """Step parameters whose defaults differ for NIRI."""
    return rules.STEP_DEFAULTS.get(step, {})


@hookimpl
def nirred_simulation() -> Simulation:
    """Raw headers and a detector for simulated NIRI nights."""
    from .simulation import simulation

    return simulation()
