"""Prepare images for display: read, cut, bin and stretch, with pixel scale and orientation."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .algorithms.shared import no_warnings
from .errors import ConfigError, DataError, NirredError, Unreadable

if TYPE_CHECKING:
    import numpy as np
    from astropy.wcs import WCS

Stretch = Literal["asinh", "linear", "sqrt", "log"]
Scale = Literal["sky", "zscale", "percentile", "minmax"]
#: Steepness of asinh and log at the lower limit.
_STEEP = {"asinh": 15.0, "log": 500.0}
_BARS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)  # arcsec
_CUT = re.compile(r"\[?\s*(\d{1,6})\s*:\s*(\d{1,6})\s*,\s*(\d{1,6})\s*:\s*(\d{1,6})\s*\]?")


@dataclass(frozen=True)
class Orientation:
    """Scale and orientation of an image on the sky.

    Parameters
    ----------
    scale : float
        arcsec per pixel.
    north, east : (float, float)
        Unit steps in pixels (x, y).
    centre : (float, float)
        Right ascension and declination of the centre, degrees.
    """

    scale: float
    north: tuple[float, float]
    east: tuple[float, float]
    centre: tuple[float, float] = (math.nan, math.nan)

    def bar(self, width: float) -> tuple[float, str]:
        """Length (px) and label of a bar of a round number of arcsec, at most 30 % of `width`; (0, '') for none."""
        arcsec = max((b for b in _BARS if b / self.scale <= 0.3 * width), default=0)
        return arcsec / self.scale, (f'{arcsec}"' if arcsec < 60 else f"{arcsec / 60:g}'") if arcsec else ""


@dataclass(frozen=True)
class Image:
    """One image of a file.

    Parameters
    ----------
    data : float32 (ny, nx)
        NaN without data.
    origin : (int, int)
        Pixel (x, y, from 0) of the file at which `data` begins.
    """

    data: np.ndarray
    name: str
    title: str = ""
    unit: str = ""
    extension: str = ""
    orientation: Orientation | None = None
    origin: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Levels:
    """Pixel values shown as black and white, and the curve between them."""

    low: float
    high: float
    stretch: Stretch = "linear"

    def shade(self, data: np.ndarray) -> np.ndarray:
        """Map values to 0 (dark) to 1 (bright); NaN stays NaN."""
        import numpy as np

        span = self.high - self.low
        x = np.clip((np.asarray(data, np.float64) - self.low) / (span if span > 0 else 1.0), 0, 1)
        match self.stretch:
            case "asinh":
                return np.asarray(np.arcsinh(_STEEP["asinh"] * x) / math.asinh(_STEEP["asinh"]))
            case "log":
                return np.asarray(np.log1p(_STEEP["log"] * x) / math.log1p(_STEEP["log"]))
            case "sqrt":
                return np.asarray(np.sqrt(x))
        return np.asarray(x)

    def ticks(self, gap: float = 0.12) -> list[tuple[float, str]]:
        """(position from 0 to 1, label) of round values at least `gap` apart; zero and large values take precedence."""
        import numpy as np

        if not self.high > self.low:
            return [(0.0, f"{self.low:g}")]
        inside = [v for v in self._round_values() if self.low <= v <= self.high]
        chosen: dict[float, float] = {}
        for value in sorted(inside, key=lambda v: (v != 0, -abs(v))):
            place = float(self.shade(np.array(value)))
            if all(abs(place - other) >= gap for other in chosen):
                chosen[place] = value
        return [(place, f"{chosen[place]:g}") for place in sorted(chosen)]

    def _round_values(self) -> list[float]:
        if self.stretch in ("linear", "sqrt"):
            step = round_up((self.high - self.low) / 6)
            return [k * step for k in range(math.floor(self.low / step), math.ceil(self.high / step) + 1)]
        top = math.floor(math.log10(max(abs(self.low), abs(self.high))))
        sizes = [float(f"{m}e{e}") for e in range(top - 5, top + 1) for m in (1, 2, 5)]
        return [0.0, *sizes, *(-v for v in sizes)]


def round_up(value: float) -> float:
    """Round a positive value up to 1, 2 or 5 times a power of ten."""
    power = math.floor(math.log10(value))
    return next(float(f"{m}e{power}") for m in (1, 2, 5, 10) if float(f"{m}e{power}") >= value * (1 - 1e-9))


def read_image(path: Path, extension: str = "") -> Image:
    """Read one image of a FITS file.

    Parameters
    ----------
    path : Path
        A product, a raw frame, any FITS file; compressed ones, too.
    extension : str
        NAME, "NAME,VERSION" or number; default: SCI if it exists, else the first image. Of a cube, the first plane is
        read. Pixels with NEXP 0 in the same version have no data.

    Raises
    ------
    Unreadable
        Not FITS, or damaged.
    DataError
        No such image, or no finite pixel in it.
    """
    import numpy as np
    from astropy.io import fits

    from .headers import Headers

    Headers.read(path)  # gives our error message if it is not a FITS file
    with no_warnings():  # stray bytes after END or after the last HDU
        try:
            with fits.open(path, memmap=False, ignore_missing_end=False) as hdus:
                chosen = _chosen(hdus, path, extension)
                data = np.array(chosen.data, dtype=np.float32)
                exposures = next((h.data for h in _images(hdus) if h.name == "NEXP" and h.ver == chosen.ver), None)
                sky = orientation(chosen.header)
                title = str(hdus[0].header.get("OBJECT", ""))
                unit = str(chosen.header.get("BUNIT", ""))
        except NirredError:
            raise
        except Exception as error:  # exceptions for damaged tiles have no common base class or public names
            raise Unreadable(f"{path.name}: {type(error).__name__}: {error}", "fetch the file again") from error
    while data.ndim > 2:
        data = data[0]
    if chosen.name not in ("NEXP", "DQ") and exposures is not None and np.shape(exposures) == data.shape:
        data[np.asarray(exposures) == 0] = np.nan
    if not np.isfinite(data).any():
        raise DataError(f"{path.name}: no finite pixel", "nothing can be drawn")
    named = f"{chosen.name},{chosen.ver}" if chosen.name and chosen.ver > 1 else chosen.name
    return Image(data, path.name, title, unit, named, sky)


def _images(hdus: Any) -> list[Any]:
    from astropy.io import fits

    kinds = (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU)
    return [h for h in hdus if isinstance(h, kinds) and h.header.get("NAXIS", 0) >= 2]


def _chosen(hdus: Any, path: Path, extension: str) -> Any:
    images = _images(hdus)
    if not extension:
        found = next((h for h in images if h.name == "SCI"), images[0] if images else None)
        if found is None:
            raise DataError(f"{path.name}: no image in it", "name a FITS image")
        return found
    name, _, version = extension.strip().upper().partition(",")
    for number, hdu in enumerate(hdus):
        if hdu in images and (name == str(number) or (name == hdu.name and (version or "1").strip() == str(hdu.ver))):
            return hdu
    numbered = ((number, h) for number, h in enumerate(hdus) if h in images)
    known = ", ".join(f"{h.name},{h.ver}" if h.name and h.ver > 1 else h.name or str(n) for n, h in numbered)
    raise DataError(f"{path.name}: no image {extension!r}", f"there is {known}" if known else "name a FITS image")


def orientation(header: Any) -> Orientation | None:
    """Orientation from the world coordinates in the header, in any form; None without usable ones."""
    import numpy as np

    wcs = _celestial(header)
    if wcs is None:
        return None
    matrix = np.asarray(wcs.pixel_scale_matrix)
    inverse = np.linalg.inv(matrix)
    steps = [inverse @ np.array(sky) for sky in ((0.0, 1.0), (1.0, 0.0))]
    north, east = ((float(s[0] / np.hypot(*s)), float(s[1] / np.hypot(*s))) for s in steps)
    scale = 3600 * math.sqrt(abs(float(np.linalg.det(matrix))))
    middle = wcs.wcs_pix2world((header.get("NAXIS1", 1) - 1) / 2, (header.get("NAXIS2", 1) - 1) / 2, 0)
    return Orientation(scale, north, east, (float(middle[0]), float(middle[1])))


def _celestial(header: Any) -> WCS | None:
    from astropy.wcs import WCS

    with no_warnings():  # astropy warns of every obsolete keyword that it fixes
        try:
            wcs = WCS(header)
        except (ValueError, KeyError, AssertionError, MemoryError):
            return None
    if not wcs.has_celestial:
        return None
    wcs = wcs.celestial
    matrix = wcs.pixel_scale_matrix
    determinant = abs(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0])
    return wcs if 0 < determinant < math.inf else None


def cut(image: Image, section: str) -> Image:
    """Section of an image in FITS notation: ``x1:x2,y1:y2``, from 1, both ends included.

    Raises
    ------
    ConfigError
        No such section.
    """
    from dataclasses import replace

    found = _CUT.fullmatch(section.strip())
    ny, nx = image.data.shape
    if found is None:
        raise ConfigError(f"--cut {section!r} is not a section", "write x1:x2,y1:y2, from 1, as 100:400,100:400")
    x1, x2, y1, y2 = map(int, found.groups())
    if not (1 <= x1 <= x2 and 1 <= y1 <= y2 and x1 <= nx and y1 <= ny):
        raise ConfigError(f"--cut {section!r} is outside the image", f"it has 1:{nx},1:{ny}")
    return replace(image, data=image.data[y1 - 1 : y2, x1 - 1 : x2], origin=(x1 - 1, y1 - 1))


def binned(data: np.ndarray, cell: int) -> np.ndarray:
    """Means of the finite pixels in square cells, which reduce noise but keep stars; NaN if a cell has none."""
    import numpy as np

    if cell <= 1 or min(data.shape) < cell:
        return data
    ny, nx = (n // cell * cell for n in data.shape)
    blocks = data[:ny, :nx].reshape(ny // cell, cell, nx // cell, cell)
    good = np.isfinite(blocks)
    count = good.sum(axis=(1, 3))
    total = np.where(good, blocks, 0).sum(axis=(1, 3), dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def limits(data: np.ndarray, scale: Scale = "sky") -> tuple[float, float]:
    """Values to be shown as black and white.

    Parameters
    ----------
    data : array
        At least one finite pixel.
    scale : str
        sky: median - 2 sigma to the 99.8th percentile, but at least 10 and at most 100 sigma above the median; zscale:
        as in IRAF and ds9, for smoothly varying images; percentile: 0.5 to 99.5 %; minmax.
    """
    import numpy as np

    values = data[np.isfinite(data)]
    if scale == "minmax":
        return float(values.min()), float(values.max())
    if scale == "percentile":
        low, high = np.percentile(values, (0.5, 99.5))
        return float(low), float(high)
    if scale == "zscale":
        from astropy.visualization import ZScaleInterval

        low, high = ZScaleInterval(n_samples=5000).get_limits(values)
        return float(low), float(high)
    median = float(np.median(values))
    sigma = 1.4826 * float(np.median(np.abs(values - median))) or float(np.std(values)) or 1.0
    high = max(float(np.percentile(values, 99.8)), median + 10 * sigma)
    return median - 2 * sigma, min(high, median + 100 * sigma)


def printable(text: str) -> str:
    """Header text with unprintable characters replaced by ?."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
