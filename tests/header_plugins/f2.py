"""FLAMINGOS-2 by its headers alone: the seed of nirred-f2."""

from __future__ import annotations

import re
from datetime import datetime

from nirred.plugin import Claim, Detector, Instrument, Linearity, Section, gemini, hookimpl, rule

NIRRED_API = (1, 0)

SIZE = 2048
READ_NOISE = {1: 11.7, 4: 6.0, 6: 5.3, 8: 5.0}  # e- by number of read pairs, whose counts are summed
LINEARITY = Linearity(((0.9999107, -4.2854848e-08, 1.0096585e-12),))
MICRON = {
    **{"Jlow": 1.122, "JH": 1.39, "H": 1.631, "HK": 1.871, "K-blue": 2.06, "Ks": 2.157},
    **{"K-red": 2.31, "Klong": 2.2, "K-long": 2.2},
}
ZERO_POINTS = {"Y": 26.73, "J": 26.51, "H": 26.75, "Ks": 26.12}
GRATING_MICRON = {"K-long_G0812": 2.2, "JH_G0816": 1.3385, "HK_G0817": 1.9}
UTEND_WRONG_BEFORE = datetime(2015, 12, 1)


def either(h, new, old):
    """A keyword by its present name, else by the one of before March 2010."""
    value = gemini.text(h, new)
    return (gemini.text(h, old) or "") if value is None else value


def wheels(h):
    names = [either(h, "FILTER1", "FILT1POS"), either(h, "FILTER2", "FILT2POS")]
    lyot = either(h, "LYOT", "LYOTPOS")
    if lyot and not lyot.startswith(("f", "GEMS", "Hart", "Undefined")):
        names.append(lyot)  # since 2022 filters may sit in the Lyot wheel
    return [n for n in names if n]


def filters(h):
    names = wheels(h)
    if not names:
        return None, None
    short = [gemini.strip_id(n) or "" for n in names if "open" not in n.lower()]
    readable = "&".join(short) or "open"
    if any("DK" in n for n in short):
        readable = "dark"
    if any(n in ("Block", "Dark") for n in short):
        readable = "blank"
    return "&".join(names), readable


def dark(h):
    return gemini.text(h, "OBSTYPE") == "DARK" or any(n.startswith("DK") for n in wheels(h))


def opened(h):
    return either(h, "GRISM", "GRISMPOS") == "Open"


def long_slit(h):
    return either(h, "DECKER", "DCKERPOS") == "Long_slit" or bool(re.match(r".?pix-slit", gemini.text(h, "MOSPOS", "")))


def many_slits(h):
    return either(h, "DECKER", "DCKERPOS") == "mos" or gemini.text(h, "MOSPOS", "").startswith("mos")


def dispersed(h):
    return either(h, "GRISM", "GRISMPOS").startswith(("JH", "HK", "R3K"))


TAGS = (
    rule(gemini.instrument("F2", "FLAM"), "F2"),
    rule(dark, "DARK CAL", blocks="IMAGE SPECT"),
    rule(opened, "IMAGE"),
    rule(gemini.both(long_slit, dispersed), "LS SPECT"),
    rule(gemini.both(long_slit, opened), "LS THRUSLIT", if_present="IMAGE"),
    rule(gemini.both(many_slits, gemini.negation(opened)), "MOS SPECT"),
    rule(gemini.both(many_slits, opened), "MOS THRUSLIT", if_present="IMAGE"),
    rule(gemini.says("OBSTYPE", "ARC"), "ARC CAL"),
    rule(gemini.says("OBSTYPE", "FLAT"), "FLAT CAL"),
    rule(gemini.both(gemini.says("OBJECT", "TWILIGHT", "Twilight"), opened), "TWILIGHT CAL"),
    rule(
        gemini.both(gemini.says("OBJECT", "TWILIGHT", "Twilight"), gemini.negation(opened)),
        "TWILIGHT CAL",
        blocks="FLAT",
    ),
    rule(gemini.has("PROCSTND"), "STANDARD CAL"),
)


@hookimpl
def nirred_instruments():
    return (Instrument("f2", "Gemini FLAMINGOS-2", "INSTRUME = F2 or Flam"),)


@hookimpl
def nirred_claim(headers):
    if (gemini.text(headers, "INSTRUME") or "").upper() not in ("F2", "FLAM"):
        return None
    return Claim("f2", unsupported=gemini.unsupported(nirred_tags(headers), headers))


@hookimpl
def nirred_tags(headers):
    return gemini.frame_tags(TAGS, headers)


@hookimpl
def nirred_detectors(headers):
    image = headers.image
    if image is None:
        return ()
    reads = gemini.integer(headers, "LNRS")
    known = reads in READ_NOISE
    full = float(int(155400.0 / (4.44 / reads))) if known else None
    return (
        Detector(
            shape=image.shape[-2:],
            gain=4.44 / reads if known else None,
            read_noise=READ_NOISE.get(reads),
            saturation=full,
            non_linear=float(int(0.72 * full)) if known else None,
            coadds=gemini.coadds(headers),
            name="hawaii2",
            section=Section(0, SIZE, 0, SIZE),
            linearity=LINEARITY if known else None,
        ),
    )


@hookimpl
def nirred_wcs(headers):
    if "DARK" in nirred_tags(headers):
        return None
    return gemini.plane_wcs(headers, gemini.ut_datetime(headers), 1.0)


def camera(h, scale):
    lyot, focus = either(h, "LYOT", "LYOTPOS"), gemini.text(h, "FOCUS", "")
    if lyot.startswith("f/"):
        return lyot
    if re.fullmatch(r"f/\d+", focus):
        return focus
    return None if scale is None else "f/16_G5830" if scale > 0.1 else "f/32_G9999"


@hookimpl
def nirred_describe(headers):
    h, tags = headers, nirred_tags(headers)
    full, readable = filters(h)
    p, q = gemini.number(h, "POFFSET"), gemini.number(h, "QOFFSET")
    sign = -1.0 if gemini.number(h, "INPORT") == 1 else 1.0
    scale = gemini.wcs_pixel_scale(h) or gemini.number(h, "PIXSCALE", 0.01, 1.0)
    wave = gemini.number(h, "WAVELENG", 1.0)
    lyot = either(h, "LYOT", "LYOTPOS")
    mask = gemini.text(h, "MOSPOS")
    reads = gemini.integer(h, "LNRS")
    when = gemini.ut_datetime(h)
    own = gemini.Own(
        detectors=nirred_detectors(headers),
        filter_name=full,
        filter_pretty=readable,
        wavelengths=MICRON,
        zero_point=ZERO_POINTS.get(readable),
        central_wavelength=GRATING_MICRON.get(gemini.text(h, "FILTER"), wave and wave * 1e-4),
        camera=camera(h, scale),
        disperser=either(h, "GRISM", "GRISMPOS") or None,
        focal_plane_mask=mask if mask == "Open" else gemini.text(h, "MASKNAME"),
        read_mode=None if reads is None else str(reads),
        well_depth_setting=gemini.text(h, "WELDEPTH"),
        pixel_scale=scale,
        shift=None if p is None or q is None else (-q, -p * sign),
        turn=90.0,
        trust_end=when is not None and when >= UTEND_WRONG_BEFORE,
        configuration=(("lyot_stop", lyot or None),),
        extra={"lyot_stop": lyot if lyot != "Undefined" else None},
        pretty={"lyot_stop": gemini.strip_id(lyot)},
    )
    return gemini.describe(headers, tags, own)
