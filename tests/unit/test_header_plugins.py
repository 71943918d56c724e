"""The plugins of this repository, using headers only: modes, dates, planes, randomly damaged headers."""

from __future__ import annotations

import random
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nirred_emir
import nirred_f2
import nirred_gnirs
import nirred_gsaoi
import nirred_niri
from nirred.headers import Headers
from nirred.plugin import Descriptors
from nirred.registry import Registry
from nirred.testing.headers import headers_from_text

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "headers"
HOOKS = ("nirred_tags", "nirred_describe", "nirred_detectors", "nirred_wcs")

WCS = """\
CTYPE1  = 'RA---TAN'
CTYPE2  = 'DEC--TAN'
CRPIX1  = 512.5
CRPIX2  = 511.5
CRVAL1  = 150.0
CRVAL2  = 2.0
CD1_1   = -4.2E-05
CD1_2   = 0.0
CD2_1   = 0.0
CD2_2   = 4.2E-05
"""
POINTING = """\
DATE-OBS= '2012-01-17'
UT      = '05:06:07.5'
EXPTIME = 60.0
COADDS  = 2
RA      = 150.0
DEC     = 2.0
EPOCH   = 2000.0
PA      = 0.0
POFFSET = 3.0
QOFFSET = 4.0
INPORT  = 3
FRAME   = 'FK5     '
TRKFRAME= 'FK5     '
RATRACK = 0.0
DECTRACK= 0.0
PWFS2_ST= 'guiding '
AOWFS_ST= 'parked  '
OBSTYPE = 'OBJECT  '
OBSCLASS= 'science '
"""
F2 = f"""\
INSTRUME= 'F2      '
{POINTING}GRISM   = 'Open    '
FILTER1 = 'Ks_G0804'
FILTER2 = 'Open    '
LYOT    = 'f/16_G5830'
MOSPOS  = 'Open    '
DECKER  = 'Open    '
LNRS    = 4
--- extension ---
XTENSION= 'IMAGE   '
NAXIS   = 3
NAXIS1  = 2048
NAXIS2  = 2048
NAXIS3  = 1
{WCS}CD3_3   = 1.0
RADECSYS= 'FK5     '
"""
GNIRS = f"""\
INSTRUME= 'GNIRS   '
{POINTING}ACQMIR  = 'In      '
SLIT    = 'Acq_G5530'
DECKER  = 'Acq_G5531'
PRISM   = 'MIR_G5537'
GRATING = '32/mmSB_G5533'
CAMERA  = 'ShortBlue_G5540'
FILTER1 = 'JPHOT_G0544'
FILTER2 = 'Open    '
LNRS    = 1
NDAVGS  = 16
DETBIAS = -0.3
ARRAYID = 'SN7638228.1.2'
{WCS}--- extension ---
XTENSION= 'IMAGE   '
NAXIS   = 2
NAXIS1  = 1024
NAXIS2  = 1022
"""
EMIR = f"""\
INSTRUME= 'EMIR    '
OBSMODE = 'STARE_IMAGE'
READMODE= 'RAMP    '
FILTER  = 'F1230   '
GRISM   = 'OPEN    '
OBJECT  = 'TEST    '
DATE-OBS= '2018-12-17T23:57:24.72'
EXPTIME = 29.99926
TSTAMP  = 1545091044.72
RA      = '02:39:54.057'
DEC     = '-01:34:33.537'
NOBSBLCK= 18
OBSBLOCK= 1
NIMGOBBL= 7
IMGOBBL = 1
NEXP    = 1
EXP     = 1
NAXIS   = 2
NAXIS1  = 2048
NAXIS2  = 2048
{WCS.replace("TAN", "ZPN").replace("-4.2E-05", "-5.4E-05").replace("4.2E-05", "-5.4E-05")}\
PV2_1   = 1.0
PV2_3   = 14584.8
PV2_5   = 1755295542.4
RADESYS = 'FK5     '
"""
GSAOI = (
    f"INSTRUME= 'GSAOI   '\n{POINTING}FILTER1 = 'Kshort_G1105'\nFILTER2 = 'Clear   '\nREADMODE= 'FOWLER  '\n"
    + "".join(
        f"--- extension ---\nXTENSION= 'IMAGE   '\nEXTNAME = 'SCI     '\nNAXIS   = 2\nNAXIS1  = 2048\nNAXIS2  = 2048\n"
        f"CCDNAME = 'G{i + 1}'\nGAIN    = {2.0 + i / 10}\nRDNOISE = 20.0\nDETSEC  = '{box}'\n"
        f"{WCS.replace('512.5', str(100.0 + 2150 * (i % 2)))}"
        for i, box in enumerate(
            ["[2049:4096,1:2048]", "[1:2048,1:2048]", "[1:2048,2049:4096]", "[2049:4096,2049:4096]"]
        )
    )
)
NIRI = nirred_niri.nirred_instruments()[0].examples[0]  # type: ignore[index]
TEXTS = {"f2": F2, "gnirs": GNIRS, "emir": EMIR, "gsaoi": GSAOI, "niri": NIRI}


PLUGINS = {"niri": nirred_niri, "emir": nirred_emir, "f2": nirred_f2, "gnirs": nirred_gnirs, "gsaoi": nirred_gsaoi}


@pytest.fixture(scope="module")
def registry() -> Registry:
    found = Registry()
    for name in sorted(TEXTS):
        assert not found.add(PLUGINS[name], name).error
    return found


def changed(text: str, **cards: str) -> Headers:
    """Headers of a text in which these cards have other values; '' leaves the card out."""
    for key, value in cards.items():
        key = key.replace("__", "-")
        line = f"{key:8}= {value}" if value else ""
        text, n = re.subn(rf"^{key} *=.*$", line, text, flags=re.MULTILINE)
        text = text if n else f"{line}\n{text}"
    return headers_from_text(text)


def describe(registry: Registry, name: str, **cards: str) -> Descriptors:
    found = registry.ask(name, "nirred_describe", headers=changed(TEXTS[name], **cards))
    assert isinstance(found, Descriptors)
    return found


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_each_camera_is_claimed_by_its_own_plugin(name: str, registry: Registry) -> None:
    owner, claim = registry.claim(headers_from_text(TEXTS[name]))
    assert (owner, claim.instrument, claim.unsupported) == (name, name, "")


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_one_detector_per_plane_and_wcs(name: str, registry: Registry) -> None:
    headers = headers_from_text(TEXTS[name])
    planes = registry.ask(name, "nirred_detectors", headers=headers)
    assert len(planes) == len(headers.images)
    assert all(p.shape == h.shape[-2:] for p, (_, h) in zip(planes, headers.images, strict=True))
    wcs = registry.ask(name, "nirred_wcs", headers=headers)
    assert wcs is None if name == "niri" else len(wcs) == len(planes)
    assert all(w.wcs.naxis == 2 for w in wcs or ())


# -- EMIR --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("date", "epoch", "amplifiers"),
    [("2018-12-17T23:57:24.72", "HAWAII-2", 4), ("2024-01-01T00:00:00", "H2RG", 32)],
)
def test_emir_detector_by_date(registry: Registry, date: str, epoch: str, amplifiers: int) -> None:
    headers = changed(EMIR, DATE__OBS=f"'{date}'")
    (plane,) = registry.ask("emir", "nirred_detectors", headers=headers)
    assert (plane.epoch, len(plane.amplifiers)) == (epoch, amplifiers)
    assert (plane.gain, plane.saturation) == (5.0, 55000.0)
    covered = np.zeros((2048, 2048), int)
    for a in plane.amplifiers:
        covered[a.section.pixels] += 1
    assert (covered == 1).all()


def test_emir_between_its_detectors_is_unsupported(registry: Registry) -> None:
    claim = registry.claim(changed(EMIR, DATE__OBS="'2023-05-01T00:00:00'"))[1]
    assert claim.unsupported == "no detector between 2023-03-10 and 2023-07-01"


def test_emir_distortion_is_in_the_wcs(registry: Registry) -> None:
    (plane,) = registry.ask("emir", "nirred_wcs", headers=headers_from_text(EMIR))
    pixels = plane.wcs.wcs_world2pix([[150.0, 2.0 + 0.02]], 1)[0]
    linear = 0.02 / 5.4e-5
    away = abs(pixels[1] - 511.5)
    theta = np.radians(0.02)
    assert away / linear == pytest.approx(1 + 14584.8 * theta**2 + 1755295542.4 * theta**4, rel=1e-4)
    assert np.linalg.det(plane.wcs.wcs.cd) > 0  # the sky is mirrored


@pytest.mark.skipif(not DATA.exists(), reason="the real headers are not on this machine")
def test_emir_real_values(registry: Registry) -> None:
    lines = (DATA / "emir-real-01-fitsheader-table.txt").read_text().splitlines()
    names = next(line for line in lines if "filename" in line).split()
    rows = [line.split() for line in lines if line.startswith("data/")]
    keys = {"NOBSBLCK", "OBSBLOCK", "NIMGOBBL", "IMGOBBL", "NEXP", "EXP", "EXPTIME"}
    found = []
    for row in rows:
        cards = {k: v if k in keys else f"'{v}'" for k, v in zip(names[1:], row[1:], strict=True)}
        headers = changed(EMIR, **{k.replace("-", "__"): v for k, v in cards.items()})
        assert registry.claim(headers)[1].unsupported == ""
        found.append(registry.ask("emir", "nirred_describe", headers=headers))
    assert {d.sequence_id for d in found} == {"18"}
    assert [d.get("position") for d in found] == [*range(1, 8)] * 2
    assert [d.get("repetition") for d in found] == [1] * 7 + [2] * 7
    assert found[0].ra == pytest.approx(39.9752375) and found[0].dec == pytest.approx(-1.57598250)
    assert all(d.exposure_time == 29.99926 and d.role == "science" and d.band == "J" for d in found)
    assert found == sorted(found, key=lambda d: d.ut_datetime or datetime.min)


# -- damage ------------------------------------------------------------------------------------------------------
GARBAGE = ("''", "'No Value'", "-9999", "-9999.", "T", "1E999", "-1E300", "'\xff\xfe'", "0", "", "'12:99:77'", "(1,2)")


def damaged(text: str, random_: random.Random) -> str:
    """A text in which a third of the cards is lost or holds something else; sometimes a whole HDU is lost."""
    lines = []
    for line in text.splitlines():
        if "=" in line and random_.random() < 0.33 and not line.startswith(("INSTRUME", "XTENSION")):
            value = random_.choice(GARBAGE)
            line = f"{line[:8]}= {value}" if value else ""
        lines.append(line)
    whole = "\n".join(lines)
    return whole.split("--- extension")[0] if random_.random() < 0.1 else whole


def samples(name: str) -> list[str]:
    real = [p.read_text(encoding="latin-1") for p in sorted(DATA.glob(f"{name}-*.txt")) if name != "emir"]
    return [TEXTS[name], *real[:3]]


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_damaged_headers_never_raise(name: str, registry: Registry) -> None:
    for number, text in enumerate(samples(name) * 15):
        headers = headers_from_text(damaged(text, random.Random(number)))
        registry.claim(headers)
        answers: dict[str, Any] = {hook: registry.ask(name, hook, headers=headers) for hook in HOOKS}
        d = answers["nirred_describe"]
        hash(d.configuration)
        assert all(d.get(k) is d.get(k) for k in d.names())
        assert d.role in ("other", "dark", "bias", "flat", "lamp_on", "lamp_off", "science", "standard", "bpm", "sky",
                          "acquisition")  # fmt: skip
    assert registry.faults == {}


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_empty_header_is_nobodys(name: str, registry: Registry) -> None:
    empty = headers_from_text("SIMPLE  = T")
    assert registry.ask(name, "nirred_claim", headers=empty) is None
    for hook in HOOKS:
        registry.ask(name, hook, headers=empty)
