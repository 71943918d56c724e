"""Files of the current frames or combined planes: a step run by itself writes them, and whoever keeps intermediates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..algorithms.stars import StarList
from ..errors import StepError
from ..fitsio import Extension, write_product
from ..group import Group
from ..inputs import place
from ..params import Params, param
from ..params import Params as StepParams
from ..plan.model import FrameInfo
from ..plugin.coordinates import wcs_cards
from ..plugin.recipes import StepCall
from ..products import column_units, described_cards, plane_keywords
from ..states import OBJECT, WRITTEN, PlaneState
from ..step import GroupStep


class WriteFrames(GroupStep):
    """Write the current frames: one file if planes were combined, else one file per frame."""

    name = "write_frames"
    doc = "write the frames as they are now, each as NAME_SUFFIX.fits; planes that were combined as one file"

    class Params(StepParams):
        """Parameters of `write_frames`."""

        suffix: str = param("frame", "end of the files' names", pattern=r"^[A-Za-z0-9_]+$")

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        written = write_state(group, params.suffix, call.takes, group.context.out)
        group.product = written[0]
        group.record.products = written


def write_state(group: Group, suffix: str, stream: str, folder: Path) -> list[Path]:
    """Write a stream's combined planes as one file, or one file per frame if there is no such stream.

    Parameters
    ----------
    group : Group
        The group of the current task.
    suffix : str
        End of the files' names.
    stream : str
        Name of the stream.
    folder : Path
        Existing folder for the files.

    Returns
    -------
    list of Path
        The files, NAME_SUFFIX.fits.

    Raises
    ------
    StepError
        No frame is left, or a file would replace an input.
    DataError
        A file cannot be written.
    """
    provenance = group.record.provenance
    history = [Extension("PROVENANCE", provenance())] if provenance is not None else []
    if stream not in group.streams:
        alive = group.need(group.indices(), "frames")
        return [_write(group, i, folder, suffix, [*_frame_extensions(group, i), *history]) for i in alive]
    extensions = []
    for p, plane in enumerate(group.streams[stream]):
        cards = plane_keywords(group, group.task.first, (p,))
        extensions.append(Extension("SCI", plane.data.astype(np.float32), cards, p + 1))
        if plane.var is not None:
            extensions.append(Extension("VAR", plane.var.astype(np.float32), {}, p + 1))
        extensions.append(Extension("DQ", plane.dq & WRITTEN, {}, p + 1))
    return [_write(group, 0, folder, suffix, [*extensions, *history])]


def _write(group: Group, i: int, folder: Path, suffix: str, extensions: list[Extension]) -> Path:
    info = group.frames[i].info
    header = described_cards(info)
    header["NIRRED"] = (__version__, "version of nirred that made this")
    header["NIRKIND"] = ("frame", "kind of product: an intermediate result")
    header["PREPARE"] = (f"nirred {__version__}", "processed")
    header["HISTORY"] = f"nirred {__version__}: step {group.task.recipe}"
    path = folder / f"{info.root}_{suffix}.fits"
    if place(path) in {place(f.info.path) for f in group.frames}:
        raise StepError(f"{path} is an input", "another -o")
    write_product(path, header, extensions)
    return path


def _frame_extensions(group: Group, i: int) -> list[Extension]:
    frame, extensions = group.frames[i], []
    for p, state in enumerate(group.planes):
        cards = plane_keywords(group, frame.info, (p,)) | _wcs_cards(frame.info, p)
        if np.isfinite(frame.dx_err):
            cards["XOFF"] = (frame.dx, "[pixel] source here minus in the reference")
            cards["YOFF"] = (frame.dy, "[pixel] source here minus in the reference")
        data = (state.sci if state.subtracted is None else state.subtracted).frame(i)
        dq = state.dq.frame(i)
        extensions.append(Extension("SCI", np.array(data, np.float32), cards, p + 1))
        if group.setup.variance:
            extensions.append(Extension("VAR", _variance(state, group.sky_level(state, i), data, dq), {}, p + 1))
        extensions.append(Extension("DQ", dq & WRITTEN, {}, p + 1))
        if (dq & OBJECT).any():
            extensions.append(Extension("OBJMASK", ((dq & OBJECT) != 0).astype(np.uint8), {}, p + 1))
        stars = (group.registration.stars or {}).get(i)
        if stars is not None:
            extensions.append(Extension("OBJCAT", _catalogue(stars[p]), {}, p + 1, column_units(group.unit)))
    return extensions


def _variance(state: PlaneState, sky: float, data: np.ndarray, dq: np.ndarray) -> np.ndarray:
    """Variance of a plane by the noise model at its sky level, or at its median if no sky was measured (NaN)."""
    good = data[((dq & WRITTEN) == 0) & np.isfinite(data)]
    signal = sky if np.isfinite(sky) else float(np.median(good)) if good.size else 0.0
    variance = np.asarray(state.constant) + max(signal, 0.0) * np.asarray(state.per_electron)
    return np.ascontiguousarray(np.broadcast_to(variance, data.shape), np.float32)


def _catalogue(stars: StarList) -> np.ndarray:
    """OBJCAT of one frame; positions start at 1."""
    columns = {
        "X_IMAGE": stars.x + 1,
        "Y_IMAGE": stars.y + 1,
        "FLUX_AUTO": stars.flux,
        "FLUXERR_AUTO": stars.flux / np.maximum(stars.snr, 1e-30),
        "FWHM_IMAGE": stars.fwhm,
        "ELLIPTICITY": stars.ellipticity,
    }
    table = np.zeros(len(stars), [("NUMBER", "i4"), *((name, "f8") for name in columns)])
    table["NUMBER"] = np.arange(1, len(stars) + 1)
    for name, values in columns.items():
        table[name] = values
    return table


def _wcs_cards(info: FrameInfo, p: int) -> dict[str, Any]:
    """WCS of a frame with a CD matrix, as raw frames have it."""
    if p >= len(info.wcs):
        return {}
    wcs = info.wcs[p].wcs
    said = ("CT", "CR", "CU", "LO", "LA", "RA", "PV", "EQ")
    cards = {k: value for k, (value, _) in wcs_cards(wcs).items() if k[:2] in said}
    matrix = wcs.pixel_scale_matrix
    return cards | {f"CD{r + 1}_{c + 1}": float(matrix[r, c]) for r in range(2) for c in range(2)}


WRITE_STEPS = (WriteFrames,)
