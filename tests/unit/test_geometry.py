"""Frames of distorted, rotated, mirrored or mosaic cameras on one grid: positions, fluxes, noise, identical bytes."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.wcs import DistortionLookupTable, Sip

from nirred import coadd
from nirred.algorithms.gnomonic import tangent_of
from nirred.algorithms.noise import aperture_sigma
from nirred.algorithms.rectangle import largest_rectangle
from nirred.algorithms.register import Registration
from nirred.algorithms.stars import StarList
from nirred.errors import StepError
from nirred.geometry import Target, geometry, targets_of
from nirred.group import Context, Group
from nirred.headers import Header, Headers
from nirred.plan.model import FrameInfo, Task
from nirred.plugin import Descriptors, Detector, Exposure, PlaneWcs, S, make_wcs, wcs_from_header
from nirred.plugin.coordinates import as_astropy
from nirred.products import wcs_keywords
from nirred.registry import Registry
from nirred.states import FrameState, PlaneState
from nirred.steps import stack as stack_module
from nirred.steps.register import AdjustWcs, _counts
from nirred.steps.stack import Resample, StackFrames
from nirred.steps.transparency import ScaleCounts
from nirred.store import PlaneStack

SCALE = 0.2 / 3600
EMIR_PV = ((2, 1, 1.0), (2, 3, 14584.8), (2, 5, 1755295542.4))
STRONG_PV = ((2, 1, 1.0), (2, 3, 1.5e6))  # 4 px in the corners of 160 pixels, 7 % of the pixels' area
CALL = S("any")


def camera(at=(0.0, 0.0), turn=0.0, parity=-1, pv=(), shape=(160, 160), centre=None, scale=SCALE):
    """WCS of a frame that points `at` (arcsec east, north), turned by degrees."""
    s, c = np.sin(np.radians(turn)) * scale, np.cos(np.radians(turn)) * scale
    cd = ((parity * c, s), (-parity * s, c))
    crpix = centre or ((shape[1] + 1) / 2, (shape[0] + 1) / 2)
    sky = (150 + at[0] / 3600 / np.cos(np.radians(20)), 20 + at[1] / 3600)
    return make_wcs(crpix, sky, cd, projection="ZPN" if pv else "TAN", pv=pv)


def make_group(tmp_path, frames, planes, flat=True):
    """Group of sky-subtracted frames: WCS and pixels of every plane of every frame."""
    registry = Registry()

    class Silent:
        NIRRED_API = (1, 0)

    registry.add(Silent(), "none", "none")
    infos = []
    for k, worlds in enumerate(frames):
        detectors = tuple(Detector(p[0].shape, 1.0, 10.0) for p in planes)
        told = Descriptors(exposure_time=20.0, pixel_scale=0.2)
        given = (Exposure(), "none", "cam", frozenset(), told, detectors, Headers(Header("")))
        wcs = tuple(PlaneWcs(w) for w in worlds)
        infos.append(FrameInfo(tmp_path / f"f{k}.fits", *given, wcs=wcs, wcs_state="ok"))
    task = Task("f0", "reduce", "image", "cam", tuple((i, "both") for i in infos))
    group = Group(task, Context(registry, tmp_path, tmp_path / "s"), [FrameState(i, "both") for i in infos])
    for images in planes:
        n, shape = len(images), images[0].shape
        state = PlaneState(*(PlaneStack((n, *shape), t) for t in (np.float32, np.uint16)), constant=100.0)
        state.sub, state.per_electron = PlaneStack((n, *shape), np.float32), 0.0
        for k, image in enumerate(images):
            state.sub.put(k, image.astype(np.float32))
        group.planes.append(state)
    for frame in group.frames:
        frame.sky, frame.refers = 100.0, 0
    group.setup.flat = [] if flat else None
    return group


def headers_are_right(group):
    """Give every frame the offset that its header says."""
    where = geometry(group)
    centre = where.centre(0)
    spot = tangent_of(where.tangent(0, 0).matrix, *centre)
    for i, frame in enumerate(group.frames):
        x, y = where.tangent_positions(i, 0, spot.ra, spot.dec)
        frame.dx, frame.dy = x - centre[0], y - centre[1]


def star(world, sky, fwhm=4.0, flux=1e5, shape=(160, 160), bright=True):
    """A star of a size on the sky as a pixel sees it: surface brightness, or the electrons that fall on it."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    ra, dec = world.all_pix2world(x, y, 0)
    east = (ra - sky[0]) * 3600 * np.cos(np.radians(sky[1])) / 0.2
    north = (dec - sky[1]) * 3600 / 0.2
    sigma = fwhm / 2.3548
    image = flux * np.exp(-0.5 * (east**2 + north**2) / sigma**2) / (2 * np.pi * sigma**2)
    if bright:
        return image
    (ey, ex), (ny, nx) = np.gradient(east), np.gradient(north)
    return image * np.abs(ex * ny - ey * nx)


def stacked(group, **params):
    ScaleCounts().apply(group, ScaleCounts.Params(scale=False), CALL)
    Resample().apply(group, Resample.Params(**params), CALL)
    StackFrames().apply(group, StackFrames.Params(), CALL)
    return group.streams["main"][0]


def place_of(group, sky):
    """Where a point of the sky lies on the stack, by the keywords of its WCS."""
    from astropy.io import fits
    from astropy.wcs import WCS

    cards = wcs_keywords(group, group.frames[group.reference].info, 0)
    return [float(v) for v in WCS(fits.Header({k: v[0] for k, v in cards.items()})).all_world2pix(*sky, 0)]


def measured(image, x, y, radius=14):
    """Flux and centroid within a radius."""
    v, u = np.indices(image.shape)
    inside = np.where(np.hypot(u - x, v - y) < radius, np.nan_to_num(image), 0.0)
    return inside.sum(), (inside * u).sum() / inside.sum(), (inside * v).sum() / inside.sum()


CAMERAS = {
    "distorted": [{"pv": STRONG_PV}, {"pv": STRONG_PV, "at": (4.13, -2.77)}],
    "turned by 3": [{}, {"turn": 3.0, "at": (1.3, 2.2)}],
    "turned by 90": [{}, {"turn": 90.0, "at": (1.3, 2.2)}],
    "mirrored": [{"parity": 1}, {"parity": -1, "at": (1.3, 2.2)}],
    "all": [{"pv": STRONG_PV, "parity": 1}, {"pv": STRONG_PV, "parity": 1, "turn": -40.0, "at": (3.0, 2.0)}],
}


@pytest.mark.parametrize("conserve", ["surface", "flux"])
@pytest.mark.parametrize("name", CAMERAS)
def test_stars_keep_their_place_and_flux(tmp_path, name, conserve):
    worlds = [camera(**given) for given in CAMERAS[name]]
    bright = conserve == "surface"
    for place in ((80.0, 79.0), (36.0, 38.0)):  # centre and corner
        sky = [float(v) for v in worlds[0].wcs_pix2world(*place, 0)]
        group = make_group(tmp_path, [[w] for w in worlds], [[star(w, sky, bright=bright) for w in worlds]])
        headers_are_right(group)
        made = stacked(group, conserve=conserve)
        assert (group.stack.nexp[0] == 2).any()
        x, y = place_of(group, sky)
        flux, u, v = measured(made.data, x, y)
        assert flux == pytest.approx(1e5, rel=1e-3)
        assert (u, v) == (pytest.approx(x, abs=0.01), pytest.approx(y, abs=0.01))


@pytest.mark.parametrize("bright", [True, False])
def test_stars_tell_whether_pixels_hold_surface_brightness(tmp_path, bright):
    """A flat that had the areas divided out, or a camera without any, is found out by what dithers do to fluxes."""
    worlds = [camera(pv=STRONG_PV, at=at) for at in ((0.0, 0.0), (3.6, 2.8), (-3.2, 3.0), (2.9, -3.5), (-3.1, -2.7))]
    spots = np.array([(x, y) for x in (38.0, 80.0, 122.0) for y in (38.0, 80.0, 122.0)]).T
    skies = np.transpose(worlds[0].all_pix2world(*spots, 0))
    images = [np.sum([star(w, sky, bright=bright) for sky in skies], axis=0) for w in worlds]
    for flat in (True, False):
        group = make_group(tmp_path, [[w] for w in worlds], [images], flat=flat)
        headers_are_right(group)
        stars = SimpleNamespace(x=spots[0], y=spots[1], snr=np.full(spots.shape[1], 300.0))
        group.registration.stars, group.registration.fwhm = {0: [stars]}, 4.0
        ScaleCounts().apply(group, ScaleCounts.Params(), CALL)
        Resample().apply(group, Resample.Params(), CALL)
        StackFrames().apply(group, StackFrames.Params(), CALL)
        assert [f.transparency for f in group.frames] == pytest.approx(np.ones(5), abs=1e-3)
        for sky in skies:
            flux, *_ = measured(group.streams["main"][0].data, *place_of(group, sky))
            assert flux == pytest.approx(1e5, rel=2e-3)
        assert any("by the stars" in remark for remark in group.remarks) is (flat != bright)


def distorted(kind, at=(0.0, 0.0)):
    """A camera whose header states its distortion in another way than by ZPN: some 3 px in the corners."""
    plain = camera(at=at)
    (a, b), (c, d) = plain.wcs.cd.tolist()
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CD1_1": a, "CD1_2": b, "CD2_1": c, "CD2_2": d}
    cards |= {f"CRPIX{i + 1}": float(plain.wcs.crpix[i]) for i in (0, 1)}
    cards |= {f"CRVAL{i + 1}": float(plain.wcs.crval[i]) for i in (0, 1)}
    if kind == "SIP":
        cards |= {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 3, "B_ORDER": 2}
        cards |= {"A_2_0": 2e-4, "A_1_2": 2e-6, "B_1_1": -3e-4}
    if kind in ("TPV", "SCAMP"):
        name = "TPV" if kind == "TPV" else "TAN"
        cards |= {"CTYPE1": f"RA---{name}", "CTYPE2": f"DEC--{name}"}
        cards |= {"PV1_0": 0.0, "PV1_1": 1.0, "PV1_4": 3.0, "PV2_0": 0.0, "PV2_1": 1.0, "PV2_5": -4.0, "PV2_7": 500.0}
    wcs = as_astropy(wcs_from_header(cards))
    if kind == "tables":
        y, x = np.mgrid[:10, :10] / 9.0 - 0.5
        for axis, values in ((1, 6 * x * x), (2, 4 * x * y)):
            table = DistortionLookupTable(values.astype(np.float32), (1.0, 1.0), (1.0, 1.0), (18.0, 18.0))
            setattr(wcs, f"cpdis{axis}", table)
    return wcs


def test_a_distortion_without_an_inverse_is_an_error_that_names_the_frame(tmp_path):
    wcs = distorted("SIP")
    cubic = wcs.sip.a.copy()
    cubic[2, 0], cubic[3, 0] = 2e-3, 2e-5
    wcs.sip = Sip(cubic, wcs.sip.b, None, None, wcs.wcs.crpix)
    group = make_group(tmp_path, [[wcs]], [[np.zeros((160, 160), np.float32)]])
    name = group.frames[0].info.name
    with pytest.raises(StepError, match=f"{name}: its distortion cannot be tabulated: .*converge") as told:
        geometry(group).distortion(0, 0)
    assert told.value.hint == "prepare:bad_wcs=ignore"


def test_a_polynomial_of_the_zenith_distance_needs_no_astropy(tmp_path, monkeypatch):
    wcs = wcs_from_header(
        {"CTYPE1": "RA---ZPN", "CTYPE2": "DEC--ZPN", "CRPIX1": 80.0, "CRPIX2": 80.0, "CRVAL1": 150.0, "CRVAL2": 20.0}
        | {"CD1_1": -SCALE, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": SCALE}
        | {f"PV{axis}_{power}": value for axis, power, value in STRONG_PV}
    )
    group = make_group(tmp_path, [[wcs]], [[np.zeros((160, 160), np.float32)]])
    monkeypatch.setitem(sys.modules, "astropy.wcs", None)  # importing it fails
    assert geometry(group).distortion(0, 0) is not None


@pytest.mark.parametrize("kind", ["SIP", "TPV", "SCAMP", "tables"])
def test_stars_keep_their_place_and_flux_whatever_states_the_distortion(tmp_path, kind):
    worlds = [distorted(kind), distorted(kind, at=(4.13, -2.77))]
    for place in ((80.0, 79.0), (36.0, 38.0)):
        sky = [float(v) for v in worlds[0].all_pix2world(*place, 0)]
        group = make_group(tmp_path, [[w] for w in worlds], [[star(w, sky) for w in worlds]])
        headers_are_right(group)
        assert geometry(group).distortion(0, 0) is geometry(group).distortion(1, 0) is not None
        made = stacked(group)
        x, y = place_of(group, sky)
        flux, u, v = measured(made.data, x, y)
        assert flux == pytest.approx(1e5, rel=1e-3)
        assert (u, v) == (pytest.approx(x, abs=0.01), pytest.approx(y, abs=0.01))


@pytest.mark.parametrize("method", ["interp", "adaptive", "exact"])
def test_reproject_s_methods_draw_a_distorted_and_turned_frame(tmp_path, method):
    worlds = [camera(pv=STRONG_PV), camera(pv=STRONG_PV, at=(4.13, -2.77), turn=20.0)]
    sky = [float(v) for v in worlds[0].wcs_pix2world(50.0, 52.0, 0)]
    group = make_group(tmp_path, [[w] for w in worlds], [[star(w, sky) for w in worlds]])
    headers_are_right(group)
    made = stacked(group, interpolant=method)
    x, y = place_of(group, sky)
    flux, u, v = measured(made.data, x, y)
    assert flux == pytest.approx(1e5, rel=2e-3)
    assert (u, v) == (pytest.approx(x, abs=0.02), pytest.approx(y, abs=0.02))


def test_output_wcs_of_emir_is_astropy_s(tmp_path):
    """Both detector corners and centre, to a hundredth of a pixel; a corner is moved by some 48 pixels."""
    shape, crpix = (2048, 2048), (1022.46, 1016.55)
    scale = 5.396445e-5
    world = camera(pv=EMIR_PV, parity=1, shape=shape, centre=crpix, scale=scale)
    group = make_group(tmp_path, [[world]], [[np.zeros(shape, np.float32)]])
    stacked(group)
    placed = group.stack.layouts[0].placements[0, 0]
    straight = camera(parity=1, shape=shape, centre=crpix, scale=scale)
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, 2047, (2, 500))
    x[:2], y[:2] = (0.0, 2047.0), (0.0, 2047.0)
    ra, dec = world.wcs_pix2world(x, y, 0)
    expected = straight.wcs_world2pix(ra, dec, 0)
    np.testing.assert_allclose(placed.from_plane(x, y), expected, atol=0.01)
    np.testing.assert_allclose(placed.to_plane(*expected), [x, y], atol=0.01)
    assert 40 < np.hypot(expected[0][0], expected[1][0]) < 55
    u, v = place_of(group, (ra[0], dec[0]))
    grid = group.stack.layouts[0].grid
    assert (u, v) == (
        pytest.approx(expected[0][0] - grid.x0, abs=0.01),
        pytest.approx(expected[1][0] - grid.y0, abs=0.01),
    )
    assert 0.85 < 1 / placed.area_at(*(np.array([e[0]]) for e in expected))[0] < 0.90


def test_planes_are_drawn_onto_one_mosaic(tmp_path):
    """Two planes, the second turned and of larger pixels, a gap between: one grid, or a stack of each."""
    second = {"centre": (-95.5, 80.5), "turn": 1.0, "scale": 1.03 * SCALE}
    worlds = [[camera(at=at), camera(at=at, **second)] for at in ((0.0, 0.0), (1.63, -2.21))]
    skies = [[float(v) for v in worlds[0][p].wcs_pix2world(75.0, 70.0, 0)] for p in (0, 1)]
    planes = [[star(w[p], skies[p]) for w in worlds] for p in (0, 1)]
    group = make_group(tmp_path, worlds, planes)
    headers_are_right(group)
    made = stacked(group)
    assert len(group.streams["main"]) == 1 and made.data.shape[1] > 330
    gap = np.isnan(made.data)
    assert gap[90, 60:320].any() and (made.dq[gap] == 16).all() and (group.stack.nexp[0][gap] == 0).all()
    for sky in skies:
        x, y = place_of(group, sky)
        flux, u, v = measured(made.data, x, y)
        assert flux == pytest.approx(1e5, rel=1e-3)
        assert (u, v) == (pytest.approx(x, abs=0.01), pytest.approx(y, abs=0.01))
    stacked(group, mosaic=False)
    assert [p.data.shape[1] < 190 for p in group.streams["main"]] == [True, True]


def test_offsets_may_refer_to_another_frame(tmp_path):
    worlds = [camera(pv=STRONG_PV, **given) for given in ({}, {"at": (4.1, -2.7), "turn": 20.0}, {"at": (-3.0, 2.0)})]
    group = make_group(tmp_path, [[w] for w in worlds], [[np.zeros((160, 160), np.float32)] * 3])
    headers_are_right(group)
    where = geometry(group)
    target = targets_of(group, [0, 1, 2])[0]
    before = where.place(2, 0, target)
    spot = tangent_of(where.tangent(0, 0).matrix, 100.0, 60.0)
    sky = spot.ra, spot.dec
    where.refer(1)
    assert (group.frames[1].dx, group.frames[1].dy, group.frames[0].refers) == (0.0, 0.0, 1)
    after = where.place(2, 0, targets_of(group, [0, 1, 2])[0])
    x, y = where.tangent_positions(1, 0, *sky)
    one = before.to_plane(np.array([100.0]), np.array([60.0]))
    two = after.to_plane(np.array([x]), np.array([y]))
    np.testing.assert_allclose(one, two, atol=1e-3)


@pytest.mark.parametrize("kernel", ["lanczos3", "bilinear", "nearest", "interp"])
def test_apertures_scatter_as_var_says_on_a_turned_grid(tmp_path, kernel):
    rng = np.random.default_rng(4)
    worlds = [camera(turn=t, pv=STRONG_PV) for t in (0.0, 25.0, -50.0)]
    group = make_group(tmp_path, [[w] for w in worlds], [[rng.normal(0, 10, (160, 160)) for _ in worlds]])
    headers_are_right(group)
    made = stacked(group, interpolant=kernel)
    rows, columns = largest_rectangle(group.stack.nexp[0] == 3)
    inner, var = made.data[rows, columns], np.median(made.var[rows, columns])
    n = min(inner.shape) // 6 * 6
    sums = inner[:n, :n].reshape(n // 6, 6, n // 6, 6).sum(axis=(1, 3))
    told = aperture_sigma(group.stack.noisecov, np.full((6, 6), var), np.ones((6, 6)))
    assert sums.std() == pytest.approx(told, rel=0.15)
    assert inner.std() == pytest.approx(np.sqrt(var) * group.keywords["CORRFAC"][0], rel=0.06)


def test_what_all_frames_cover_is_a_rectangle_of_good_pixels(tmp_path):
    worlds = [camera(turn=t, at=a) for t, a in ((0.0, (0.0, 0.0)), (30.0, (2.0, 1.0)))]
    group = make_group(tmp_path, [[w] for w in worlds], [[np.ones((160, 160), np.float32)] * 2])
    headers_are_right(group)
    made = stacked(group, crop="common")
    assert (group.stack.nexp[0] == 2).all() and np.isfinite(made.data).all() and min(made.data.shape) > 100


def test_tiles_and_threads_change_no_bit_of_a_general_map(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    worlds = [camera(pv=STRONG_PV, turn=t) for t in (0.0, 33.0)]
    images = [rng.normal(0, 50, (160, 160)) for _ in worlds]
    made = []
    for tile, threads in ((64, 1), (7, 2), (1000, 1)):
        monkeypatch.setattr(stack_module, "TILE", tile)
        monkeypatch.setattr(coadd, "TILE", tile)
        group = make_group(tmp_path, [[w] for w in worlds], [images])
        group.context = replace(group.context, threads=threads)
        headers_are_right(group)
        plane = stacked(group)
        _, model, count = coadd.median_model(group, [0, 1], targets_of(group, [0, 1])[0], "lanczos3")
        made.append([a.tobytes() for a in (plane.data, plane.var, plane.dq, group.stack.nexp[0], model, count)])
    assert all(m == made[0] for m in made)


def star_lists(group, told, shifts, turns, n=40):
    """Stars of one field as frames show them that lie by shifts (px) and turns (radian, about the middle)."""
    rng = np.random.default_rng(5)
    x, y = rng.uniform(15, 145, (2, n)) - 79.5
    one, flux = np.ones(n), np.sort(rng.uniform(1e3, 1e5, n))[::-1]
    lists = {}
    for i, ((dx, dy), turn) in enumerate(zip(shifts, turns, strict=True)):
        u = np.cos(turn) * x - np.sin(turn) * y + 79.5 + dx + rng.normal(0, 0.01, n)
        v = np.sin(turn) * x + np.cos(turn) * y + 79.5 + dy + rng.normal(0, 0.01, n)
        lists[i] = [StarList(u, v, 0.01 * one, flux, 100 * one, 4 * one, 0 * one, flux, 1.0)[:told]]
    group.registration.stars = lists
    return group


SHIFTS = [(0.0, 0.0), (6.5, -3.0), (-4.0, 7.5)]


def registered_turns(tmp_path, header, true, told=40, **params):
    """Placements of three frames whose headers and stars tell turns (radian) of their own."""
    at = [(-0.2 * 6.5, 0.6), (0.2 * 4.0, -1.5)]  # arcsec, about what the shifts say
    worlds = [camera(parity=-1), *(camera(at=a, turn=-np.degrees(t)) for a, t in zip(at, header, strict=True))]
    group = make_group(tmp_path, [[w] for w in worlds], [[np.zeros((160, 160), np.float32)] * 3])
    star_lists(group, told, SHIFTS, (0.0, *true))
    AdjustWcs().apply(group, AdjustWcs.Params(first_pass=30.0, **params), S("adjust_wcs_to_reference"))
    assert all(f.alive for f in group.frames)
    group.registration.reference = 0
    geometry(group).refer(0)
    target = targets_of(group, [0, 1, 2])[0]
    return [geometry(group).place(i, 0, target) for i in (1, 2)]


def turn_of(placed):
    """Angle of a placement, 0 of a shift."""
    (a, b), (c, d) = placed.jacobian()
    return np.arctan2(c - b, a + d) if placed.shift is None else 0.0


@pytest.mark.parametrize("header", [(0.0, 0.0), (4e-3, -5e-3)])
@pytest.mark.parametrize("true", [(0.0, 0.0), (4e-3, -5e-3), (2e-3, 6e-3)])
def test_stars_decide_whether_frames_are_turned(tmp_path, header, true):
    placements = registered_turns(tmp_path, header, true)
    assert [turn_of(p) for p in placements] == pytest.approx(list(true), abs=3e-4)
    if not any(true):
        assert all(p.shift is not None for p in placements)
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, 159, (2, 50))
    for placed, (dx, dy), t in zip(placements, SHIFTS[1:], true, strict=True):
        u, v = placed.to_plane(x, y)
        np.testing.assert_allclose(u, np.cos(t) * (x - 79.5) - np.sin(t) * (y - 79.5) + 79.5 + dx, atol=0.05)
        np.testing.assert_allclose(v, np.sin(t) * (x - 79.5) + np.cos(t) * (y - 79.5) + 79.5 + dy, atol=0.05)


def test_without_enough_stars_the_headers_decide(tmp_path):
    placements = registered_turns(tmp_path, (4e-3, -5e-3), (0.0, 0.0), told=4)
    assert [turn_of(p) for p in placements] == pytest.approx([4e-3, -5e-3], abs=1e-4)
    placements = registered_turns(tmp_path, (4e-3, -5e-3), (0.0, 0.0), rotate=False)
    assert [turn_of(p) for p in placements] == pytest.approx([4e-3, -5e-3], abs=1e-4)
    placements = registered_turns(tmp_path, (0.0, 0.0), (2e-3, 6e-3), rotate=True)
    assert [turn_of(p) for p in placements] == pytest.approx([2e-3, 6e-3], abs=3e-4)


def test_images_that_correlate_need_no_stars():
    assert _counts(Registration(1.0, 2.0, 0.1, 0.1, method="correlation"), 1)
    assert not _counts(Registration(1.0, 2.0, 0.1, 0.1, n_matched=2), 3)


def test_offsets_refer_to_a_turned_frame_without_world_coordinates(tmp_path):
    group = make_group(tmp_path, [[]] * 3, [[np.zeros((160, 160), np.float32)] * 3])
    for frame, (dx, dy), turn in zip(group.frames, SHIFTS, (0.0, 0.02, -0.03), strict=True):
        frame.dx, frame.dy, frame.turn = dx, dy, turn
    where, x, y = geometry(group), np.array([20.0, 100.0]), np.array([60.0, 130.0])
    before = [where.place(i, 0, Target(0, 0, (0,))).to_plane(x, y) for i in range(3)]
    where.refer(1)
    assert group.frames[1].dx == group.frames[1].dy == group.frames[1].turn == 0
    after = [where.place(i, 0, Target(1, 0, (0,))).to_plane(*before[1]) for i in range(3)]
    np.testing.assert_allclose(after, before, atol=1e-9)
