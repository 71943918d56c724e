"""Planes, frames, and their conversion to CCDData and back."""

from __future__ import annotations

import copy
import pickle
import warnings
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from astropy.nddata import CCDData, StdDevUncertainty

from nirred.dq import DQ
from nirred.frame import Frame, Plane
from nirred.plugin import Descriptors, Detector, make_wcs
from nirred.plugin.tangent import TangentWcs


def plane(ny=3, nx=4, var=True, wcs=None):
    dq = np.zeros((ny, nx), np.uint16)
    dq[0, 0] = DQ.SATURATED | DQ.NON_LINEAR
    dq[-1, -1] |= DQ.BAD_PIXEL
    data = np.arange(ny * nx, dtype=np.float32).reshape(ny, nx)
    return Plane(data, dq, data + 1 if var else None, wcs)


def test_saturated_pixels_are_signal():
    bad = plane().bad
    assert bad.dtype == bool and bad.sum() == 1 and bad[-1, -1]


@pytest.mark.parametrize(
    ("data", "dq", "var"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2), np.uint16), None),
        (np.zeros((2, 3)), np.zeros((2, 3), np.uint16), np.zeros((2, 2))),
        (np.zeros(3), np.zeros(3, np.uint16), None),
        (np.zeros((1, 2, 3)), np.zeros((1, 2, 3), np.uint16), None),
        (np.zeros((2, 3)), np.zeros((2, 3), bool), None),
    ],
)
def test_planes_that_are_none_are_refused(data, dq, var):
    with pytest.raises(ValueError, match=r"planes need|dq must"):
        Plane(data, dq, var)


@pytest.mark.parametrize("var", [True, False])
@pytest.mark.parametrize("unit", ["adu", "electron"])
def test_ccddata_and_back_loses_nothing(var, unit):
    wcs = make_wcs((10.0, 20.0), (2.0, 3.0), ((-1e-4, 0.0), (0.0, 1e-4)))
    frame = Frame((plane(var=var, wcs=wcs), plane(1, 1, var)), unit=unit)
    again = Frame.from_ccddata(frame.to_ccddata(0), frame.to_ccddata(1))
    assert again.unit == unit
    for a, b in zip(frame.planes, again.planes, strict=True):
        assert (b.data.dtype, b.dq.dtype) == (np.float32, np.uint16)
        np.testing.assert_array_equal(a.data, b.data)
        np.testing.assert_array_equal(a.dq, b.dq)
        assert (a.var is None) == (b.var is None)
        if a.var is not None:
            np.testing.assert_array_equal(a.var, b.var)
    assert again.planes[0].wcs is not None and again.planes[1].wcs is None
    np.testing.assert_array_equal(frame.to_ccddata().mask, frame.planes[0].bad)


def test_foreign_ccddata():
    image = CCDData(np.ones((2, 2)), unit="adu", mask=np.eye(2, dtype=bool))
    image.uncertainty = StdDevUncertainty(np.full((2, 2), 3.0))
    made = Frame.from_ccddata(image, name="a.fits")
    assert made.name == "a.fits"
    assert made.planes[0].dq.tolist() == [[1, 0], [0, 1]]
    np.testing.assert_array_equal(made.planes[0].var, 9.0)
    assert not Frame.from_ccddata(CCDData(np.ones((2, 2)), unit="adu")).planes[0].dq.any()


def test_with_planes_leaves_the_original():
    frame = Frame((plane(),), name="a.fits")
    other = frame.with_planes(plane(1, 1), plane(1, 1))
    assert len(frame.planes) == 1 and len(other.planes) == 2 and other.name == "a.fits"


CARDS = [
    "SIMPLE  =                    T / conforms to FITS standard",
    "EXPTIME =                   20 / [s] open shutter",
    "OBJECT  = 'M 31    '           / what it is",
    "LONGTEXT= 'a text that goes on &'",
    "CONTINUE  'and on' / with a comment",
    "HIERARCH ESO DET DIT = 1.5 / not of every header",
    "ODD     =  bare words / as some observatories write",
    "COMMENT twice",
    "COMMENT twice",
    "HISTORY raw",
]
HEADER = "".join(c.ljust(80) for c in CARDS)


@pytest.fixture
def whole() -> Frame:
    """A frame of two planes that has everything that a frame can have."""
    wcs = make_wcs((10.0, 20.0), (2.0, 3.0), ((-1e-4, 0.0), (0.0, 1e-4)), projection="ZPN", pv=[(2, 1, 1.0)])
    tangent = TangentWcs((1.5, 2.5), (10.0, -30.0), ((-1e-4, 1e-6), (1e-6, 1e-4)))
    planes = [
        replace(plane(ny, wcs=w), detector=Detector((ny, 4), gain, 10.0, name=str(ny)))
        for ny, w, gain in ((3, wcs, 5.0), (2, tangent, None))
    ]
    told = Descriptors(instrument="cam", ut_datetime=datetime(2026, 1, 15, 8), extra={"odd": (1, None)})
    return Frame(tuple(planes), "a.fits", "electron", HEADER, "cam", frozenset({"CAM", "RAW"}), told)


def there_and_back(frame: Frame, change=lambda ccd: ccd) -> Frame:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return Frame.from_ccddata(*(change(frame.to_ccddata(i)) for i in range(len(frame.planes))))


@pytest.mark.parametrize(
    "change", [lambda c: c, copy.deepcopy, lambda c: c[:], lambda c: pickle.loads(pickle.dumps(c))]
)
def test_ccddata_and_back_loses_nothing_of_what_is_known(whole, change):
    again = there_and_back(whole, change)
    for name in ("name", "unit", "header", "instrument", "tags", "descriptors"):
        assert getattr(again, name) == getattr(whole, name), name
    assert [p.detector for p in again.planes] == [p.detector for p in whole.planes]
    for a, b in zip(whole.planes, again.planes, strict=True):
        places = [w.wcs_pix2world([[0.0, 0.0], [50.0, -7.0]], 0) for w in (a.wcs, b.wcs)]
        np.testing.assert_allclose(*places, rtol=1e-13)
        assert list(a.wcs.wcs.ctype) == list(b.wcs.wcs.ctype) and a.wcs.wcs.get_pv() == b.wcs.wcs.get_pv()


def test_ccddata_has_a_header_that_others_can_use(whole, tmp_path):
    ccd = whole.to_ccddata()
    assert (ccd.header["EXPTIME"], ccd.header.comments["OBJECT"]) == (20, "what it is")
    assert (ccd.header["LONGTEXT"], list(ccd.header["COMMENT"])) == ("a text that goes on and on", ["twice", "twice"])
    ccd.header["EXPTIME"] = (10, "halved")
    again = Frame.from_ccddata(ccd)
    assert "EXPTIME =                   10 / halved" in again.header and again.tags == whole.tags
    del ccd.header["ODD"]
    ccd.write(tmp_path / "a.fits")
    read = Frame.from_ccddata(CCDData.read(tmp_path / "a.fits"), name="b.fits")
    assert "what it is" in read.header and (read.name, read.instrument) == ("b.fits", "")


def test_what_is_given_comes_before_what_the_header_tells(whole):
    made = Frame.from_ccddata(whole.to_ccddata(), name="b.fits", unit="adu", tags=frozenset())
    assert (made.name, made.unit, made.tags, made.instrument) == ("b.fits", "adu", frozenset(), "cam")


def test_a_card_that_fits_does_not_allow_is_kept(whole):
    frame = replace(whole, header=HEADER + "Y       = 1.0\x00".ljust(80))
    assert there_and_back(frame).header == frame.header
