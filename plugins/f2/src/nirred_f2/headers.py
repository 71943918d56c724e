"""FLAMINGOS-2's headers: tags and names, filters, offsets."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from nirred.plugin import Descriptors, TagRule, gemini, rule

from .detector import SIZE, detectors, read_pairs

if TYPE_CHECKING:
    from nirred.plugin import Headers

# Micron. No wavelength is published for 'J-lo'.
_MICRON: Mapping[str, float] = {
    "Jlow": 1.1220,
    "JH": 1.3900,
    "H": 1.6310,
    "HK": 1.8710,
    "K-blue": 2.0600,
    "Ks": 2.1570,
    "K-red": 2.3100,
    "Klong": 2.2000,
    "K-long": 2.2000,
}
# Wavelength of the order-sorting filters, micron; WAVELENG is known to be wrong for them.
_CENTRAL_MICRON = {"K-long_G0812": 2.2000, "JH_G0816": 1.3385, "HK_G0817": 1.9000}
_CAMERA_IDS = {"f/16": "_G5830", "f/32": "_G9999"}
_ZERO_POINTS = {"Y": 26.73, "J": 26.51, "H": 26.75, "Ks": 26.12}  # 1 e-/s, f/16

# Before this date UTEND was the end of the previous exposure.
_END_TRUSTED_FROM = datetime(2015, 12, 1)


def _named(headers: Headers, key: str, before_2010: str) -> str:
    """Value of a keyword by its current name, else by its name before March 2010; empty if neither is present."""
    value = gemini.text(headers, key)
    return (gemini.text(headers, before_2010) or "") if value is None else value


def lyot(headers: Headers) -> str | None:
    """Component in the Lyot wheel: a stop, or since 2022 possibly a filter."""
    found = _named(headers, "LYOT", "LYOTPOS")
    return None if found in ("", "Undefined") else found


def _grism(headers: Headers) -> str:
    return _named(headers, "GRISM", "GRISMPOS")


def _decker(headers: Headers) -> str:
    return _named(headers, "DECKER", "DCKERPOS")


def _mask_position(headers: Headers) -> str:
    return gemini.text(headers, "MOSPOS", "") or ""


def _wheels(headers: Headers) -> list[str]:
    """Positions of the filter wheels, and of the Lyot wheel if it holds a filter."""
    names = [_named(headers, "FILTER1", "FILT1POS"), _named(headers, "FILTER2", "FILT2POS")]
    stop = lyot(headers)
    if stop is not None and not stop.startswith(("f", "GEMS", "Hart")):
        names.append(stop)
    return [n for n in names if n]


def filters(headers: Headers) -> tuple[str | None, str | None]:
    """Filter name with component ids, and the usual name: ('Y_G0811&Open', 'Y')."""
    names = _wheels(headers)
    if not names:
        return None, None
    short = [gemini.strip_id(n) or "" for n in names if "open" not in n.lower()]
    readable = "&".join(short) or "open"
    if any("DK" in n for n in short):
        readable = "dark"
    if any("Block" in n or "Dark" in n for n in short):
        readable = "blank"
    return "&".join(names), readable


def camera(headers: Headers, scale: float | None) -> str | None:
    """f/16, or f/32 behind the adaptive optics: from the Lyot stop, else the focus position, else the pixel scale.

    The name does not depend on how it was found, because FOCUS may differ between frames of one sequence.
    """
    stop, focus = lyot(headers) or "", gemini.text(headers, "FOCUS", "") or ""
    if stop.startswith("f/"):
        return stop
    if re.fullmatch(r"f/\d+", focus):
        return f"{focus}{_CAMERA_IDS.get(focus, '')}"
    if scale is None:
        return None
    derived = "f/16" if scale > 0.1 else "f/32"
    return derived + _CAMERA_IDS[derived]


def _is_dark(h: Headers) -> bool:
    return gemini.text(h, "OBSTYPE") == "DARK" or any(n.startswith("DK") for n in _wheels(h))


def _is_open(h: Headers) -> bool:
    return _grism(h) == "Open"


def _is_dispersed(h: Headers) -> bool:
    return _grism(h).startswith(("JH", "HK", "R3K"))


def _in_long_slit(h: Headers) -> bool:
    return _decker(h) == "Long_slit" or bool(re.match(r".?pix-slit", _mask_position(h)))


def _in_many_slits(h: Headers) -> bool:
    return _decker(h) == "mos" or _mask_position(h).startswith("mos")


def _twilight(h: Headers) -> bool:
    return (gemini.text(h, "OBJECT", "") or "").upper() == "TWILIGHT"


def _disperser_is(start: str) -> Callable[[Headers], bool]:
    return lambda h: (gemini.text(h, "DISPERSR", "") or "").startswith(start)


_closed = gemini.negation(_is_open)

TAGS: tuple[TagRule, ...] = (
    rule(gemini.instrument("F2", "FLAM"), "F2"),
    rule(_is_dark, "DARK CAL", blocks="IMAGE SPECT"),
    rule(_is_open, "IMAGE"),
    rule(gemini.both(_in_long_slit, _is_dispersed), "LS SPECT"),
    rule(gemini.both(_in_long_slit, _is_open), "LS THRUSLIT", if_present="IMAGE"),
    rule(gemini.both(_in_many_slits, _closed), "MOS SPECT"),
    rule(gemini.both(_in_many_slits, _is_open), "MOS THRUSLIT", if_present="IMAGE"),
    rule(_disperser_is("DISP_WOLLASTON"), "POL"),
    rule(_disperser_is("DISP_PRISM"), "SPECT IFU"),
    rule(gemini.says("OBSTYPE", "ARC"), "ARC CAL"),
    rule(gemini.says("OBSTYPE", "FLAT"), "FLAT CAL"),
    rule(gemini.both(_twilight, _is_open), "TWILIGHT CAL"),
    rule(gemini.both(_twilight, _closed), "TWILIGHT CAL", blocks="FLAT"),
    rule(gemini.has("PROCSTND"), "STANDARD CAL"),
)


def tags(headers: Headers) -> frozenset[str]:
    """Tags of a frame."""
    return gemini.frame_tags(TAGS, headers)


def shift(headers: Headers) -> tuple[float, float] | None:
    """Shift of sources on the array (arcsec); the array's +y is the telescope's +p, mirrored on the bottom port."""
    p, q = gemini.number(headers, "POFFSET"), gemini.number(headers, "QOFFSET")
    if p is None or q is None:
        return None
    return -q, (p if gemini.number(headers, "INPORT") == 1 else -p)


def _field_diameter(headers: Headers) -> float | None:
    """Diameter of the lit disc (pixels), smaller behind the adaptive optics; None for a part of the array."""
    image = headers.image
    if image is None or image.shape[-2:] != (SIZE, SIZE):
        return None
    return 1300.0 if gemini.is_ao(headers) else float(SIZE)


def _telescope_offsets(headers: Headers) -> dict[str, float | None]:
    """Offsets along the telescope's axes (arcsec); XOFFSET and YOFFSET are along the array's."""
    x, y = gemini.number(headers, "XOFFSET"), gemini.number(headers, "YOFFSET")
    return {
        "telescope_x_offset": None if y is None else -y,
        "telescope_y_offset": None if x is None else -x,
    }


def _group(h: Headers, own_tags: frozenset[str], full: str | None, optics: str | None) -> tuple[object, ...]:
    seconds = gemini.exposure_time(h, own_tags)
    kind: tuple[str, ...] = ()
    if "DARK" in own_tags:
        head: tuple[object, ...] = seconds, gemini.coadds(h)
    elif {"IMAGE", "TWILIGHT"} <= own_tags:
        head, kind = (full, optics), ("F2_IMAGE_TWILIGHT",)
    elif {"IMAGE", "FLAT"} <= own_tags:
        head, kind = (full, optics, seconds, gemini.text(h, "OBSID")), ("F2_IMAGE_FLAT",)
    else:
        head = gemini.text(h, "OBSID"), full, optics, seconds
    return *head, read_pairs(h), *kind


def describe(headers: Headers) -> Descriptors:
    """Descriptors of a frame.

    The oldest frames name the instrument FLAM. In K the calibration unit itself glows: every flat there, lamp on or
    off, has a dark as its partner.
    """
    own_tags, when = tags(headers), gemini.ut_datetime(headers)
    full, readable = filters(headers)
    pairs, stop, mask = read_pairs(headers), lyot(headers), gemini.text(headers, "MOSPOS")
    scale = gemini.wcs_pixel_scale(headers) or gemini.number(headers, "PIXSCALE", 0.01, 1.0)
    angstrom = gemini.number(headers, "WAVELENG", 1.0)
    optics = camera(headers, scale)
    own = gemini.Own(
        detectors=detectors(headers, own_tags),
        filter_name=full,
        filter_pretty=readable,
        wavelengths=_MICRON,
        zero_point=_ZERO_POINTS.get(readable or ""),
        central_wavelength=_CENTRAL_MICRON.get(gemini.text(headers, "FILTER") or "", angstrom and angstrom * 1e-4),
        camera=optics,
        disperser=_grism(headers) or None,
        focal_plane_mask=mask if mask == "Open" else gemini.text(headers, "MASKNAME"),
        read_mode=None if pairs is None else str(pairs),
        well_depth_setting=gemini.text(headers, "WELDEPTH"),
        pixel_scale=scale,
        shift=shift(headers),
        turn=90.0,
        trust_end=when is not None and when >= _END_TRUSTED_FROM,
        group=_group(headers, own_tags, full, optics),
        configuration=(("lyot_stop", stop),),
        extra={
            "lyot_stop": stop,
            "lamp": gemini.gcal_lamp(headers),
            "field_diameter": _field_diameter(headers),
            **_telescope_offsets(headers),
        },
        pretty={"lyot_stop": gemini.strip_id(stop)},
    )
    found = gemini.describe(headers, own_tags, own)
    glowing = found.band == "K" and found.role in ("lamp_on", "lamp_off")
    return replace(found, instrument="F2", role="flat" if glowing else found.role)
