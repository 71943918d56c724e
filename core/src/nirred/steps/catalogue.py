"""The catalogue of a stack."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

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

#: Stars from which the FWHM is measured: least signal-to-noise ratio, and largest ellipticity.
STAR_SNR, STAR_ROUND = 20.0, 0.3


class MakeCatalogue(GroupStep):
    """Make the catalogue OBJCAT of the stack."""

    name = "make_catalogue"
    uses_frames = False
    doc = "sources of the stack with fluxes and errors from VAR and NOISECOV"

    class Params(StepParams):
        """Parameters of `make_catalogue`."""

        threshold: float = param(4.5, "detection threshold in sigma of the smoothed stack", gt=0)

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        found = [_catalogue(group, p, plane, params.threshold) for p, plane in enumerate(group.streams[call.takes])]
        group.tables["OBJCAT"] = [table for table, _ in found]
        group.table_keywords["OBJCAT"] = {"APRADIUS": (found[0][1], "[pixel] radius of FLUX_APER")}
        width = _star_width(found[0][0])
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
        fwhm=group.registration.fwhm or 4.0,
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


def _star_width(table: np.ndarray) -> float:
    """Median FWHM (pixels) of bright round sources; NaN without any."""
    good = (table["SNR"] > STAR_SNR) & (table["FLAGS"] == 0) & (table["ELLIPTICITY"] < STAR_ROUND)
    widths = table["FWHM_IMAGE"][good & np.isfinite(table["FWHM_IMAGE"])]
    return float(np.median(widths)) if widths.size else float("nan")


def structured(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Columns as a structured array."""
    n = len(next(iter(columns.values())))
    out = np.zeros(n, [(k, v.dtype) for k, v in columns.items()])
    for name, values in columns.items():
        out[name] = values
    return out


CATALOGUE_STEPS = (MakeCatalogue,)
