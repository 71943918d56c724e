"""Power and noise of a sky's pattern, in tiles; levels of sky frames; the noise of single pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.background import level
from nirred.algorithms.compiled import kernel, subkernel
from nirred.algorithms.ranking import middle
from nirred.algorithms.threads import run_blocks

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Median of a chi-square variable of one degree of freedom.
MEDIAN_CHI2 = 0.4549364
#: The noise of single pixels is measured on every so many rows.
NOISE_STEP = 7
#: Least number of values in a tile for its own variance.
FEWEST = 32
#: Rows of tiles that a thread works on at once.
ROWS = 4
#: Rows of samples, likewise.
SAMPLED_ROWS = 16
#: Power much larger than any noise.
WHOLE = np.float32(1e20)
#: Iterations in which levels and pattern are derived from each other.
ROUNDS = 2


def pattern_power(
    first: tuple[Float32, Float32],
    second: tuple[Float32, Float32],
    smooth: Float32,
    tile: int = 64,
    *,
    robust: bool = True,
    threads: int = 1,
) -> tuple[Float64, Float64]:
    """Power of the true pattern and of the noise, from two halves of the sky frames, in tiles.

    Half the sum of two independent estimates of one pattern has the variance of pattern and noise, half their
    difference that of the noise alone. No model of the detector's noise is needed. Both variances are medians of
    squares / 0.4549, which are robust against hot pixels and undetected sources.

    Parameters
    ----------
    first, second : (g, units), float32 (ny, nx)
        From disjoint sets of frames.
    smooth : float32 (ny, nx)
        Large-scale part of g.
    tile : int
        Side of the areas over which both are averaged; the nearest even division of the image is taken.
    robust : bool
        Take medians of squares; False: means, which include structure in a small part of a tile.
    threads : int
        Number of threads for rows of tiles.

    Returns
    -------
    P : float64, shape (tiles along y, along x)
        Variance of the small-scale pattern; not below 0.
    V : the same
        Noise variance of g times its sum of units.
    """
    ny, nx = smooth.shape
    noise, both, weight = np.full((3, max(1, round(ny / tile)), max(1, round(nx / tile))), np.nan)
    planes = [np.asarray(a, np.float32) for a in (*first, *second, smooth)]

    def tiles(start: int, stop: int) -> None:
        _tile_powers(*planes, robust, (start, stop), noise, both, weight)

    run_blocks(tiles, noise.shape[0], threads, ROWS)
    for values in (noise, both, weight):
        known = np.isfinite(values)
        values[~known] = np.median(values[known]) if known.any() else 0.0
    return np.maximum(both - noise, 0.0) / np.maximum(weight, 1e-30), noise


@kernel
def _tile_powers(
    ga: np.ndarray,
    ua: np.ndarray,
    gb: np.ndarray,
    ub: np.ndarray,
    smooth: np.ndarray,
    robust: bool,
    wanted: tuple[int, int],
    noise: np.ndarray,
    both: np.ndarray,
    weight: np.ndarray,
) -> None:
    """Variances of half the difference and of half the sum minus its smooth part, times w = 4 / (1/ua + 1/ub), and w.

    Of some rows of tiles. Tiles without enough values stay as they are. Of large ones every other pixel is taken, as on
    a chess board.
    """
    rows, columns = noise.shape
    height, width = smooth.shape
    size = (height // rows + 1) * (width // columns + 1)
    apart, together = np.empty(size, np.float32), np.empty(size, np.float32)
    step = 2 if height >= 32 * rows and width >= 32 * columns else 1
    for j in range(wanted[0], wanted[1]):
        for i in range(columns):
            n, total = 0, 0.0
            for y in range(j * height // rows, (j + 1) * height // rows):
                begin = i * width // columns
                for x in range(begin + (begin + y) % step, (i + 1) * width // columns, step):
                    a, b = ua[y, x], ub[y, x]
                    if (a > 0) & (b > 0):
                        w = np.float32(4) * a * b / (a + b)
                        difference = np.float32(0.5) * (ga[y, x] - gb[y, x])
                        mean = np.float32(0.5) * (ga[y, x] + gb[y, x]) - smooth[y, x]
                        apart[n], together[n] = difference * difference * w, mean * mean * w
                        total += w
                        n += 1
            if n < FEWEST:
                continue
            weight[j, i] = total / n
            if robust:
                noise[j, i] = middle(apart, n) / MEDIAN_CHI2
                both[j, i] = middle(together, n) / MEDIAN_CHI2
            else:
                noise[j, i], both[j, i] = _mean(apart[:n]), _mean(together[:n])


@subkernel
def _mean(values: np.ndarray) -> float:
    total = 0.0
    for value in values:
        total += value
    return total / values.size


def shrinkage(power: Float64, noise: Float64, units: Float32) -> tuple[Float32, Float32]:
    """(P, V) of every pixel, float32 (ny, nx), from those of tiles and the pixels' sums of units.

    A pattern stronger than its noise is subtracted whole: shrinkage would gain little, and what it leaves of a skewed
    pattern is not noise: its mean remains in the stack, its mode tilts the frames' residual surfaces.
    """
    p, v = np.empty(units.shape, np.float32), np.empty(units.shape, np.float32)
    columns = np.arange(units.shape[1]) * power.shape[1] // units.shape[1]
    _spread(power.astype(np.float32)[:, columns], noise.astype(np.float32)[:, columns], units, p, v)
    return p, v


@kernel
def _spread(power: np.ndarray, noise: np.ndarray, units: np.ndarray, p: np.ndarray, v: np.ndarray) -> None:
    for y in range(units.shape[0]):
        j = y * power.shape[0] // units.shape[0]
        strong, weak, u = power[j], noise[j], units[y]
        to_p, to_v = p[y], v[y]
        for x in range(u.size):
            to_p[x] = WHOLE if strong[x] * u[x] > weak[x] else strong[x]
            to_v[x] = weak[x]


def join_halves(halves: Float32) -> tuple[Float32, Float32]:
    """Mean pattern and sum of units, float32 (ny, nx), of two sets of frames: (g, units, g, units)."""
    g, units = np.empty(halves.shape[1:], np.float32), np.empty(halves.shape[1:], np.float32)
    _join(halves, g, units)
    return g, units


@kernel
def _join(halves: np.ndarray, g: np.ndarray, units: np.ndarray) -> None:
    zero, nothing = np.float32(0), np.float32(np.nan)
    for y in range(g.shape[0]):
        a, u, b, v = halves[0, y], halves[1, y], halves[2, y], halves[3, y]
        to_g, to_u = g[y], units[y]
        for x in range(a.size):
            whole = u[x] + v[x]
            middle = a[x] + (b[x] - a[x]) * (v[x] / whole)
            middle = b[x] if u[x] == zero else middle
            to_g[x] = a[x] if v[x] == zero else middle
            to_u[x] = whole
            if not whole > zero:
                to_g[x] = nothing


def levels_alike(
    frames: Float32,
    bad: NDArray[np.uint8],
    levels: Float64,
    *,
    scaled: bool,
    skies: int | None = None,
    threads: int = 1,
) -> Float64:
    """Levels of frames with one pattern, corrected for their different masks.

    A frame masked where the pattern is low seems brighter than one masked elsewhere. Where it is masked, the other
    frames, whose levels seem too low, would make the sky too bright. Each frame is therefore levelled against the
    common pattern, on its unmasked pixels.

    Parameters
    ----------
    frames : float32 (n, rows, nx)
        Samples of the same pixels.
    bad : uint8 (n, rows, nx)
        Not zero where a pixel is masked.
    levels : float64 (n,)
        First estimate of the levels.
    scaled : bool
        The pattern is proportional to the level; False: it is added to it.
    skies : int, optional
        So many frames, the first ones, show the pattern; default: all.
    threads : int
        Number of threads, for rows of the pattern and for frames.

    Returns
    -------
    float64 (n,)
        Their common level remains that of the first estimate.
    """
    found, good = levels.astype(np.float64), bad == 0
    shared = np.count_nonzero(good[:skies], axis=0) > 1  # of a pixel that one frame shows, the pattern is that frame
    pattern = np.empty(shared.shape)

    def draw(start: int, stop: int) -> None:
        rows = slice(start, stop)
        total, behind = np.zeros(shared[rows].shape), np.zeros(shared[rows].shape)
        for frame, seen, value in zip(frames[:skies, rows], good[:skies, rows], found[:skies], strict=True):
            total += np.where(seen, frame if scaled else frame - value, 0.0)
            behind += np.where(seen, value if scaled else 1.0, 0.0)
        pattern[rows] = total / np.where(shared[rows], behind, np.inf)

    def raised(k: int, _: int) -> float:
        expected = found[k] * pattern if scaled else found[k] + pattern
        left = level(frames[k] - expected, ~(good[k] & shared), step=1)
        return left.value if left.n else 0.0

    for _ in range(ROUNDS):
        run_blocks(draw, shared.shape[0], threads, SAMPLED_ROWS)
        found += run_blocks(raised, len(frames), threads, 1)
    return found


def pixel_noise(data: Float32, bad: NDArray[np.uint8], step: int = NOISE_STEP) -> float:
    """Scatter of single pixels, independent of smooth light on them: from second differences along rows.

    Parameters
    ----------
    data : float32 (ny, nx)
        Unresampled frame.
    bad : uint8 (ny, nx)
        Not zero where unusable.
    step : int
        Use every `step`-th row.

    Returns
    -------
    float
        1.4826 x median absolute second difference / sqrt(6); NaN with fewer than 100 of them.
    """
    rows, hidden = data[::step], bad[::step] != 0
    second = rows[:, :-2] - 2.0 * rows[:, 1:-1] + rows[:, 2:]
    good = ~(hidden[:, :-2] | hidden[:, 1:-1] | hidden[:, 2:]) & np.isfinite(second)
    if np.count_nonzero(good) < 100:
        return float("nan")
    return float(1.4826 * np.median(np.abs(second[good])) / np.sqrt(6.0))
