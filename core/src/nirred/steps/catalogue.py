"""The catalogue of a stack."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..algorithms.stars import estimate_fwhm, find_stars
from ..dq import DQ
from ..frame import Plane
from ..geometry import NO_GRID, geometry
from ..group import Group
from ..params import Params, param
from ..params import Params as StepParams
from ..plugin.recipes import StepCall
from ..results import require
from ..states import BAD
from ..step import GroupStep

#: Least signal-to-noise ratio of the stars from which the stack's FWHM is measured.
STAR_SNR = 20.0


class MakeCatalogue(GroupStep):
    """Make the catalogue OBJCAT of the stack."""

    name = "make_catalogue"
    uses_frames = False
    doc = "sources of the stack with fluxes and errors from VAR and NOISECOV"

    class Params(StepParams):
        """Parameters of `make_catalogue`."""

        threshold: float = param(4.5, "detection threshold in sigma of the smoothed stack", gt=0)

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        planes = group.streams[call.takes]
        found = [_catalogue(group, p, plane, params.threshold) for p, plane in enumerate(planes)]
        group.tables["OBJCAT"] = [table for table, _ in found]
        group.table_keywords["OBJCAT"] = {"APRADIUS": (found[0][1], "[pixel] radius of FLUX_APER")}
        width = star_width(planes[0], group.registration.fwhm)
        if np.isfinite(width):
            group.keywords["FWHM"] = (round(width, 4), "[pixel] median of the stack's stars")


def _catalogue(group: Group, p: int, plane: Plane, threshold: float) -> tuple[np.ndarray, float]:
    """Sources of one plane of the stack, and the radius of their apertures in pixels."""
    from ..algorithms.catalogue import detect

    bad = (plane.dq & BAD) != 0
    found = detect(
        plane.data,
        plane.var if plane.var is not None else np.ones_like(plane.data),
        bad.view(np.uint8),
        noisecov=require(group.stack.noisecov, "noisecov"),
        fwhm=group.registration.star_width,
        threshold=threshold,
        saturated=(plane.dq & np.uint16(DQ.SATURATED)) != 0,
        threads=group.context.threads,
    )
    columns = dict(found.columns)
    target = require(group.stack.layouts, "layouts")[p].target
    wcs = geometry(group).target_wcs(replace(target, grid=NO_GRID))
    if wcs is not None:
        grid = target.grid
        x, y = columns["X_IMAGE"] - 1 + grid.x0, columns["Y_IMAGE"] - 1 + grid.y0
        columns["X_WORLD"], columns["Y_WORLD"] = wcs.wcs_pix2world(x, y, 0) if x.size else (x, y)
    return structured(columns), float(found.aperture_radius)


def star_width(plane: Plane, expected: float | None) -> float:
    """FWHM of the stars of a stack (pixels), measured as in its frames; NaN without a star of sufficient signal.

    Sizes in the catalogue are second moments within an isophote, which galaxies dominate in a field of few stars.
    """
    unusable = (plane.dq & (BAD | np.uint16(DQ.SATURATED))) != 0
    stars = find_stars(plane.data, unusable, fwhm=expected)
    return estimate_fwhm(stars[stars.snr >= STAR_SNR])


def structured(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Columns as a structured array."""
    n = len(next(iter(columns.values())))
    out = np.zeros(n, [(k, v.dtype) for k, v in columns.items()])
    for name, values in columns.items():
        out[name] = values
    return out


CATALOGUE_STEPS = (MakeCatalogue,)
