"""Gemini FLAMINGOS-2 imaging.

FLAMINGOS-2: Gemini South, one 2048 x 2048 HgCdTe array behind the f/16 camera (0.18 arcsec per pixel), of which the
optics light a disc of 6.3 arcmin.
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
    """FLAMINGOS-2 alone."""
    return (Instrument("f2", "Gemini FLAMINGOS-2", "INSTRUME = F2 or Flam", (_EXAMPLE,)),)


@hookimpl
def nirred_claim(headers: Headers) -> Claim | None:
    """By INSTRUME, of which the oldest frames have another; modes that were never measured are not to be reduced."""
    if (gemini.text(headers, "INSTRUME") or "").upper() not in ("F2", "FLAM"):
        return None
    tags = own.tags(headers)
    made = tags & {"BPM", "PREPARED", "PROCESSED"}
    return Claim(
        "f2", unsupported=gemini.unsupported(tags, headers) or ("" if made else detector.unknown_mode(headers))
    )


@hookimpl
def nirred_tags(headers: Headers) -> frozenset[str]:
    """Tags in the observatory's vocabulary."""
    return own.tags(headers)


@hookimpl
def nirred_describe(headers: Headers) -> Descriptors:
    """Header in the field's terms."""
    return own.describe(headers)


@hookimpl
def nirred_detectors(headers: Headers) -> Sequence[Detector]:
    """The one array."""
    return detector.detectors(headers, own.tags(headers))


@hookimpl
def nirred_wcs(headers: Headers) -> Sequence[PlaneWcs] | None:
    """World coordinates of the extension, without their third axis; None for darks."""
    if "DARK" in own.tags(headers):
        return None
    return gemini.plane_wcs(headers, gemini.ut_datetime(headers), POINTING_ERROR)


@hookimpl
def nirred_calibration_rules() -> Iterable[CalibrationRule]:
    """Which dark, flat and bad-pixel mask serves which frame."""
    return rules.RULES


@hookimpl
def nirred_masks() -> Iterable[MaskSpec]:
    """The disc that the optics light, and the guide probe's shadow."""
    from .masks import MASKS

    return MASKS


@hookimpl
def nirred_step_defaults(step: str) -> Mapping[str, Any]:
    """Parameters in which FLAMINGOS-2 differs."""
    return rules.STEP_DEFAULTS.get(step, {})


@hookimpl
def nirred_simulation() -> Simulation:
    """Raw headers and a truth detector."""
    from .simulation import simulation

    return simulation()
