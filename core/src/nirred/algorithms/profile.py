"""Extent of extended objects, from profiles extrapolated beyond the detection limit."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.compiled import kernel, subkernel
from nirred.algorithms.ranking import middle

MIN_AREA = 20  # least number of binned pixels of an extended object
MOST_OBJECTS = 64  # the largest
INNER_RADIUS = 1.5  # binned pixels: closer to the centre the seeing dominates
REACH = 4.0  # the profile is measured to this many isophotal radii
GROWTH = 8.0  # and extrapolated to this many
PROFILE_ERROR = 0.2  # relative, for deviations from ellipses and Sersic profiles
INDICES = np.array([0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0])
SIZES = np.geomspace(0.1, 3.0, 32)  # effective radii, in isophotal radii
#: Edges of the profile's annuli, in isophotal radii.
RINGS = np.geomspace(0.1, REACH, 19)
#: Pixels of an object that exceed the median of their ring by this many times the median distance from it, 3 sigma, and
#: by this share of the median, are those of stars: a steep profile varies within a ring.
CLIP, STEEP = 4.5, 0.5
#: Share of the flux left outside for index 1, and its growth with the index (steep profiles never end).
OUTSIDE = 0.003
OUTSIDE_POWER = 1.2
CONFIDENCE = 0.9  # that no more flux is left outside
_FEWEST = 4  # least number of rings for a profile
_HOLLOW = 3.0  # errors below zero
HIDDEN = 1.3  # an object in a hollow may extend to this many times the apparent end of its profile
SPARSE = 4  # sampling step, pixels, that misses no region of interest
SIGNIFICANCE = 10.0  # least significance of the flux in the isophote for a profile to be used
#: Share of a region inside the ellipse of its area and moments below which it may be several objects. Galaxies: 0.91 to
#: 0.95, with ragged outskirts 0.85; a nebula of eight clouds 0.82.
ELLIPTICAL = 0.9
#: Least share of such a region that counts as an object of its own, and number of levels at which these are sought.
PART, LEVELS = 0.02, 12


def extended_ellipses(
    signal: NDArray[np.float32], weight: NDArray[np.float32], found: NDArray[np.uint8], *, sunk: bool = False
) -> NDArray[np.float64]:
    """Ellipses that contain nearly all the light of the extended objects in a binned image.

    The isophotal ellipse of each object defines annuli; Sersic (1963) profiles on a grid of indices and sizes are
    fitted to the annuli's means. The radius that leaves the wanted flux outside is an upper limit by likelihood.

    Parameters
    ----------
    signal, weight : ndarray of float32, shape (h, w)
        Sums of the signal and of the good pixels in each block; the background is zero.
    found : ndarray of uint8, shape (h, w)
        Detected pixels.
    sunk : bool
        Objects lie in hollows: the subtracted sky contained some of their own light.

    Returns
    -------
    ndarray of float64, shape (n, 5)
        Centre x and y, semi-major axis (blocks), axis ratio, angle (radian, from x towards y).
    """
    surface = np.where(weight > 0, signal / np.maximum(weight, 1.0), np.nan)
    ellipses = []
    for ellipse, profile, _ in extended_objects(surface, found, MIN_AREA, MOST_OBJECTS):
        reach = _reach(*profile, sunk=False)
        hollow = sunk and _hollow(*profile[1:]) > 0
        ellipse[2] *= min(_reach(*profile, sunk=True), HIDDEN * reach) if hollow else reach
        ellipses.append(ellipse)
    return np.array(ellipses).reshape(-1, 5)


def extended_objects(
    surface: NDArray[np.float32],
    found: NDArray[np.uint8],
    least: float,
    most: int,
    error: float = PROFILE_ERROR,
) -> Iterator[tuple[NDArray[np.float64], tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]], float]]:
    """The largest objects of at least `least` blocks: isophotal ellipse, profile above background, a block's noise.

    A profile consists of radii (isophotal ones), means of annuli and their errors, which include the relative `error`.
    """
    from scipy.ndimage import label

    from nirred.algorithms.background import level

    labels, number = label(found, np.ones((3, 3), int))
    if not np.any(np.bincount(labels.ravel())[1:] >= least):
        return
    noise = level(surface, found)
    if noise.n < 10 or not noise.sigma > 0:
        return
    left = surface - np.float32(noise.value)
    number = _part_regions(left, labels, number)
    area = np.bincount(labels.ravel(), minlength=number + 1)[1:]
    chosen = [k for k in np.argsort(-area, kind="stable")[:most] if area[k] >= least]
    flux, isophotes = _isophotes(left, labels, number)
    for k in chosen:
        ellipse = isophotes[k]
        if flux[k] < SIGNIFICANCE * noise.sigma * np.sqrt(area[k]):
            continue
        radius, means, errors = _annuli(left, labels, k + 1, ellipse)
        usable = np.isfinite(means) & (radius > INNER_RADIUS)
        if np.count_nonzero(usable) >= _FEWEST:
            floor = np.hypot(noise.error, error * means)
            total = np.hypot(errors * noise.sigma, floor)
            yield ellipse, (radius[usable] / ellipse[2], means[usable], total[usable]), noise.sigma


def _part_regions(surface: NDArray[np.float32], labels: NDArray[np.int32], number: int) -> int:
    """Part regions that several objects share, in place; return the number of labels.

    Clouds of a nebula and galaxies of a group merge above the detection limit. One ellipse around all of them, extended
    along its profile, may cover most of a field.
    """
    from scipy.ndimage import find_objects

    boxes = list(find_objects(labels))
    k = 0
    while k < len(boxes):
        box = boxes[k]
        parts = _parts(surface[box], labels[box] == k + 1)
        if parts is None:
            k += 1
            continue
        for part in range(2, int(parts.max()) + 1):
            number += 1
            labels[box][parts == part] = number
            boxes.append(box)
    return number


def _parts(surface: NDArray[np.float32], region: NDArray[np.bool_]) -> NDArray[np.int32] | None:
    """Numbers from 1 of the objects in a region, at the lowest level at which there are several; None: it is one."""
    from scipy.ndimage import distance_transform_edt, label

    area = int(np.count_nonzero(region))
    least = max(MIN_AREA, PART * area)
    if area < 2 * least or _elliptical_share(region) >= ELLIPTICAL:
        return None
    light = np.where(region, np.nan_to_num(surface), 0.0)
    faint, bright = np.percentile(light[region], (5.0, 99.5))
    if not bright > 0:
        return None
    for threshold in np.geomspace(max(faint, 1e-6 * bright), bright, LEVELS)[1:]:
        seeds, _ = label(light > threshold, np.ones((3, 3), int))
        large = np.flatnonzero(np.bincount(seeds.ravel())[1:] >= least) + 1
        if large.size > 1:
            order = np.zeros(seeds.max() + 1, np.int32)
            order[large] = np.arange(1, large.size + 1)
            seeds = order[seeds]
            nearest = distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
            return np.where(region, seeds[tuple(nearest)], 0)
    return None


def _elliptical_share(region: NDArray[np.bool_]) -> float:
    """Share of a region inside the ellipse of its area and second moments."""
    _, ((x0, y0, major, ratio, angle),) = _isophotes(np.ones(region.shape, np.float32), region.astype(np.int32), 1)
    y, x = np.nonzero(region)
    c, s = np.cos(angle), np.sin(angle)
    along, across = (x - x0) * c + (y - y0) * s, (y - y0) * c - (x - x0) * s
    return float(np.mean(np.hypot(along, across / ratio) <= major))


def hollowed_share(surface: NDArray[np.float32], found: NDArray[np.uint8]) -> float:
    """Share of an image covered by extended objects that lie in hollows: their light was subtracted with the sky.

    Parameters
    ----------
    surface : ndarray of float32, shape (h, w)
        Means of the good pixels in blocks; NaN where there are none.
    found : ndarray of uint8, shape (h, w)
        Detected blocks.

    Returns
    -------
    float
        The share of their isophotal ellipses.
    """
    area = 0.0
    for ellipse, profile, _ in extended_objects(surface, found, MIN_AREA, MOST_OBJECTS):
        if _hollow(*profile[1:]) > 0:
            area += float(np.pi * ellipse[2] ** 2 * ellipse[3])
    return area / max(found.size, 1)


def cut_share(marked: NDArray[np.bool_], outside: NDArray[np.bool_]) -> float:
    """Share of an image that is marked in regions cut by its edge, beyond which nothing is measured.

    Parameters
    ----------
    marked : ndarray of bool, shape (ny, nx)
        Sampled at every `SPARSE`-th pixel in x and y.
    outside : ndarray of bool, shape (ny, nx)
        Unilluminated pixels, beyond the edge of the detector's field, in addition to those beyond the image.
    """
    from scipy.ndimage import binary_dilation, label

    regions = np.pad(label(marked[::SPARSE, ::SPARSE], np.ones((3, 3)))[0], 1)
    beyond = binary_dilation(np.pad(outside[::SPARSE, ::SPARSE], 1, constant_values=True), np.ones((3, 3)))
    cut = np.unique(regions[beyond])
    return float(np.isin(regions, cut[cut > 0]).sum() / max(marked[::SPARSE, ::SPARSE].size, 1))


def _isophotes(
    surface: NDArray[np.float32], labels: NDArray[np.int32], number: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Flux of each object, and the ellipse of its area and second moments."""
    y, x = np.nonzero(labels)
    own = labels[y, x] - 1
    area = np.bincount(own, minlength=number)

    def mean(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(own, values, number) / area)

    x0, y0 = mean(x), mean(y)
    u, v = x - x0[own], y - y0[own]
    xx, yy, xy = mean(u * u), mean(v * v), mean(u * v)
    half = 0.5 * (xx + yy)
    root = np.hypot(0.5 * (xx - yy), xy)
    ratio = np.sqrt(np.maximum((half - root) / np.maximum(half + root, 1e-300), 0.04))
    angle = 0.5 * np.arctan2(2.0 * xy, xx - yy)
    flux = np.bincount(own, np.nan_to_num(surface[y, x]), number)
    return np.asarray(flux, np.float64), np.stack([x0, y0, np.sqrt(area / (np.pi * ratio)), ratio, angle], axis=1)


def _annuli(
    surface: NDArray[np.float32], labels: NDArray[np.int32], own: int, ellipse: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Semi-major axis, mean brightness and 1/sqrt(pixels) of annuli along an ellipse; other objects are left out."""
    rings = np.zeros((RINGS.size, 3))
    _measure_rings(surface, labels, own, ellipse, np.cos(ellipse[4]), np.sin(ellipse[4]), ellipse[2] * RINGS, rings)
    count, light, distance = rings[1:].T
    with np.errstate(invalid="ignore", divide="ignore"):
        return distance / count, np.where(count > 0, light, np.nan), 1.0 / np.sqrt(count)


@kernel
def _measure_rings(
    surface: np.ndarray,
    labels: np.ndarray,
    own: int,
    ellipse: np.ndarray,
    c: float,
    s: float,
    edges: np.ndarray,
    rings: np.ndarray,
) -> None:
    """Number of pixels between neighbouring edges, their usual light, and the sum of their distances.

    rings[0] is inside the first edge; `c` and `s` are cosine and sine of the ellipse's angle.
    """
    (x0, y0, _, ratio, _), half, number = ellipse, edges[-1], 0
    top, bottom = max(0, int(y0 - half)), min(surface.shape[0], int(y0 + half) + 2)
    left, right = max(0, int(x0 - half)), min(surface.shape[1], int(x0 + half) + 2)
    size = max(bottom - top, 0) * max(right - left, 0)
    found, light, beyond = np.empty(size, np.uint8), np.empty(size), np.empty(size, np.bool_)
    for y in range(top, bottom):
        for x in range(left, right):
            along = (x - x0) * c + (y - y0) * s
            across = ((y - y0) * c - (x - x0) * s) / ratio
            distance = np.sqrt(along * along + across * across)
            if not distance < half or not (labels[y, x] == 0 or labels[y, x] == own) or np.isnan(surface[y, x]):
                continue
            ring = 0
            while edges[ring] <= distance:
                ring += 1
            rings[ring, 0] += 1.0
            rings[ring, 2] += distance
            found[number], light[number], beyond[number] = ring, surface[y, x], labels[y, x] == 0
            number += 1
    by_ring, outside, work = np.empty(number), np.empty(number, np.bool_), np.empty(number)
    first = 0
    for k in range(rings.shape[0]):
        last = first
        for n in range(number):
            if found[n] == k:
                by_ring[last], outside[last] = light[n], beyond[n]
                last += 1
        if last > first:
            rings[k, 1] = _usual_light(by_ring[first:last], outside[first:last], work)
        first = last


@subkernel
def _usual_light(light: np.ndarray, outside: np.ndarray, work: np.ndarray) -> float:
    """Mean light of a ring's pixels without stars on a galaxy, which belong to its region.

    Pixels inside the region that are much brighter than the ring's median do not count.
    """
    n = light.size
    for k in range(n):
        work[k] = light[k]
    usual = middle(work, n)
    for k in range(n):
        work[k] = abs(light[k] - usual)
    limit = usual + max(CLIP * middle(work, n), STEEP * usual)
    total, number = 0.0, 0
    for k in range(n):
        if light[k] <= limit or outside[k]:
            total += light[k]
            number += 1
    return total / number


@lru_cache(maxsize=1)
def sersic_grid() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steepness of each index, (indices, 1, 1), and the radius with the index's share outside, (indices, sizes)."""
    from scipy.special import gammainccinv, gammaincinv

    steepness = gammaincinv(2.0 * INDICES, 0.5)
    outside = np.minimum(OUTSIDE * INDICES**OUTSIDE_POWER, 0.5)
    limit = SIZES * ((gammainccinv(2.0 * INDICES, outside) / steepness) ** INDICES)[:, None]
    return steepness[:, None, None], limit


def _hollow(means: NDArray[np.float64], errors: NDArray[np.float64]) -> int:
    """Number of rings down to the bottom of the hollow around an object; 0 if there is none."""
    lowest = int(np.argmin(means))
    return max(lowest + 1, _FEWEST) if means[lowest] < -_HOLLOW * errors[lowest] else 0


def _reach(
    radius: NDArray[np.float64], means: NDArray[np.float64], errors: NDArray[np.float64], *, sunk: bool
) -> float:
    """Radius that leaves the wanted share of the flux outside, in the units of `radius`, from 1 to `GROWTH`.

    Dithered images of an object in the sky make a hollow around it. If there is one, it is taken for flat out to its
    lowest ring, where the falling profile ends.
    """
    kept = slice(0, _hollow(means, errors) if sunk else 0)
    sunk = kept.stop > 0
    if sunk:
        radius, means, errors = radius[kept], means[kept], errors[kept]
    steepness, limit = sersic_grid()
    model = np.exp(-steepness * (radius / SIZES[:, None]) ** (1.0 / INDICES[:, None, None]))
    weights = 1.0 / (errors * errors)
    floor: float | NDArray[np.float64] = 0.0
    if sunk:
        apart = model - np.sum(weights * model, axis=-1, keepdims=True) / weights.sum()
        level = np.sum(weights * means) / weights.sum()
        scale = np.sum(weights * apart * means, axis=-1) / np.maximum(np.sum(weights * apart * apart, axis=-1), 1e-300)
        floor = np.minimum(level - scale * (np.sum(weights * model, axis=-1) / weights.sum()), 0.0)[..., None]
    left = means - floor
    scale = np.sum(weights * model * left, axis=-1) / np.maximum(np.sum(weights * model * model, axis=-1), 1e-300)
    misfit = np.sum(weights * (left - np.maximum(scale, 0.0)[..., None] * model) ** 2, axis=-1)
    likelihood = np.exp(-0.5 * (misfit - misfit.min()))
    order = np.argsort(limit, axis=None)
    below = np.cumsum(likelihood.ravel()[order])
    wanted = float(limit.ravel()[order][np.searchsorted(below, CONFIDENCE * below[-1])])
    return min(max(wanted, 1.0), GROWTH)
