"""The fused per-frame pass: raw counts in, calibrated electrons and flags out, in one sweep over the pixels.

Linearity, gain, coadds, dark and flat are one arithmetic expression per pixel and the whole chain is limited by memory
traffic, so doing it step by step would cost an order of magnitude more.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nirred.algorithms.compiled import kernel, subkernel
from nirred.algorithms.flags import BAD_PIXEL, NON_LINEAR, SATURATED, UNILLUMINATED
from nirred.algorithms.holes import flag_holes
from nirred.algorithms.response import CalibrationInputs, Float32, LinearityCurve, UInt16, time_factors
from nirred.algorithms.threads import run_blocks

_NEVER = np.float32(np.finfo(np.float32).max)  # a level that no finite pixel exceeds
_MOST = np.float32(1e10)  # electrons that no sum of exposures has: more are damaged numbers
_SOUGHT = 128  # pixels searched for saturated ones at once


class _Levels(NamedTuple):
    """Scalars of the kernel, all float32 so that the arithmetic stays in single precision."""

    to_coadd: np.float32  # ADU -> electrons per coadd
    saturation: np.float32  # ADU
    non_linear: np.float32  # ADU
    valid_to: np.float32  # electrons per coadd
    dark_scale: np.float32


def calibrate(
    raw: ArrayLike,
    inputs: CalibrationInputs,
    out: tuple[Float32, UInt16] | None = None,
    threads: int = 1,
) -> tuple[Float32, UInt16]:
    """Calibrate one raw plane.

    ``sci = (P(raw gain / coadds) coadds t/(t + time_delta) - dark_scale dark) / flat``.

    P continues with its slope at zero below zero and along its tangent above ``valid_to``, flagged as non-linear.
    Flagged are, in addition to ``static_dq``: as saturated, raw >= saturation and small regions below the non-linear
    level that are enclosed in saturation (see `flag_holes`); as non-linear, non-linear <= raw < saturation; as bad,
    values that are not finite or beyond 1e10, which become 0, and pixels without a flat unless the static mask gives
    the reason (bad or unilluminated).

    Parameters
    ----------
    raw : (ny, nx) array of any real type and byte order
        ADU; exact in float32 below 2**24.
    inputs : CalibrationInputs
        The plane's detector and calibrations.
    out : (sci, dq), optional
        C-contiguous float32 and uint16 arrays of the same shape to write to (fresh memory costs more
        than the arithmetic).
    threads : int
        Number of threads for the row blocks.

    Returns
    -------
    sci : (ny, nx) float32
        Electrons, or ADU if the gain is 1.
    dq : (ny, nx) uint16

    Raises
    ------
    ValueError
        If shapes do not agree, or the exposure time makes ``t/(t + time_delta)`` meaningless.
    """
    raw = np.asarray(raw)
    sci, dq = _outputs(raw, out)
    kernel_inputs = _kernel_inputs(inputs, raw.shape)
    levels: _Levels = kernel_inputs[-1]

    def block(start: int, stop: int) -> Any:
        counts = _frozen(raw[start:stop], np.float32)
        return calibrate_rows(counts, start, *kernel_inputs, sci[start:stop], dq[start:stop])

    seeds = np.concatenate([np.empty(0, np.intp), *run_blocks(block, raw.shape[0], threads)])
    if seeds.size and inputs.non_linear is not None and levels.non_linear < levels.saturation:
        flag_holes(_frozen(raw, np.float32), levels.non_linear, seeds, dq)
    return sci, dq


def _outputs(raw: NDArray[Any], out: tuple[Float32, UInt16] | None) -> tuple[Float32, UInt16]:
    if raw.ndim != 2:
        raise ValueError(f"a raw plane has 2 dimensions, not {raw.ndim}")
    sci, dq = out or (np.empty(raw.shape, np.float32), np.empty(raw.shape, np.uint16))
    if sci.shape != raw.shape or dq.shape != raw.shape:
        raise ValueError(f"outputs {sci.shape}, {dq.shape} do not fit a frame of {raw.shape}")
    if sci.dtype != np.float32 or dq.dtype != np.uint16:
        raise ValueError(f"outputs are {sci.dtype}, {dq.dtype}; needed: float32, uint16")
    if not (sci.flags.c_contiguous and dq.flags.c_contiguous):
        raise ValueError("outputs must be C-contiguous")
    return sci, dq


def _frozen(array: ArrayLike, dtype: Any) -> NDArray[Any]:
    """Native C-contiguous read-only view (copied only if it must be): one type, hence one compilation."""
    view = np.ascontiguousarray(array, dtype=dtype).view()
    view.flags.writeable = False
    return view


def _plane(array: NDArray[Any] | None, shape: tuple[int, ...], dtype: Any, default: int) -> NDArray[Any]:
    """Plane for the kernel; an absent one becomes a single row used for every row."""
    if array is None:
        return _frozen(np.full((1, shape[1]), default), dtype)
    if array.shape != shape:
        raise ValueError(f"calibration of shape {array.shape} for a frame of {shape}")
    return _frozen(array, dtype)


def _kernel_inputs(inputs: CalibrationInputs, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Arguments of `calibrate_rows` from `cubics` to `levels`, for a plane of this shape."""
    curve = inputs.linearity or LinearityCurve(np.ones((1, 1)))
    terms = np.asarray(curve.coefficients, dtype=np.float64)
    if curve.per_pixel and terms.shape[1:] != shape:
        raise ValueError(f"linearity coefficients of shape {terms.shape} for a frame of {shape}")
    cubics, more = np.zeros((1, 3)), np.zeros((0, 1, 1))
    if curve.per_pixel:
        more = terms
    elif terms.shape[1] > 3:
        more = terms.T[:, :, None]
    else:
        cubics = np.pad(terms, ((0, 0), (0, 3 - terms.shape[1])))
    infinite = not np.isfinite(curve.valid_to)
    levels = _Levels(
        to_coadd=np.float32(inputs.gain / inputs.coadds),
        saturation=_NEVER if inputs.saturation is None else np.float32(inputs.saturation),
        non_linear=_NEVER if inputs.non_linear is None else np.float32(inputs.non_linear),
        valid_to=_NEVER if infinite else np.float32(curve.valid_to),
        dark_scale=np.float32(inputs.dark_scale),
    )
    return (
        _frozen(cubics, np.float32),
        _frozen(more, np.float32),
        _frozen(inputs.coadds * time_factors(inputs), np.float32),
        _plane(inputs.dark, shape, np.float32, 0),
        _plane(inputs.flat_reciprocal, shape, np.float32, 1),
        _plane(inputs.static_dq, shape, np.uint16, 0),
        levels,
    )


@subkernel
def _calibrate_row(
    counts: np.ndarray,
    static: np.ndarray,
    terms: np.ndarray,
    factor: np.float32,
    dark: np.ndarray,
    reciprocal: np.ndarray,
    levels: _Levels,
    out: np.ndarray,
    flags: np.ndarray,
) -> None:
    """One row: linearity by a cubic, exposure factor, dark, flat; damaged pixels and those without flat are flagged.

    One sweep, so that all planes stream from memory side by side; flags are as wide as the pixels until they are
    stored, for the vector unit.
    """
    c1, c2, c3, scale = terms[0], terms[1], terms[2], levels.dark_scale
    zero, top, none = np.float32(0), levels.valid_to, np.int32(0)
    slope = zero
    if top < _NEVER:
        slope = c1 + top * (np.float32(2) * c2 + top * np.float32(3) * c3)
    for i in range(counts.size):
        x = counts[i] * levels.to_coadd
        inside = x if x > zero else zero
        inside = inside if inside < top else top
        tangent = c1 if x < zero else slope
        linear = inside * (c1 + inside * (c2 + inside * c3)) + tangent * (x - inside)
        value = (linear * factor - scale * dark[i]) * reciprocal[i]
        sound = abs(value) < _MOST
        out[i] = value if sound else zero
        beyond = np.int32(NON_LINEAR) if (counts[i] >= levels.non_linear) | (x > top) else none
        bits = np.int32(SATURATED) if counts[i] >= levels.saturation else beyond
        bits = bits | np.int32(static[i])
        unexplained = (reciprocal[i] == zero) & ((bits & np.int32(BAD_PIXEL | UNILLUMINATED)) == none)
        flags[i] = np.uint16(bits | (np.int32(BAD_PIXEL) if (not sound) | unexplained else none))


@subkernel
def _seek(counts: np.ndarray, level: np.float32, offset: int, found: np.ndarray, n_found: int) -> int:
    """Append the indices, from `offset` on, of a row's pixels that reach the level; return their number so far."""
    size = np.uint64(counts.size)  # indices that cannot count from the end leave the vector unit its loop
    for first in range(np.uint64(0), size, np.uint64(_SOUGHT)):
        last = min(first + np.uint64(_SOUGHT), size)
        number = np.int32(0)  # as wide as the pixels
        for i in range(first, last):
            number = np.int32(number + np.int32(counts[i] >= level))
        for i in range(first, last if number else first):
            found[n_found] = offset + np.int64(i)
            n_found += counts[i] >= level
    return n_found


@subkernel
def _calibrate_row_terms(
    counts: np.ndarray,
    terms: np.ndarray,
    factor: np.float32,
    dark: np.ndarray,
    reciprocal: np.ndarray,
    levels: _Levels,
    out: np.ndarray,
    flags: np.ndarray,
) -> None:
    """Recompute the values of one row with linearity polynomials of any degree; terms (n_terms, nx or 1)."""
    zero, top = np.float32(0), levels.valid_to
    last = terms.shape[0] - 1
    for i in range(counts.size):
        x = counts[i] * levels.to_coadd
        inside = x if x > zero else zero
        inside = inside if inside < top else top
        at = i if terms.shape[1] > 1 else 0
        quotient, slope = terms[last, at], zero
        for k in range(last - 1, -1, -1):
            slope = slope * inside + quotient
            quotient = quotient * inside + terms[k, at]
        # quotient = P(x)/x by Horner and slope its derivative, hence P' = quotient + x slope.
        linear = quotient * inside + (quotient + inside * slope) * (x - inside)
        value = (linear * factor - levels.dark_scale * dark[i]) * reciprocal[i]
        sound = abs(value) < _MOST
        out[i] = value if sound else zero
        flags[i] = np.uint16(flags[i] | (np.uint16(0) if sound else np.uint16(BAD_PIXEL)))


@kernel
def calibrate_rows(
    counts: np.ndarray,
    first_row: int,
    cubics: np.ndarray,
    terms: np.ndarray,
    factors: np.ndarray,
    dark: np.ndarray,
    reciprocal: np.ndarray,
    static: np.ndarray,
    levels: _Levels,
    sci: np.ndarray,
    dq: np.ndarray,
) -> np.ndarray:
    """Rows of one block; return the flat indices of saturated pixels.

    cubics (n_sets, 3); terms (n_terms, ny or n_sets, nx or 1), empty if the cubics are complete.
    """
    found, n_found = np.empty(counts.size, np.intp), 0
    for row in range(counts.shape[0]):
        y = first_row + row
        raw, out, flags, factor = counts[row], sci[row], dq[row], factors[y % factors.size]
        cubic, known = cubics[y % cubics.shape[0]], static[y % static.shape[0]]
        dark_row, reciprocal_row = dark[y % dark.shape[0]], reciprocal[y % reciprocal.shape[0]]
        _calibrate_row(raw, known, cubic, factor, dark_row, reciprocal_row, levels, out, flags)
        if terms.shape[0] > 0:
            own = terms[:, y % terms.shape[1]]
            _calibrate_row_terms(raw, own, factor, dark_row, reciprocal_row, levels, out, flags)
        n_found = _seek(raw, levels.saturation, y * raw.size, found, n_found)
    return found[:n_found].copy()
