"""Masters of the observatory's pipeline: bare primary images in ADU."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from nirred.plugin import Descriptors, Frame, Headers

BOX = 64  # pixels: side of the boxes with which pixels of a flat are compared
#: Fraction of the flat's median below which a pixel is bad even if its surroundings are as dark: a dead channel.
DARKEST = 0.25


def reduced(path: Path, headers: Headers) -> Frame | None:
    """Read a single position reduced by nirred, with its sky, as a frame; None for any other file.

    Flagged pixels, including saturated stars, become NaN, because the level above which they are flagged is lost.
    """
    import numpy as np

    from nirred.plugin import Frame, Plane, read_image

    images = {str(h.get("EXTNAME", "")): h for _, h in headers.images}
    if "NIRRED" not in headers.primary or not {"SCI", "DQ"} <= images.keys():
        return None
    data, dq = (read_image(path, images[name]) for name in ("SCI", "DQ"))
    data = np.where(dq != 0, np.float32(np.nan), data).astype(np.float32)
    unit = str(headers.get("BUNIT", "electron"))
    return Frame((Plane(data, np.zeros(data.shape, np.uint16)),), path.name, unit)


def read(path: Path, kind: str, headers: Headers, descriptors: Descriptors) -> Frame | None:
    """Read a MasterDark, MasterIntensityFlat or MasterBadPixelMask; None for a file made by nirred.

    Darks are in ADU per second and are multiplied by the frame's dark time; those that the observatory's DarkRecipe has
    made are of their own exposure, because it does not divide by the time. In a mask, and in the extension BPM that a
    master may have, pixels above 0 are bad. Pixels of a flat are bad if they are not positive or differ too much
    from their surroundings: the masks that come with the H2RG's masters are empty.
    """
    import numpy as np

    from nirred.plugin import DQ, Frame, Plane, read_image

    images = dict(headers.images)
    if "NIRRED" in headers.primary or not images:
        return None
    first = next(iter(images.values()))
    data = read_image(path, first)
    known = np.isfinite(data)
    bad = ~known
    extra = next((h for h in images.values() if str(h.get("EXTNAME", "")).upper() == "BPM"), None)
    if extra is not None:
        bad |= read_image(path, extra) > 0
    if kind == "bpm":
        bad |= data > 0
        data = np.zeros_like(data)
    elif kind == "flat":
        bad |= ~(data > 0)
        bad |= _astray(data, bad)
    elif kind == "dark":
        data = data * np.float32(_dark_time(descriptors) / _seconds(headers))
    dq = np.where(bad, np.uint16(DQ.BAD_PIXEL), np.uint16(0))
    if not known.all():
        data = np.where(known, data, np.float32(0))
    return Frame((Plane(data, dq),), path.name, "adu")


def _dark_time(frame: Descriptors) -> float:
    """Duration of a frame's dark current in seconds: DARKTIME, else its exposure; 1 if the header has neither."""
    stated = (frame.get("dark_time"), frame.exposure_time)
    return next((float(seconds) for seconds in stated if seconds is not None), 1.0)


def _seconds(dark: Headers) -> float:
    """Seconds of dark current in a master: its exposure if the recipe for darks has made it, else 1."""
    from nirred.plugin import gemini

    if (gemini.stated(dark, "NUMRNAM") or "").rpartition(".")[2] != "DarkRecipe":
        return 1.0
    stated = (gemini.number(dark, key, 0.0, 1e5) for key in ("DARKTIME", "EXPTIME", "EXPOSED"))
    return next((seconds for seconds in stated if seconds), 1.0)


def _astray(flat: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """Pixels of a flat that a bad-pixel mask made from it would flag."""
    import numpy as np

    from nirred.algorithms.mesh import mesh_background
    from nirred.algorithms.threads import row_blocks
    from nirred.algorithms.typical import median

    from .rules import FLAT_LIMITS

    if bad.all():
        return np.zeros_like(bad)
    dark = np.asarray(flat < DARKEST * median(flat[~bad]))
    smooth = mesh_background(flat, bad | dark, BOX)
    low, high = (np.float32(limit) for limit in FLAT_LIMITS)
    for rows in row_blocks(flat.shape[0]):
        part, around = flat[rows], smooth.rows(rows.start, rows.stop)
        dark[rows] |= (part < low * around) | (part > high * around)
    return dark
