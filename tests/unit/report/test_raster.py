from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from matplotlib.image import imread

from nirred.picture import Levels, Orientation
from nirred.report.raster import NO_DATA, Words, picture, png_uri


def decoded(uri: str) -> np.ndarray:
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(imread(io.BytesIO(base64.b64decode(body))))


def test_png_shows_greys_the_lowest_row_last_and_no_data_in_colour():
    shade = np.array([[0.0, 1.0, np.nan], [0.5, 0.25, 0.75]])
    pixels = np.rint(255 * decoded(png_uri(shade))[..., :3]).astype(int)
    assert pixels.shape == (2, 3, 3)
    assert pixels[1, 0].tolist() == [0, 0, 0] and pixels[1, 1].tolist() == [255, 255, 255]
    assert pixels[1, 2].tolist() == list(NO_DATA)
    assert [p[0] for p in pixels[0]] == pytest.approx([127.5, 63.75, 191.25], abs=1)


def test_large_arrays_are_binned_by_whole_numbers():
    drawn = picture(np.arange(1000.0 * 701).reshape(701, 1000), Words("a", "c", "electron"), scale="minmax", side=300)
    assert drawn is not None and (drawn.width, drawn.height) == (250, 175)
    assert all(0 <= place <= 1 for place, _ in drawn.ticks)


def test_what_has_no_pixel_is_not_drawn():
    assert picture(np.full((3, 3), np.nan), Words("a", "c")) is None
    one = picture(np.ones((1, 1)), Words("a", "c"))
    assert one is not None and (one.width, one.height) == (1, 1)


def test_north_and_east_are_where_the_sky_has_them():
    """North to the left and east down: an image turned by 90 degrees."""
    sky = Orientation(0.5, (-1.0, 0.0), (0.0, -1.0))
    drawn = picture(np.zeros((400, 800)), Words("a", "c"), levels=Levels(0, 1), side=400, sky=sky)
    assert drawn is not None
    north, east, bar = drawn.lines
    assert (north.label, east.label, bar.label) == ("N", "E", "2'")
    assert north.x2 < north.x1 and north.y2 == north.y1
    assert east.y2 > east.y1 and east.x2 == east.x1
    assert bar.x2 - bar.x1 == pytest.approx(120 / 0.5 / 2)
