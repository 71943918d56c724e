"""Objects in a first-pass stack with an uneven sky: after removing slopes, at the edges, and without their wings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nirred.algorithms.background import level
from nirred.algorithms.dilation import dilate
from nirred.algorithms.mesh import mesh_background
from nirred.algorithms.nested import fit_nested
from nirred.algorithms.objmask import blank_fraction, block_means
from nirred.algorithms.surface import FIELD_STEP, Surface, unevenness, unlit_plane

#: How often the residual surface between objects is subtracted and objects are sought again.
REFINEMENTS = 2
#: Least blank share of the field from which that surface can be measured.
LEAST_BLANK = 0.3
#: Largest rms error of a usable surface over the field, objects included, in sigma of a pixel; 0.01 is usual.
TOLD = 0.1
#: Surfaces that differ by less than this, in sigma of a pixel, are equal: at the widest smoothing scale noise is 0.02.
SETTLED = 0.005
#: Side of the boxes from whose levels slopes are measured, pixels.
BOX = 64
#: Boxes are not sky where they exceed the level predicted from sky frames by this many sigma.
SEEN = 2.0
#: A blank area is sky, whatever its level, if it is a plane to within this fraction of its level above the predicted
#: sky. Skies that changed between target and sky frames: 0.01 to 0.03; smooth light that fills a field: 0.14 and
#: more, or 0.08 if its centre is a corner.
EVEN = 0.05

#: ``find_objects`` with its threshold set; takes an image, its bad pixels and its noise.
Seek = Callable[..., tuple[np.ndarray, np.ndarray]]


def first_objects(
    model: np.ndarray, bad: np.ndarray, noise: np.ndarray, seek: Seek, lit: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Object mask of a first-pass stack; the stack without its residual large-scale sky and the objects, in blocks.

    A slope of the background would be taken for halos. The surface between the objects found at first is therefore
    subtracted, if enough of the field is blank to measure it, and objects are sought again with
    ``seek(image, bad, noise)``. A steep slope makes most of the field look like an object at first: then the plane on
    which most of the field lies is subtracted before, unless the sky frames show that this is a target's light (`lit`).
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
        even = surface.taken_off(model)
        fresh = seek(even, bad, noise)
        if blank_fraction(fresh[0], bad) < LEAST_BLANK:  # under the objects the surface does not continue like this
            break
        flat, known, (mask, found) = even, surface, fresh
    return mask, block_means(flat, bad), found


def _without_slope(
    model: np.ndarray, bad: np.ndarray, noise: np.ndarray, seek: Seek
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The stack minus the plane on which most of its field lies, and its objects; None if there is no such plane."""
    boxes = mesh_background(model, bad, BOX, filter=1)
    plane = unlit_plane(np.where(boxes.shares >= 0.5, boxes.values, np.nan), model.shape)
    if plane is None:
        return None
    flat = plane.taken_off(model)
    mask, found = seek(flat, bad, noise)
    if blank_fraction(mask, bad) < LEAST_BLANK:  # the profiles of many clouds may cover even what lies on the plane
        mask, found = seek(flat, bad, noise, extended=False)
    return (flat, mask, found) if blank_fraction(mask, bad) >= LEAST_BLANK else None


def lit_boxes(model: np.ndarray, bad: np.ndarray, mask: np.ndarray, error: float) -> np.ndarray:
    """Mask of boxes brighter than the sky, which sky frames predict to `error`: outskirts that cover most of a field.

    A target that leaves no sky is uneven. An even area, brighter than predicted, is a sky that has changed between the
    target frames and the sky frames: then nothing is masked.
    """
    lit = np.zeros_like(mask)
    boxes = mesh_background(model, bad | mask, BOX, filter=1)
    if blank_fraction(mask, bad) >= LEAST_BLANK:
        blank = np.where(boxes.shares >= 0.5, boxes.values, np.nan)
        if unevenness(blank, model.shape) < EVEN:
            return lit
    for j, i in zip(*np.nonzero(boxes.values > SEEN * error), strict=True):
        lit[BOX * j : BOX * (j + 1), BOX * i : BOX * (i + 1)] = 1
    return lit


def sky_between(model: np.ndarray, bad: np.ndarray, mask: np.ndarray) -> Surface | None:
    """Surface through the blank pixels, of the highest order that they determine under the objects, too."""
    fit = fit_nested(model, bad | mask, bad[::FIELD_STEP, ::FIELD_STEP] == 0, 2)
    if fit is None:
        return None
    errors = np.sqrt(np.cumsum(fit.costs) * fit.chi2 / fit.freedom)
    return fit.shrunk((errors <= TOLD * level(model, bad | mask).sigma).astype(float).tolist())


def compact_objects(model: np.ndarray, bad: np.ndarray, noise: np.ndarray, seek: Seek) -> np.ndarray:
    """Compact objects at a stack's edges, where few frames overlap: residuals of their own skies are not halos."""
    return seek(model, bad, noise, scales=(0.0, 1.5), grow=0.0, extended=False)[0]


def bare_objects(model: np.ndarray, bad: np.ndarray, noise: np.ndarray, seek: Seek, dilation: float) -> np.ndarray:
    """Compact objects without wings and halos: large-scale light may belong to the detector."""
    left, scales = model - mesh_background(model, bad, BOX).evaluate(), (0.0, 1.5, 3.0)
    return dilate(seek(left, bad, noise, scales=scales, extended=False)[0], dilation)
