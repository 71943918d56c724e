"""Objects of a first-pass stack, whose sky is not even: beside its slopes, at its edges, and without their wings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..algorithms.background import level, mesh_background
from ..algorithms.dilation import dilate
from ..algorithms.nested import fit_nested
from ..algorithms.objmask import blank_fraction, block_means
from ..algorithms.surface import FIELD_STEP, Surface, unlit_plane

#: How often objects are sought again beside the surface of what is left between them.
REFINEMENTS = 2
#: With less of the field blank that surface is not known.
LEAST_BLANK = 0.3
#: A surface is known with an rms error of so many sigma of a pixel over the field, objects included; 0.01 is usual.
TOLD = 0.1
#: Surfaces that differ by less than this, in sigma of a pixel, are one: at the widest scale of smoothing noise is 0.02.
SETTLED = 0.005
#: Side of the boxes whose levels tell slopes, pixels.
BOX = 64

#: ``find_objects`` with its threshold: of an image, its bad pixels and its noise.
Seek = Callable[..., tuple[np.ndarray, np.ndarray]]


def first_objects(
    model: np.ndarray, bad: np.ndarray, noise: np.ndarray, seek: Seek, lit: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Objects of a first-pass stack, told from the large-scale sky that one pass leaves; in which of its blocks.

    A slope of the background would be taken for halos: the surface beside what is found at first is taken off, as far
    as enough of the field is blank to know it, and the objects are sought again: by ``seek(image, bad, noise)``. A
    steep slope hides most of the field at first: then the plane goes that most of the field lies on, unless this is a
    target's light (`lit`), by the sky frames.
    """
    flat, (mask, found) = model, seek(model, bad, noise)
    if not lit and blank_fraction(mask, bad) < LEAST_BLANK:
        flat, mask, found = _without_slope(model, bad, noise, seek) or (flat, mask, found)
    known, limit = None, SETTLED * level(model, bad).sigma
    for _ in range(REFINEMENTS):
        if blank_fraction(mask, bad) < LEAST_BLANK:
            break
        surface = sky_between(model, bad, mask)
        if surface is None or (known is not None and surface.apart(known) < limit):
            break
        flat, known = surface.taken_off(model), surface
        mask, found = seek(flat, bad, noise)
    return mask, block_means(flat, bad), found


def _without_slope(
    model: np.ndarray, bad: np.ndarray, noise: np.ndarray, seek: Seek
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The stack without the plane that most of its field lies on, and its objects; None where there is none."""
    boxes = mesh_background(model, bad, BOX, filter=1)
    plane = unlit_plane(np.where(boxes.shares >= 0.5, boxes.values, np.nan), model.shape)
    if plane is None:
        return None
    flat = plane.taken_off(model)
    mask, found = seek(flat, bad, noise)
    return (flat, mask, found) if blank_fraction(mask, bad) >= LEAST_BLANK else None


def sky_between(model: np.ndarray, bad: np.ndarray, mask: np.ndarray) -> Surface | None:
    """Surface through the blank pixels, of the highest order that they tell under the objects, too."""
    fit = fit_nested(model, bad | mask, bad[::FIELD_STEP, ::FIELD_STEP] == 0, 2)
    if fit is None:
        return None
    errors = np.sqrt(np.cumsum(fit.costs) * fit.chi2 / fit.freedom)
    return fit.shrunk((errors <= TOLD * level(model, bad | mask).sigma).astype(float).tolist())


def compact_objects(model: np.ndarray, bad: np.ndarray, noise: np.ndarray, seek: Seek) -> np.ndarray:
    """Compact objects of a stack's edges: what few frames cover shows their own sky, which is no halo."""
    return seek(model, bad, noise, scales=(0.0, 1.5), grow=0.0)[0]


def bare_objects(model: np.ndarray, bad: np.ndarray, noise: np.ndarray, seek: Seek, dilation: float) -> np.ndarray:
    """What stands out of its surroundings, wings and halos not: what large scales show may be light of the detector."""
    left, scales = model - mesh_background(model, bad, BOX).evaluate(), (0.0, 1.5, 3.0)
    return dilate(seek(left, bad, noise, scales=scales, extended=False)[0], dilation)
