"""How far extended objects reach: their profiles beyond the detection limit, extrapolated."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_AREA = 20  # binned pixels that make an object extended
MOST_OBJECTS = 64  # the largest
INNER_RADIUS = 1.5  # binned pixels: nearer the centre the seeing rules
REACH = 4.0  # the profile is measured to this many isophotal radii
GROWTH = 8.0  # and extrapolated to this many
PROFILE_ERROR = 0.2  # relative, for what is no ellipse and no Sersic profile
INDICES = np.array([0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0])
SIZES = np.geomspace(0.1, 3.0, 32)  # effective radii, in isophotal radii
#: Share of the flux left outside for index 1, and its growth with the index (steep profiles never end).
OUTSIDE = 0.003
OUTSIDE_POWER = 1.2
CONFIDENCE = 0.9  # that no more flux is left outside
SIGNIFICANCE = 10.0  # of the flux in the isophote, for a profile to be believed


def extended_ellipses(
    signal: NDArray[np.float32], weight: NDArray[np.float32], found: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """Ellipses that hold nearly all the light of the extended objects in a binned image.

    The isophotal ellipse of each object sets annuli; Sersic (1963) profiles on a grid of indices and sizes are fitted
    to the annuli's means, and the radius that leaves the wanted flux outside is, by likelihood, rather too large.

    Parameters
    ----------
    signal, weight : ndarray of float32, shape (h, w)
        Sums of the signal and of the good pixels in each block; the background is zero.
    found : ndarray of uint8, shape (h, w)
        Detected pixels.

    Returns
    -------
    ndarray of float64, shape (n, 5)
        Centre x and y, semi-major axis (blocks), axis ratio, angle (radian, from x towards y).
    """
    from scipy.ndimage import find_objects, label

    from nirred.algorithms.background import level

    labels, _ = label(found, np.ones((3, 3), int))
    area = np.bincount(labels.ravel())[1:]
    chosen = [k for k in np.argsort(-area, kind="stable")[:MOST_OBJECTS] if area[k] >= MIN_AREA]
    if not chosen:
        return np.empty((0, 5))
    surface = np.where(weight > 0, signal / np.maximum(weight, 1.0), np.nan)
    noise = level(surface, found)
    if noise.n < 10 or not noise.sigma > 0:
        return np.empty((0, 5))
    boxes = find_objects(labels)
    ellipses = []
    for k in chosen:
        member = labels[boxes[k]] == k + 1
        flux = float(np.nansum(surface[boxes[k]][member] - noise.value))
        if flux < SIGNIFICANCE * noise.sigma * np.sqrt(area[k]):
            continue
        ellipse = _isophote(member, boxes[k])
        radius, means, errors = _annuli(surface - noise.value, labels, k + 1, ellipse)
        usable = np.isfinite(means) & (radius > INNER_RADIUS)
        if np.count_nonzero(usable) >= 4:
            floor = np.hypot(noise.error, PROFILE_ERROR * means)
            total = np.hypot(errors * noise.sigma, floor)
            ellipse[2] *= _reach(radius[usable] / ellipse[2], means[usable], total[usable])
            ellipses.append(ellipse)
    return np.array(ellipses).reshape(-1, 5)


def _isophote(member: NDArray[np.bool_], box: tuple[slice, slice]) -> NDArray[np.float64]:
    """Ellipse of the area and second moments of a set of pixels."""
    y, x = np.nonzero(member)
    x0, y0 = x.mean(), y.mean()
    xx, yy, xy = np.mean((x - x0) ** 2), np.mean((y - y0) ** 2), np.mean((x - x0) * (y - y0))
    root = np.hypot(0.5 * (xx - yy), xy)
    ratio = np.sqrt(max((0.5 * (xx + yy) - root) / (0.5 * (xx + yy) + root), 0.04))
    angle = 0.5 * np.arctan2(2.0 * xy, xx - yy)
    return np.array([x0 + box[1].start, y0 + box[0].start, np.sqrt(x.size / (np.pi * ratio)), ratio, angle])


def _annuli(
    surface: NDArray[np.float64], labels: NDArray[Any], own: int, ellipse: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Semi-major axis, mean brightness and 1/sqrt(pixels) of annuli along an ellipse, other objects left out."""
    x0, y0, major, ratio, angle = ellipse
    half = REACH * major
    rows = slice(max(0, int(y0 - half)), int(y0 + half) + 2)
    columns = slice(max(0, int(x0 - half)), int(x0 + half) + 2)
    cut, near = surface[rows, columns], labels[rows, columns]
    y = np.arange(rows.start, rows.start + cut.shape[0])[:, None] - y0
    x = np.arange(columns.start, columns.start + cut.shape[1])[None, :] - x0
    along = x * np.cos(angle) + y * np.sin(angle)
    across = (y * np.cos(angle) - x * np.sin(angle)) / ratio
    distance = np.sqrt(along * along + across * across)
    edges = np.geomspace(0.1 * major, half, 19)
    use = np.isfinite(cut) & ((near == 0) | (near == own)) & (distance < half)
    ring = np.searchsorted(edges, distance[use], side="right")
    count = np.bincount(ring, minlength=edges.size + 1)[1 : edges.size]
    total = np.bincount(ring, weights=cut[use], minlength=edges.size + 1)[1 : edges.size]
    radius = np.bincount(ring, weights=distance[use], minlength=edges.size + 1)[1 : edges.size]
    with np.errstate(invalid="ignore", divide="ignore"):
        return radius / count, total / count, 1.0 / np.sqrt(count)


def _reach(radius: NDArray[np.float64], means: NDArray[np.float64], errors: NDArray[np.float64]) -> float:
    """Radius that leaves the wanted share of the flux outside, in the units of `radius`, from 1 to `GROWTH`."""
    from scipy.special import gammainccinv, gammaincinv

    index, size = INDICES[:, None, None], SIZES[None, :, None]
    steepness = gammaincinv(2.0 * index, 0.5)
    model = np.exp(-steepness * (radius / size) ** (1.0 / index))
    weights = 1.0 / (errors * errors)
    scale = np.sum(weights * model * means, axis=-1) / np.maximum(np.sum(weights * model * model, axis=-1), 1e-300)
    misfit = np.sum(weights * (means - np.maximum(scale, 0.0)[..., None] * model) ** 2, axis=-1)
    likelihood = np.exp(-0.5 * (misfit - misfit.min()))
    outside = np.minimum(OUTSIDE * INDICES**OUTSIDE_POWER, 0.5)
    limit = SIZES * ((gammainccinv(2.0 * INDICES, outside) / steepness[:, 0, 0]) ** INDICES)[:, None]
    order = np.argsort(limit, axis=None)
    below = np.cumsum(likelihood.ravel()[order])
    wanted = float(limit.ravel()[order][np.searchsorted(below, CONFIDENCE * below[-1])])
    return min(max(wanted, 1.0), GROWTH)
