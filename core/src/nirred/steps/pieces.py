"""Stacks of stacks: stacks are read, registered, resampled once, and weighted by depth and variance."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Literal

import numpy as np

from ..algorithms.grids import Grid
from ..algorithms.noise import noise_covariance
from ..algorithms.placement import Placement
from ..algorithms.resample_kernels import CORRELATION_HALF_WIDTH, Kernel
from ..algorithms.shared import no_warnings
from ..algorithms.threads import run_blocks
from ..coadd import TILE, Layout, flags_of_stack, lay_out
from ..dq import DQ
from ..errors import DataError, NirredError, StepError
from ..fitsio import LARGEST, REPAIR, read_calibration, read_image
from ..frame import Plane
from ..geometry import Target, beyond_shift, geometry, targets_of
from ..group import Group
from ..headers import Headers
from ..params import Params, param
from ..params import Params as StepParams
from ..plan.model import FrameInfo
from ..plugin.frames import PlaneWcs
from ..plugin.recipes import StepCall
from ..products import correlation_factor, grid_keywords
from ..provenance import file_digest, read_table
from ..results import PieceStacks, require
from ..states import BAD, BRIGHT, FrameState, PlaneState
from ..step import GroupStep, HeaderStep
from ..store import PlaneStack
from .match import match_frames
from .storing import Store, describe_stack
from .transparency import weigh_frames

#: A stack whose corner lies farther than this from where a pure shift would put it is left out, pixels.
MOST_TURNED = 0.3
#: Shape of NOISECOV.
NOISE_SHAPE = (2 * CORRELATION_HALF_WIDTH + 1,) * 2
#: Bytes per pixel and piece: SCI, VAR, DQ, NEXP.
_BYTES = 14


class ReadPieces(HeaderStep):
    """Finished stacks in place of calibrated frames."""

    name = "read_pieces"
    doc = "read stacks (nirred's, or SCI, VAR, DQ in electrons) and scale them to the first one's exposure time"

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        group.setup.electrons = True
        shapes = [[d.shape for d in f.info.detectors] for f in group.frames]
        count = min((len(s) for s in shapes), default=0)
        largest = [(max(s[p][0] for s in shapes), max(s[p][1] for s in shapes)) for p in range(count)]
        stacks = [_allocate(group, shape) for shape in largest]
        group.planes = [state for state, _ in stacks]
        group.stack.pieces = [pieces for _, pieces in stacks]
        group.stack.piece_noise = {}
        first = group.frames[0].info.descriptors.exposure_time
        for i, frame in enumerate(group.frames):
            try:
                _read(group, i, frame, first)
            except NirredError as error:
                group.leave_out(i, error.message, "failed")
        group.need(group.indices(), "readable stacks")
        _refuse_turned(group)
        _say_shared(group)


def _refuse_turned(group: Group) -> None:
    """Leave out stacks that by their headers are no shift of the first, north's turn with the pointing included."""
    alive = [i for i in group.indices() if len(group.frames[i].info.wcs) >= len(group.planes)]
    where = geometry(group)
    for p, state in enumerate(group.planes):
        for i in alive[1:]:
            moved, _ = beyond_shift(Placement(state.shape, None, where.by_header(alive[0], i, p)))
            if moved > MOST_TURNED and group.frames[i].alive:
                group.frames[i].reject(f"turned or scaled against {group.frames[alive[0]].info.name} by {moved:.1f} px")
                group.remark(f"{group.frames[i].info.name} left out: {group.frames[i].reason}")


def _say_shared(group: Group) -> None:
    """Say when two stacks hold the same raw frames: their noise is one, and VAR takes it for two."""
    seen: dict[str, str] = {}
    for i in group.indices():
        info = group.frames[i].info
        for digest in _digests(info):
            other = seen.setdefault(digest, info.name)
            if other != info.name:
                group.remark(f"{info.name} and {other} hold the same raw frames: VAR is too small")
                break


def _digests(info: FrameInfo) -> list[str]:
    """SHA-256 of a stack and, by its PROVENANCE, of what it was made of: raw frames, or other stacks."""
    own = file_digest(info.path)
    try:
        return [own, *(r.origin for r in read_table(info.path) if r.item == "input")]
    except DataError:  # another program's stack, or a damaged table
        return [own]


def _allocate(group: Group, shape: tuple[int, int]) -> tuple[PlaneState, PieceStacks]:
    size = (len(group.frames), *shape)
    scratch = group.context.scratch if np.prod(size) * _BYTES > 0.6 * group.context.memory else None
    if scratch is not None:
        scratch.mkdir(parents=True, exist_ok=True)
    sci, dq = PlaneStack(size, np.float32, scratch), PlaneStack(size, np.uint16, scratch)
    extra = PieceStacks(PlaneStack(size, np.float32, scratch), PlaneStack(size, np.float32, scratch), {})
    # Noise of unit variance times each piece's own: see `FrameState.noise_scale`.
    return PlaneState(sci, dq, constant=1.0, per_electron=0.0, subtracted=sci), extra


def _read(group: Group, i: int, frame: FrameState, seconds: float | None) -> None:
    """Put one piece into the group's planes, pixels beyond its edge flagged as without data."""
    info = frame.info
    headers = Headers.read(info.path)
    unit = headers.text("BUNIT").lower()
    if not unit:
        group.remark(f"{info.name}: no BUNIT; its pixels are taken for electrons")
    elif not unit.startswith("electron"):
        raise DataError(f"{info.name}: its unit is {unit!r}, not electron", "stack it in electrons")
    own = info.descriptors.exposure_time
    scale = np.float32(seconds / own if seconds and own else 1.0)
    counts = [read_image(info.path, h) for _, h in headers.images if str(h.get("EXTNAME", "")).upper() == "NEXP"]
    planes = read_calibration(info.path)
    if any(n.shape != p.data.shape for n, p in zip(counts, planes, strict=False)):
        raise DataError(
            f"{info.name}: its NEXP and SCI differ in size", "make it again, or leave it out with --exclude"
        )
    for p, state in enumerate(group.planes):
        pieces = require(group.stack.pieces, "pieces")[p]
        state.noise_scale[i] = _put(state, pieces, i, (planes[p], counts[p] if p < len(counts) else None), scale)
        if (stated := _number(info, "LEVELERR", np.inf)) < np.inf:
            state.sky_err[i] = stated * float(scale)
    frame.sky, frame.noise_scale = 0.0, group.planes[0].noise_scale[i]
    frame.info = replace(info, descriptors=replace(info.descriptors, exposure_time=seconds), wcs=_wcs(info, headers))
    require(group.stack.piece_noise, "piece_noise")[i] = _noise_of(group, info, headers)


def _noise_of(group: Group, info: FrameInfo, headers: Headers) -> np.ndarray | None:
    """NOISECOV of a stack, float64; None, with a remark if it has one, where it is not usable."""
    found = [read_image(info.path, h) for _, h in headers.images if h.get("EXTNAME") == "NOISECOV"]
    if not found:
        return None
    noise = found[0].astype(np.float64)
    if noise.shape == NOISE_SHAPE and np.abs(noise).max() < LARGEST and noise.sum() > 0:  # False where one is NaN
        return noise
    group.remark(f"{info.name}: its NOISECOV is damaged; its noise is taken for uncorrelated")
    return None


def _wcs(info: FrameInfo, headers: Headers) -> tuple[PlaneWcs, ...]:
    """WCS of a stack's planes, with PC or CD matrix; plugins read raw frames, whose primary a stack still shows."""
    from astropy.io import fits
    from astropy.wcs import WCS

    images = [h for _, h in headers.images if str(h.get("EXTNAME", "SCI")).upper() == "SCI"]
    with no_warnings():
        try:  # cards beyond ASCII stop astropy even where they have nothing to do with the WCS
            found = [WCS(fits.Header.fromstring(re.sub("[^ -~]", "?", h.text)), naxis=2) for h in images]
        except (ValueError, KeyError, IndexError, fits.VerifyError) as error:
            raise DataError(f"{info.name}: SCI header: {error}", REPAIR) from None
    if not found or not all(w.has_celestial for w in found):
        return info.wcs
    sigma = info.wcs[0].sigma_arcsec if info.wcs else 1.0
    return tuple(PlaneWcs(w, sigma, "header") for w in found)


def _put(
    state: PlaneState, pieces: PieceStacks, i: int, piece: tuple[Plane, np.ndarray | None], scale: np.float32
) -> float:
    """Store one plane; return the noise of a pixel of its full depth."""
    plane, counted = piece
    ny, nx = plane.data.shape
    good = np.isfinite(plane.data) & ((plane.dq & BAD) == 0)
    var = plane.var
    if var is None:
        raise StepError("no VAR: nothing tells its noise", "give it a VAR, electron squared")
    good &= np.isfinite(var) & (var > 0)
    if not good.any():
        raise StepError("no pixel with signal and variance", "see its DQ and VAR, or leave it out (--exclude)")
    dq = np.full(state.shape, DQ.NO_DATA, np.uint16)
    dq[:ny, :nx] = np.where(good, plane.dq, np.where((plane.dq & BAD) != 0, plane.dq, np.uint16(DQ.NO_DATA)))
    state.dq.put(i, dq)
    nexp = good.astype(np.float32) if counted is None else np.where(good, counted, np.float32(0))
    for stack, values in (
        (state.sci, np.where(good, plane.data * scale, np.float32(0))),
        (pieces.var, np.where(good, var * scale**2, np.float32(0))),
        (pieces.nexp, nexp),
    ):
        full = np.zeros(state.shape, np.float32)
        full[:ny, :nx] = values
        stack.put(i, full)
    pieces.single[i] = float(np.median((var * scale**2 * nexp)[good & (nexp > 0)]))
    return float(np.sqrt(pieces.single[i] / float(nexp.max())))


class StackPieces(GroupStep):
    """Weighted mean of registered pieces."""

    name = "stack_pieces"
    doc = "bring stacks to one level, resample once and average them, weighted by transparency, variance and exposures"

    class Params(StepParams):
        """Parameters of `stack_pieces`."""

        interpolant: Literal["lanczos3", "bilinear", "nearest"] = param("lanczos3", "kernel of the single resampling")

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        geometry(group).refer(group.reference)  # the one of the registration may have been left out since
        _leave_out_turned(group)
        pieces = group.need(group.targets, "stacks")
        if not all(i in state.weight for state in group.planes for i in pieces):  # scale_counts was skipped
            weigh_frames(group, pieces)
        layouts = [lay_out(group, pieces, target) for target in targets_of(group, pieces, mosaic=False)]
        cov = _covariance(group, pieces, layouts, params.interpolant)
        made, counts = [], []
        for p, layout in enumerate(layouts):
            match_frames(group, [(i, p) for i in pieces], layout.target, order=0)  # where one ends would be a step
            plane, count = _stack(group, layout, pieces, params.interpolant)
            box = _covered(count)
            made.append(_cut(plane, box))
            counts.append(np.ascontiguousarray(count[box]))
            grid = Grid(layout.grid.x0 + box[1].start, layout.grid.y0 + box[0].start, counts[p].shape)
            layouts[p] = replace(layout, target=replace(layout.target, grid=grid))
        group.streams[call.gives], group.stack.nexp = made, counts
        group.stack.layouts, group.stack.noisecov = layouts, cov
        group.keywords["CORRFAC"] = correlation_factor(cov)
        group.keywords |= grid_keywords(layouts[0].grid)


def _leave_out_turned(group: Group) -> None:
    """Leave out stacks that are no shift of the reference by what was measured."""
    where, reference = geometry(group), group.reference
    for i in group.targets:
        placed = [where.place(i, p, Target(reference, p, (p,))) for p in range(len(group.planes))]
        moved = max(
            beyond_shift(replace(plane, distortion=None))[0] for plane in placed
        )  # each is drawn through its own
        if moved > MOST_TURNED and i != reference:
            name = group.frames[reference].info.name
            group.leave_out(i, f"its stars are turned against those of {name} by {moved:.1f} px")


def _stack(group: Group, layout: Layout, pieces: list[int], kernel: Kernel) -> tuple[Plane, np.ndarray]:
    """Sums of one plane by tiles, in the order of the pieces: data, VAR, DQ, and the exposures behind each pixel."""
    grid = layout.grid
    sci, var = np.full(grid.shape, np.nan, np.float32), np.full(grid.shape, np.nan, np.float32)
    dq, count = np.zeros(grid.shape, np.uint16), np.zeros(grid.shape, np.uint16)

    def tile(start: int, stop: int) -> None:
        sums = np.zeros((4, stop - start, grid.shape[1]))  # weight, value, variance, exposures
        used = np.zeros(sums.shape[1:], np.uint16)
        lost = np.zeros(sums.shape[1:], np.uint16)
        for i in pieces:
            _add(group, layout, i, (kernel, (start, stop)), (sums, used, lost))
        full = sums[0] > 0
        sci[start:stop][full] = sums[1][full] / sums[0][full]
        var[start:stop][full] = sums[2][full] / sums[0][full] ** 2
        count[start:stop] = np.round(sums[3])
        dq[start:stop] = flags_of_stack(full, used, lost)

    run_blocks(tile, grid.shape[0], group.context.threads, TILE)
    return Plane(sci, dq, var), count


def _add(
    group: Group,
    layout: Layout,
    i: int,
    how: tuple[Kernel, tuple[int, int]],
    into: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Add one piece's rows to a tile. The weight goes with the number of exposures, never with a pixel's counts."""
    (kernel, rows), (sums, used, lost), ((p, placed),) = how, into, layout.of(i)
    state, stacks, frame = group.planes[p], require(group.stack.pieces, "pieces")[p], group.frames[i]
    patch = placed.patch(layout.grid, rows)
    if patch is None:
        return
    mine = i, patch.low, patch.high
    flags = state.dq.rows(*mine)
    bad = ((flags & BAD) != 0).view(np.uint8)
    values = patch.values(state.sci.rows(*mine), bad, kernel)
    var = patch.values(stacks.var.rows(*mine), bad, "bilinear")
    if (through := patch.through(electrons=False, gain=1.0)) is not None:
        var /= through.area  # noise in apertures, for surface brightness
    nexp = np.nan_to_num(patch.values(stacks.nexp.rows(*mine), None, "nearest")).astype(np.float64)
    near = np.nan_to_num(patch.values(flags.astype(np.float32), None, "nearest")).astype(np.uint16)
    ok = np.isfinite(values) & np.isfinite(var) & (nexp > 0)
    scale = frame.transparency
    weight = np.where(ok, scale**2 * nexp / stacks.single[i], 0.0)
    sums[0] += weight
    sums[1] += weight * np.where(ok, values, 0.0) / scale
    sums[2] += weight**2 * np.where(ok, var, 0.0) / scale**2
    sums[3] += np.where(ok, nexp, 0.0)
    used |= np.where(ok, near & BRIGHT, np.uint16(0))
    lost |= np.where(ok, np.uint16(0), near)


def _covered(count: np.ndarray) -> tuple[slice, slice]:
    """Smallest box that holds every pixel with data: smaller pieces were padded."""
    rows, columns = np.flatnonzero(count.any(axis=1)), np.flatnonzero(count.any(axis=0))
    if rows.size == 0:
        raise StepError("no pixel of the stacks has data", "see their DQ")
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _cut(plane: Plane, box: tuple[slice, slice]) -> Plane:
    var = None if plane.var is None else np.ascontiguousarray(plane.var[box])
    return Plane(np.ascontiguousarray(plane.data[box]), np.ascontiguousarray(plane.dq[box]), var)


def _covariance(group: Group, pieces: list[int], layouts: list[Layout], kernel: Kernel) -> np.ndarray:
    """NOISECOV: that of each piece, spread by the kernel that draws it, weighted as its noise is in the stack."""
    from scipy.signal import convolve

    noises, kernels, shares = require(group.stack.piece_noise, "piece_noise"), [], []
    for layout in layouts:
        for i in pieces:
            ((p, placed),), own = layout.of(i), noises.get(i)
            spread, state = placed.correlation(kernel), group.planes[p]
            kernels.append(spread if own is None else convolve(own, spread, mode="same"))
            shares.append((state.weight[i] / group.frames[i].transparency * state.noise_scale[i]) ** 2)
    return noise_covariance(np.stack(kernels), np.array(shares))


class StorePieces(Store):
    """Write the stack of stacks."""

    name = "store_processed_stack"
    doc = "write the stack of stacks: exposures and times are sums"
    kind = "image"

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        pieces = [group.task.frames[i][0] for i in group.targets]  # with their own exposure times
        reference = group.frames[group.reference].info
        counts = [_number(info, "NCOMBINE", 1.0) for info in pieces]
        seconds = [n * (info.descriptors.exposure_time or 0.0) for n, info in zip(counts, pieces, strict=True)]
        total = sum(_number(info, "TEXPTIME", own) for info, own in zip(pieces, seconds, strict=True))
        group.keywords["TEXPTIME"] = (float(total), "[s] total exposure")
        group.keywords["NCOMBINE"] = int(sum(counts))
        if reference.descriptors.exposure_time:
            group.stack.collected = round(total / reference.descriptors.exposure_time, 6)
        describe_stack(group, "stack")
        airmass = [info.descriptors.airmass for info in pieces]
        if None not in airmass:
            mean = float(np.average(np.array(airmass, float), weights=counts))
            group.keywords["AIRMASS"] = (round(mean, 4), "mean of the frames")
        super().apply(group, params, call)


def _number(info: FrameInfo, keyword: str, default: float) -> float:
    value = info.headers.get(keyword)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else default


PIECE_STEPS = (ReadPieces, StackPieces, StorePieces)
