from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from nirred import provenance
from nirred.errors import DataError, StepError
from nirred.plugin import PlaneWcs, make_wcs
from nirred.plugin.recipes import S
from nirred.products import plane_keywords, wcs_keywords
from nirred.recipes import ALIGN_AND_STACK, step_types
from nirred.states import FrameState
from nirred.steps.pieces import ReadPieces, _read
from tests.unit.steps.conftest import make_info


def test_a_piece_in_other_units_is_refused_by_name(make_group: Any, tmp_path: Path) -> None:
    path = tmp_path / "piece.fits"
    fits.PrimaryHDU(np.zeros((4, 4), np.float32), fits.Header({"BUNIT": "adu"})).writeto(path)
    with pytest.raises(DataError, match=r"piece\.fits: its unit is 'adu', not electron"):
        _read(make_group(["input"]), 0, FrameState(make_info(path, (4, 4)), "input"), None)


def test_a_piece_without_variance_is_refused(make_group: Any, tmp_path: Path) -> None:
    path = tmp_path / "piece.fits"
    fits.PrimaryHDU(np.zeros((4, 4), np.float32)).writeto(path)
    group = make_group(["input"], infos=[make_info(path, (4, 4))])
    with pytest.raises(StepError, match=r"piece\.fits: no VAR"):
        ReadPieces().apply(group, ReadPieces.Params(), S("read_pieces"))
    assert "piece.fits: no BUNIT; its pixels are taken for electrons" in group.remarks


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -1.0])
def test_a_damaged_noise_covariance_is_said_and_not_used(make_group: Any, tmp_path: Path, value: float) -> None:
    path = tmp_path / "piece.fits"
    write_piece(path, [np.zeros((6, 6))], Piece((0.0, 0.0)), 1)
    fits.append(path, np.full((7, 7), value), fits.Header({"EXTNAME": "NOISECOV"}))
    group = make_group(["input"], infos=[make_info(path, (6, 6))])
    ReadPieces().apply(group, ReadPieces.Params(), S("read_pieces"))
    assert group.remarks == ["piece.fits: its NOISECOV is damaged; its noise is taken for uncorrelated"]
    assert group.stack.piece_noise == {0: None}


@pytest.mark.parametrize(("old", "new"), [(b"'SCI     '", b":SCI     '"), (b"extension name", b"ext\xbansion name")])
def test_a_header_with_a_damaged_card_costs_one_stack_at_most(
    make_group: Any, tmp_path: Path, old: bytes, new: bytes, recwarn: Any
) -> None:
    infos = [make_info(tmp_path / f"{k}.fits", (6, 6), k) for k in range(2)]
    for k, info in enumerate(infos):
        write_piece(info.path, [np.zeros((6, 6))], Piece((0.0, 0.0)), k)
    infos[0].path.write_bytes(infos[0].path.read_bytes().replace(old, new, 1))
    group = make_group(["input"] * 2, infos=infos)
    ReadPieces().apply(group, ReadPieces.Params(), S("read_pieces"))
    assert group.frames[1].alive and not recwarn.list


def test_counts_of_another_size_are_refused(make_group: Any, tmp_path: Path) -> None:
    path = tmp_path / "piece.fits"
    write_piece(path, [np.zeros((6, 6))], Piece((0.0, 0.0)), 1)
    with fits.open(path, mode="update") as hdus:
        hdus["NEXP"].data = hdus["NEXP"].data[:2]
    with pytest.raises(StepError, match=r"piece\.fits: its NEXP and SCI differ in size"):
        ReadPieces().apply(
            make_group(["input"], infos=[make_info(path, (6, 6))]), ReadPieces.Params(), S("read_pieces")
        )


def test_a_stack_beside_what_it_was_made_of_is_said(make_group: Any, tmp_path: Path) -> None:
    infos = []
    for k in range(3):
        write_piece(tmp_path / f"{k}.fits", [np.zeros((6, 6))], Piece((0.0, 0.0)), k)
        infos.append(make_info(tmp_path / f"{k}.fits", (6, 6), k))
    made_of = provenance.table(provenance.input_records([(infos[0].path, "input", "input")]))
    fits.append(infos[2].path, made_of, fits.Header({"EXTNAME": "PROVENANCE"}))
    group = make_group(["input"] * 3, infos=infos)
    ReadPieces().apply(group, ReadPieces.Params(), S("read_pieces"))
    assert group.remarks == ["2.fits and 0.fits hold the same raw frames: VAR is too small"]


def test_each_plane_of_a_stack_has_its_own_noise(make_group: Any, tmp_path: Path) -> None:
    path = tmp_path / "piece.fits"
    hdus: list[Any] = [fits.PrimaryHDU()]
    for version, var in ((1, 4.0), (2, 9.0)):
        for name, data in (("SCI", np.zeros((4, 4))), ("VAR", np.full((4, 4), var))):
            hdus.append(fits.ImageHDU(data.astype(np.float32), fits.Header({"EXTVER": version}), name))
    fits.HDUList(hdus).writeto(path)
    group = make_group(["input"], infos=[make_info(path, (4, 4), planes=2)])
    ReadPieces().apply(group, ReadPieces.Params(), S("read_pieces"))
    assert [state.noise_scale[0] for state in group.planes] == [2.0, 3.0]
    assert group.frames[0].noise_scale == 2.0


SKY = 150.0, 0.0
SCALE = 0.2 / 3600


@dataclass(frozen=True)
class Piece:
    """Specification of a stack of stars: position, brightness, noise, width of its stars (FWHM) and depth."""

    offset: tuple[float, float]
    transparency: float = 1.0
    noise: float = 10.0
    fwhm: float = 5.0
    depth: int = 10


def star_field(shape: tuple[int, int], number: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions on the first piece, and fluxes."""
    rng = np.random.default_rng(2)
    x, y = rng.uniform(20, shape[1] - 20, number), rng.uniform(20, shape[0] - 20, number)
    return x, y, 10 ** rng.uniform(4, 5, number)


def paint(shape: tuple[int, int], x: np.ndarray, y: np.ndarray, flux: np.ndarray, fwhm: float) -> np.ndarray:
    """Stars of such fluxes."""
    v, u = np.mgrid[: shape[0], : shape[1]]
    image, two = np.zeros(shape), 2 * (fwhm / 2.3548) ** 2
    for a, b, f in zip(x, y, flux, strict=True):
        image += f / (np.pi * two) * np.exp(-((u - a) ** 2 + (v - b) ** 2) / two)
    return image


def write_piece(path: Path, planes: Sequence[np.ndarray], piece: Piece, seed: int) -> None:
    """Planes with noise, VAR, DQ and NEXP."""
    rng, hdus = np.random.default_rng(seed), [fits.PrimaryHDU(header=fits.Header({"BUNIT": "electron"}))]
    for version, image in enumerate(planes, 1):
        noisy = (image + rng.normal(0, piece.noise, image.shape)).astype(np.float32)
        of_plane = {
            "SCI": noisy, "VAR": np.full_like(noisy, piece.noise**2), "DQ": np.zeros(image.shape, np.uint16),
            "NEXP": np.full(image.shape, piece.depth, np.uint16),
        }  # fmt: skip
        hdus += [fits.ImageHDU(data, fits.Header({"EXTVER": version}), name) for name, data in of_plane.items()]
    fits.HDUList(hdus).writeto(path)


def stack_again(group: Any, skip: str = "") -> None:
    """All steps of the recipe but one with their defaults, up to the tables that the product gets."""
    known = step_types()
    for call in ALIGN_AND_STACK.steps:
        step = known[call.step]
        if step.name != skip:
            step().apply(group, step.Params(), call)


def far_from(truth: np.ndarray, ra: np.ndarray, dec: np.ndarray) -> float:
    """Median distance to the nearest of the true stars (degrees), arcsec."""
    apart = np.hypot(ra[:, None] - truth[0], dec[:, None] - truth[1])  # at the equator
    return float(np.median(apart.min(axis=1))) * 3600


def test_a_reference_that_is_left_out_later_leaves_no_trace(make_group: Any, tmp_path: Path) -> None:
    """B, sharp but cloudy, is the reference of the registration, but everything refers to A in the end."""
    shape = (200, 220)
    pieces = (
        Piece((0.0, 0.0), noise=30.0, fwhm=8.0, depth=30),
        Piece((12.0, 7.0), transparency=0.3, fwhm=4.0, depth=3),
        Piece((-9.0, 11.0), noise=30.0, fwhm=8.0, depth=30),
    )
    x, y, flux = star_field(shape)
    infos = []
    for k, piece in enumerate(pieces):
        (dx, dy), path = piece.offset, tmp_path / f"{'ABC'[k]}.fits"
        image = piece.transparency * paint(shape, x + dx, y + dy, flux, piece.fwhm)
        write_piece(path, [image], piece, k)
        infos.append(make_info(path, shape, k, at=(dx * 0.2, -dy * 0.2)))
    group = make_group(["input"] * 3, infos=infos)
    stack_again(group)
    frames = group.tables["FRAMES"][0]
    assert [row["state"] for row in frames] == [b"used", b"rejected", b"used"]
    assert b"transparency 0." in frames["reason"][1]
    assert group.keywords["REFFRAME"][0] == "A.fits"
    assert (frames["xoff"][0], frames["yoff"][0], frames["xoff_err"][0], frames["yoff_err"][0]) == (0, 0, 0, 0)
    for k in (1, 2):
        assert (frames["xoff"][k], frames["yoff"][k]) == pytest.approx(pieces[k].offset, abs=0.1)
        assert 0.005 < frames["xoff_err"][k] < 0.1
    assert frames["weight"].sum() == pytest.approx(1.0) and frames["weight"][1] == 0
    assert (group.keywords["REFX0"][0], group.keywords["REFY0"][0]) == (0, 11)
    truth = np.array(infos[0].wcs[0].wcs.wcs_pix2world(x, y, 0))
    cards = {k: v[0] if isinstance(v, tuple) else v for k, v in wcs_keywords(group, infos[0], 0).items()}
    table = group.tables["OBJCAT"][0]
    by_header = WCS(fits.Header(cards)).wcs_pix2world(table["X_IMAGE"], table["Y_IMAGE"], 1)
    assert len(table) >= 15
    assert far_from(truth, *by_header) < 0.02
    assert far_from(truth, table["X_WORLD"], table["Y_WORLD"]) < 0.02


#: Planes of a camera: arcsec from the pointing to the centre; direction of x and y steps, in pixels.
MOSAIC = (((-20.0, -18.0), ((-1.0, 0.0), (0.0, 1.0))), ((22.0, 19.0), ((0.97, 0.05), (0.05, -1.02))))


def worlds(shape: tuple[int, int], east: float, north: float, turn: float) -> list[WCS]:
    """Of the planes of a camera that points there (arcsec) and is turned (radian)."""
    c, s = np.cos(turn), np.sin(turn)
    turned, found = np.array([[c, -s], [s, c]]), []
    for middle, axes in MOSAIC:
        place = (turned @ middle + (east, north)) / 3600 + SKY
        cd = SCALE * turned @ np.array(axes)
        found.append(make_wcs(((shape[1] + 1) / 2, (shape[0] + 1) / 2), tuple(place), tuple(map(tuple, cd))))
    return found


@pytest.mark.parametrize("turn", [0.0, 2.2e-3])
def test_each_detector_is_drawn_by_its_own_place(make_group: Any, tmp_path: Path, turn: float) -> None:
    """Detectors of other scales and axes: a dither is another shift on each, and a turn is another still."""
    shape = (140, 160)
    pieces, infos = (Piece((0.0, 0.0), noise=8.0, fwhm=4.0), Piece((0.0, 0.0), noise=12.0, fwhm=4.0)), []
    first = worlds(shape, 0.0, 0.0, 0.0)
    x, y, flux = star_field(shape)
    true = [np.array(world.wcs_pix2world(x, y, 0)) for world in first]
    for k, (east, north, turned) in enumerate(((0.0, 0.0, 0.0), (2.5, -1.8, turn))):
        path, seen = tmp_path / f"s{k}.fits", worlds(shape, east, north, turned)
        planes = [
            paint(shape, *world.wcs_world2pix(*sky, 0), flux, pieces[k].fwhm)
            for world, sky in zip(seen, true, strict=True)
        ]
        write_piece(path, planes, pieces[k], k)
        said = worlds(shape, east + 0.3 * k, north + 0.2 * k, turned)  # its pointing is slightly wrong in the header
        infos.append(make_info(path, shape, k, planes=2, wcs=tuple(PlaneWcs(w, 0.4) for w in said)))
    group = make_group(["input"] * 2, infos=infos)
    stack_again(group)
    assert len(group.targets) == 2
    assert group.reference == 0
    assert all((layout.placements[1, p].shift is None) == (turn > 0) for p, layout in enumerate(group.stack.layouts))
    for p, plane in enumerate(group.streams["main"]):
        deep = group.stack.nexp[p] == sum(piece.depth for piece in pieces)
        assert deep.mean() > 0.7
        table = group.tables["OBJCAT"][p]
        bright = table["SNR"] > 100
        assert bright.sum() >= 15
        assert far_from(true[p], table["X_WORLD"][bright], table["Y_WORLD"][bright]) < 0.01
        assert np.median(table["FWHM_IMAGE"][bright]) == pytest.approx(4.0, rel=0.01)
        expected = 1 / sum(piece.noise**-2 for piece in pieces)
        assert np.median(plane.var[deep & (plane.dq == 0)]) == pytest.approx(expected, rel=0.02)


def test_stacks_of_other_levels_leave_no_steps(make_group: Any, tmp_path: Path) -> None:
    shape, infos = (160, 180), []
    x, y, flux = star_field(shape, 8)
    pieces = (Piece((0.0, 0.0)), Piece((31.0, 17.0)), Piece((-22.0, 26.0)))
    for k, (piece, sky) in enumerate(zip(pieces, (0.0, 40.0, -25.0), strict=True)):
        (dx, dy), path = piece.offset, tmp_path / f"{k}.fits"
        write_piece(path, [paint(shape, x + dx, y + dy, flux, piece.fwhm) + sky], piece, k)
        infos.append(make_info(path, shape, k, at=(dx * 0.2, -dy * 0.2)))
    group = make_group(["input"] * 3, infos=infos)
    stack_again(group)
    made, depth = group.streams["main"][0], group.stack.nexp[0]
    levels = [np.median(made.data[(depth == d) & (made.dq == 0)]) for d in (10, 20, 30)]
    assert np.ptp(levels) < 1.0


@pytest.mark.parametrize(("height", "kept"), [(3000.0, True), (0.0, False)])
def test_a_target_that_fills_stacks_keeps_their_level(
    make_group: Any, tmp_path: Path, height: float, kept: bool
) -> None:
    """Their level came from sky frames; blank sky, of which there is more to see now, is measured again."""
    shape, infos = (256, 256), []
    v, u = np.mgrid[: shape[0], : shape[1]]
    galaxy = height * np.exp(-np.hypot(u - 130, v - 120) / 150)
    x, y, flux = star_field(shape, 8)
    for k in range(2):
        path = tmp_path / f"{k}.fits"
        write_piece(path, [paint(shape, x, y, flux, 5.0) + galaxy + 3.0], Piece((0.0, 0.0)), k)
        fits.setval(path, "LEVELERR", value=4.0)
        infos.append(make_info(path, shape, k))
    group = make_group(["input"] * 2, infos=infos)
    stack_again(group)
    level = np.median(group.streams["main"][0].data - galaxy)
    assert level == pytest.approx(3.0 if kept else 0.0, abs=0.5)
    assert (group.keywords["LEVELERR"][0] == 4.0) == kept
    assert any("the zero level is that of the stacks" in r for r in group.remarks) == kept


@pytest.mark.parametrize("skip", ["", "scale_counts_to_reference"])
def test_stacks_of_other_exposure_times(make_group: Any, tmp_path: Path, skip: str) -> None:
    """They count as exposures of the first one's time; sums use their own times."""
    shape, infos = (120, 130), []
    x, y, flux = star_field(shape)
    for k, (seconds, depth, airmass) in enumerate(((20.0, 6, 1.1), (40.0, 3, 1.4))):
        path = tmp_path / f"{k}.fits"
        write_piece(path, [paint(shape, x, y, flux * seconds / 20, 5.0)], Piece((0.0, 0.0), depth=depth), k)
        fits.setval(path, "NCOMBINE", value=depth)
        infos.append(make_info(path, shape, k, descriptors={"exposure_time": seconds, "airmass": airmass}))
    group = make_group(["input"] * 2, infos=infos)
    stack_again(group, skip)
    said = {key: card[0] if isinstance(card, tuple) else card for key, card in group.keywords.items()}
    assert (said["NCOMBINE"], said["TEXPTIME"], said["AIRMASS"], said["WCSSTAT"]) == (9, 240.0, 1.2, "registered")
    sci = plane_keywords(group, group.frames[group.reference].info, (0,))
    assert (sci["EXPTIME"][0], sci["GAIN"][0]) == (20.0, 12.0)
    table = group.tables["OBJCAT"][0]
    true = flux[np.hypot(table["X_IMAGE"][:, None] - 1 - x, table["Y_IMAGE"][:, None] - 1 - y).argmin(axis=1)]
    assert np.median(table["FLUX_AUTO"] / true) == pytest.approx(1.0, abs=0.02)
    assert np.median(group.streams["main"][0].var) == pytest.approx(20.0, rel=0.01)  # 100 and 25, by their inverse


def test_a_camera_distorts_stacks_of_another_program(make_group: Any, tmp_path: Path) -> None:
    """They are resampled through their distortion onto flat pixels, and are not taken for rotated."""
    shape, infos = (200, 220), []
    x, y, flux = star_field(shape)

    def world(east: float, north: float) -> WCS:
        cards = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "CRPIX1": 110.5, "CRPIX2": 100.5}
        cards |= {"CRVAL1": 150 + east / 3600, "CRVAL2": north / 3600, "CD1_1": -SCALE, "CD2_2": SCALE}
        cards |= {"A_ORDER": 3, "A_3_0": 1.5e-6, "A_1_2": 1.5e-6, "B_ORDER": 3, "B_0_3": 1.5e-6, "B_2_1": 1.5e-6}
        return WCS(fits.Header(cards))

    sky = np.array(world(0.0, 0.0).all_pix2world(x, y, 0))
    for k, (east, north) in enumerate(((0.0, 0.0), (3.1, -2.2))):
        path, places = tmp_path / f"{k}.fits", world(east, north).all_world2pix(*sky, 0)
        write_piece(path, [paint(shape, *places, flux, 4.0)], Piece((0.0, 0.0), noise=8.0 + 4 * k), k)
        infos.append(make_info(path, shape, k, wcs=(PlaneWcs(world(east + 0.2 * k, north), 0.4),)))
    group = make_group(["input"] * 2, infos=infos)
    stack_again(group)
    assert group.targets == [0, 1]
    stars = group.tables["OBJCAT"][0]
    bright = stars["SNR"] > 50
    assert far_from(sky, stars["X_WORLD"][bright], stars["Y_WORLD"][bright]) < 0.005
    made, layout = group.streams["main"][0], group.stack.layouts[0]
    v, u = np.mgrid[: layout.grid.shape[0], : layout.grid.shape[1]]
    area = layout.placements[0, 0].area_at(1.0 * u + layout.grid.x0, 1.0 * v + layout.grid.y0)
    alone = np.isclose(made.var, 64.0 / area, rtol=1e-3)
    assert np.ptp(area) > 0.05 and alone.sum() > 1000
