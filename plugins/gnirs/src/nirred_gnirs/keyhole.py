"""The keyhole: an illuminated bar and half disc on the array, located in the frames.

The geometry comes from the observatory's measurements of lamp frames; pixels are zero-based, on the whole array.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .headers import SCALES

if TYPE_CHECKING:
    from nirred.plugin import MaskInput, Section

Point = tuple[float, float]
"""(x, y), pixels."""

SHAPE = (1022, 1024)
_RADIUS, _WIDTH, _LENGTH = 14.7, 9.6, 97.8  # arcsec: the disc, and the two sides of the bar
_TILT = 0.01  # of the bar relative to the rows
_HALO = {True: 1.13, False: 1.29}  # long, short cameras: a filter without wings cuts the bar at this many radii

# Camera, filter with wings: centroid (x, y) and number of the lit pixels.
_SHORT_BLUE = {False: (504.6, 446.8, 25000), True: (506.8, 457.1, 49000)}
_MEASURED: Mapping[str, Mapping[bool, tuple[float, float, int]]] = {
    "LongBlue_G5542": {False: (537.2, 454.8, 205000), True: (518.4, 452.9, 275000)},
    "LongRed_G5543": {False: (451.0, 429.1, 198000), True: (532.4, 507.7, 272000)},
    "ShortBlue_G5538": _SHORT_BLUE,
    "ShortBlue_G5540": _SHORT_BLUE,
    # The observatory gives 58000, which contradicts its own scale and the three other cameras: see decision 9.
    "ShortRed_G5539": {True: (519.3, 472.6, 50100)},
}

MOST_IMAGES, STEP = 4, 2  # the alignment uses four frames, every other row and column


@dataclass(frozen=True)
class Keyhole:
    """The keyhole of one camera and kind of filter.

    Parameters
    ----------
    camera : str
        Name with component id.
    wings : bool
        The bar is lit along its whole length: true for all filters except the photometric ones (PHOT).
    x, y : float
        Measured centroid of the lit pixels.
    pixels : int
        Measured number of lit pixels; for ShortRed, derived from the other cameras.
    """

    camera: str
    wings: bool
    x: float
    y: float
    pixels: int

    def lit(self, centre: Point | None = None, shift: Point = (0.0, 0.0), step: int = 1) -> np.ndarray:
        """Illuminated pixels.

        Parameters
        ----------
        centre : Point, optional
            Centroid (x, y); default: the measured one.
        shift : Point
            Additional displacement, pixels.
        step : int
            Use only every `step`-th row and column.

        Returns
        -------
        ndarray
            Bool (1022, 1024), or every `step`-th row and column of it.
        """
        cx = self.x if centre is None else centre[0]
        scale, disc, (left, right) = self._outline(centre, shift)
        y, x = np.ogrid[: SHAPE[0] : step, : SHAPE[1] : step]
        across = y - disc[1] + _TILT * (cx - x)
        half = _WIDTH / scale / 2
        distance = (x - disc[0]) ** 2 + (y - disc[1]) ** 2
        radius = _RADIUS / scale
        found = (x >= left) & (x <= right) & (across > -half) & (across <= half)
        found = found | ((distance < radius**2) & (y < disc[1]))
        if not self.wings:
            found &= distance <= (_HALO[scale < 0.1] * radius) ** 2
        return np.asarray(found)

    def _outline(self, centre: Point | None, shift: Point) -> tuple[float, Point, Point]:
        """Pixel scale (arcsec), centre of the disc, and both ends of the bar in x."""
        cx, cy = centre or (self.x, self.y)
        scale = SCALES[self.camera.split("_")[0]]
        half = _LENGTH / scale / 2
        left, right = cx - half + shift[0], cx + half + shift[0]
        x, y = cx + 2.0 + shift[0], cy + 3.2 / scale + shift[1]
        if "Red" in self.camera:
            left, right, x, y = left - 5.0, right - 5.0, x - 5.0, y - 4.0
        if self.wings:
            last = SHAPE[1] - 1
            y -= 15.0 * (min(right, last) - max(left, 0.0)) / last
            if left <= 0:
                x += 2.5 * (cx - 512.0)
        elif scale < 0.1:
            y -= 4.0
        return scale, (x, y), (left, right)

    def corners(self) -> list[list[Point]]:
        """Outlines (x, y) of the bar's lit part and of the half disc, for the overlap of fields."""
        scale, (x, y), (left, right) = self._outline(None, (0.0, 0.0))
        radius, half = _RADIUS / scale, _WIDTH / scale / 2
        if not self.wings:
            reach = _HALO[scale < 0.1] * radius
            left, right = max(left, x - reach), min(right, x + reach)
        left, right = max(left, -0.5), min(right, SHAPE[1] - 0.5)
        low, high = max(y - half, -0.5), min(y + half, SHAPE[0] - 0.5)
        angles = np.linspace(np.pi, 2 * np.pi, 13)
        disc = [
            (float(np.clip(x + radius * np.cos(a), -0.5, SHAPE[1] - 0.5)), float(max(y + radius * np.sin(a), -0.5)))
            for a in angles
        ]
        return [[(left, low), (right, low), (right, high), (left, high)], disc]


def keyhole(camera: str | None, filter_pretty: str | None) -> Keyhole | None:
    """The keyhole for a camera (name with id) and a filter (without); None if it has not been measured."""
    wings = "PHOT" not in (filter_pretty or "")
    measured = _MEASURED.get(camera or "", {}).get(wings)
    return Keyhole(camera or "", wings, *measured) if measured else None


def unlit(given: MaskInput, parameters: Mapping[str, Any]) -> np.ndarray:
    """Mask of a group: True where no light falls, aligned with the lit pixels of its frames.

    Parameters
    ----------
    given : MaskInput
        Calibrated frames of the group; its lamp-on frames if it has any.
    parameters : Mapping
        `xshift` and `yshift`, pixels.
    """
    found = keyhole(given.descriptors.camera, given.descriptors.get("filter_name", pretty=True))
    if found is None:
        camera = given.descriptors.camera
        given.remark(f"no keyhole is known for camera {camera} with this filter: its mask is left out")
        return np.zeros(given.shape, bool)
    cut = _place(given)
    if cut is None:
        size = f"{given.shape[1]} x {given.shape[0]}"
        given.remark(f"frames of {size} pixels without DETSEC: the keyhole's mask is left out")
        return np.zeros(given.shape, bool)
    centre = _aligned(given, found, cut)
    shift = float(parameters["xshift"]), float(parameters["yshift"])
    if centre is None and given.flattened and shift == (0.0, 0.0):
        given.remark("the keyhole is not visible in the frames: the mask is that of their flat")
        return np.zeros(given.shape, bool)
    if centre is None:
        given.remark("the keyhole is not visible in the frames: its mask is put at its usual position")
    return np.asarray(~found.lit(centre, shift)[cut])


def _place(given: MaskInput) -> tuple[slice, slice] | None:
    """Section of the array covered by the frames; None for smaller frames that do not state it."""
    if given.shape == SHAPE:
        return slice(0, SHAPE[0]), slice(0, SHAPE[1])
    section: Section | None = given.descriptors.get("detector_section")
    if section is None or section.shape != given.shape or section.y2 > SHAPE[0] or section.x2 > SHAPE[1]:
        return None
    return section.pixels


def _aligned(given: MaskInput, expected: Keyhole, cut: tuple[slice, slice]) -> Point | None:
    """Centre at which the keyhole best matches the lit pixels; None if the frames do not show the keyhole.

    Uses every other row and column.
    """
    bright, within = (np.zeros(SHAPE, bool)[::STEP, ::STEP] for _ in range(2))
    first = [-s.start % STEP for s in cut]  # first row and column of the frames to be used
    thin = tuple(slice((s.start + f) // STEP, (s.stop + STEP - 1) // STEP) for s, f in zip(cut, first, strict=True))
    within[thin] = True
    usual = expected.lit(step=STEP) & within
    if given.images:
        images = [image[first[0] :: STEP, first[1] :: STEP] for image in given.images[:MOST_IMAGES]]
        share = float(np.mean(usual[thin]))
        bright[thin] = _largest_region(images, given.descriptors.read_noise or 0.0, share)
    if 2 * np.count_nonzero(bright) < np.count_nonzero(usual):
        return None
    (x, y), (x0, y0) = _mass(bright), _mass(usual)
    # The centroid of the lit pixels depends on how the light falls off at the edges; the overlap does not.
    best = _best_overlap(expected, bright, within, (expected.x + STEP * (x - x0), expected.y + STEP * (y - y0)))
    wrong = np.count_nonzero((expected.lit(best, step=STEP) ^ bright) & within)
    return best if 2 * wrong < np.count_nonzero(usual) else None  # another shape is not the keyhole


def _largest_region(images: Sequence[np.ndarray], read_noise: float, share: float) -> np.ndarray:
    """The largest connected region well above the read noise, ignoring narrow features.

    Its edge is where the light has fallen to half, unless the noise is too high for that. Lit and dark levels are those
    of the brightest `share` of the pixels and of the others, because zero levels may differ between the quadrants.
    """
    image = np.nan_to_num(np.mean(images, axis=0))
    dark, level = (float(q) for q in np.quantile(image, [0.5 - 0.5 * share, 1.0 - 0.5 * share]))
    limit = dark + 3.0 * read_noise / len(images) ** 0.5
    half = 0.5 * (dark + level)
    found = _connected(image >= max(half, limit))
    if half > limit and found.any():
        scatter = 1.4826 * float(np.median(np.abs(image[found] - level)))
        found = _connected(image >= max(min(half, level - 3.0 * scatter), limit))
    return found


def _connected(bright: np.ndarray) -> np.ndarray:
    """The largest connected region, after removal of features up to two pixels wide."""
    from scipy.ndimage import label, maximum_filter, minimum_filter

    regions, n = label(minimum_filter(bright, 3, mode="nearest"))
    sizes = np.bincount(regions.ravel(), minlength=2)[1:]
    found = regions == 1 + int(np.argmax(sizes)) if n else np.zeros(bright.shape, bool)
    return np.asarray(maximum_filter(found, 3, mode="nearest"))


def _mass(lit: np.ndarray) -> Point:
    y, x = np.nonzero(lit)
    return float(x.mean()), float(y.mean())


def _best_overlap(expected: Keyhole, bright: np.ndarray, within: np.ndarray, start: Point) -> Point:
    """Search from `start` for the centre whose keyhole differs from the lit pixels in the fewest pixels."""

    def difference(centre: Point, thin: int) -> int:
        part = np.s_[::thin, ::thin]
        return int(np.count_nonzero((expected.lit(centre, step=thin * STEP) ^ bright[part]) & within[part]))

    best = start
    for strides, thin in (((8.0, 4.0, 2.0), 2), ((1.0, 0.5, 0.25), 1)):
        least = difference(best, thin)
        for stride in strides:
            while True:
                around = [(best[0] + dx, best[1] + dy) for dx, dy in _ways(stride)]
                found = [difference(c, thin) for c in around]
                if min(found) >= least:
                    break
                least = min(found)
                best = around[found.index(least)]
    return best


def _ways(stride: float) -> list[Point]:
    return [(stride, 0), (-stride, 0), (0, stride), (0, -stride)]
