"""Reading raw pixels of every type and container; writing products completely or not at all."""

from __future__ import annotations

import bz2
import gzip
import math
import os
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from nirred.errors import DataError, NirredError, Unreadable
from nirred.fitsio import Extension, read_calibration, read_image, read_mask, read_planes, set_cards, write_product
from nirred.headers import Headers
from nirred.plugin.frames import Detector, Exposure


def write(path, *images, names=None, **keywords):
    hdus = fits.HDUList([fits.PrimaryHDU()])
    for k, image in enumerate(images):
        hdu = fits.ImageHDU(image, name=names[k] if names else None)
        hdu.header.update(keywords)
        hdus.append(hdu)
    hdus.writeto(path)
    return path


def planes_of(path, number, *hdus):
    """Raw planes of so many detectors that leave the choice of HDUs to the exposure."""
    return read_planes(path, Headers.read(path), Exposure(hdus=hdus), (Detector((2, 2), 1.0, 1.0),) * number)


def first(path, plane=None):
    return read_image(path, Headers.read(path).images[0][1], plane)


@pytest.mark.parametrize("zero", [32768.0, -5.0, 0.5, 2.0**24])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_small_integers_with_a_zero_point_are_exact(tmp_path, dtype, zero):
    numbers = np.array([[np.iinfo(dtype).min, 0, 1], [2, 100, np.iinfo(dtype).max]], dtype)
    path = write(tmp_path / "a.fits", numbers, BZERO=zero)
    (plane,) = planes_of(path, 1)
    np.testing.assert_array_equal(plane, (numbers.astype(np.float64) + zero).astype(np.float32))
    assert plane.dtype == np.float32


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_numbers_too_large_for_pixels_become_infinite_without_a_warning(tmp_path, scale):
    path = write(tmp_path / "a.fits", np.array([[1e300, -1e300, 3.0]] * 2), BSCALE=scale)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = first(path)
    assert image.tolist() == [[np.inf, -np.inf, 3.0 * scale]] * 2


def test_the_variance_is_not_taken_for_a_calibration_that_lost_its_image(tmp_path):
    path = write(tmp_path / "a.fits", None, np.ones((4, 4), "f4"), np.ones((4, 4), "i2"), names=["SCI", "VAR", "DQ"])
    with pytest.raises(DataError, match=r"a\.fits: no image SCI in it, only VAR, DQ"):
        read_calibration(path)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"])
def test_every_type_comes_out_as_astropy_reads_it(tmp_path, dtype):
    values = np.arange(12).reshape(3, 4).astype(dtype)
    path = write(tmp_path / "a.fits", values)
    got = first(path)
    assert got.dtype == np.float32 and got.dtype.isnative
    np.testing.assert_array_equal(got, values.astype(np.float32))


@pytest.mark.parametrize("bitpix", [16, 32, -32])
def test_scale_and_zero(tmp_path, bitpix):
    dtype = {16: "i2", 32: "i4", -32: "f4"}[bitpix]
    path = write(tmp_path / "a.fits", np.arange(6, dtype=dtype).reshape(2, 3), BSCALE=0.5, BZERO=100.0)
    np.testing.assert_array_equal(first(path), fits.getdata(path, 1).astype(np.float32))


@pytest.mark.filterwarnings("ignore:Invalid 'BLANK' keyword")
@pytest.mark.parametrize("scaled", [{}, {"BZERO": 32768.0}, {"BSCALE": 0.5, "BZERO": 100.0}])
@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "i8", "f4"])
def test_blank_pixels_are_nan(tmp_path, dtype, scaled):
    """The number counts as it is stored, and of integers alone."""
    path = write(tmp_path / "a.fits", np.array([[7, 8, 9], [7, 1, 0]], dtype), BLANK=7, **scaled)
    got = first(path)
    assert np.isnan(got).tolist() == [[dtype != "f4", False, False], [dtype != "f4", False, False]]
    np.testing.assert_array_equal(got, fits.getdata(path, 1, uint=False).astype(np.float32))


def test_blank_numbers_that_no_pixel_can_have(tmp_path):
    path = write(tmp_path / "a.fits", np.array([[1, -32768]], np.int16), BLANK=-(2**31))
    assert first(path).tolist() == [[1.0, -32768.0]]


@pytest.mark.parametrize("pack", [fits.ImageHDU, fits.CompImageHDU])
@pytest.mark.parametrize(
    "card", ["BSCALE  = 'abc'", "BSCALE  = 0.0", "BSCALE  = 1E999", "BZERO   = 3,5", "BZERO   = F"]
)
def test_a_header_that_scales_by_no_number_is_said(tmp_path, pack, card):
    path = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU(), pack(np.ones((8, 8), np.int16), fits.Header({"PLACE": 1}))]).writeto(path)
    whole = path.read_bytes()
    start = whole.index(b"PLACE   =")
    path.write_bytes(whole[:start] + card.encode().ljust(80) + whole[start + 80 :])
    with pytest.raises(Unreadable, match=rf"a\.fits: {card[:6].strip()} = .*--exclude"):
        first(path)


def test_damaged_tiles_are_unreadable(tmp_path):
    path = tmp_path / "a.fits.fz"
    noise = np.random.default_rng(1).normal(0, 80, (64, 64)).astype(np.int32)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(noise)]).writeto(path)
    path.write_bytes(path.read_bytes()[:-3600] + bytes(3600))
    with pytest.raises(Unreadable, match="damaged compression"):
        first(path)


def test_axes_of_length_one_go_and_one_pixel_stays(tmp_path):
    assert first(write(tmp_path / "a.fits", np.ones((1, 4, 5), np.float32))).shape == (4, 5)
    assert first(write(tmp_path / "b.fits", np.ones((1, 1), np.float32))).shape == (1, 1)
    assert first(write(tmp_path / "c.fits", np.ones((1, 1, 7), np.float32))).shape == (1, 7)
    assert first(write(tmp_path / "d.fits", np.ones((1, 7, 1), np.float32))).shape == (7, 1)


def test_a_cube_needs_a_plane(tmp_path):
    cube = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    path = write(tmp_path / "a.fits", cube)
    np.testing.assert_array_equal(first(path, 1), cube[1])
    with pytest.raises(DataError, match="not one detector's plane"):
        first(path)


@pytest.mark.parametrize("suffix", [".gz", ".bz2"])
def test_compressed_files(tmp_path, suffix):
    plain = write(tmp_path / "a.fits", np.arange(1200, dtype=np.int32).reshape(30, 40))
    squeeze = gzip.compress if suffix == ".gz" else bz2.compress
    path = tmp_path / f"a.fits{suffix}"
    path.write_bytes(squeeze(plain.read_bytes()))
    np.testing.assert_array_equal(first(path), first(plain))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(NirredError):
        first(path)


def test_tile_compressed_planes_are_told_apart(tmp_path):
    planes = [np.full((8, 8), k, np.int16) for k in (1, 2)]
    hdus = [fits.CompImageHDU(p, name="SCI") for p in planes]
    for version, hdu in enumerate(hdus, 1):
        hdu.header["EXTVER"] = version
    path = tmp_path / "a.fits.fz"
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    got = [read_image(path, h) for _, h in Headers.read(path).images]
    np.testing.assert_array_equal(got, planes)


def test_tile_compressed_planes_without_names_are_told_apart(tmp_path):
    planes = [np.full((8, 8), k, np.int16) for k in (1, 2, 3)]
    path = tmp_path / "a.fits.fz"
    fits.HDUList([fits.PrimaryHDU(), *map(fits.CompImageHDU, planes)]).writeto(path)
    np.testing.assert_array_equal(planes_of(path, 2, 3, 1), [planes[2], planes[0]])
    images = Headers.read(path).images
    np.testing.assert_array_equal([read_image(path, h) for _, h in images], planes)


def test_truncated_pixels_are_unreadable(tmp_path):
    path = write(tmp_path / "a.fits", np.zeros((100, 100), np.float32))
    headers = Headers.read(path)
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(Unreadable, match="truncated"):
        read_image(path, headers.images[0][1])


@pytest.fixture(params=["", ".gz", ".bz2"])
def three(tmp_path, request):
    """A file of three images and a table, plain or compressed."""
    path = write(tmp_path / "a.fits", *(np.full((2, 2), k, np.int16) for k in (1, 2, 3)))
    fits.append(path, np.zeros(4, [("x", "f4")]))
    squeeze = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}[request.param]
    path.write_bytes(squeeze(path.read_bytes()))
    return path


def test_detectors_that_share_an_hdu_are_left_to_the_plugin(three):
    with pytest.raises(DataError, match=r"several detectors in one HDU .*nirred_open"):
        planes_of(three, 2, 1, 1)


def test_planes_in_the_order_of_the_plugin(three):
    assert [p[0, 0] for p in planes_of(three, 2, 3, 1)] == [3, 1]
    assert [p[0, 0] for p in planes_of(three, 3)] == [1, 2, 3]
    detectors = tuple(Detector((2, 2), 1.0, 1.0, hdu=k) for k in (2, 3))
    assert [p[0, 0] for p in read_planes(three, Headers.read(three), Exposure(), detectors)] == [2, 3]
    with pytest.raises(DataError, match="no image in HDU 5"):
        planes_of(three, 1, 5)
    with pytest.raises(DataError, match="no image in HDU 4"):
        planes_of(three, 1, 4)


@pytest.mark.parametrize(("number", "hdus"), [(0, ()), (1, ()), (2, ()), (4, ()), (2, (1,))])
def test_as_many_images_as_detectors_are_expected(three, number, hdus):
    with pytest.raises(DataError, match=rf"a\.fits: {len(hdus) or 3} images?, {number} expected"):
        planes_of(three, number, *hdus)


def test_a_file_without_an_image_is_said(tmp_path):
    fits.PrimaryHDU().writeto(tmp_path / "empty.fits")
    with pytest.raises(DataError, match="no image"):
        planes_of(tmp_path / "empty.fits", 1)


def test_masks_of_any_kind(tmp_path):
    values = np.array([[0, 1], [64, 0]], np.uint16)
    fits.PrimaryHDU(values.astype(np.uint8)).writeto(tmp_path / "d.fits")
    for path in (
        write(tmp_path / "a.fits", np.ones((2, 2), np.float32), values, names=["SCI", "DQ"]),
        write(tmp_path / "b.fits", values.astype(np.float32)),
        write(tmp_path / "c.fits", values),
        tmp_path / "d.fits",
    ):
        (mask,) = read_mask(path)
        assert mask.dtype == np.uint16 and mask.tolist() == [[0, 1], [1, 0]]
    assert read_mask(write(tmp_path / "e.fits", np.array([[np.nan, 0.0]], np.float32)))[0].tolist() == [[1, 0]]
    assert read_mask(write(tmp_path / "f.fits", np.array([[-1, 0]], np.int16), BLANK=-1))[0].tolist() == [[1, 0]]


@pytest.mark.parametrize(("zeros", "refused"), [(0, True), (3, True), (100, False)])
def test_a_frame_of_counts_is_no_mask(tmp_path, zeros, refused):
    counts = np.full((50, 40), 5000, np.int32)
    counts.flat[:zeros] = 0
    path = write(tmp_path / "raw.fits", counts)
    if refused:
        with pytest.raises(DataError, match=r"raw.fits: as a mask it flags (100.00|99.85)% of its pixels"):
            read_mask(path)
    else:
        assert np.count_nonzero(read_mask(path)[0] == 0) == zeros


def test_whatever_is_not_zero_in_a_mask_is_bad(tmp_path):
    """As flags, 2 and 4 count as signal, and 16384 and 32768 are bits of the working planes: none of these is meant."""
    codes = np.array([[0, 2, 4], [6, 16384, 32768]])
    whole = write(tmp_path / "a.fits", np.append(codes, [[65536, 65540, -1]], axis=0).astype(np.int32))
    assert read_mask(whole)[0].tolist() == [[0, 1, 1], [1, 1, 1], [1, 1, 1]]
    broken = write(tmp_path / "b.fits", np.array([[0.0, 0.25], [1e30, -0.5]], np.float32))
    assert read_mask(broken)[0].tolist() == [[0, 1], [1, 1]]
    by_hand = write(tmp_path / "c.fits", codes.astype(np.uint16), names=["DQ"])
    fits.setval(by_hand, "OBSTYPE", value="BPM")
    assert read_mask(by_hand)[0].tolist() == [[0, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize(("stamp", "name"), [("NIRRED", "DQ"), ("GEM-TLM", "DQ"), ("BPMASK", ""), ("PROCBPM", "DQ")])
def test_flags_that_a_pipeline_wrote_keep_their_meaning(tmp_path, stamp, name):
    path = write(tmp_path / "a.fits", np.array([[0, 4, 65], [128, 16384, 32768 + 4]], np.uint16), names=[name])
    fits.setval(path, stamp, value="x")
    assert read_mask(path)[0].tolist() == [[0, 4, 65], [1, 1, 1]]


def test_a_header_taken_from_a_product_makes_no_flags_of_an_image(tmp_path):
    path = write(tmp_path / "a.fits", np.array([[0, 4]], np.int16))
    fits.setval(path, "NIRRED", value="1.0")
    assert read_mask(path)[0].tolist() == [[0, 1]]


def test_keywords_beyond_ascii_are_escaped():
    header = fits.Header()
    set_cards(header, {"FILTER": ("H\u03b1", "filter"), "ORIGNAME": "\xd1 1\n\udce9.fits"})
    assert (header["FILTER"], header["ORIGNAME"]) == (r"H\u03b1", r"\xd1 1\n\udce9.fits")


def test_calibrations_of_others(tmp_path):
    sci, var = np.full((2, 2), 2.0, np.float32), np.full((2, 2), 3.0, np.float32)
    dq = np.array([[0, 1], [0, 0]], np.int16)
    path = write(tmp_path / "a.fits", sci, dq, var, names=["SCI", "DQ", "VAR"])
    (plane,) = read_calibration(path)
    assert plane.dq.tolist() == dq.tolist() and plane.dq.dtype == np.uint16
    np.testing.assert_array_equal(plane.var, var)
    fits.PrimaryHDU(sci).writeto(tmp_path / "bare.fits")
    (plane,) = read_calibration(tmp_path / "bare.fits")
    assert plane.var is None and not plane.dq.any()
    fits.PrimaryHDU().writeto(tmp_path / "none.fits")
    with pytest.raises(DataError, match="no image in it"):
        read_calibration(tmp_path / "none.fits")


def test_values_that_no_calibration_has_are_flagged(tmp_path):
    sci = np.array([[1, np.nan, np.inf, 3e38], [1, 1, 1, 1]], np.float32)
    var = np.array([[1, 1, 1, 1], [0, -1, np.nan, 1e38]], np.float32)
    (plane,) = read_calibration(write(tmp_path / "a.fits", sci, var, names=["SCI", "VAR"]))
    assert plane.dq.tolist() == [[0, 1, 1, 1], [0, 1, 1, 1]]


@pytest.mark.parametrize("name", ["DQ", "VAR"])
def test_a_calibration_of_planes_that_differ_in_size_is_refused(tmp_path, name):
    path = write(tmp_path / "a.fits", np.ones((4, 3), np.float32), np.ones((1, 3), np.int16), names=["SCI", name])
    with pytest.raises(DataError, match=rf"a\.fits: its {name} is 3x1 pixels, its SCI 3x4"):
        read_calibration(path)


# -- products -----------------------------------------------------------------------------------------------------


def product(path, **keywords):
    table = np.array([(1, b"a")], [("n", "i4"), ("text", "S3")])
    planes = [
        Extension(name, data, keywords, version)
        for version in (1, 2)
        for name, data in (("SCI", np.ones((3, 4), np.float32)), ("DQ", np.full((3, 4), 65, np.uint16)))
    ]
    write_product(path, fits.Header({"OBJECT": "x"}), [*planes, Extension("FRAMES", table)])


def test_products_are_valid_and_the_same_each_time(tmp_path):
    product(tmp_path / "a.fits", LEVEL=(1.5, "[electron] level"))
    product(tmp_path / "b.fits", LEVEL=(1.5, "[electron] level"))
    assert (tmp_path / "a.fits").read_bytes() == (tmp_path / "b.fits").read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(tmp_path / "a.fits", checksum=True) as hdus:
            hdus.verify("exception")
            assert [(h.name, h.ver) for h in hdus[1:]] == [("SCI", 1), ("DQ", 1), ("SCI", 2), ("DQ", 2), ("FRAMES", 1)]
            assert hdus["SCI", 2].header["LEVEL"] == 1.5
            assert (hdus["DQ", 2].data == 65).all()


def test_units_of_columns_are_read_without_warnings(tmp_path):
    """The FITS standard knows no electron: as a unit, every reader would warn of it."""
    table = np.array([(1, 2.0, 3.0)], [("n", "i4"), ("x", "f8"), ("flux", "f4")])
    for unit in ("adu", "electron"):
        units = {"x": "pix", "flux": unit, "other": "deg"}
        write_product(tmp_path / f"{unit}.fits", fits.Header(), [Extension("STARS", table, units=units)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        counts, electrons = (Table.read(tmp_path / f"{unit}.fits") for unit in ("adu", "electron"))
    assert [counts[name].unit for name in counts.colnames] == [None, "pix", "adu"]
    assert electrons["x"].unit == "pix" and electrons["flux"].unit is None
    assert fits.getheader(tmp_path / "electron.fits", 1)["TCOMM3"] == "electron"


def test_numbers_that_are_not_finite_become_undefined(tmp_path):
    product(tmp_path / "a.fits", LEVELERR=(math.inf, "1-sigma"), CORRFAC=np.float32("nan"))
    header = fits.getheader(tmp_path / "a.fits", "SCI")
    assert header["LEVELERR"] is None and header["CORRFAC"] is None
    assert header.comments["LEVELERR"] == "1-sigma"


def test_a_directory_that_is_not_there_is_said(tmp_path):
    with pytest.raises(DataError, match="cannot be written"):
        product(tmp_path / "none" / "a.fits")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_neither_half_product_nor_rest(tmp_path, monkeypatch, call):
    product(tmp_path / "a.fits")
    before = (tmp_path / "a.fits").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(DataError, match="No space left"):
        product(tmp_path / "a.fits", LEVEL=2.0)
    assert [p.name for p in tmp_path.iterdir()] == ["a.fits"]
    assert (tmp_path / "a.fits").read_bytes() == before


def test_whatever_goes_wrong_leaves_no_rest(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("bug")

    monkeypatch.setattr(fits.HDUList, "writeto", broken)
    with pytest.raises(RuntimeError):
        product(tmp_path / "a.fits")
    assert list(tmp_path.iterdir()) == []


def test_long_comments_are_cut_without_a_warning() -> None:
    header = fits.Header()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        set_cards(header, {"SPAN": (0.0539, "c" * 60), "NAME": ("x" * 41, "c" * 60), "COUNT": (3, "c" * 60)})
        header.tostring()
    assert len(header.comments["SPAN"]) == 47


@pytest.mark.parametrize("suffix", [".gz", ".bz2"])
def test_damage_that_only_the_end_of_the_stream_shows(tmp_path, suffix):
    squeeze = gzip.compress if suffix == ".gz" else bz2.compress
    packed = bytearray(squeeze(write(tmp_path / "a.fits", np.ones((64, 64), np.int32)).read_bytes()))
    packed[-4] ^= 1
    path = tmp_path / f"a.fits{suffix}"
    path.write_bytes(packed)
    with pytest.raises(Unreadable, match="damaged compression"):
        first(path)


def test_threads_change_no_byte_of_a_product(tmp_path):
    rng = np.random.default_rng(2)
    planes = [rng.normal(size=(40, 50)).astype(np.float32), rng.integers(0, 99, (40, 50)).astype(np.uint16)]
    written = []
    for threads in (1, 3):
        path = tmp_path / f"{threads}.fits"
        write_product(path, fits.Header(), [Extension(f"E{k}", p.copy()) for k, p in enumerate(planes)], threads)
        written.append(path.read_bytes())
    assert written[0] == written[1]


def test_what_is_no_number_in_a_calibration_is_flagged_and_zero(tmp_path):
    data, var = np.full((2, 4, 5), 3.0, np.float32)
    data[0, 0], data[1, 1], var[2, 2], var[3, 3] = np.nan, np.inf, np.nan, -1.0
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data, name="SCI"), fits.ImageHDU(var, name="VAR")]).writeto(
        tmp_path / "a_dark.fits"
    )
    (plane,) = read_calibration(tmp_path / "a_dark.fits")
    assert np.argwhere(plane.dq).tolist() == [[0, 0], [1, 1], [2, 2], [3, 3]]
    assert plane.data.sum() == plane.var.sum() == 3.0 * 16
