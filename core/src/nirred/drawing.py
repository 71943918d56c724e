"""PNG files of products and frames: a stretched image, north and east, a scale bar, a colour bar."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ConfigError, DataError
from .picture import Image, Levels, Orientation, Scale, Stretch, binned, cut, limits, printable, read_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 100
_BAR = 60  # height of a colour bar, pixels


@dataclass(frozen=True)
class Look:
    """Appearance of a picture.

    Parameters
    ----------
    size : int
        Pixels of the longer side, 100 to 8000.
    extension : str
        As in `picture.read_image`.
    section : str
        As in `picture.cut`; '' for the whole image.
    scale : str
        As in `picture.limits`.
    low, high : float or None
        Limits in the image's unit, instead of those from `scale`.
    colours : str
        Name of a matplotlib colour map.
    bad : str
        Colour of pixels without data, in a form that matplotlib accepts.
    bar : bool
        Draw a colour bar below.
    """

    size: int = 900
    extension: str = ""
    section: str = ""
    scale: Scale = "sky"
    stretch: Stretch = "asinh"
    low: float | None = None
    high: float | None = None
    colours: str = "gray"
    bad: str = "#203050"
    bar: bool = False


def stack_png(fits_path: str | Path, png_path: str | Path, look: Look | None = None) -> Path:
    """Draw a product (or a raw frame) as PNG.

    Parameters
    ----------
    fits_path : path
        Any FITS file with an image.
    png_path : path
        The picture; its directory is created.
    look : Look
        Default: SCI, 900 pixels, asinh above the sky.

    Returns
    -------
    Path
        `png_path`.

    Raises
    ------
    Unreadable
        Not FITS, or damaged.
    DataError
        No image, or no finite pixel, or the picture cannot be written.
    ConfigError
        An invalid size, section, limit or colour.
    """
    look = look or Look()
    _check(look)
    image = read_image(Path(fits_path), look.extension)
    if look.section:
        image = cut(image, look.section)
    figure = _draw(image, look)
    png_path = Path(png_path)
    try:
        png_path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(png_path, format="png", dpi=_DPI, metadata={"Software": None})
    except OSError as error:
        raise DataError(f"{png_path}: cannot be written: {error.strerror or error}", "another -o") from error
    return png_path


def _check(look: Look) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import is_color_like

    if not 100 <= look.size <= 8000:
        raise ConfigError(f"a picture of {look.size} pixels", "--size takes 100 to 8000")
    if look.colours not in colormaps:
        raise ConfigError(f"no colour map {look.colours!r}", "gray, gray_r, viridis, ...: one of matplotlib's")
    if not is_color_like(look.bad):
        raise ConfigError(f"no colour {look.bad!r}", "a name or #rrggbb")


def _draw(image: Image, look: Look) -> Figure:
    """Draw the figure: one picture pixel per image pixel or cell if it fits."""
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not np.isfinite(image.data).any():
        raise DataError(f"{image.name}: no finite pixel in the section", "another --cut")
    shown = binned(image.data, max(max(image.data.shape) // look.size, 1))
    levels = _levels(shown, look)
    scale = look.size / max(shown.shape)
    width, height = (max(n * scale, 1.0) for n in (shown.shape[1], shown.shape[0]))
    below = _BAR if look.bar else 0
    figure = Figure(figsize=(width / _DPI, (height + below) / _DPI), dpi=_DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, below / (height + below), 1, height / (height + below)))
    axes.set_axis_off()
    ny, nx = image.data.shape
    drawn = axes.imshow(
        np.ma.masked_invalid(levels.shade(shown)),
        origin="lower",
        extent=(-0.5, nx - 0.5, -0.5, ny - 0.5),
        cmap=colormaps[look.colours].with_extremes(bad=look.bad),
        vmin=0,
        vmax=1,
        interpolation="nearest" if scale >= 1 else "antialiased",
    )
    if image.orientation is not None:
        _draw_sky(axes, image.orientation, (ny, nx))
    words = (image.title, image.name, f"[{image.extension}]" if look.extension else "", look.section)
    title = printable("  ".join(w for w in words if w))
    axes.text(0.02, 0.98, title, color="w", va="top", transform=axes.transAxes, parse_math=False, bbox=_box())
    if look.bar:
        _draw_bar(figure, drawn, levels, image.unit)
    return figure


def _levels(data: Any, look: Look) -> Levels:
    low, high = limits(data, look.scale)
    low, high = (low if look.low is None else look.low), (high if look.high is None else look.high)
    if not low <= high:
        raise ConfigError(f"limits {low:g} to {high:g}", "--limits LOW HIGH, the lower first")
    return Levels(low, high, look.stretch)


def _box() -> dict[str, Any]:
    return {"facecolor": "k", "alpha": 0.5, "edgecolor": "none", "pad": 3}


def _draw_bar(figure: Figure, drawn: Any, levels: Levels, unit: str) -> None:
    """Draw a colour bar with ticks at round values, positioned by the stretch."""
    height = figure.get_figheight() * _DPI
    axes = figure.add_axes((0.06, 34 / height, 0.88, 14 / height))
    bar = figure.colorbar(drawn, cax=axes, orientation="horizontal")
    ticks = levels.ticks()
    bar.set_ticks([place for place, _ in ticks], labels=[label for _, label in ticks])
    bar.set_label(printable(unit), labelpad=-2)


def _draw_sky(axes: Axes, sky: Orientation, shape: tuple[int, int]) -> None:
    """Draw arrows to north and east in the lower right corner, and a scale bar of round length in the lower left."""
    from matplotlib.patheffects import withStroke

    ny, nx = shape
    outline = [withStroke(linewidth=3, foreground="k")]
    text: dict[str, Any] = {"color": "w", "ha": "center", "path_effects": outline}
    side = min(nx, ny)
    x, y = nx - 0.18 * side, 0.18 * side
    for name, (dx, dy) in (("N", sky.north), ("E", sky.east)):
        axes.plot([x, x + 0.1 * side * dx], [y, y + 0.1 * side * dy], color="w", lw=1.5, path_effects=outline)
        axes.text(x + 0.13 * side * dx, y + 0.13 * side * dy, name, va="center", **text)
    length, label = sky.bar(nx)
    if length:
        left, low = 0.05 * nx, 0.05 * ny
        axes.plot([left, left + length], [low, low], color="w", lw=2, path_effects=outline)
        axes.text(left + length / 2, low + 0.015 * ny, label, va="bottom", **text)
