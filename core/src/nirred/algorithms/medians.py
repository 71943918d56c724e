"""Fast medians of aligned images, whose unusable pixels are NaN.

As in `combine_network`, tiles of pixels are sorted frame-major by sorting networks.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.compiled import kernel, subkernel
from nirred.algorithms.networks import median_network, middle_pair, sort_lanes

#: Pixels sorted at a time.
_LANES = 256


def medians(images: NDArray[np.float32], apart: float = np.inf) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
    """Median of each pixel, and the number of images in it.

    Where the two middle values differ as much as a cosmic ray makes them, the one nearer to 0, the sky, is taken: their
    mean would spoil the interpolation of the pixels around it. This happens if one of two images is struck, or two of
    four. It is the lower value where the ray hit, and the higher next to it, where interpolation rings below the sky.

    Parameters
    ----------
    images : float32 (n, ny, nx)
        Pixels that are not finite are left out.
    apart : float
        Limit of the difference, to which half of the lower value's size is added for changes of a star by seeing.

    Returns
    -------
    values : float32 (ny, nx)
        NaN without any.
    count : uint16 (ny, nx)
    """
    n, shape = images.shape[0], images.shape[1:]
    values, count = np.empty(shape, np.float32), np.empty(shape, np.uint16)
    flat = np.ascontiguousarray(images, np.float32).reshape(n, values.size)
    _medians(flat, *_networks(n), np.float32(apart), values.reshape(-1), count.reshape(-1))
    return values, count


def shifted_medians(
    data: NDArray[np.float32],
    dq: NDArray[np.uint16],
    frames: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    useless: int,
    apart: float,
    out: tuple[NDArray[np.float32], NDArray[np.uint16]],
) -> None:
    """As `medians`, for frames read in place, each shifted by whole pixels.

    Parameters
    ----------
    data, dq : float32 and uint16 (n, ny, nx)
        Frames and their flags.
    frames : (places, rows, columns), int64
        Indices of the frames among the n; their rows and columns under pixel (0, 0) of the output.
    useless : int
        Pixels with any of these flags, or not finite, are left out.
    apart : float
        As in `medians`.
    out : (float32, uint16), both (height, width), C-contiguous
        Receives the medians, and the number of frames in each.
    """
    _shifted_medians(data, dq, *frames, np.uint16(useless), *_networks(frames[0].size), np.float32(apart), *out)


@lru_cache(maxsize=128)
def _networks(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Comparators for the middle of 0 to n values, one after the other, and where each network begins."""
    networks = [median_network(m) for m in range(n + 1)]
    return np.concatenate(networks), np.cumsum([0, *(len(network) for network in networks)])


@subkernel
def _load(images: np.ndarray, start: int, work: np.ndarray, sign: np.ndarray, number: np.ndarray) -> int:
    """Fill lanes with the images that have data there, and return their number; see `networks` for missing values."""
    zero, one, infinite = np.float32(0), np.float32(1), np.float32(np.inf)
    sign[:], number[:] = infinite, zero
    loaded = 0
    for i in range(images.shape[0]):
        source, target = images[i, start : start + sign.size], work[loaded]
        seen = np.int32(0)  # as wide as the pixels, for the vector unit
        for j in range(source.size):
            seen += np.int32(abs(source[j]) < infinite)
        if seen == 0:
            continue
        loaded += 1
        for j in range(sign.size):
            there = abs(source[j]) < infinite
            target[j] = source[j] if there else sign[j]
            sign[j] = sign[j] if there else -sign[j]
            number[j] += one if there else zero
    return loaded


@subkernel
def _choose(
    scratch: np.ndarray,
    loaded: int,
    sign: np.ndarray,
    number: np.ndarray,
    apart: np.float32,
    value: np.ndarray,
    count: np.ndarray,
) -> None:
    """Medians, as `medians` defines them, of sorted lanes."""
    half, zero, even = np.float32(0.5), np.float32(0), loaded % 2 == 0
    below, above = scratch[max(loaded // 2 - 1, 0)], scratch[loaded // 2]
    for j in range(value.size):
        first, last = middle_pair(below[j], above[j], even, sign[j])
        between = last - first
        far = between > apart + half * abs(first)
        nearer = first if abs(first) < abs(last) else last
        middle = nearer if far else first + half * between
        value[j] = middle if number[j] > zero else np.float32(np.nan)
    for j in range(count.size):
        count[j] = np.uint16(number[j])


@kernel
def _medians(
    images: np.ndarray,
    network: np.ndarray,
    begins: np.ndarray,
    apart: np.float32,
    values: np.ndarray,
    count: np.ndarray,
) -> None:
    n, size = images.shape
    lanes, scratch = np.empty((2, _LANES), np.float32), np.empty((max(n, 1), _LANES), np.float32)
    for start in range(0, size, _LANES):
        m = min(_LANES, size - start)
        sign, number = lanes[0, :m], lanes[1, :m]
        loaded = _load(images, start, scratch, sign, number)
        sort_lanes(scratch, network[begins[loaded] : begins[loaded + 1]], m)
        _choose(scratch, loaded, sign, number, apart, values[start : start + m], count[start : start + m])


@subkernel
def _load_shifted(
    data: np.ndarray,
    dq: np.ndarray,
    places: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    useless: np.uint16,
    row: int,
    start: int,
    work: np.ndarray,
    sign: np.ndarray,
    number: np.ndarray,
) -> int:
    """As `_load`, from the frames that reach these lanes."""
    ny, nx, m, loaded = data.shape[1], data.shape[2], sign.size, 0
    zero, one, infinite = np.float32(0), np.float32(1), np.float32(np.inf)
    for j in range(m):
        sign[j], number[j] = infinite, zero
    for k in range(places.size):
        y, x = row + rows[k], start + columns[k]
        low, high = max(-x, 0), min(m, nx - x)
        if y < 0 or y >= ny or high <= low:
            continue
        source, bits = data[places[k], y, x + low : x + high], dq[places[k], y, x + low : x + high]
        whole, target, left, behind = work[loaded], work[loaded, low:high], sign[low:high], number[low:high]
        loaded += 1
        for j in range(low):
            whole[j], sign[j] = sign[j], -sign[j]
        for j in range(high, m):
            whole[j], sign[j] = sign[j], -sign[j]
        for j in range(source.size):
            value, other = source[j], left[j]
            there = ((bits[j] & useless) == 0) & (abs(value) < infinite)
            target[j] = value if there else other
            left[j] = other if there else -other
        for j in range(source.size):
            behind[j] += one if abs(target[j]) < infinite else zero
    return loaded


@kernel
def _shifted_medians(
    data: np.ndarray,
    dq: np.ndarray,
    places: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    useless: np.uint16,
    network: np.ndarray,
    begins: np.ndarray,
    apart: np.float32,
    values: np.ndarray,
    count: np.ndarray,
) -> None:
    lanes, scratch = np.empty((2, _LANES), np.float32), np.empty((places.size, _LANES), np.float32)
    for row in range(values.shape[0]):
        for start in range(0, values.shape[1], _LANES):
            m = min(_LANES, values.shape[1] - start)
            sign, number = lanes[0, :m], lanes[1, :m]
            loaded = _load_shifted(data, dq, places, rows, columns, useless, row, start, scratch, sign, number)
            sort_lanes(scratch, network[begins[loaded] : begins[loaded + 1]], m)
            out = values[row, start : start + m], count[row, start : start + m]
            _choose(scratch, loaded, sign, number, apart, *out)
