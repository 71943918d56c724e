"""Headers of products: the raw frame's cards that can be kept, and added keywords."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from nirred.fitsio import read_calibration
from nirred.frame import Plane
from nirred.group import Context, Group
from nirred.headers import Header, Headers
from nirred.plan.model import FrameInfo, Task
from nirred.plugin import Descriptors, Detector, Exposure, PlaneWcs
from nirred.plugin.coordinates import wcs_from_header, wcs_from_pointing
from nirred.products import frames_table, original_cards, primary_header, wcs_keywords, write
from nirred.registry import Registry
from nirred.states import Ending, FrameState


def info_of(*cards, **described):
    text = "".join(c.ljust(80) for c in cards)
    detectors = (Detector((4, 4), 2.0, 10.0),)
    return FrameInfo(Path("N1.fits"), Exposure(), "o", "cam", frozenset(), Descriptors(**described), detectors,
                     Headers(Header(text)))  # fmt: skip


def group_of(info, tmp_path, makes="image"):
    task = Task(f"N1_{makes}", "reduce", makes, "cam", ((info, "object"),))
    return Group(task, Context(Registry(), tmp_path, tmp_path), [FrameState(info, "object")])


CARDS = (
    "SIMPLE  =                    T",
    "BITPIX  =                   16",
    "NAXIS   =                    0",
    "OBJECT  = 'NGC 1'              / target",
    "EXPTIME =                 20.0 / seconds",
    "BZERO   =              32768.0",
    "CHECKSUM= 'abcd'",
    "HIERARCH ESO DET NAME = 'x'    / long name",
    "COMMENT first",
    "COMMENT second",
    "HISTORY once",
    "OBJECT  = 'again'",
    "BROKEN  = 'no end",
    "BAD!KEY =                    1",
    "",
)


def test_cards_are_kept_in_order_and_structure_goes():
    header = original_cards(info_of(*CARDS))
    assert header["OBJECT"] == "NGC 1" and header.comments["OBJECT"] == "target"
    assert header["EXPTIME"] == 20.0
    assert header["ESO DET NAME"] == "x"
    assert list(header["COMMENT"]) == ["first", "second"] and list(header["HISTORY"]) == ["once"]
    for gone in ("SIMPLE", "BITPIX", "NAXIS", "BZERO", "CHECKSUM"):
        assert gone not in header


def test_what_a_stack_says_of_its_own_pixels_is_not_said_of_what_is_made_of_it():
    cards = (*CARDS, "UNEVEN  =                  9.9", "FWHM    =                  4.5")
    assert original_cards(info_of(*cards))["UNEVEN"] == 9.9
    header = original_cards(info_of(*cards, "NIRRED  = '0.1'"))
    assert header["OBJECT"] == "NGC 1" and "UNEVEN" not in header and "FWHM" not in header


LONG = "a" * 67 + "b" * 33


def written(header, path):
    """The header as a file has it, which must be valid."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fits.PrimaryHDU(header=header).writeto(path, output_verify="exception")
        return fits.getheader(path)


def test_text_of_several_cards_stays_whole(tmp_path):
    cards = (
        f"TITLE   = '{LONG[:67]}&'",
        f"CONTINUE  '{LONG[67:]}&'",
        "CONTINUE  '' / of the programme",
        f"HIERARCH ESO OBS NAME = '{LONG[:46]}&' / one",
        f"CONTINUE  '{LONG[46:]}' / two",
        "ENDING  = 'R&D&'",
        "NEXT    =                    1",
    )
    header = written(original_cards(info_of(*CARDS, *cards)), tmp_path / "a.fits")
    assert header["TITLE"] == LONG and header.comments["TITLE"] == "of the programme"
    assert header["ESO OBS NAME"] == LONG
    assert header["ENDING"] == "R&D&" and header["NEXT"] == 1


@pytest.mark.parametrize(
    ("card", "value"), [("NUMBER  =                    3", 3), ("TEXT    = 'abc'", "abc"), ("OPEN    = 'abc&'", "abc&")]
)
@pytest.mark.parametrize("rest", ["CONTINUE  'xyz'", "CONTINUE", "CONTINUE= 'xyz'", "CONTINUE  xyz'"])
def test_a_continue_card_that_carries_nothing_on_goes(tmp_path, card, value, rest):
    header = written(original_cards(info_of(card, rest, "NEXT    =                    1")), tmp_path / "a.fits")
    carried = value == "abc&" and rest == "CONTINUE  'xyz'"
    assert header[card[:8].strip()] == ("abcxyz" if carried else value)
    assert header["NEXT"] == 1 and "CONTINUE" not in header


def test_long_names_keep_their_values_however_tight(tmp_path):
    name = "ESO " + "A" * 56
    cards = (f"HIERARCH {name}=1234567890", "HIERARCH ESO DET DIT = 1.5 / [s]", "HIERARCH ESO TEL ON=T")
    header = written(original_cards(info_of(*CARDS, *cards)), tmp_path / "a.fits")
    assert header[name] == 1234567890
    assert header["ESO DET DIT"] == 1.5 and header.comments["ESO DET DIT"] == "[s]"
    assert header["ESO TEL ON"] is True


@pytest.mark.parametrize(
    "text", ["OBJECT  = 'M 31 \xe9\x07'", "TEMP    =                  NaN", "X=\0\0\0", "\x1b[31m  = 1"]
)
def test_cards_of_any_kind_make_a_valid_file(tmp_path, text):
    info = info_of(*CARDS, text)
    header = primary_header(group_of(info, tmp_path), info, "image")
    fits.PrimaryHDU(header=header).writeto(tmp_path / "a.fits", output_verify="exception")
    again = fits.getheader(tmp_path / "a.fits")
    assert again["NIRKIND"] == "image" and again["ORIGNAME"] == "N1.fits"


SPECIAL = [
    "1E400",
    "-1E400",
    "1e-400",
    "9" * 60,
    "(1,2)",
    "(1E999, 0)",
    "'",
    "'a''",
    "T F",
    "0x1",
    "1.2.3",
    "'a' / \x7f",
]


@given(
    st.binary(min_size=80, max_size=240)
    | st.builds(bytes, st.lists(st.integers(32, 126), min_size=80, max_size=160))
    | st.builds(
        lambda name, sign, value: f"{name:8}{sign}{value}".ljust(80).encode(),
        st.text("ABZ09-_ =.$", max_size=8) | st.sampled_from(["HIERARCH A B", "CONTINUE", "COMMENT", "END", "OBJECT"]),
        st.sampled_from(["= ", "=", " ", ""]),
        st.sampled_from(SPECIAL) | st.floats().map(repr) | st.text("0123456789.eE+-'/ TF", max_size=70),
    )
)
def test_a_damaged_card_makes_no_invalid_file(cards):
    whole = cards[: len(cards) // 80 * 80].decode("latin-1")
    text = "OBJECT  = 'NGC 1'".ljust(80) + whole + "LAST    =                    1".ljust(80)
    header = original_cards(replace(info_of(), headers=Headers(Header(text))))
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fits.PrimaryHDU(header=header).writeto(stream, output_verify="exception")
        again = fits.Header.fromstring(stream.getvalue()[:2880].decode("ascii"))
    assert again["OBJECT"] == "NGC 1" and again["LAST"] == 1


@pytest.mark.parametrize(
    ("kind", "key"), [("dark", "PROCDARK"), ("flat", "PROCFLAT"), ("bpm", "BPMASK"), ("image", "PROCSCI")]
)
def test_products_say_what_they_are_to_the_incumbents(tmp_path, kind, key):
    info = info_of(*CARDS, exposure_time=40.0, filter_pretty="Ks")
    group = group_of(info, tmp_path, kind)
    group.keywords |= {"LEVELERR": (float("inf"), "error"), "NCOMBINE": 3}
    header = primary_header(group, info, kind)
    assert key in header and "PREPARE" in header
    assert header["EXPTIME"] == 40.0 and header["FILTER"] == "Ks" and header["NCOMBINE"] == 3
    assert header["LEVELERR"] is None or isinstance(header["LEVELERR"], fits.card.Undefined)
    assert header["OBJECT"] == ("BPM" if kind == "bpm" else "NGC 1")
    assert group.task.id in header["HISTORY"][-1]


def test_what_a_raw_header_says_of_its_pixels_is_not_said_of_a_product_s(tmp_path):
    """Real F2 frames have GAIN for one pair of reads whatever their number, and a read noise of 0."""
    raw = "GAIN    = 4.44", "RDNOISE = 0.0", "BUNIT   = 'adu'", "SATLEVEL= 1", "NONLINEA= 1", "PIXSCALE= 0.1812"
    info = info_of(*CARDS, *raw, pixel_scale=0.1792)
    header = primary_header(group_of(info, tmp_path), info, "image")
    assert not {"GAIN", "RDNOISE", "BUNIT", "SATLEVEL", "NONLINEA"} & set(header)
    assert header["PIXSCALE"] == 0.1792


def test_frames_table_holds_long_and_foreign_words(tmp_path):
    group = group_of(info_of(*CARDS), tmp_path)
    group.frames[0].reject("caf\xe9 " * 40 + "end")
    table = frames_table(group)
    assert table["reason"][0] == (r"caf\xe9 " * 40 + "end").encode()
    assert table["state"][0] == b"rejected" and table["weight"][0] == 0 and np.isnan(table["sky"][0])


@pytest.mark.parametrize("state", get_args(Ending))
def test_frames_table_states_in_full_what_became_of_a_frame(tmp_path, state):
    group = group_of(info_of(*CARDS), tmp_path)
    group.frames[0].reject("why", state)
    assert frames_table(group)["state"][0] == state.encode()


def test_frames_table_has_frames_of_the_sky_but_no_offsets_of_them(tmp_path):
    group = group_of(info_of(*CARDS), tmp_path)
    group.frames[0].dx_err = group.frames[0].dy_err = 0.0
    kept, lost = (FrameState(info_of(*CARDS), "sky", dx=3.0, dx_err=0.1, sky=70.0, weight=0.5) for _ in range(2))
    lost.reject("no light came in")
    group.frames += [kept, lost]
    table = frames_table(group)
    assert table["state"].tolist() == [b"used", b"sky", b"rejected"] and table["reason"][2] == b"no light came in"
    assert table["xoff"][0] == 0.0 and np.isnan(table["xoff"][1:]).all() and np.isnan(table["xoff_err"][1:]).all()
    assert table["sky"][1] == 70.0 and np.isnan(table["transparency"][1]) and not table["weight"].any()


def test_frames_table_gives_no_offset_that_was_not_measured(tmp_path):
    group = group_of(info_of(*CARDS), tmp_path)
    group.frames[0].reject("truncated", "unreadable")
    assert np.isnan(frames_table(group)["xoff"][0])


# -- world coordinates ----------------------------------------------------------------------------------------------
CORNERS = np.array([[0.0, 0.0], [1023.0, 0.0], [0.0, 1023.0], [300.5, 700.25]])


def rotated():
    return wcs_from_pointing(150.1, 2.2, 0.117, 33.0, center=(511.5, 511.5))


def with_pc():
    """The same, as other programs state it."""
    wcs, cd = rotated().deepcopy(), rotated().wcs.cd
    scale = -0.117 / 3600, 0.117 / 3600
    made = WCS(naxis=2)
    made.wcs.ctype, made.wcs.crpix, made.wcs.crval = list(wcs.wcs.ctype), wcs.wcs.crpix, wcs.wcs.crval
    made.wcs.cdelt = scale
    made.wcs.pc = [[v / s for v in row] for row, s in zip(cd, scale)]
    made.wcs.set()
    return made


@pytest.mark.parametrize("make", [rotated, with_pc])
def test_the_scale_of_a_product_is_read_back_by_us_and_by_astropy(tmp_path, make):
    info = replace(info_of(*CARDS), wcs=(PlaneWcs(make()),))
    group = group_of(info, tmp_path)
    keywords = wcs_keywords(group, info, 0)
    assert {"CD1_1", "CD1_2", "CD2_1", "CD2_2"} <= keywords.keys()
    assert not [k for k in keywords if k.startswith(("PC", "CDELT", "MJD"))]
    plane = Plane(np.zeros((4, 4), np.float32), np.zeros((4, 4), np.uint16), np.ones((4, 4), np.float32))
    group.streams["main"] = [plane]
    path = write(group, "image", np.zeros(0, [("item", "S4")]))
    wanted = rotated().wcs_pix2world(CORNERS, 0)
    ours = read_calibration(path)[0].wcs
    assert ours is not None
    np.testing.assert_allclose(ours.wcs_pix2world(CORNERS, 0), wanted, rtol=0, atol=1e-10)
    theirs = WCS(fits.getheader(path, "SCI"))
    np.testing.assert_allclose(theirs.wcs_pix2world(CORNERS, 0), wanted, rtol=0, atol=1e-10)


def test_a_header_with_pc_and_cdelt_is_read():
    header = {k: v for k, v in with_pc().to_header().items() if k != "PC2_2"} | {"CDELT1": -2.0 / 3600, "PC1_1": 1.0}
    header |= {"CDELT2": 2.0 / 3600, "PC1_2": 0.0, "PC2_1": 0.0}
    found = wcs_from_header(header)
    assert found is not None
    np.testing.assert_allclose(found.pixel_scale_matrix * 1800, np.diag([-1.0, 1.0]), atol=1e-15)
    assert wcs_from_header(header | {"PC1_1": 0.0}) is None  # singular
    both = wcs_from_header(header | {"CD1_1": -1e-3, "CD2_2": 1e-3})
    assert both is not None and both.wcs.cd[0][0] == -1e-3
