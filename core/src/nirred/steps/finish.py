"""Last steps: zero level and catalogue of the stack, and writing the products."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from ..algorithms.background import FIT_SCATTER, SAMPLES, level
from ..algorithms.dilation import dilate
from ..algorithms.evenness import AREA, Evenness, broad_noise, broadened, evenness
from ..algorithms.flags import flagged
from ..algorithms.halos import light_between
from ..algorithms.noise import median_variance_ratio
from ..algorithms.objmask import block_means, block_sums, find_objects
from ..algorithms.threads import both
from ..algorithms.typical import median
from ..dq import DQ
from ..frame import Plane
from ..geometry import NO_GRID, geometry
from ..group import Group
from ..params import Params, param
from ..params import Params as StepParams
from ..plugin.recipes import StepCall
from ..products import drawn_planes, frames_table, write
from ..results import require
from ..states import BAD
from ..step import GroupStep

#: Pixels with this many times fewer exposures than the deepest ones are shallow.
SHALLOW = 2.0
#: Relative error of the light of objects' outskirts, as extrapolated from their profiles.
LIGHT_ERROR = 0.3
#: Quantile of the sources' fluxes that is taken for that of the faintest; least number of sources for this estimate.
FAINTEST, FEWEST = 0.25, 20
#: Ratio of the scatter of blank areas to the prediction of VAR: above the first there is a remark, below the second the
#: sky counts as even.
UNEVEN, EVEN = 3.0, 1.5
#: Variances above this many times that of the sky are those of objects.
STARLIT = 1.5
#: Number of parts of an uneven field, such as quadrants, whose levels have independent errors.
PARTS = 4
#: Share of the detector hidden by objects in every frame from which there is a remark: of few frames, stars hide some.
WORTH_SAYING = 0.02
#: Stars from which the FWHM is measured: least signal-to-noise ratio, and largest ellipticity.
STAR_SNR, STAR_ROUND = 20.0, 0.3


class LevelStack(GroupStep):
    """Measure the zero level of the stack on its blank pixels, subtract it, and state its error."""

    name = "level_stack"
    uses_frames = False
    doc = "measure the stack's zero level on its blank pixels, subtract it, and state its error"

    class Params(StepParams):
        """Parameters of `level_stack`."""

        threshold: float = param(3.0, "sigma at which pixels belong to objects", gt=0)
        dilation: float = param(4.0, "grow the objects by this radius", unit="pixel", ge=0)

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        frames = group.targets
        weights = np.array([group.frames[i].weight for i in frames])
        hidden = group.objects.hidden
        sunk = bool(hidden) or group.objects.buried
        done, found = [], []
        rough, excess = Evenness(0.0, 0.0), []
        planes, counts = group.streams[call.takes], require(group.stack.nexp, "nexp")
        for p, (plane, count) in enumerate(zip(planes, counts, strict=True)):
            filled = [state for d in drawn_planes(group, p) if (state := group.planes[d]).filled]
            if filled:  # levels predicted from the same sky frames have the same error
                found.append(max(float(weights @ [state.sky_err[i] for i in frames]) for state in filled))
                done.append(plane)
                continue
            grown, objects = stack_objects(plane, params.threshold, group.context.threads)
            mask = dilate(grown, params.dilation)
            (value, error), (seen, beyond) = both(
                partial(zero_level, plane, count, mask, objects, group.stack.noisecov, sunk=sunk),
                partial(_blank_noise, group, plane, count, mask),
                group.context.threads,
            )
            if (stated := _stated_by_pieces(group, p)) < error:  # their target may fill the field
                group.remark("the zero level is that of the stacks: it is less certain if measured again")
                found.append(stated)
                done.append(plane)
                continue
            rough = max(rough, seen, key=lambda e: e.ratio)
            found.append(float(np.hypot(error, seen.beyond(EVEN) / np.sqrt(PARTS))))
            done.append(Plane(plane.data - np.float32(value), plane.dq, plane.var))
            excess.append(beyond)
        if excess and min(excess) > 0:
            done = _state_broad_noise(group, done, float(np.mean(excess)))
        group.streams[call.gives] = done
        behind = group.sky.shape_behind if hidden else 0.0
        found = [float(np.hypot(error, behind)) for error in found]
        group.keywords["LEVELERR"] = (round(max(found), 4), f"[{group.unit}] 1-sigma error of the zero level")
        if rough.ratio > UNEVEN:
            group.keywords["UNEVEN"] = (
                round(rough.excess, 3),
                f"[{group.unit}] rms of blank areas of {AREA} pixels beyond VAR",
            )
            group.remark(
                f"the stack's blank sky is uneven: areas of {AREA} pixels differ by {rough.excess:.3g} {group.unit} "
                f"(rms), {rough.ratio:.1f} times what VAR predicts, and so do fluxes in apertures of that size"
                f"{_advice(group)}"
            )
        if hidden > WORTH_SAYING:
            group.remark(
                f"objects cover {hidden:.0%} of the detector in every frame: the sky behind them is interpolated from "
                f"around them, where it is even to {behind:.2g} {group.unit}, and may contain their faint halos; the "
                f"zero level, and slopes behind them, are uncertain by {max(found):.2g} {group.unit} (LEVELERR); "
                "separate sky frames or wider dithers would help"
            )


def _stated_by_pieces(group: Group, p: int) -> float:
    """Error of a plane's zero level as stated by the finished stacks that it is made of; infinity without one.

    The stacks have been brought to their mean. Their errors may have one cause: they are not taken for independent.
    """
    errors, frames = group.planes[p].sky_err, group.targets
    if group.stack.pieces is None or not all(i in errors for i in frames):
        return np.inf
    return float(np.average([errors[i] for i in frames], weights=[group.frames[i].weight for i in frames]))


def _advice(group: Group) -> str:
    """A remedy for an uneven sky: `clean_readout`, if the amplifiers read out quadrants."""
    for detector in group.frames[0].info.detectors:
        if any(tuple(2 * n for n in a.section.shape) != detector.shape for a in detector.amplifiers):
            return ""
    return "; if you see columns or quadrants in it, try `-p clean_readout:clean=default`"


def _blank_noise(group: Group, plane: Plane, count: np.ndarray, mask: np.ndarray) -> tuple[Evenness, float]:
    """Evenness of deep blank pixels; variance in apertures on them in excess of VAR, relative to VAR."""
    if plane.var is None:
        return Evenness(0.0, 0.0), 0.0
    blank = np.isfinite(plane.data) & np.isfinite(plane.var) & ((plane.dq & BAD) == 0) & (mask == 0)
    what = plane.data, plane.var, _deep(count, blank)
    cov, width = group.stack.noisecov, group.registration.fwhm or 4.0
    return evenness(*what), 0.0 if cov is None else broad_noise(*what, cov, width)


def _state_broad_noise(group: Group, planes: list[Plane], excess: float) -> list[Plane]:
    """Add the sky's excess noise on the scale of apertures to VAR, and broaden NOISECOV accordingly.

    As it is noise of the sky, pixels of stars get no more of it than those of the sky next to them.
    """
    noisier = []
    for plane, count in zip(planes, require(group.stack.nexp, "nexp"), strict=True):
        seen, var = np.maximum(count, 1).astype(np.float32), np.asarray(plane.var)
        usual = median((var * seen)[np.isfinite(var) & (count > 0)])
        added = np.float32(excess) * np.minimum(var, np.float32(STARLIT * usual) / seen)
        noisier.append(Plane(plane.data, plane.dq, var + added))
    cov = broadened(require(group.stack.noisecov, "noisecov"), excess)
    middle = len(cov) // 2
    group.stack.noisecov = cov
    group.keywords["CORRFAC"] = (float(np.sqrt(cov[middle, middle])), "pixel scatter / sqrt(VAR)")
    return noisier


def zero_level(
    plane: Plane,
    count: np.ndarray,
    mask: np.ndarray,
    objects: np.ndarray | None = None,
    noisecov: np.ndarray | None = None,
    *,
    sunk: bool = False,
) -> tuple[float, float]:
    """Median of the deep blank pixels of a stack, and its error.

    With objects masked so deeply, the median is more accurate than any estimate of the mode. Its error is the quadratic
    sum of the statistical error, for noise correlated as in `noisecov`; half the difference between median and mode,
    minus its noise; the light of sources too faint to be masked, extrapolated from the faintest that are; and errors of
    the light of objects' outskirts. The outskirts of extended `objects`, found in blocks of pixels, lie on blank
    pixels: their light is subtracted from the level, with a relative error of `LIGHT_ERROR`. If objects have `sunk`
    into the sky of their own frames, the hollows around them are used, too.

    Parameters
    ----------
    plane : Plane
        The stack.
    count : uint16 (ny, nx)
        Number of exposures of each pixel.
    mask : uint8 (ny, nx)
        Not zero where there are objects.
    objects : (rows, columns), optional
        Blocks in which objects were detected.
    noisecov : float64 (7, 7), optional
        Correlation of the noise; None: it is white.
    sunk : bool
        Whether frames served each other as sky.

    Returns
    -------
    level, error : float
        In the unit of the stack; 0 and infinity without a blank pixel.
    """
    blank = np.isfinite(plane.data) & ((plane.dq & BAD) == 0)
    blank = blank & (mask == 0) if (blank & (mask == 0)).any() else blank
    if not blank.any():
        return 0.0, float("inf")
    values = plane.data[_deep(count, blank)]
    middle, mode = median(values), level(values, None)
    apart, noise = middle - mode.value, FIT_SCATTER * mode.sigma / np.sqrt(mode.n)
    # correlation increases the errors of median and mode alike, but not that of their difference
    together = 1.0 if noisecov is None else np.sqrt(median_variance_ratio(noisecov))
    error = np.hypot(1.25 * together * mode.sigma / np.sqrt(values.size), 0.5 * np.sqrt(max(apart**2 - noise**2, 0.0)))
    if objects is None:
        return middle, float(error)
    surface, bare = _blocks(plane, blank)
    light, uncertain = light_between(surface, objects, bare, sunk=sunk)
    unseen = _too_faint(surface - np.float32(middle), objects)
    return middle - light, float(np.linalg.norm([error, uncertain, LIGHT_ERROR * light, unseen]))


def _too_faint(surface: np.ndarray, objects: np.ndarray) -> float:
    """Light per pixel of sources too faint to be detected: N F, with N the number detected and F the faintest flux.

    If the number N of sources brighter than F is proportional to F to the power of -0.5 to -0.8, sources between F / 3
    and F emit 0.4 to 1.0 times N F.
    """
    from scipy.ndimage import label

    labels, number = label(objects, np.ones((3, 3)))
    fluxes = np.bincount(labels.ravel(), np.nan_to_num(surface).ravel(), number + 1)[1:]
    fluxes = fluxes[fluxes > 0]
    return float(fluxes.size * np.quantile(fluxes, FAINTEST) / objects.size) if fluxes.size >= FEWEST else 0.0


def _deep(count: np.ndarray, blank: np.ndarray) -> np.ndarray:
    """Blank pixels with many exposures; all of them if the deep ones alone determine the level much less precisely.

    With fewer exposures, brighter sources go undetected and raise the level. Pixels are chosen by their number of
    exposures and not by VAR, which depends on a pixel's own noise: a limit on VAR would prefer low pixels.
    """
    if not blank.any():
        return blank
    sample = count[blank]
    sample = sample[:: -(-sample.size // SAMPLES)]
    limit = float(np.percentile(sample, 90)) / SHALLOW
    told = np.sqrt(sample)  # contribution of a pixel to the precision of a median
    return np.asarray(blank & (count >= limit)) if 2 * told[sample >= limit].sum() >= told.sum() else blank


def _blocks(plane: Plane, blank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the good pixels, and number of blank pixels, in each block of a plane."""
    return block_means(plane.data, plane.dq & BAD), block_sums(blank)


def stack_objects(plane: Plane, threshold: float, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Object mask of a stack, and the blocks of pixels in which objects were detected."""
    noise = np.sqrt(plane.var if plane.var is not None else np.ones_like(plane.data))
    return find_objects(plane.data, flagged(plane.dq, int(BAD)), noise, threshold=threshold, threads=threads)


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


class _Store(GroupStep):
    """Write the product."""

    uses_frames = False
    kind = ""

    def apply(self, group: Group, params: Params, call: StepCall) -> None:
        if group.record.provenance is not None:
            write(group, self.kind, group.record.provenance())


class StoreDark(_Store):
    """Write the dark."""

    name = "store_processed_dark"
    doc = "write the dark"
    kind = "dark"


class StoreFlat(_Store):
    """Write the flat."""

    name = "store_processed_flat"
    doc = "write the flat"
    kind = "flat"


class StoreBpm(_Store):
    """Write the bad-pixel mask."""

    name = "store_processed_bpm"
    doc = "write the bad-pixel mask"
    kind = "bpm"


def wcs_status(group: Group) -> tuple[str, str]:
    """WCSSTAT of a stack, with its comment."""
    states = {group.frames[i].info.wcs_state for i in group.targets}
    rebuilt = "rebuilt" if "rebuilt" in states else "ok"
    return "registered" if group.registration.registered else rebuilt, "ok, rebuilt or registered"


class StoreScience(_Store):
    """Write the stack."""

    name = "store_processed_science"
    doc = "write the stack with its tables"
    kind = "image"

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        reference = group.frames[group.reference].info
        frames = group.targets
        seconds = [group.frames[i].info.descriptors.exposure_time or 0.0 for i in frames]
        group.keywords["TEXPTIME"] = (round(sum(seconds), 6), "[s] total exposure")
        group.keywords["REFFRAME"] = (reference.name, "frame that offsets refer to")
        group.keywords["WCSSTAT"] = wcs_status(group)
        airmass = [a for i in frames if (a := group.frames[i].info.descriptors.airmass) is not None]
        if airmass:
            group.keywords["AIRMASS"] = (round(float(np.mean(airmass)), 4), "mean of the frames")
        group.tables["FRAMES"] = [frames_table(group)]
        group.table_keywords["FRAMES"] = {"REFFRAME": group.keywords["REFFRAME"]}
        super().apply(group, params, call)


FINISH_STEPS = (LevelStack, MakeCatalogue, StoreDark, StoreFlat, StoreBpm, StoreScience)
