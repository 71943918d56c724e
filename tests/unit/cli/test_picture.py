from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from nirred.errors import DataError, Unreadable
from nirred.picture import stack_png

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
    with_sky = pixels(stack_png(stack(tmp_path / "a.fits"), tmp_path / "sub" / "a.png", 400))
    without = pixels(stack_png(stack(tmp_path / "b.fits", matrix=None), tmp_path / "b.png", 400))
    assert with_sky.shape[:2] == (240, 400)
    assert with_sky[119, 201, 0] > 0.95  # the star
    assert with_sky[150, 5, 2] > with_sky[150, 5, 0]  # no exposure: not the 50 electrons that stand there
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
    assert max(pixels(stack_png(stack(tmp_path / "a.fits", (701, 503)), tmp_path / "a.png", 100)).shape) == 100


def test_view(tmp_path: Path, nirred: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stack(tmp_path / "a.fits")
    assert nirred("view", "a.fits")[:2] == (0, "a.png\n")
    assert nirred("view", "a.fits", "-o", "b.png", "--size", "200")[0] == 0
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
    assert stack_png(tmp_path / "one.fits", tmp_path / "t.png", 100).is_file()
