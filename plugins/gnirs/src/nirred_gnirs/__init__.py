"""Gemini GNIRS keyhole imaging.

GNIRS is a spectrograph of Gemini North (formerly South). Its acquisition mirror sends a keyhole-shaped field past the
slit to the 1024 x 1022 InSb array, at 0.15 arcsec per pixel (short cameras) or 0.05 (long ones).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nirred.plugin import CalibrationRule, Claim, Instrument, MaskSpec, gemini, hookimpl

from . import detector, rules
from . import headers as own

if TYPE_CHECKING:
    from nirred.plugin import Descriptors, Detector, Headers, PlaneWcs, Polygon, Simulation

NIRRED_API = (1, 0)

_EXAMPLE = """\
INSTRUME= 'GNIRS   '
TELESCOP= 'Gemini-North'
OBSERVAT= 'Gemini-North'
OBSTYPE = 'OBJECT  '
OBSCLASS= 'science '
ACQMIR  = 'In      '
SLIT    = 'Acq_G5530'
DECKER  = 'Acq_G5531'
PRISM   = 'MIR_G5537'
GRATING = '32/mmSB_G5533'
CAMERA  = 'ShortBlue_G5540'
FILTER1 = 'Open    '
FILTER2 = 'J_G0517 '
LNRS    =                   16
NDAVGS  =                   16
DETBIAS =                -0.28
ARRAYID = 'SN7638228.1.2'
COADDS  =                    1
EXPTIME =                  60.
--- extension ---
XTENSION= 'IMAGE   '
BITPIX  =                  -32
NAXIS   =                    2
NAXIS1  =                 1024
NAXIS2  =                 1022
"""


@hookimpl
def nirred_instruments() -> Iterable[Instrument]:
    """The one instrument: GNIRS."""
    return (Instrument("gnirs", "Gemini GNIRS keyhole", "INSTRUME = GNIRS", (_EXAMPLE,)),)


@hookimpl
def nirred_claim(headers: Headers) -> Claim | None:
    """Claim by INSTRUME. Spectra, pinholes, images through slits and unknown modes are not reduced."""
    if (gemini.text(headers, "INSTRUME") or "").upper() != "GNIRS":
        return None
    tags = own.tags(headers)
    made = tags & {"BPM", "PREPARED", "PROCESSED"}
    reason = gemini.unsupported(tags, headers, own.filters(headers)[1])
    return Claim("gnirs", unsupported=reason or ("" if made else detector.unknown_mode(headers)))


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
    return own.wcs(headers)


@hookimpl
def nirred_footprint(headers: Headers) -> Sequence[Polygon] | None:
    """Outline of the keyhole, not of the array."""
    return own.footprint(headers)


@hookimpl
def nirred_masks() -> Iterable[MaskSpec]:
    """Mask of the area outside the keyhole, aligned with the frames of each group."""
    return rules.MASKS


@hookimpl
def nirred_calibration_rules() -> Iterable[CalibrationRule]:
    """Rules that match darks, flats and bad-pixel masks to frames."""
    return rules.RULES


@hookimpl
def nirred_step_defaults(step: str) -> Mapping[str, Any]:
    """Step parameters whose defaults differ for GNIRS."""
    return rules.STEP_DEFAULTS.get(step, {})


@hookimpl
def nirred_simulation() -> Simulation:
    """Raw headers and a detector for simulated keyhole nights."""
    from .simulation import simulation

    return simulation()
