"""GTC EMIR imaging.

EMIR: Gran Telescopio Canarias, 2048 x 2048 pixels of 0.194 arcsec, with strong distortion and a mirrored sky. Its
detector was a HAWAII-2 until March 2023 and is an H2RG since July 2023.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nirred.plugin import (
    CalibrationRule,
    Claim,
    Instrument,
    PlaneWcs,
    Recipe,
    RecipePatch,
    S,
    gemini,
    hookimpl,
    wcs_from_header,
)

from . import detector, rules
from . import headers as own

if TYPE_CHECKING:
    from pathlib import Path

    from nirred.plugin import (
        Descriptors,
        Detector,
        Frame,
        Headers,
        RequestContext,
        RequestSet,
        Simulation,
        Step,
    )

NIRRED_API = (1, 0)

POINTING_ERROR = 1.0  # arcsec, 1 sigma between frames of a pattern: "a few pixels"

_EXAMPLE = """\
INSTRUME= 'EMIR    '
TELESCOP= 'GTC     '
OBSMODE = 'STARE_IMAGE'
READMODE= 'RAMP    '
FILTER  = 'F1230   '
GRISM   = 'OPEN    '
OBJECT  = 'TEST    '
DATE-OBS= '2018-12-17T23:57:24.72'
EXPTIME =             29.99926
TSTAMP  =        1545091044.72
RA      = '02:39:54.057'
DEC     = '-01:34:33.537'
NOBSBLCK=                   18
OBSBLOCK=                    1
NIMGOBBL=                    7
IMGOBBL =                    1
NEXP    =                    1
EXP     =                    1
AIRMASS =                 1.18
BITPIX  =                  -32
NAXIS   =                    2
NAXIS1  =                 2048
NAXIS2  =                 2048
RADESYS = 'FK5     '
CTYPE1  = 'RA---ZPN'
CTYPE2  = 'DEC--ZPN'
CRPIX1  =              1022.46
CRPIX2  =              1016.55
CRVAL1  =             39.97524
CRVAL2  =             -1.57598
CD1_1   =           -5.396E-05
CD1_2   =              5.2E-08
CD2_1   =             -5.2E-08
CD2_2   =           -5.396E-05
PV2_1   =                  1.0
PV2_2   =                  0.0
PV2_3   =              14584.8
PV2_4   =                  0.0
PV2_5   =         1755295542.4
"""


@hookimpl
def nirred_instruments() -> Iterable[Instrument]:
    """The one instrument, EMIR, with one example header for each detector."""
    later = _EXAMPLE.replace("2018-12-17T23:57:24.72", "2024-12-17T23:57:24.72").replace(
        "1545091044.72", "1734479844.72"
    )
    return (Instrument("emir", "GTC EMIR", "INSTRUME = EMIR", (_EXAMPLE, later)),)


@hookimpl
def nirred_claim(headers: Headers) -> Claim | None:
    """Claim by INSTRUME; spectra, and frames from dates without a detector, are listed and not reduced."""
    if (gemini.text(headers, "INSTRUME") or "").upper() != "EMIR":
        return None
    return Claim("emir", unsupported=own.unsupported(headers))


@hookimpl
def nirred_tags(headers: Headers) -> frozenset[str]:
    """Tags: instrument, kind, state."""
    return own.tags(headers)


@hookimpl
def nirred_describe(headers: Headers) -> Descriptors:
    """Descriptors from the header."""
    return own.describe(headers)


@hookimpl
def nirred_detectors(headers: Headers) -> Sequence[Detector]:
    """The one array, of either detector."""
    return detector.detectors(headers)


@hookimpl
def nirred_wcs(headers: Headers) -> Sequence[PlaneWcs] | None:
    """Zenithal polynomial WCS with PV terms; the CD matrix includes the mirroring. None for darks and masters."""
    if own.role(headers) in ("dark", "bias", "bpm") or own.master(headers):
        return None
    header = gemini.wcs_header(headers)
    wcs = wcs_from_header(header) if header is not None else None
    return None if wcs is None else (PlaneWcs(wcs, POINTING_ERROR),)


@hookimpl
def nirred_calibration_rules() -> Iterable[CalibrationRule]:
    """Rules that match darks, flats and bad-pixel masks to frames."""
    return rules.RULES


@hookimpl
def nirred_read_calibration(path: Path, kind: str, headers: Headers, descriptors: Descriptors) -> Frame | None:
    """Read the observatory's masters: images in ADU, darks in ADU per second."""
    from .masters import read

    return read(path, kind, headers, descriptors)


@hookimpl
def nirred_open(path: Path, headers: Headers) -> Frame | None:
    """Open single positions reduced earlier, to stack them; raw frames are read by the core."""
    if "NIRRED" not in headers.primary:
        return None
    from .masters import reduced

    return reduced(path, headers)


@hookimpl
def nirred_step_defaults(step: str) -> Mapping[str, Any]:
    """Step parameters whose defaults differ for EMIR."""
    return rules.STEP_DEFAULTS.get(step, {})


@hookimpl
def nirred_steps() -> Iterable[type[Step]]:
    """Steps for amplifier levels, stray light and vignetting, and extinction."""
    from .steps import STEPS

    return STEPS


@hookimpl
def nirred_recipes() -> Iterable[Recipe | RecipePatch]:
    """The core's recipes with EMIR's own steps, and recipes for a single position, as mode STARE_IMAGE requires."""
    yield from rules.STARE
    for base, last_sky in (("reduce", "sky_correct"), ("ultradeep", "sky_correct_deep")):
        yield RecipePatch(
            base,
            frozenset({"EMIR", "IMAGE"}),
            insert=(
                ("associate_sky", S("level_amplifiers", label="level_amplifiers_far", frames=True)),
                ("sky_correct_first", S("level_amplifiers", label="level_amplifiers_first", frames=True)),
                ("mask_objects", S("correct_illumination")),
                ("sky_correct", S("level_amplifiers")),
                (last_sky, S("correct_extinction")),
                ("scale_counts_to_reference", S("allow_for_smoothing")),
            ),
        )


@hookimpl
def nirred_read_request(paths: Sequence[Path], context: RequestContext) -> RequestSet | None:
    """Read the observatory's observation-result YAML, with its control file."""
    from .requests import read

    return read(paths, context)


@hookimpl
def nirred_simulation() -> Simulation:
    """Raw headers and detectors for simulated EMIR nights."""
    from .simulation import simulation

    return simulation()
