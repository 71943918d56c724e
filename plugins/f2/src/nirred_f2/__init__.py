"""Gemini FLAMINGOS-2 imaging.

FLAMINGOS-2: Gemini South, one 2048 x 2048 HgCdTe array behind the f/16 camera (0.18 arcsec per pixel); the optics
illuminate a disc of 6.3 arcmin.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nirred.plugin import CalibrationRule, Claim, Instrument, gemini, hookimpl

from . import detector, rules
from . import headers as own

if TYPE_CHECKING:
    from nirred.plugin import Descriptors, Detector, Headers, MaskSpec, PlaneWcs, Simulation

NIRRED_API = (1, 0)

POINTING_ERROR = 1.0  # arcsec, 1 sigma between frames of a dither sequence

_EXAMPLE = """\
INSTRUME= 'F2      '
TELESCOP= 'Gemini-South'
OBSERVAT= 'Gemini-South'
OBSTYPE = 'OBJECT  '
OBSCLASS= 'science '
GRISM   = 'Open    '
FILTER1 = 'Y_G0811 '
FILTER2 = 'Open    '
LYOT    = 'f/16_G5830'
MOSPOS  = 'Open    '
DECKER  = 'Open    '
LNRS    =                    1
COADDS  =                    1
EXPTIME =                 120.
--- extension ---
XTENSION= 'IMAGE   '
BITPIX  =                   32
NAXIS   =                    3
NAXIS1  =                 2048
NAXIS2  =                 2048
NAXIS3  =                    1
"""


@hookimpl
def nirred_instruments() -> Iterable[Instrument]:
    """The one instrument: FLAMINGOS-2."""
    return (Instrument("f2", "Gemini FLAMINGOS-2", "INSTRUME = F2 or Flam", (_EXAMPLE,)),)


@hookimpl
def nirred_claim(headers: Headers) -> Claim | None:
    """Claim by INSTRUME, which differs in the oldest frames; modes that were never measured are not reduced."""
    if (gemini.text(headers, "INSTRUME") or "").upper() not in ("F2", "FLAM"):
        return None
    tags = own.tags(headers)
    made = tags & {"BPM", "PREPARED", "PROCESSED"}
    reason = gemini.unsupported(tags, headers, own.filters(headers)[1])
    return Claim("f2", unsupported=reason or ("" if made else detector.unknown_mode(headers)))


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
    """WCS of the extension, without its third axis; None for darks."""
    if "DARK" in own.tags(headers):
        return None
    return gemini.plane_wcs(headers, gemini.ut_datetime(headers), POINTING_ERROR)


@hookimpl
def nirred_calibration_rules() -> Iterable[CalibrationRule]:
    """Rules that match darks, flats and bad-pixel masks to frames."""
    return rules.RULES


@hookimpl
def nirred_masks() -> Iterable[MaskSpec]:
    """Masks of the area outside the illuminated disc, and of the guide probe's shadow."""
    from .masks import MASKS

    return MASKS


@hookimpl
def nirred_step_defaults(step: str) -> Mapping[str, Any]:
    """Step parameters whose defaults differ for FLAMINGOS-2."""
    return rules.STEP_DEFAULTS.get(step, {})


@hookimpl
def nirred_simulation() -> Simulation:
    """Raw headers and a detector for simulated nights."""
    from .simulation import simulation

    return simulation()
