from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from nirred.drawing import Look, stack_png
from nirred.errors import DataError, Unreadable
from nirred.picture import Levels, cut, limits, read_image

Call = Callable[..., tuple[int, str, str]]


CD = {"CD1_1": -3e-5, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 3e-5}
PC = {"PC1_1": -3e-5, "PC2_2": 3e-5, "CDELT1": 1.0, "CDELT2": 1.0}


def stack(path: Path, shape: tuple[int, int] = (120, 200), *, matrix: dict[str, float] | None = CD) -> Path:
    data = np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)
    data[shape[0] // 2, shape[1] // 2] = 1000
    exposures = np.ones(shape, np.int16)
    data[:, :10] = 50
    exposures[:, :10] = 0
    sci = fits.ImageHDU(data, name="SCI")
    if matrix:
        sci.header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRPIX1=60.0, CRPIX2=60.0, CRVAL1=150.0, CRVAL2=2.0)
        sci.header.update(matrix)
    head = fits.PrimaryHDU()
    head.header["OBJECT"] = "NGC $1_2"
    fits.HDUList([head, sci, fits.ImageHDU(exposures, name="NEXP")]).writeto(path)
    return path


def pixels(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return np.asarray(imread(path))


def test_picture_has_the_stack_its_scale_and_its_gaps(tmp_path: Path) -> None:
    with_sky = pixels(stack_png(stack(tmp_path / "a.fits"), tmp_path / "sub" / "a.png", Look(400)))
    without = pixels(stack_png(stack(tmp_path / "b.fits", matrix=None), tmp_path / "b.png", Look(400)))
    assert with_sky.shape[:2] == (240, 400)
    assert with_sky[119, 201, 0] > 0.95  # the star
    assert with_sky[150, 5, 2] > with_sky[150, 5, 0]  # no exposure: the 50 electrons of this pixel are not shown
    corner = np.s_[150:, 280:]
    assert (with_sky[corner][..., 0] > 0.9).sum() > (without[corner][..., 0] > 0.9).sum() + 20  # arrows


def test_scale_is_read_from_any_form_of_the_matrix(tmp_path: Path) -> None:
    pictures = []
    for number, matrix in enumerate((CD, PC)):
        (tmp_path / str(number)).mkdir()
        pictures.append(stack_png(stack(tmp_path / str(number) / "a.fits", matrix=matrix), tmp_path / f"{number}.png"))
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    bar = pixels(pictures[0])[-30:-20, :450, 0] > 0.95  # 5 arcsec of 0.108 arcsec per pixel, 4.5 times enlarged
    assert bar.any(axis=0).sum() == pytest.approx(5 / 0.108 * 4.5, abs=4)


def test_same_bytes_again(tmp_path: Path) -> None:
    path = stack(tmp_path / "a.fits")
    assert stack_png(path, tmp_path / "a.png").read_bytes() == stack_png(path, tmp_path / "b.png").read_bytes()


def test_large_images_are_binned(tmp_path: Path) -> None:
    assert max(pixels(stack_png(stack(tmp_path / "a.fits", (701, 503)), tmp_path / "a.png", Look(100))).shape) == 100


def test_view(tmp_path: Path, nirred: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stack(tmp_path / "a.fits")
    assert nirred("view", "a.fits")[:2] == (0, "a.png\n")
    assert nirred("view", "a.fits", "-o", "b.png", "--size", "200")[0] == 0
    assert nirred("view", "a.fits", "-o", "b.pdf")[0] == 2 and not Path("b.pdf").exists()
    assert (tmp_path / "a.png").exists() and (tmp_path / "b.png").exists()


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    (tmp_path / "t.fits").write_text("x")
    with pytest.raises(Unreadable):
        stack_png(tmp_path / "t.fits", tmp_path / "t.png")
    with pytest.raises(Unreadable):
        stack_png(tmp_path / "absent.fits", tmp_path / "t.png")
    fits.PrimaryHDU().writeto(tmp_path / "empty.fits")
    with pytest.raises(DataError, match="no image"):
        stack_png(tmp_path / "empty.fits", tmp_path / "t.png")
    fits.PrimaryHDU(np.full((4, 4), np.nan)).writeto(tmp_path / "nan.fits")
    with pytest.raises(DataError, match="finite"):
        stack_png(tmp_path / "nan.fits", tmp_path / "t.png")
    assert not (tmp_path / "t.png").exists()


def test_a_constant_image_can(tmp_path: Path) -> None:
    fits.PrimaryHDU(np.ones((1, 1), np.float32)).writeto(tmp_path / "one.fits")
    assert stack_png(tmp_path / "one.fits", tmp_path / "t.png", Look(100)).is_file()


def test_view_takes_extension_cut_limits_and_colours(tmp_path: Path, nirred: Call) -> None:
    path = stack(tmp_path / "a.fits", matrix=None)
    words = ("view", path, "-o", tmp_path / "n.png", "--size", "200", "--stretch", "linear")
    code, _, err = nirred(*words, "--ext", "nexp", "--limits", "0", "2", "--cut", "1:100,21:120", "--bad", "red")
    assert (code, err) == (0, "")
    shown = pixels(tmp_path / "n.png")
    assert shown.shape[:2] == (200, 200)
    assert shown[150, 5, 0] == 0 and shown[150, 150, 0] == pytest.approx(0.5, abs=0.01)
    assert nirred(*words, "--bar", "--scale", "zscale", "--colours", "viridis")[0] == 0
    assert pixels(tmp_path / "n.png").shape[:2] == (180, 200)  # 120 pixels and the bar


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--ext", "VAR"), "there is SCI, NEXP"),
        (("--cut", "1:5"), "x1:x2,y1:y2"),
        (("--cut", "300:400,1:5"), "it has 1:200,1:120"),
        (("--limits", "5", "1"), "the lower first"),
        (("--colours", "mud"), "matplotlib"),
        (("--bad", "mud"), "#rrggbb"),
        (("--size", "9"), "100 to 8000"),
    ],
)
def test_view_refuses_by_name(tmp_path: Path, nirred: Call, options: tuple[str, ...], said: str) -> None:
    path = stack(tmp_path / "a.fits")
    code, _, err = nirred("view", path, "-o", tmp_path / "t.png", *options)
    assert code in (2, 4) and said in err and "Traceback" not in err
    assert not (tmp_path / "t.png").exists()


def test_images_of_one_name_are_told_apart_by_version(tmp_path: Path) -> None:
    planes = [fits.ImageHDU(np.full((5, 6), v, np.int16), name="SCI", ver=v) for v in (1, 2)]
    fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(tmp_path / "m.fits")
    assert [read_image(tmp_path / "m.fits", e).data[0, 0] for e in ("", "SCI", "sci,2", "2")] == [1, 1, 2, 2]
    part = cut(read_image(tmp_path / "m.fits"), "[2:3,4:9]")
    assert part.data.shape == (2, 2) and part.origin == (1, 3)


def test_images_without_a_name_are_offered_by_number(tmp_path: Path) -> None:
    planes = [fits.ImageHDU(np.full((5, 6), v, np.int16)) for v in (1, 2)]
    fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(tmp_path / "raw.fits")
    with pytest.raises(DataError, match="no image '0'") as error:
        read_image(tmp_path / "raw.fits", "0")
    assert "there is 1, 2" in str(error.value.hint)
    assert read_image(tmp_path / "raw.fits", "2").data[0, 0] == 2


def test_limits_and_levels() -> None:
    data = np.random.default_rng(2).normal(50, 3, (200, 200))
    data[0, 0] = np.nan
    low, high = limits(data, "sky")
    assert low == pytest.approx(44, abs=0.2) and high == pytest.approx(80, abs=1)
    crowded = data.copy()
    crowded[:40] = 1e5
    assert limits(crowded, "sky")[1] < 600  # the sky remains visible
    low, high = limits(data, "zscale")
    assert 38 < low < 46 and 54 < high < 64
    assert limits(data, "percentile") == pytest.approx((50 - 3 * 2.576, 50 + 3 * 2.576), abs=0.5)
    assert limits(data, "minmax") == (np.nanmin(data), np.nanmax(data))


@pytest.mark.parametrize("stretch", ["asinh", "linear", "sqrt", "log"])
def test_shades_rise_and_ticks_lie_on_them(stretch: str) -> None:
    levels = Levels(-20, 1500, stretch)  # type: ignore[arg-type]
    shade = levels.shade(np.array([-99.0, -20, 0, 700, 1500, 9999]))
    assert shade[0] == shade[1] == 0 and shade[4] == shade[5] == 1 and (np.diff(shade[1:5]) > 0).all()
    ticks = levels.ticks(0.1)
    assert len(ticks) >= 3 and "0" in [label for _, label in ticks]
    assert all(place == pytest.approx(float(levels.shade(np.array(float(label))))) for place, label in ticks)
    assert all(b - a >= 0.1 for (a, _), (b, _) in pairwise(ticks))
    assert np.isnan(levels.shade(np.array([np.nan]))).all()
    assert Levels(3, 3, stretch).shade(np.array([3.0]))[0] == 0  # type: ignore[arg-type]


def test_a_picture_of_damaged_tiles_is_refused_by_name(tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("decompression error")

    path = tmp_path / "a.fits"
    fits.PrimaryHDU(np.ones((4, 4), np.float32)).writeto(path)
    monkeypatch.setattr("nirred.picture._chosen", broken)
    with pytest.raises(Unreadable, match=r"a\.fits: RuntimeError: decompression error"):
        read_image(path)
