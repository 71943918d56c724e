"""Reading headers without pixels, from intact and damaged files."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nirred.errors import Unreadable
from nirred.headers import BLOCK, Header, Headers
from nirred.streams import is_compressed
from nirred.testing.headers import headers_from_text

SHAPE = (30, 40)


def mef() -> bytes:
    """A raw-like file: primary without pixels, two image extensions and a table."""
    primary = fits.PrimaryHDU()
    primary.header["INSTRUME"] = ("NIRI", "camera")
    primary.header["OBJECT"] = "FS 17"
    first = fits.ImageHDU(np.arange(1200, dtype=np.int32).reshape(SHAPE))
    first.header["LOWROW"] = 0
    second = fits.ImageHDU(np.zeros(SHAPE, np.float32))
    second.header["GAIN"] = 2.5
    table = fits.BinTableHDU.from_columns([fits.Column("x", "E", array=np.zeros(3))])
    return serialised(fits.HDUList([primary, first, second, table]))


def serialised(hdus: fits.HDUList) -> bytes:
    import io

    stream = io.BytesIO()
    hdus.writeto(stream)
    return stream.getvalue()


def block(*cards: str, end: bool = True) -> bytes:
    """A primary header of these cards."""
    lines = ["SIMPLE  =                    T", *cards, *(["END"] if end else [])]
    text = "".join(c.ljust(80) for c in lines)
    return text.ljust(-(-len(text) // BLOCK) * BLOCK).encode("latin-1")


def read(path: Path, data: bytes) -> Headers:
    path.write_bytes(data)
    return Headers.read(path)


@pytest.mark.parametrize("name", ["a.fits", "a.fit", "noSuffix", "a.txt"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_same_headers_however_packed_and_named(tmp_path: Path, name: str, pack: type) -> None:
    """Compression is told by the first bytes, never by the name."""
    found = read(tmp_path / name, pack(mef()))
    assert found.get("INSTRUME") == "NIRI"
    assert found.image is not None and found.image.shape == SHAPE
    assert found.get("LOWROW") == 0  # from the first image
    assert [i for i, _ in found.images] == [1, 2]
    assert len(found.hdus) == 3
    assert found.get("GAIN") is None
    assert found.get("GAIN", hdu=2) == 2.5
    assert found.get("GAIN", -1, hdu=9) == -1
    assert is_compressed(tmp_path / name) == (pack is not bytes)


def test_offsets_point_at_the_pixels(tmp_path: Path) -> None:
    data = mef()
    found = read(tmp_path / "a.fits", data)
    assert found.image is not None
    pixels = np.frombuffer(data, ">i4", 1200, found.image.data_offset)
    np.testing.assert_array_equal(pixels, np.arange(1200))


def test_compressed_file_is_not_inflated_behind_its_first_image(tmp_path: Path) -> None:
    """Damage behind the first image's header is met only by who asks for what lies there."""
    whole = gzip.compress(np.random.default_rng(1).bytes(0) + mef(), mtime=0)
    big = fits.HDUList(
        [fits.PrimaryHDU(), fits.ImageHDU(np.random.default_rng(1).integers(0, 9999, (300, 300)).astype("i4"))]
    )
    cut = gzip.compress(serialised(big), mtime=0)
    found = read(tmp_path / "a.fits", cut[: len(cut) // 2])
    assert found.image is not None and found.image.shape == (300, 300)
    with pytest.raises(Unreadable, match="damaged compression"):
        _ = found.hdus
    assert len(read(tmp_path / "b.fits", whole).hdus) == 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty file"),
        (b"a list of files\n", "not a FITS file"),
        (b"\x89PNG\r\n" * 1000, "not a FITS file"),
        (gzip.compress(b"text", mtime=0), "not a FITS file"),
        (gzip.compress(mef(), mtime=0)[:40], "damaged compression"),
        (bz2.compress(mef())[:40], "damaged compression"),
        (mef()[:1000], "truncated"),
        (block("NAXIS   = 0", end=False), "no END card"),
        (block("NAXIS   = 0", end=False) * 600, "no END card"),
        (mef()[: 2 * BLOCK + 100], "truncated: 5860 bytes, its header declares"),
        (block("BITPIX  = 16", "NAXIS   = 2", "NAXIS1  = 100", "NAXIS2  = 100"), "truncated"),
    ],
)
def test_unreadable_files_say_why(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(Unreadable, match=message) as caught:
        read(tmp_path / "bad.fits", data)
    assert "bad.fits" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("name", ["missing.fits", "."])
def test_missing_file_and_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(Unreadable):
        Headers.read(tmp_path / name)


def test_rubbish_after_end_and_after_the_last_hdu(tmp_path: Path) -> None:
    """As in raw Keck NIRC2 files."""
    header = bytearray(block("BITPIX  = 16", "NAXIS   = 2", "NAXIS1  = 4", "NAXIS2  = 4", "COADDS  = 8"))
    end = header.index(b"END     ")
    header[end + 80 :] = bytes(range(256)) * 20
    header = header[:BLOCK]
    found = read(tmp_path / "a.fits", bytes(header) + bytes(BLOCK) + b"\x00\xff rubbish" * 50)
    assert found.get("COADDS") == 8
    assert found.image is found.primary
    assert found.hdus == ()
    assert [i for i, _ in found.images] == [0]


def test_non_ascii_damaged_and_duplicate_cards() -> None:
    found = headers_from_text(
        "OBJECT  = 'caf\xe9 \xfe'\n"
        "COADDS  = 4\n"
        "COADDS  = 9\n"
        "BROKEN  = 'no closing quote\n"
        "EMPTY   =\n"
        "WEIRD   = 1.2.3\n"
        "QUOTE   = 'O''Brien'\n"
        "HIERARCH ESO DET NDIT = 3\n"
    ).primary
    assert isinstance(found["OBJECT"], str) and found["OBJECT"].startswith("caf")
    assert found["COADDS"] == 4
    assert found.get("QUOTE") == "O'Brien"
    assert found["ESO DET NDIT"] == found["HIERARCH ESO DET NDIT"] == 3 and "hierarch eso det ndit" in found
    assert found.get("EMPTY") is None
    for key in ("BROKEN", "WEIRD"):
        assert key in found
        found.get(key)  # must not raise for any content
    assert found["coadds"] == 4


@pytest.mark.parametrize(
    "card",
    [
        "A       = 'FS 17   '           / name",
        "A       = 'O''Brien '",
        "A       = ''",
        "A       = '   '",
        "A       = 'a / b'              / a / comment's quote",
        "A       =                    T / logical",
        "A       = F",
        "A       =                   -0 / whole",
        "A       = +17",
        "A       =                  30.",
        "A       = .5",
        "A       = -3.25278883028921E-05 / real",
        "A       = 1e5",
        "A       = 1.5D3",
        "A       = (1.0, 2.0)",
        "A       =",
        "A       = 12 34",
        "A       = 'open",
        "A       = 'x' y",
        "A       =text",
    ],
)
def test_values_are_astropys(card: str) -> None:
    found = headers_from_text(card).primary.get("A")
    try:
        wanted = fits.Card.fromstring(card.ljust(80).encode()).value
    except fits.VerifyError:
        wanted = None
    if isinstance(wanted, bool | int | float):
        assert (found, type(found)) == (wanted, type(wanted))
    elif isinstance(wanted, str) and card != "A       =text":
        assert found == wanted.rstrip()
    else:
        assert found is None


@settings(max_examples=60, deadline=None)
@example("'/")
@given(
    st.one_of(
        st.booleans(),
        st.integers(-(10**15), 10**15),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
    )
)
def test_values_come_back(value: bool | int | float | str) -> None:
    card = fits.Card("KEY", value, "comment")
    found = headers_from_text(str(card)).primary["KEY"]
    # astropy reads '/ without its slash; a number is read as it was printed
    wanted = value.rstrip() if isinstance(value, str) else fits.Card.fromstring(str(card)).value
    assert found == wanted
    assert type(found) is type(wanted)


def test_continued_strings_are_joined() -> None:
    long = "A title that goes on and on, well beyond the sixty-eight characters that one card can hold"
    header = fits.Header([("TITLE", long), ("AFTER", 1)])
    text = header.tostring(sep="\n", endcard=False, padding=False)
    assert "CONTINUE" in text
    found = headers_from_text(text).primary
    assert (found["TITLE"], found["AFTER"]) == (long, 1)


def test_a_card_that_continues_nothing_costs_no_value() -> None:
    found = headers_from_text("EXPTIME =  20.5 / s\nCONTINUE  'stray'\nOBJECT  = 'FS 17'\nCONTINUE  '&'\nEND").primary
    assert (found["EXPTIME"], found["OBJECT"]) == (20.5, "FS 17")


@pytest.mark.parametrize(
    "cards",
    [
        "NAXIS = 999999999\nNAXIS1 = 10\nNAXIS2 = 10",
        "NAXIS = 1E999\nNAXIS1 = 10",
        "NAXIS = 2\nNAXIS1 = -10\nNAXIS2 = 10",
        "NAXIS = 2\nNAXIS1 = 10",
        "NAXIS = 'two'\nNAXIS1 = 10\nNAXIS2 = 10",
        "NAXIS = 2\nNAXIS1 = 1E400\nNAXIS2 = 10\nPCOUNT = -5",
        "NAXIS = T",
    ],
)
def test_lying_axes_are_no_image(cards: str) -> None:
    lines = (f"{k.strip():8}= {v.strip()}" for k, v in (c.split("=") for c in cards.split("\n")))
    found = headers_from_text("BITPIX  = 16\n" + "\n".join(lines)).primary
    assert not found.is_image
    assert found.data_bytes >= 0


def test_third_axis_of_length_one_is_an_image() -> None:
    found = headers_from_text("NAXIS   = 3\nNAXIS1  = 5\nNAXIS2  = 4\nNAXIS3  = 1").primary
    assert found.is_image
    assert found.shape == (1, 4, 5)


def test_tile_compressed_image(tmp_path: Path) -> None:
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(np.zeros((64, 48), np.int32))])
    hdus.writeto(tmp_path / "a.fits.fz")
    found = Headers.read(tmp_path / "a.fits.fz")
    assert found.image is not None and found.image.shape == (64, 48)


@pytest.mark.parametrize("name", ["", "SCI"])
def test_a_tile_compressed_image_has_the_keywords_of_the_image(tmp_path: Path, name: str) -> None:
    plain = fits.ImageHDU(np.zeros((2, 64, 48), np.int16), fits.Header({"GAIN": 2.0}), name=name or None)
    fits.HDUList([fits.PrimaryHDU(), plain]).writeto(tmp_path / "a.fits")
    packed = fits.CompImageHDU(plain.data, plain.header, name=name or None)
    fits.HDUList([fits.PrimaryHDU(), packed, fits.ImageHDU(np.zeros((4, 3)))]).writeto(tmp_path / "a.fits.fz")
    before, after = (Headers.read(tmp_path / f).image for f in ("a.fits", "a.fits.fz"))
    assert before is not None and after is not None and after.shape == (2, 64, 48)
    for keyword in ("XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "PCOUNT", "GCOUNT", "GAIN", "EXTNAME"):
        assert after.get(keyword) == before.get(keyword), keyword
    assert "TFORM1" not in after and after.get("ZIMAGE") is True
    assert [h.shape for _, h in Headers.read(tmp_path / "a.fits.fz").images] == [(2, 64, 48), (4, 3)]


def test_nothing_is_there() -> None:
    found = Headers(Header(""))
    assert found.image is None and found.images == () and found.hdus == ()
    assert found.get("X", 1) == 1
    assert "X" not in found
    assert headers_from_text("").image is None
