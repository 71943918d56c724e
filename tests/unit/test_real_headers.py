"""Descriptors of real raw headers, compared with the values in the observatory's archive."""

from __future__ import annotations

import ast
import json
import math
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
from nirred.plugin import gemini
from nirred.registry import Registry
from nirred.testing.headers import headers_from_text

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "headers"
NAMES = sorted(p.name.removesuffix(".archive.json") for p in DATA.glob("*.archive.json"))

pytestmark = pytest.mark.skipif(not NAMES, reason="the real headers are not on this machine")

# Archive column -> (descriptor, absolute tolerance). The archive keeps 12 decimals and readable names.
COLUMNS: dict[str, tuple[str, float]] = {
    **{k: (k, 0.0) for k in ("program_id", "observation_id", "data_label", "telescope", "instrument", "object")},
    **{k: (k, 0.0) for k in ("observation_type", "observation_class", "camera", "filter_name", "disperser")},
    **{k: (k, 0.0) for k in ("focal_plane_mask", "wavelength_band", "detector_roi_setting", "qa_state")},
    **{k: (k, 0.0) for k in ("wavefront_sensor", "gcal_lamp", "ut_datetime", "local_time")},
    **{f"{w}_{k}": (f"{w}_{k}", 0.0) for w in ("raw", "requested") for k in ("iq", "cc", "wv", "bg")},
    **{k: (k, 1e-9) for k in ("azimuth", "elevation", "cass_rotator_pa", "exposure_time")},
    "airmass": ("airmass", 1e-6),  # six decimals
    "detector_binning": ("binning", 0.0),
    "detector_readmode_setting": ("read_mode", 0.0),
    "detector_welldepth_setting": ("well_depth_setting", 0.0),
    "adaptive_optics": ("is_ao", 0.0),
    "central_wavelength": ("central_wavelength", 1e-6),  # micron, after conversion
}

OLDER = "derived by older software than the rules of today"
LATER = "the archive's record and this copy of the header are of different dates"
# (header, column): why the archive differs.
DIFFERENT = {
    ("niri-15", "raw_wv"): LATER,
    ("niri-15", "raw_bg"): LATER,
    ("f2-07", "focal_plane_mask"): f"{OLDER}: MOSPOS instead of MASKNAME",
    ("f2-09", "focal_plane_mask"): f"{OLDER}: MOSPOS instead of MASKNAME",
    ("f2-17", "focal_plane_mask"): f"{OLDER}: MOSPOS instead of MASKNAME",
    ("f2-11", "central_wavelength"): f"{OLDER}: 1.4 for the JH grism, not WAVELENG",
    ("f2-15", "central_wavelength"): f"{OLDER}: 1.87 for the HK grism, not WAVELENG",
    ("f2-21", "filter_name"): f"{OLDER}: the filter in the Lyot wheel not counted",
    ("f2-21", "camera"): f"{OLDER}: the filter in the Lyot wheel taken for a camera",
    ("f2-21", "central_wavelength"): "WAVELENG is -9999: no value, not 0",
}

# Old type names -> current tags.
PREFIXES = ("NIRI_", "F2_", "GNIRS_")
OLD_NAMES = {"GEMINI_NORTH": "NORTH", "GEMINI_SOUTH": "SOUTH"}
# Tags that the old vocabulary did not have, or gave to fewer frames.
NEW_TAGS = frozenset(
    "FLAT GCALFLAT LAMPON LAMPOFF GCAL_IR_ON GCAL_IR_OFF ARC CAL AT_ZENITH THRUSLIT PINHOLE XD LS".split()
)
DIFFERENT_TAGS = {
    "gnirs-19": ("GCALFLAT LAMPOFF GCAL_IR_OFF", f"{OLDER}: halogen lamps were no GCAL flats"),
}


@pytest.fixture(scope="module")
def registry() -> Registry:
    found = Registry()
    for plugin in (nirred_niri, nirred_f2, nirred_gnirs, nirred_emir, nirred_gsaoi):
        assert not found.add(plugin, plugin.__name__.removeprefix("nirred_")).error
    return found


def read(name: str) -> tuple[Headers, dict[str, Any]]:
    headers = headers_from_text((DATA / f"{name}.txt").read_text(encoding="latin-1"))
    record = json.loads((DATA / f"{name}.archive.json").read_text())
    return headers, record[0] if isinstance(record, list) else record


def plain(value: Any) -> str:
    """Text of a value as the archive writes it: blanks and slashes underscored."""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ").removesuffix(".000000")
    return str(value).replace(" ", "_").replace("/", "_")


def same(wanted: Any, found: Any, tolerance: float) -> bool:
    if isinstance(wanted, bool) or isinstance(found, bool):
        return wanted is found
    if isinstance(wanted, (int, float)) and isinstance(found, (int, float)):
        return math.isclose(wanted, found, rel_tol=1e-9, abs_tol=tolerance)
    left, right = plain(wanted), plain(found)
    if left == right:
        return True
    return left.rstrip("0").rstrip(".").replace("_", " ") == right.rstrip("0").rstrip(".").replace("_", " ")


@pytest.mark.parametrize("name", NAMES)
def test_descriptors_are_the_archives(name: str, registry: Registry) -> None:
    headers, record = read(name)
    owner, _ = registry.claim(headers)
    descriptors = registry.ask(owner, "nirred_describe", headers=headers)
    wrong = {}
    for column, (key, tolerance) in COLUMNS.items():
        wanted = record[column]
        found = {descriptors.get(key), descriptors.get(key, pretty=True)}
        if wanted is None:
            continue
        if column == "central_wavelength":
            found = {None if v is None else v * 1e6 for v in found}
        if not any(same(wanted, v, tolerance) for v in found):
            wrong[column] = (wanted, found)
    known = {column for header, column in DIFFERENT if header == name}
    assert wrong.keys() == known, {k: v for k, v in wrong.items() if k not in known}


@pytest.mark.parametrize("name", NAMES)
def test_position_is_the_archives_within_an_array(name: str, registry: Registry) -> None:
    """The archive mostly keeps the array's centre, the descriptor is the projection centre: some pixels away."""
    headers, record = read(name)
    owner, _ = registry.claim(headers)
    d = registry.ask(owner, "nirred_describe", headers=headers)
    if record["ra"] is None or d.ra is None:
        return
    assert gemini.separation((record["ra"], record["dec"]), (d.ra, d.dec)) < 30.0


def test_projection_centre_is_kept_to_all_digits(registry: Registry) -> None:
    headers, record = read("niri-07")
    d = registry.ask("niri", "nirred_describe", headers=headers)
    assert (d.ra, d.dec) == pytest.approx((record["ra"], record["dec"]), abs=1e-11)


@pytest.mark.parametrize("name", NAMES)
def test_tags_are_the_archives(name: str, registry: Registry) -> None:
    headers, record = read(name)
    owner, _ = registry.claim(headers)
    tags = registry.ask(owner, "nirred_tags", headers=headers)
    types = set(ast.literal_eval(record["types"]))
    if record["types"].startswith("{"):
        extra = frozenset(DIFFERENT_TAGS.get(name, ("", ""))[0].split())
        assert tags == types | extra
        return
    old: set[str] = set()
    for entry in types:
        own = next((entry.removeprefix(p) for p in PREFIXES if entry.startswith(p)), entry)
        old |= set(OLD_NAMES.get(own, own).split("_") if own != entry else [OLD_NAMES.get(entry, entry)])
    if "XD" in tags:  # cross-dispersed: long slit in the old vocabulary
        old.discard("LS")
    assert old <= tags
    assert tags - old <= NEW_TAGS


def test_instrume_decides_not_the_name(registry: Registry) -> None:
    """One of the frames filed as NIRI is of GNIRS."""
    assert registry.claim(read("niri-19")[0])[0] == "gnirs"


@pytest.mark.parametrize("name", NAMES)
def test_spectra_and_arcs_are_never_taken_for_images(name: str, registry: Registry) -> None:
    headers, record = read(name)
    owner, claim = registry.claim(headers)
    d = registry.ask(owner, "nirred_describe", headers=headers)
    if record["spectroscopy"] or record["observation_type"] in ("ARC", "PINHOLE"):
        assert claim.unsupported
        assert d.role == "other"


ROLES = {
    "niri-01": "dark",
    "niri-05": "standard",
    "niri-13": "lamp_on",
    "niri-15": "dark",
    "niri-17": "lamp_on",
    "f2-01": "dark",
    "f2-03": "dark",
    "f2-05": "lamp_off",
    "f2-19": "science",
    "f2-23": "lamp_on",
    "f2-25": "science",
    "gnirs-03": "lamp_on",
    "gnirs-11": "science",
    "gnirs-13": "dark",
}


@pytest.mark.parametrize("name", sorted(ROLES))
def test_roles(name: str, registry: Registry) -> None:
    headers, _ = read(name)
    owner, claim = registry.claim(headers)
    assert registry.ask(owner, "nirred_describe", headers=headers).role == ROLES[name]
    assert not claim.unsupported


@pytest.mark.parametrize("name", ["niri-07", "niri-09", "niri-11", "f2-11", "f2-13", "f2-17", "f2-19", "gnirs-11"])
def test_offsets_put_the_frame_where_its_wcs_says(name: str, registry: Registry) -> None:
    """Target and P, Q offsets against CRVAL: within the limit of the incumbents' own check, 30 arcsec."""
    headers, _ = read(name)
    owner, _ = registry.claim(headers)
    d = registry.ask(owner, "nirred_describe", headers=headers)
    expected = d.get("expected_ra"), d.get("expected_dec")
    assert gemini.separation(expected, (d.get("wcs_ra"), d.get("wcs_dec"))) < 30.0


def test_broken_extension_wcs_falls_back_to_the_primary(registry: Registry) -> None:
    """niri-05 states CD1_1 = -3.25E-55 in its extension and -3.25E-05 in its primary."""
    headers, _ = read("niri-05")
    (plane,) = registry.ask("niri", "nirred_wcs", headers=headers)
    assert plane.wcs.wcs.cd[0, 0] == pytest.approx(-3.25278883028921e-05)
    assert registry.ask("niri", "nirred_describe", headers=headers).pixel_scale == pytest.approx(0.1168, abs=1e-3)


@pytest.mark.parametrize("name", ["f2-23", "f2-25"])
def test_axis_type_of_a_question_mark_is_the_other_axis(name: str, registry: Registry) -> None:
    """The numbers are right: those of the science frame agree with its pointing to 2 arcsec. The archive has no WCS."""
    headers, record = read(name)
    (plane,) = registry.ask("f2", "nirred_wcs", headers=headers)
    d = registry.ask("f2", "nirred_describe", headers=headers)
    assert (d.ra, d.dec) == (pytest.approx(record["ra"]), pytest.approx(record["dec"]))
    if name == "f2-25":
        expected = d.get("expected_ra"), d.get("expected_dec")
        assert gemini.separation(expected, tuple(map(float, plane.wcs.wcs.crval))) < 2.0


def test_four_planes_with_their_own_coordinates(registry: Registry) -> None:
    headers = headers_from_text((DATA / "gsaoi-01.txt").read_text(encoding="latin-1"))
    planes = registry.ask("gsaoi", "nirred_detectors", headers=headers)
    wcs = registry.ask("gsaoi", "nirred_wcs", headers=headers)
    (x, y) = np.array([w.wcs.wcs_pix2world([[1023.5, 1023.5]], 0)[0] for w in wcs]).T
    assert (x > x.mean()).tolist() == [True, False, False, True] and (y > y.mean()).tolist() == [
        False,
        False,
        True,
        True,
    ]
    assert len({p.gain for p in planes}) == len({p.epoch for p in planes}) == 4
    assert len({tuple(w.wcs.wcs.crpix) for w in wcs}) == 4
    assert {p.hdu for p in planes} == {1, 2, 3, 4}
    assert registry.ask("gsaoi", "nirred_describe", headers=headers).pixel_scale == pytest.approx(0.0197, abs=2e-4)
