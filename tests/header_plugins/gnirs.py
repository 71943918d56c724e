"""The GNIRS keyhole by its headers alone: the seed of nirred-gnirs."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from nirred.plugin import Claim, Detector, Instrument, Linearity, Section, gemini, hookimpl, rule

NIRRED_API = (1, 0)

GAIN = 13.5
MODES = {
    (32, 16): "Very Faint Objects",
    (16, 16): "Faint Objects",
    (1, 16): "Bright Objects",
    (1, 1): "Very Bright Objects",
}
SCALES = {"ShortBlue": 0.15170, "ShortRed": 0.15, "LongBlue": 0.05071, "LongRed": 0.05095}
NOISE = {
    "Very Bright Objects": 155.0,
    "Bright Objects": 30.0,
    "Faint Objects": 10.0,
    "Very Faint Objects": 7.0,
}
SOUTH = {
    "Very Bright Objects": 145.0,
    "Bright Objects": 38.0,
    "Faint Objects": 12.0,
    "Very Faint Objects": 7.0,
}
NORTH = {  # (mode, well): electrons, linear share
    ("Very Bright Objects", "Shallow"): (92000, 0.96),
    ("Very Bright Objects", "Deep"): (209000, 0.93),
    ("Bright Objects", "Shallow"): (91000, 0.96),
    ("Bright Objects", "Deep"): (207000, 0.91),
    ("Faint Objects", "Shallow"): (78000, 0.95),
    ("Faint Objects", "Deep"): (190000, 0.95),
    ("Very Faint Objects", "Shallow"): (67000, 0.98),
    ("Very Faint Objects", "Deep"): (180000, 0.72),
}
SIMPLE = {"UNKNOWN": 0.714286, "SN7638228.1": 0.714286, "SN7638228.1.3+ARC-III": 0.72}
MEASURED = ("SN7638228.1.2", "SN7638228.1.3")
LINEARITY = {  # (mode, well): time missing in EXPTIME; gamma and eta of even and odd rows
    ("Very Bright Objects", "Shallow"): (
        -0.00927304429432728,
        (7.31286925e-07, 1.12822847e-11),
        (8.78778457e-07, 4.79246805e-12),
    ),
    ("Bright Objects", "Shallow"): (
        0.08396650606937735,
        (7.15637971e-07, 1.15383256e-11),
        (5.69215470e-07, 7.12109353e-12),
    ),
    ("Bright Objects", "Deep"): (
        0.08232950781117235,
        (3.67280555e-07, 3.17756003e-12),
        (4.50936807e-07, 1.65522683e-12),
    ),
}
MICRON = {
    **{"YPHOT": 1.03, "X": 1.1, "JPHOT": 1.25, "H": 1.63, "H2": 2.125, "KPHOT": 2.22, "PAH": 3.295},
    **{"X_(order_6)": 1.1, "J_(order_5)": 1.27, "H_(order_4)": 1.63, "K_(order_3)": 2.195},
    **{"L": 3.5, "L_(order_2)": 3.5, "M": 5.1, "M_(order_1)": 5.1},
}


def slit(h):
    name = gemini.text(h, "SLIT", "").replace(" ", "")
    return name.replace("1.0arcsec", "1.00arcsec") if name.startswith("1.0arcsec") else name


def through(h):
    return gemini.text(h, "ACQMIR") == "In" and "Acq" not in slit(h)


def has_slit(h):
    return any(w in slit(h).lower() for w in ("arcsec", "pin")) and "mm" in gemini.text(h, "GRATING", "")


def prism(word):
    return lambda h: word in gemini.text(h, "PRISM", "")


dispersed = gemini.both(gemini.says("ACQMIR", "Out"), has_slit)
ifu = gemini.both(gemini.says("ACQMIR", "Out"), lambda h: "ifu" in slit(h).lower())

TAGS = (
    rule(gemini.instrument("GNIRS"), "GNIRS"),
    rule(gemini.says("OBSTYPE", "DARK"), "DARK CAL", blocks="IMAGE SPECT"),
    rule(gemini.says("OBSTYPE", "ARC"), "ARC CAL"),
    rule(gemini.says("ACQMIR", "In"), "IMAGE"),
    rule(gemini.says("ACQMIR", "Out"), "SPECT"),
    rule(through, "THRUSLIT", if_present="IMAGE"),
    rule(gemini.both(through, prism("MIR")), "THRUSLIT LS", if_present="IMAGE"),
    rule(gemini.both(through, prism("XD")), "THRUSLIT XD", if_present="IMAGE"),
    rule(ifu, "IFU", if_present="SPECT"),
    rule(gemini.both(dispersed, prism("MIR")), "LS", if_present="SPECT"),
    rule(gemini.both(dispersed, prism("XD")), "XD", if_present="SPECT"),
    rule(
        gemini.both(gemini.says("OBSTYPE", "FLAT", "PINHOLE"), lambda h: "Pinholes" in slit(h)),
        "PINHOLE CAL",
        remove="GCALFLAT",
        blocks="FLAT",
    ),
    rule(gemini.says("OBSTYPE", "FLAT"), "FLAT CAL"),
    rule(gemini.has("PROCSTND"), "STANDARD CAL"),
)


def read_mode(h):
    mode = gemini.text(h, "READMODE")
    return mode or MODES.get((gemini.integer(h, "LNRS"), gemini.integer(h, "NDAVGS")), "Unknown")


def well_depth(h):
    bias = gemini.number(h, "DETBIAS")
    if bias is None:
        return None
    near = {"Shallow": abs(0.3 - abs(bias)), "Deep": abs(0.6 - abs(bias))}
    return next((k for k, v in near.items() if v < 0.1), "Unknown")


def array_name(h):
    name, controller = gemini.text(h, "ARRAYID"), gemini.text(h, "CONID")
    return f"{name}+{controller}" if name and controller else name


def levels(array, mode, well):
    """Read noise, full well in electrons and linear share."""
    if array in SIMPLE and well in ("Shallow", "Deep"):
        noise = SOUTH if array == "UNKNOWN" else NOISE
        return noise.get(mode), 90000 if well == "Shallow" else 180000, SIMPLE[array]
    if array in MEASURED and (mode, well) in NORTH:
        return NOISE[mode], *NORTH[mode, well]
    return None, None, None


def linearity(array, mode, well):
    if array not in MEASURED or (mode, well) not in LINEARITY:
        return None
    delay, even, odd = LINEARITY[mode, well]
    return Linearity(((1.0, *even), (1.0, *odd)), "row_parity", (delay, delay))


@hookimpl
def nirred_instruments():
    return (Instrument("gnirs", "Gemini GNIRS keyhole", "INSTRUME = GNIRS"),)


@hookimpl
def nirred_claim(headers):
    if (gemini.text(headers, "INSTRUME") or "").upper() != "GNIRS":
        return None
    return Claim("gnirs", unsupported=gemini.unsupported(nirred_tags(headers), headers))


@hookimpl
def nirred_tags(headers):
    return gemini.frame_tags(TAGS, headers)


@hookimpl
def nirred_detectors(headers):
    if headers.image is None:
        return ()
    shape = headers.image.shape[-2:]
    mode, well, array, n = (
        read_mode(headers),
        well_depth(headers),
        array_name(headers),
        gemini.coadds(headers),
    )
    noise, electrons, share = levels(array, mode, well)
    full = None if electrons is None else int(electrons * n / GAIN)
    box = gemini.section(headers.get("DETSEC"))
    return (
        Detector(
            shape=shape,
            gain=None if noise is None else GAIN,
            read_noise=None if noise is None else noise * math.sqrt(n),
            saturation=None if full is None else float(full),
            non_linear=None if full is None else float(int(share * full)),
            coadds=n,
            name="aladdin",
            section=Section(*box) if box else Section(0, shape[1], 0, shape[0]),
            epoch=array or "",
            linearity=linearity(array, mode, well),
        ),
    )


@hookimpl
def nirred_wcs(headers):
    if "DARK" in nirred_tags(headers):
        return None
    return gemini.plane_wcs(headers, gemini.ut_datetime(headers), 1.0)


def mask_names(h):
    """Slit and decker, in full and as people write them."""
    opening, decker = slit(h), gemini.text(h, "DECKER", "").replace("Acquisition", "Acq")
    short = gemini.strip_id(opening)
    kind = "XD" if "XD" in decker else "" if "Long" in decker else None
    if "Acq" in opening and "Acq" in decker:
        readable = "Acq"
    else:
        readable = f"{short}&{gemini.strip_id(decker)}" if kind is None else short + kind
    return f"{opening}&{decker}", readable


def dispersers(h):
    if gemini.text(h, "ACQMIR") == "In":
        return "MIRROR", "MIRROR"
    grating, glass = gemini.text(h, "GRATING", ""), gemini.text(h, "PRISM", "")
    lines = re.match(r"\d+/mm", grating)
    short = lines[0] if lines else gemini.strip_id(grating)
    if glass.startswith("MIR"):
        return grating, short
    cross = re.match(r"[LBSR]*\+*([A-Z]*XD)", glass)
    return f"{grating}&{glass}", f"{short}&{cross[1] if cross else gemini.strip_id(glass)}"


def filters(h):
    names = [n for n in (gemini.text(h, "FILTER1"), gemini.text(h, "FILTER2")) if n]
    short = [gemini.strip_id(n) or "" for n in names]
    used = [n for n in short if not ("open" in n.lower() or "Clear" in n or n.lower().startswith("nd"))]
    used = used or ["open"]
    if any("Block" in n or "Dark" in n for n in short):
        used.append("blank")
    if any("DK" in n for n in short):
        used.append("dark")
    return ("&".join(names), "&".join(used[:2])) if names else (None, None)


def position(h, when):
    """The WCS centre, unless it is more than 1000 arcsec from the target: then it was kept from another frame."""
    here, aim = gemini.wcs_center(h, when), gemini.target(h, when)
    return aim if here and aim and gemini.separation(here, aim) > 1000.0 else here


@hookimpl
def nirred_describe(headers):
    h, tags = headers, nirred_tags(headers)
    full, readable = filters(h)
    p, q = gemini.number(h, "POFFSET"), gemini.number(h, "QOFFSET")
    mirrored = gemini.number(h, "INPORT") == 1 and not gemini.is_ao(h)
    mask, mask_pretty = mask_names(h)
    disperser, disperser_pretty = dispersers(h)
    camera = gemini.text(h, "CAMERA")
    own = gemini.Own(
        detectors=nirred_detectors(headers),
        filter_name=full,
        filter_pretty=readable,
        wavelengths=MICRON,
        central_wavelength=gemini.number(h, "GRATWAVE", 0.1, 100.0),
        camera=camera,
        disperser=disperser,
        focal_plane_mask=mask,
        read_mode=read_mode(h),
        well_depth_setting=well_depth(h),
        pixel_scale=SCALES.get(gemini.strip_id(camera)),
        shift=None if p is None or q is None else (-q if mirrored else q, -p),
        flipped=True,
        turn=90.0,
        rotation_centre=(629.0, 519.0),
        position=position(h, gemini.ut_datetime(h)),
        extra={"array_name": array_name(h)},
        pretty={"focal_plane_mask": mask_pretty, "disperser": disperser_pretty},
    )
    found = gemini.describe(headers, tags, own)
    return replace(found, observation_type="PINHOLE") if "PINHOLE" in tags else found
