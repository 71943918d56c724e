"""Stacks of aligned frames: masked tiers, rejection, and a combination with its variance.

Only a pixel's inputs of the best tier present are combined. An input belongs to the first tier that allows all its
flags: non-linear and saturated in the first, then also cosmic ray, overlap, bad pixel and unilluminated, in this order.
Inputs without data, with unknown flags, or that are not finite, are never combined; a pixel without other inputs is
NaN, flagged as without data, with n = 0. The output flags are the OR of those of the combined values. If rejection
would remove every value of a pixel it removes none.

With n values combined, variances VAR (after `scale`) and weights w::

    mean      VAR = mean(VAR)/n               or sum((d - m)**2) / (n (n - 1)) without variances
    wtmean    VAR = sum(w**2 VAR)/sum(w)**2   or sum(w (d - m)**2) / (sum(w) (n - 1)); w = 1/VAR unless given
    median    pi/2 times that of the mean; lmedian (the lower middle value) likewise

The pixels are worked on in tiles by the SIMD kernels of `combine_network`; the frames stay where they are
and only a few rows of each are copied at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nirred.algorithms import combine_tiles as tiles
from nirred.algorithms.combine_network import combine_block
from nirred.algorithms.networks import median_network, sorting_network
from nirred.algorithms.threads import row_blocks, run_blocks

Planes = Sequence[NDArray[Any]] | NDArray[Any]

MAX_FRAMES = 0xFFFF  # the number combined, as NEXP has it, is one of 16 bits
RULES = {
    "none": tiles.NONE,
    "minmax": tiles.MINMAX,
    "sigclip": tiles.SIGCLIP,
    "varclip": tiles.VARCLIP,
    "noise": tiles.NOISE,
}
METHODS = {
    "mean": tiles.MEAN,
    "median": tiles.MEDIAN,
    "lmedian": tiles.LOWER_MEDIAN,
    "wtmean": tiles.INVERSE_VARIANCE,
}

_CACHED_VALUES = 1 << 17  # pixels x frames copied at a time: they should stay in the second-level cache
_MAX_ITERS = 100


@dataclass(frozen=True)
class Rejection:
    """How outliers are rejected.

    Attributes
    ----------
    rule : str
        none; minmax: shares of the lowest and highest; sigclip: the population standard deviation of the
        pixel's own values, iterated; varclip: each value's own variance, iterated; noise: each value's own
        variance with the uncertainty of the centre added, once about the median and once about the mean
        of what is left, from 3 values on.
    lsigma, hsigma : float
        Limits below and above the centre, in sigma.
    nlow, nhigh : int
        For minmax, of the number of frames; a pixel with fewer good values loses the same share.
    max_iters : int or None
        Of sigclip and varclip. None: until nothing changes, at most 100.
    median_clip : bool
        For these two, clip about the median in every iteration, else about the mean after the first.
    """

    rule: str = "none"
    lsigma: float = 3.0
    hsigma: float = 3.0
    nlow: int = 0
    nhigh: int = 0
    max_iters: int | None = None
    median_clip: bool = True


@dataclass(frozen=True)
class NoiseModel:
    """Variance of frame i: ``constant + levels[i] * per_electron`` (see `response.noise_planes`).

    Attributes
    ----------
    constant, per_electron : (ny, nx) array, or one that broadcasts to it
        Electrons squared; electrons.
    levels : (n_frames,) array, optional
        Smooth signal of each frame, electrons, before `scale` and `zero`; by default each pixel's own median after
        them, 0 if that is negative, over the frame's scale: valid for frames whose signals differ by that alone.
    """

    constant: ArrayLike
    per_electron: ArrayLike
    levels: ArrayLike | None = None


@dataclass(frozen=True)
class Combined:
    """Result of `combine`: value, variance (NaN where unknown), flags, number of frames combined."""

    sci: NDArray[np.float32]
    var: NDArray[np.float32]
    dq: NDArray[np.uint16]
    n: NDArray[np.uint16]


def combine(
    data: Planes,
    dq: Planes | None = None,
    var: Planes | None = None,
    *,
    noise: NoiseModel | None = None,
    method: str = "mean",
    rejection: Rejection = Rejection(),
    scale: ArrayLike | None = None,
    zero: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    ignored: NDArray[np.uint16] | None = None,
    threads: int = 1,
    tile: int = 256,
) -> Combined:
    """Combine N frames pixel by pixel.

    Tiers, rejection and variances are described in the module's docstring.

    Parameters
    ----------
    data : sequence of N (ny, nx) arrays, or (N, ny, nx) array
        Combined in float32 with sums in float64.
    dq : the same of uint16, optional
        Flags.
    var : the same of float32, optional
        Variances.
    noise : NoiseModel, optional
        Instead of `var`.
    method : {"mean", "median", "lmedian", "wtmean"}
        The combination.
    rejection : Rejection
        The outliers to leave out.
    scale, zero : (N,) array, optional
        Values become ``data * scale + zero``.
    weights : (N,) array, optional
        One positive weight per frame, for wtmean.
    ignored : (ny, nx) array of uint16, optional
        Flags removed from each pixel's.
    threads : int
        Number of threads.
    tile : int
        Pixels per tile; like `threads` it changes the speed only.

    Returns
    -------
    Combined
        float32 sci and var, uint16 dq and n.

    Raises
    ------
    ValueError
        For shapes or numbers that do not agree, an unknown method or rule, varclip, noise or an unweighted
        wtmean without variances, minmax that leaves nothing, weights that are not positive.
    """
    check_planes(data, dq, var)
    frames = _frame_table(len(data), scale, zero, noise, weights)
    options = _checked(method, rejection, _source(var, noise), weights is not None)
    if rejection.rule == "minmax" and rejection.nlow + rejection.nhigh >= len(data):
        raise ValueError(f"minmax {rejection.nlow}+{rejection.nhigh} leaves nothing of {len(data)} frames")
    return _combine_rows(_Stack(data, dq, var, noise, ignored), frames, options, tile, threads)


def _source(var: Planes | None, noise: NoiseModel | None) -> int:
    """Source of the kernel's variances."""
    if var is not None and noise is not None:
        raise ValueError("variances are given twice: as planes and as a noise model")
    if noise is not None:
        return tiles.CENTRE if noise.levels is None else tiles.MODEL
    return tiles.NO_VARIANCE if var is None else tiles.PLANES


def _checked(method: str, rejection: Rejection, source: int, weighted: bool) -> tiles.Options:
    """Options of the kernel; ValueError where method, weights and variances do not go together."""
    if weighted and method != "wtmean":
        raise ValueError(f"weights belong to wtmean, not to {method}")
    options = _options(METHODS[_known(method, METHODS)], rejection, source)
    if method == "wtmean" and weighted:
        return options._replace(operation=tiles.MEAN)
    if method == "wtmean" and source == tiles.NO_VARIANCE:
        raise ValueError("wtmean needs weights or variances")
    return options


@dataclass(frozen=True)
class _Stack:
    """The inputs; a few rows at a time are arranged for the kernel."""

    data: Planes
    dq: Planes | None
    var: Planes | None
    noise: NoiseModel | None
    ignored: NDArray[np.uint16] | None

    @property
    def in_place(self) -> bool:
        """Whether the kernel can read the planes without copying."""
        pairs = ((self.data, np.float32), (self.dq, np.uint16), (self.var, np.float32))
        return self.dq is not None and all(p is None or _is_block(p, kind) for p, kind in pairs)

    def flags_to_ignore(self) -> NDArray[np.uint16]:
        """One value for each pixel, or a single one if there are none."""
        if self.ignored is None:
            return np.zeros(1, np.uint16)
        return np.ascontiguousarray(self.ignored, np.uint16).reshape(-1)

    def rows(self, planes: Planes | None, rows: slice, scratch: NDArray[Any]) -> NDArray[Any]:
        """Copy rows of all planes to (n_frames, pixels) of the scratch; zeros if there are no planes."""
        shape = (len(self.data), rows.stop - rows.start, self.data[0].shape[1])
        block: NDArray[Any] = scratch[: math.prod(shape)].reshape(shape)
        if planes is None:
            block[...] = 0
        else:
            for target, plane in zip(block, planes):
                target[...] = plane[rows]
        return block.reshape(shape[0], -1)

    def model(self, rows: slice) -> NDArray[np.float32]:
        """Rows of the noise model, (2, pixels), or (2, 1) if there is none."""
        if self.noise is None:
            return np.zeros((2, 1), np.float32)
        shape = self.data[0].shape
        planes = (self.noise.constant, self.noise.per_electron)
        return np.array([np.broadcast_to(plane, shape)[rows].ravel() for plane in planes], np.float32)


def _combine_rows(
    stack: _Stack, frames: NDArray[np.float32], options: tiles.Options, tile: int, threads: int
) -> Combined:
    n, (ny, nx) = len(stack.data), stack.data[0].shape
    middle, full = median_network(n), sorting_network(n)
    out = Combined(
        np.empty((ny, nx), np.float32),
        np.empty((ny, nx), np.float32),
        np.empty((ny, nx), np.uint16),
        np.empty((ny, nx), np.uint16),
    )
    few_rows = max(1, _CACHED_VALUES // max(1, n * nx))

    results = [plane.reshape(-1) for plane in (out.sci, out.var, out.dq, out.n)]
    ignored = stack.flags_to_ignore()
    nothing = np.zeros((1, 1), np.float32)

    def where_it_lies(start: int, stop: int) -> None:
        data, dq, var = (
            np.reshape(p, (n, -1)) if p is not None else nothing for p in (stack.data, stack.dq, stack.var)
        )
        model = stack.model(slice(start, stop))
        pixels = (start * nx, stop * nx)
        combine_block(data, dq, ignored, var, model, frames, middle, full, options, tile, *pixels, *results)

    def copied(start: int, stop: int) -> None:
        size = n * min(few_rows, stop - start) * nx
        data_scratch, dq_scratch = np.empty(size, np.float32), np.empty(size, np.uint16)
        var_scratch = np.empty(size if stack.var is not None else 1, np.float32)
        for part in row_blocks(stop - start, few_rows):
            rows = slice(start + part.start, start + part.stop)
            data, dq = stack.rows(stack.data, rows, data_scratch), stack.rows(stack.dq, rows, dq_scratch)
            var = nothing if stack.var is None else stack.rows(stack.var, rows, var_scratch)
            pixels = slice(rows.start * nx, rows.stop * nx)
            known = ignored[pixels] if ignored.size > 1 else ignored
            combine_block(
                data, dq, known, var, stack.model(rows), frames, middle, full, options, tile,
                0, data.shape[1], *(plane[pixels] for plane in results),
            )  # fmt: skip

    run_blocks(where_it_lies if stack.in_place else copied, ny, threads)
    return out


def _is_block(planes: Planes, kind: type) -> bool:
    return isinstance(planes, np.ndarray) and planes.dtype == kind and planes.flags.c_contiguous


def _known(name: str, table: dict[str, int]) -> str:
    if name not in table:
        raise ValueError(f"unknown {name!r}: one of {', '.join(table)}")
    return name


def _options(operation: int, rejection: Rejection, variance: int) -> tiles.Options:
    rule = RULES[_known(rejection.rule, RULES)]
    if rule in (tiles.VARCLIP, tiles.NOISE) and variance == tiles.NO_VARIANCE:
        raise ValueError(f"rejection {rejection.rule} needs variances")
    return tiles.Options(
        rule=rule,
        operation=operation,
        variance=variance,
        low_squared=np.float32(min(rejection.lsigma, 1e18) ** 2),
        high_squared=np.float32(min(rejection.hsigma, 1e18) ** 2),
        n_low=rejection.nlow,
        n_high=rejection.nhigh,
        max_iters=_MAX_ITERS if rejection.max_iters is None else min(_MAX_ITERS, rejection.max_iters),
        median_clip=rejection.median_clip,
    )


def check_planes(data: Planes, dq: Planes | None, var: Planes | None) -> None:
    """Raise ValueError unless 1 to `MAX_FRAMES` 2-D planes of one shape are given, each with its dq and var."""
    if not 1 <= len(data) <= MAX_FRAMES:
        raise ValueError(f"{len(data)} frames: 1 to {MAX_FRAMES} can be combined")
    shape = data[0].shape
    if len(shape) != 2:
        raise ValueError(f"planes have 2 dimensions, not {len(shape)}")
    for name, planes in (("data", data), ("dq", dq), ("var", var)):
        if planes is None:
            continue
        if len(planes) != len(data):
            raise ValueError(f"{len(planes)} {name} planes for {len(data)} frames")
        for i, plane in enumerate(planes):
            if plane.shape != shape:
                raise ValueError(f"{name} of frame {i} is {plane.shape}, the first frame is {shape}")


def _frame_table(
    n: int,
    scale: ArrayLike | None,
    zero: ArrayLike | None,
    noise: NoiseModel | None,
    weights: ArrayLike | None,
) -> NDArray[np.float32]:
    """Scale, zero, level and weight of every frame: (4, n)."""
    table = np.zeros((4, n), np.float32)
    levels = None if noise is None else noise.levels
    columns = {"scale": (scale, 1), "zero": (zero, 0), "level": (levels, 0), "weight": (weights, 1)}
    for row, (name, (values, default)) in zip(table, columns.items()):
        given = np.asarray(default if values is None else values, np.float32)
        if values is not None and given.shape != (n,):
            raise ValueError(f"{name} has shape {given.shape} for {n} frames")
        row[:] = given
    if not np.all(np.isfinite(table)):
        raise ValueError("scale, zero, level and weight must be finite")
    if np.any(table[3] <= 0):
        raise ValueError("weights must be positive")
    return table
