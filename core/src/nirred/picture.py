"""Pictures of products: asinh stretch, north and east arrows, a scale bar."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import DataError, Unreadable

if TYPE_CHECKING:
    import numpy as np
    from astropy.wcs import WCS
    from matplotlib.axes import Axes

_DPI = 100
_BARS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)  # arcsec


def stack_png(fits_path: str | Path, png_path: str | Path, size: int = 900) -> Path:
    """Draw a product (or a raw frame) as PNG.

    Parameters
    ----------
    fits_path : path
        The first image of the file (SCI where there is one) is drawn.
    png_path : path
        The picture; its directory is made.
    size : int
        Pixels of the longer side, 100 to 8000.

    Returns
    -------
    Path
        `png_path`.

    Raises
    ------
    Unreadable
        Not FITS, or damaged.
    DataError
        No image, or no finite pixel.
    """
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not 100 <= size <= 8000:
        raise DataError(f"a picture of {size} pixels", "--size takes 100 to 8000")
    data, wcs, title = _read(Path(fits_path))
    shown = _binned(data, size)
    low, high = _limits(shown)
    scale = size / max(shown.shape)
    figure = Figure(figsize=(shown.shape[1] * scale / _DPI, shown.shape[0] * scale / _DPI), dpi=_DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    ny, nx = data.shape
    extent = (-0.5, nx - 0.5, -0.5, ny - 0.5)
    axes.imshow(
        _stretched(shown, low, high),
        origin="lower",
        extent=extent,
        cmap=colormaps["gray"].with_extremes(bad="#203050"),
        vmin=0,
        vmax=1,
        interpolation="nearest" if scale >= 1 else "antialiased",
    )
    if wcs is not None:
        _draw_sky(axes, wcs, (ny, nx))
    axes.text(0.02, 0.98, title, color="w", va="top", transform=axes.transAxes, parse_math=False, bbox=_box())
    png_path = Path(png_path)
    png_path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(png_path, format="png", dpi=_DPI, metadata={"Software": None})
    return png_path


def _box() -> dict[str, Any]:
    return {"facecolor": "k", "alpha": 0.5, "edgecolor": "none", "pad": 3}


def _read(path: Path) -> tuple[np.ndarray, WCS | None, str]:
    import numpy as np
    from astropy.io import fits

    try:
        with fits.open(path, memmap=False) as hdus:
            images = [h for h in hdus if isinstance(h, (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU))]
            images = [h for h in images if h.header.get("NAXIS", 0) >= 2]
            chosen = next((h for h in images if h.name == "SCI"), images[0] if images else None)
            if chosen is None:
                raise DataError(f"{path.name}: no image in it", "name a FITS image")
            data = np.array(chosen.data, dtype=np.float32)
            exposures = next((h.data for h in images if h.name == "NEXP"), None)
            wcs = _celestial(chosen.header)
            title = str(hdus[0].header.get("OBJECT", ""))
    except (OSError, ValueError, TypeError, IndexError) as error:
        raise Unreadable(f"{path.name}: {error}", "check the file") from None
    while data.ndim > 2:
        data = data[0]
    if exposures is not None and np.shape(exposures) == data.shape:
        data[np.asarray(exposures) == 0] = np.nan
    if not np.isfinite(data).any():
        raise DataError(f"{path.name}: no finite pixel", "nothing can be drawn")
    label = "".join(c if c.isprintable() else "?" for c in f"{title}  {path.name}".strip())
    return data, wcs, label


def _celestial(header: Any) -> WCS | None:
    """World coordinates in whatever form the header has them; None without usable ones."""
    import warnings

    from astropy.wcs import WCS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy tells of every old keyword that it mends
        try:
            wcs = WCS(header)
        except (ValueError, KeyError, AssertionError, MemoryError):
            return None
    if not wcs.has_celestial:
        return None
    wcs = wcs.celestial
    matrix = wcs.pixel_scale_matrix
    return wcs if abs(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0]) > 0 else None


def _binned(data: np.ndarray, size: int) -> np.ndarray:
    """Mean of blocks where the image has at least twice the picture's pixels: noise falls, stars stay."""
    import numpy as np

    block = max(max(data.shape) // size, 1)
    if block == 1 or min(data.shape) < block:
        return data
    ny, nx = (n // block * block for n in data.shape)
    blocks = data[:ny, :nx].reshape(ny // block, block, nx // block, block)
    good = np.isfinite(blocks)
    count = good.sum(axis=(1, 3))
    total = np.where(good, blocks, 0).sum(axis=(1, 3), dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _limits(data: np.ndarray) -> tuple[float, float]:
    """Sky minus two sigma, and the 99.8th percentile but at least ten sigma above."""
    import numpy as np

    values = data[np.isfinite(data)]
    median = float(np.median(values))
    sigma = 1.4826 * float(np.median(np.abs(values - median))) or float(np.std(values)) or 1.0
    return median - 2 * sigma, max(float(np.percentile(values, 99.8)), median + 10 * sigma)


def _stretched(data: np.ndarray, low: float, high: float) -> np.ndarray:
    import numpy as np

    x = np.clip((np.ma.masked_invalid(data) - low) / (high - low), 0, 1)
    return np.ma.asarray(np.arcsinh(15 * x) / math.asinh(15))


def _draw_sky(axes: Axes, wcs: WCS, shape: tuple[int, int]) -> None:
    """Arrows to north and east in the lower right corner, a bar of a round number of arcsec in the lower left."""
    import numpy as np
    from matplotlib.patheffects import withStroke

    ny, nx = shape
    matrix = np.asarray(wcs.pixel_scale_matrix)
    inverse = np.linalg.inv(matrix)
    outline = [withStroke(linewidth=3, foreground="k")]
    text: dict[str, Any] = {"color": "w", "ha": "center", "path_effects": outline}
    start = np.array([nx - 0.18 * min(nx, ny), 0.18 * min(nx, ny)])
    for name, sky in (("N", (0.0, 1.0)), ("E", (1.0, 0.0))):
        step = inverse @ np.array(sky)
        step *= 0.1 * min(nx, ny) / np.hypot(*step)
        end, place = start + step, start + 1.3 * step
        axes.plot([start[0], end[0]], [start[1], end[1]], color="w", lw=1.5, path_effects=outline)
        axes.text(float(place[0]), float(place[1]), name, va="center", **text)
    arcsec = 3600 * math.sqrt(abs(float(np.linalg.det(matrix))))
    bar = max((b for b in _BARS if b / arcsec <= 0.3 * nx), default=0)
    if bar:
        left, right, low = 0.05 * nx, 0.05 * nx + bar / arcsec, 0.05 * ny
        label = f'{bar}"' if bar < 60 else f"{bar / 60:g}'"
        axes.plot([left, right], [low, low], color="w", lw=2, path_effects=outline)
        axes.text((left + right) / 2, low + 0.015 * ny, label, va="bottom", **text)
