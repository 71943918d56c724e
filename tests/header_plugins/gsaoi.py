"""GSAOI by its headers alone: four detectors, each with its own gain, section and world coordinates."""

from __future__ import annotations

from nirred.plugin import Amplifier, Claim, Detector, Instrument, Section, gemini, hookimpl, rule

NIRRED_API = (1, 0)

SCALE = 0.02  # arcsec per pixel

TAGS = (
    rule(gemini.instrument("GSAOI"), "GSAOI"),
    rule(gemini.says("OBSTYPE", "DARK"), "DARK CAL", blocks="IMAGE"),
    rule(gemini.negation(gemini.says("OBSTYPE", "DARK")), "IMAGE"),
    rule(gemini.says("OBSTYPE", "FLAT"), "FLAT CAL"),
    rule(gemini.says("OBJECT", "Twilight", "TWILIGHT"), "TWILIGHT FLAT CAL"),
)


def filters(h):
    names = [n for n in (gemini.text(h, "FILTER1"), gemini.text(h, "FILTER2")) if n]
    used = [n for n in names if n != "Clear"]
    readable = "&".join(gemini.strip_id(n) or "" for n in used) or "open"
    return ("&".join(used) or "open", readable) if names else (None, None)


def mirrored(h):
    return gemini.number(h, "INPORT") == 1


def amplifiers(image):
    found = []
    for i in range(1, 5):
        box = gemini.section(image.get(f"AMPSEC{i}"))
        if box:
            found.append(Amplifier(f"{image.get(f'AMPNAME{i}', '')}{i}", Section(*box)))
    return tuple(found)


def positive(image, key):
    value = image.get(key)
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e6
    return float(value) if usable else None


@hookimpl
def nirred_instruments():
    return (Instrument("gsaoi", "Gemini GSAOI", "INSTRUME = GSAOI"),)


@hookimpl
def nirred_claim(headers):
    if (gemini.text(headers, "INSTRUME") or "").upper() != "GSAOI":
        return None
    return Claim("gsaoi", unsupported=gemini.unsupported(nirred_tags(headers), headers))


@hookimpl
def nirred_tags(headers):
    return gemini.frame_tags(TAGS, headers)


@hookimpl
def nirred_detectors(headers):
    found = []
    for hdu, image in gemini.planes(headers):
        box = gemini.section(image.get("DETSEC"))
        found.append(
            Detector(
                shape=image.shape[-2:],
                gain=positive(image, "GAIN"),
                read_noise=positive(image, "RDNOISE"),
                coadds=gemini.coadds(headers),
                name=str(image.get("CCDNAME", "")),
                hdu=hdu,
                section=Section(*box) if box else None,
                epoch=str(image.get("ARRAYID", "")),
                amplifiers=amplifiers(image),
            )
        )
    return tuple(found)


@hookimpl
def nirred_wcs(headers):
    if "DARK" in nirred_tags(headers):
        return None
    images = [image for _, image in gemini.planes(headers)]
    return gemini.plane_wcs(headers, gemini.ut_datetime(headers), 1.0, images)


@hookimpl
def nirred_describe(headers):
    full, readable = filters(headers)
    images = [image for _, image in gemini.planes(headers)]
    p, q = gemini.number(headers, "POFFSET"), gemini.number(headers, "QOFFSET")
    own = gemini.Own(
        detectors=nirred_detectors(headers),
        filter_name=full,
        filter_pretty=readable,
        wavelengths={"Kshort": 2.15, "Kprime": 2.12, "H": 1.635},
        camera="GSAOI",
        disperser="MIRROR",
        read_mode=gemini.text(headers, "READMODE"),
        pixel_scale=gemini.wcs_pixel_scale(headers, images) or SCALE,
        shift=None if p is None or q is None else (-p if mirrored(headers) else p, q),
        flipped=mirrored(headers),
    )
    return gemini.describe(headers, nirred_tags(headers), own)
