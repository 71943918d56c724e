"""Fast medians of aligned images, whose unusable pixels are NaN.

As in `combine_network`, tiles of pixels are sorted frame-major by a network whose loops over lanes have no branches.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.combine import sorting_network
from nirred.algorithms.compiled import kernel, subkernel

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
    networks = [sorting_network(m, (max(m // 2 - 1, 0), m // 2)) for m in range(n + 1)]
    return np.concatenate(networks), np.cumsum([0, *(len(network) for network in networks)])


@subkernel
def _load(images: np.ndarray, start: int, work: np.ndarray, sign: np.ndarray, number: np.ndarray) -> int:
    """Fill lanes with the images that have data there, and return their number.

    Missing values become +inf and -inf in turn, so that the median stays on the middle wires.
    """
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
def _middle(below: np.ndarray, above: np.ndarray, sign: np.ndarray, even: bool) -> None:
    """Move the two middle values to these rows: the first missing is +inf, so an odd number leaves one more above."""
    zero = np.float32(0)
    if even:
        for j in range(sign.size):
            above[j] = below[j] if sign[j] < zero else above[j]
    else:
        for j in range(sign.size):
            below[j] = below[j] if sign[j] < zero else above[j]


@subkernel
def _choose(
    first: np.ndarray, last: np.ndarray, number: np.ndarray, apart: np.float32, value: np.ndarray, count: np.ndarray
) -> None:
    half, zero = np.float32(0.5), np.float32(0)
    for j in range(value.size):
        between = last[j] - first[j]
        far = between > apart + half * abs(first[j])
        nearer = first[j] if abs(first[j]) < abs(last[j]) else last[j]
        middle = nearer if far else first[j] + half * between
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
        _sort(scratch, loaded, network[begins[loaded] : begins[loaded + 1]], sign)
        below, above = scratch[max(loaded // 2 - 1, 0)], scratch[loaded // 2]
        _choose(below, above, number, apart, values[start : start + m], count[start : start + m])


@subkernel
def _sort(scratch: np.ndarray, loaded: int, network: np.ndarray, sign: np.ndarray) -> None:
    """Bring the two middle values of each lane to the middle rows."""
    for c in range(network.shape[0]):
        a, b = scratch[network[c, 0]], scratch[network[c, 1]]
        for j in range(sign.size):
            x, y = a[j], b[j]
            a[j] = x if x < y else y
            b[j] = x if x > y else y
    if loaded > 0:
        _middle(scratch[max(loaded // 2 - 1, 0)], scratch[loaded // 2], sign, loaded % 2 == 0)


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
            _sort(scratch, loaded, network[begins[loaded] : begins[loaded + 1]], sign)
            below, above = scratch[max(loaded // 2 - 1, 0)], scratch[loaded // 2]
            _choose(below, above, number, apart, values[row, start : start + m], count[row, start : start + m])
