"""Unilluminated parts of FLAMINGOS-2's array: outside the disc lit by the optics, and behind the guide probe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nirred.algorithms.mesh import mesh_background
from nirred.plugin import DQ, MaskSpec

if TYPE_CHECKING:
    from nirred.plugin import MaskInput

CENTRE = (1049.89, 1055.00)  # zero-based x, y on the whole array; measured on the observatory's mask
RADIUS = 1054.44  # px

_CELL = 32  # px, side of the cells whose sky is compared
_DARKEST, _EDGE = 0.06, 0.02  # loss of light that identifies a shadow, and that certainly belongs to it
_FADED, _RIM = 0.005, 3  # loss at which the soft rim ends, if the cells' scatter permits; its largest width, cells
_SMALLEST = 0.003  # least fraction of the lit cells that must be that dark
_WIDEST = 0.5  # largest fraction of the rim of the lit area that one probe can cover
_LEAST_SKY = 150.0  # e-; with less sky, differences of the readout's zero level could be taken for a shadow


def outside_disc(given: MaskInput, parameters: Mapping[str, Any]) -> np.ndarray:
    """Mask the pixels outside the illuminated disc, for the whole array or a part of it."""
    ny, nx = given.shape
    place = given.descriptors.get("detector_section")
    x1, y1 = (place.x1, place.y1) if place is not None else (0, 0)
    x = np.arange(nx) + x1 - CENTRE[0] - parameters.get("xshift", 0.0)
    y = np.arange(ny) + y1 - CENTRE[1] - parameters.get("yshift", 0.0)
    return np.asarray(x**2 > (RADIUS**2 - y**2)[:, None])


def probe_shadow(given: MaskInput, parameters: Mapping[str, Any]) -> np.ndarray:
    """Mask the guide probe's shadow, if the flat-fielded sky shows one.

    The flat-fielded sky of a frame is a plane. A shadow is a region at least 6 % fainter than this plane that extends
    inwards from the rim of the lit area. The probe is out of focus, so the mask extends to a loss of 0.5 %, and one
    cell further. A shadow is accepted only if half of the field agrees with the plane within 2 %, so that neither a
    nebula nor a flat whose shape differs from the sky's, which leaves a ring, is taken for one.
    """
    nothing = np.zeros(given.shape, bool)
    if not given.flattened:
        return nothing
    measured = _loss(_cells(given.images[0], outside_disc(given, parameters) | (given.bad[0] != 0)))
    if measured is None:
        return nothing
    dark = _reaching_in(measured[0])
    if not dark.any():
        return nothing
    dark = _with_rim(dark, *measured)
    rows, columns = (np.arange(n) * cells // n for n, cells in zip(given.shape, dark.shape, strict=True))
    return np.asarray(_grown(dark)[np.ix_(rows, columns)])


def _cells(image: np.ndarray, unlit: np.ndarray) -> np.ndarray:
    """Sky level of each cell; NaN if less than half of the cell is lit."""
    mesh = mesh_background(image, unlit.view(np.uint8), _CELL, 1)
    return np.where(mesh.shares >= 0.5, mesh.values, np.nan)


def _loss(cells: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Fraction of the sky's light missing in each cell, and its scatter; None if the sky is not flat or too faint."""
    lit = np.isfinite(cells)
    if lit.sum() < 16:
        return None
    y, x = np.mgrid[-1 : 1 : cells.shape[0] * 1j, -1 : 1 : cells.shape[1] * 1j]
    terms = np.stack([np.ones_like(x), x, y], axis=-1)
    plane = np.full(cells.shape, np.median(cells[lit]))
    for tolerance in (0.05, 0.04, 0.03, _EDGE, _EDGE, _EDGE):
        near = lit & (np.abs(cells - plane) <= tolerance * plane)
        if 2 * near.sum() < lit.sum() or plane[lit].min() < _LEAST_SKY:
            return None
        plane = terms @ np.linalg.lstsq(terms[near], cells[near], rcond=None)[0]
    loss = 1.0 - cells / plane
    noise = 1.4826 * float(np.median(np.abs(loss[near])))
    return (loss, noise) if 3.0 * noise < _EDGE else None


def _reaching_in(loss: np.ndarray) -> np.ndarray:
    """Connected regions that are dark and large enough and touch the rim on one side."""
    from scipy.ndimage import label

    with np.errstate(invalid="ignore"):
        labels, number = label(loss > _EDGE, structure=np.ones((3, 3)))
    lit = np.isfinite(loss)
    rim = lit & _grown(np.pad(~lit, 1, constant_values=True))[1:-1, 1:-1]
    wanted = max(4.0, _SMALLEST * lit.sum())
    found = np.zeros(loss.shape, bool)
    for region in (labels == k for k in range(1, number + 1)):
        touched = (region & rim).sum() / max(rim.sum(), 1)
        if 0 < touched <= _WIDEST and (loss[region] > _DARKEST).sum() >= wanted:
            found |= region
    return found


def _with_rim(dark: np.ndarray, loss: np.ndarray, noise: float) -> np.ndarray:
    """The shadow and, cell by cell, its soft rim."""
    with np.errstate(invalid="ignore"):
        dim = loss > max(_FADED, 3.0 * noise)
    for _ in range(_RIM):
        dark = dark | (_grown(dark) & dim)
    return dark


def _grown(mask: np.ndarray) -> np.ndarray:
    """The mask and its eight neighbours."""
    wide = np.pad(mask, 1)
    ny, nx = mask.shape
    return np.asarray(np.logical_or.reduce([wide[j : j + ny, i : i + nx] for j in range(3) for i in range(3)]))


_IMAGE = frozenset({"F2", "IMAGE"})
MASKS = (
    MaskSpec(
        "f2_illumination",
        int(DQ.UNILLUMINATED),
        "detector",
        _IMAGE,
        outside_disc,
        not_tags=frozenset({"DARK"}),
        parameters={"xshift": 0.0, "yshift": 0.0},
    ),
    MaskSpec(
        "f2_probe",
        int(DQ.UNILLUMINATED),
        "frame",
        _IMAGE,
        probe_shadow,
        not_tags=frozenset({"DARK", "FLAT", "TWILIGHT", "PROCESSED"}),
        parameters={"xshift": 0.0, "yshift": 0.0},
        remark="shadow of the guide probe",
    ),
)
