"""Planes, frames, and their way to CCDData and back."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.nddata import CCDData, StdDevUncertainty

from nirred.dq import DQ
from nirred.frame import Frame, Plane
from nirred.plugin import make_wcs


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
