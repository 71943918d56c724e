"""Headers and tables of products, and the writing of a group's result to a file."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import __version__
from .algorithms.shared import no_warnings
from .cards import whole_cards
from .fitsio import Extension, set_cards, write_product
from .geometry import NO_GRID, geometry
from .group import Group
from .headers import printable_ascii
from .plan.model import ON_TARGET, FrameInfo
from .plugin.coordinates import wcs_cards
from .provenance import file_digest
from .states import FrameState

if TYPE_CHECKING:
    from astropy.io import fits

    from .algorithms.grids import Grid

#: Keywords of a raw primary header that do not apply to a product.
_STALE = ("CHECKSUM", "DATASUM", "NEXTEND", "BSCALE", "BZERO", "DATAMIN", "DATAMAX", "IRAF-TLM", "DATE")
#: What a raw primary header says of its pixels: those of a product say it themselves, in their own header.
_OF_RAW_PIXELS = ("BUNIT", "GAIN", "RDNOISE", "SATLEVEL", "NONLINEA")
#: What products say of their own pixels where it is worth saying: nothing true of a product made of them.
_MEASURED = ("UNEVEN", "FWHM", "SKYLEVEL")
_STRUCTURE = ("SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "EXTEND", "XTENSION", "PCOUNT", "GCOUNT")
#: World coordinates of the raw frame: a product has its own, in the header of its pixels.
_WCS = re.compile(
    r"(WCSAXES|W?CTYPE|CRPIX|CRVAL|CUNIT|CDELT|CROTA|LTV|LTM|WAT)\d*|(CD|PC|PV|LTM|WAT)\d+_\d+|WCSDIM|[AB]P?_(ORDER|DMAX|\d_\d)"
)
#: Columns of FRAMES and OBJCAT, by their units.
_PIXELS = "xoff yoff xoff_err yoff_err fwhm X_IMAGE Y_IMAGE FWHM_IMAGE A_IMAGE B_IMAGE".split()
_DEGREES = "X_WORLD Y_WORLD THETA_IMAGE".split()
_SIGNAL = "sky FLUX_AUTO FLUXERR_AUTO FLUX_APER FLUXERR_APER".split()
#: Offset and error of a frame of which none was measured.
_UNPLACED = (math.nan,) * 4
#: Keywords by which DRAGONS tools recognise the type of a file.
_PROCESSED = {"dark": "PROCDARK", "flat": "PROCFLAT", "skyflat": "PROCFLAT", "bpm": "BPMASK", "image": "PROCSCI"}


def primary_header(group: Group, info: FrameInfo, kind: str) -> fits.Header:
    """Primary header of a product: the cards of frame `info` and those of the reduction.

    It contains no time, host or user: the same inputs give the same bytes.
    """
    header = described_cards(info)
    stamp = f"nirred {__version__}"
    header["NIRRED"] = (__version__, "version of nirred that made this")
    header["NIRKIND"] = (kind, "kind of product")
    set_cards(header, {"ORIGNAME": (info.name, "first frame of the group")})
    for key in ("GEM-TLM", "PREPARE", _PROCESSED[kind]):
        header[key] = (stamp, "processed")
    if kind == "bpm":
        header["OBJECT"] = "BPM"
    set_cards(header, group.keywords)
    header["HISTORY"] = printable_ascii(f"{stamp}: recipe {group.task.recipe}, task {group.task.id}")
    return header


def described_cards(info: FrameInfo) -> fits.Header:
    """The raw primary header; exposure time (of all coadds), filter and pixel scale are the plugin's."""
    header, told = original_cards(info), info.descriptors
    if told.exposure_time is not None:
        header["EXPTIME"] = (told.exposure_time, "[s] exposure that SCI stands for")
    if told.filter_pretty:
        set_cards(header, {"FILTER": (told.filter_pretty, "filter")})
    if told.pixel_scale is not None:
        header["PIXSCALE"] = (told.pixel_scale, "[arcsec/pixel]")
    return header


def original_cards(info: FrameInfo) -> fits.Header:
    """The raw primary header without structure and checksum cards, with unprintable characters replaced."""
    from astropy.io import fits

    text = info.headers.primary.text.encode("ascii", "replace").decode().replace("\0", " ")
    text = "".join(c if " " <= c <= "~" else "?" for c in text)
    header, stale = fits.Header(), {*_STALE, *_OF_RAW_PIXELS}
    if info.headers.primary.get("NIRRED") is not None:
        stale |= set(_MEASURED)
    with no_warnings():
        for card in filter(None, map(_valid, whole_cards(text))):
            keyword = card.keyword
            if keyword in stale or keyword in _STRUCTURE or not keyword or _WCS.fullmatch(keyword):
                continue
            if keyword in ("COMMENT", "HISTORY"):
                add = header.add_comment if keyword == "COMMENT" else header.add_history
                add(str(card.value))
            elif keyword not in header:
                header.append(card)
    return header


def _valid(image: str) -> fits.Card | None:
    """A raw frame's card as a valid file can have it; None if it is damaged: only the raw frame has it then."""
    from astropy.io import fits

    card = fits.Card.fromstring(image)
    try:
        card.verify("silentfix")
        if len(card.keyword) > 8:  # is copied as it is: reformatting might truncate its value
            return card
        return fits.Card(card.keyword, card.value, card.comment)
    except (fits.VerifyError, ValueError):
        return None


def plane_keywords(group: Group, info: FrameInfo, planes: tuple[int, ...]) -> dict[str, Any]:
    """Keywords of SCI: unit, and noise and levels of the detectors behind it."""
    unit = ("", "relative sensitivity") if "FLATLEV" in group.keywords else (group.unit, "unit of the pixels")
    keywords: dict[str, Any] = {"BUNIT": unit} | group.keywords
    if info.descriptors.exposure_time is not None:
        keywords["EXPTIME"] = (info.descriptors.exposure_time, "[s] exposure that SCI stands for")
    number = group.keywords.get("NCOMBINE", 1)
    gains = [1.0 if group.unit == "electron" else info.detectors[p].gain for p in planes]
    known = [gain for gain in gains if gain is not None]
    if len(known) == len(gains):
        exposures = group.stack.collected
        if exposures is None:
            exposures = number if isinstance(number, int) else number[0]
        raised = np.mean([group.frames[i].raised for i in group.indices()] or [1.0])
        level, *_ = group.keywords.get("FLATLEV", (1.0,))
        keywords["GAIN"] = (float(np.mean(known) * exposures * level / raised), "SCI x GAIN = electrons collected")
    keywords |= _detector_keywords(group, info, planes)
    scale = info.descriptors.pixel_scale
    if scale is not None:
        keywords["PIXSCALE"] = (scale, "[arcsec/pixel]")
    return keywords


def correlation_factor(noisecov: np.ndarray) -> tuple[float, str]:
    """CORRFAC, with its comment, of a stack whose noise has the autocorrelation `noisecov`."""
    middle = len(noisecov) // 2
    return float(np.sqrt(noisecov[middle, middle])), "pixel scatter / sqrt(VAR)"


def grid_keywords(grid: Grid) -> dict[str, tuple[int, str]]:
    """Place of a stack's grid on its reference frame."""
    return {
        "REFX0": (-grid.x0, "x (from 0) of pixel (0,0) of REFFRAME"),
        "REFY0": (-grid.y0, "y (from 0) of pixel (0,0) of REFFRAME"),
    }


def drawn_planes(group: Group, p: int) -> tuple[int, ...]:
    """The detectors that contribute to a plane of the product: several in a mosaic."""
    layouts = group.stack.layouts
    return layouts[p].target.planes if layouts is not None and p < len(layouts) else (p,)


def _detector_keywords(group: Group, info: FrameInfo, planes: tuple[int, ...]) -> dict[str, Any]:
    """Read noise and levels of a detector; for several, the rms read noise and the lowest levels."""
    from .algorithms.response import linear_level

    detectors = [info.detectors[p] for p in planes]
    several = f" of {len(planes)} arrays" if len(planes) > 1 else ""
    keywords: dict[str, Any] = {}
    noises = [d.read_noise for d in detectors if d.read_noise is not None]
    if len(noises) == len(detectors):
        rms = math.sqrt(sum(noise**2 for noise in noises) / len(noises)) if several else noises[0]
        keywords["RDNOISE"] = (float(rms), f"[electron] read noise, {'rms' + several if several else 'one exposure'}")
    inputs = [group.planes[p].inputs if p < len(group.planes) else None for p in planes]
    for key, level in (("SATLEVEL", "saturation"), ("NONLINEA", "non_linear")):
        told = [(getattr(d, level), given) for d, given in zip(detectors, inputs, strict=True)]
        levels = [linear_level(value, given) for value, given in told if value is not None and given is not None]
        if levels and len(levels) == len(told):
            keywords[key] = (
                round(min(levels), 3),
                f"[{group.unit}] {'lowest' + several if several else 'before dark and flat'}",
            )
    return keywords


def wcs_keywords(group: Group, info: FrameInfo, p: int) -> dict[str, Any]:
    """WCS of the product: that of the reference frame, shifted to the origin of the grid."""
    layouts = group.stack.layouts
    if layouts is not None:
        wcs = geometry(group).target_wcs(replace(layouts[p].target, grid=NO_GRID))
    else:
        wcs = info.wcs[p].wcs if p < len(info.wcs) else None
    if wcs is None:
        return {}
    keywords: dict[str, Any] = dict(wcs_cards(wcs))
    # astropy writes PC with CDELT = 1; software that reads only CDELT would take that as the scale
    for i, row in enumerate(wcs.pixel_scale_matrix, 1):
        keywords |= {f"CD{i}_{j}": (float(v), "[deg/pixel]") for j, v in enumerate(row, 1)}
    if layouts is not None:
        for key, origin in zip(("CRPIX1", "CRPIX2"), layouts[p].grid.origin, strict=True):
            keywords[key] = (keywords[key][0] - origin, "reference pixel")
    return keywords


def frames_table(group: Group) -> np.ndarray:
    """FRAMES table: one row per frame, on target or of the sky, with its measurements and why it was left out.

    NaN is what was not measured; frames of the sky have neither offset nor transparency.
    """
    names = max(len(printable_ascii(f.info.name)) for f in group.frames)
    states = max(len(_state(f)) for f in group.frames)
    reasons = max([len(printable_ascii(f.reason)) for f in group.frames] + [1])
    kind = [
        ("file", f"S{names}"), ("xoff", "f8"), ("yoff", "f8"), ("xoff_err", "f4"), ("yoff_err", "f4"), ("sky", "f4"),
        ("fwhm", "f4"), ("transparency", "f4"), ("weight", "f4"), ("state", f"S{states}"), ("reason", f"S{reasons}"),
    ]  # fmt: skip
    out = np.zeros(len(group.frames), kind)
    for k, f in enumerate(group.frames):
        placed = (f.dx, f.dy, f.dx_err, f.dy_err) if math.isfinite(f.dx_err) else _UNPLACED
        transparency, weight = f.transparency, f.weight if f.alive else 0.0
        if f.role not in ON_TARGET:  # registered, if at all, to other frames of the sky
            placed, transparency, weight = _UNPLACED, math.nan, 0.0
        values = (*placed, f.sky, f.fwhm, transparency, weight)
        out[k] = (printable_ascii(f.info.name), *values, _state(f), printable_ascii(f.reason))
    return out


def _state(frame: FrameState) -> str:
    """As FRAMES has it: a frame that only gave its sky is in no pixel of the stack."""
    return "sky" if frame.alive and frame.role not in ON_TARGET else frame.state


def column_units(unit: str) -> dict[str, str]:
    """Units of the columns of FRAMES and OBJCAT, by name, where signal is in `unit`; the others have none."""
    return dict.fromkeys(_PIXELS, "pix") | dict.fromkeys(_DEGREES, "deg") | dict.fromkeys(_SIGNAL, unit)


def write(group: Group, kind: str, provenance: np.ndarray) -> Path:
    """Write the group's result: SCI, VAR, DQ, NEXP for each plane, then the tables.

    Raises
    ------
    DataError
        It cannot be written; nothing is left behind.
    """
    info = group.frames[group.reference].info if kind == "image" else group.task.first
    path = group.context.out / f"{group.task.id}.fits"
    extensions: list[Extension] = []
    for p, plane in enumerate(group.streams["main"]):
        version = p + 1
        keywords = plane_keywords(group, info, drawn_planes(group, p)) | (
            wcs_keywords(group, info, p) if kind in ("image", "skyflat") else {}
        )
        if kind == "bpm":
            extensions.append(Extension("DQ", plane.dq, {}, version))
            continue
        extensions.append(Extension("SCI", plane.data.astype(np.float32, copy=False), keywords, version))
        if plane.var is not None:
            var_unit = {"BUNIT": (f"{group.unit}2" if kind != "flat" else "", "unit of the pixels")}
            extensions.append(Extension("VAR", plane.var.astype(np.float32, copy=False), var_unit, version))
        extensions.append(Extension("DQ", plane.dq, {}, version))
        if group.stack.nexp is not None:
            extensions.append(Extension("NEXP", group.stack.nexp[p], {}, version))
    if group.stack.noisecov is not None:
        extensions.append(Extension("NOISECOV", np.asarray(group.stack.noisecov, np.float64)))
    for name, tables in group.tables.items():
        keywords = group.table_keywords.get(name, {})
        extensions += [
            Extension(name, table, keywords, version, column_units(group.unit))
            for version, table in enumerate(tables, 1)
        ]
    extensions.append(Extension("PROVENANCE", provenance))
    primary = primary_header(group, group.task.first, kind)
    write_product(path, primary, extensions, group.context.threads, meanwhile=file_digest)
    group.product = path
    return path
