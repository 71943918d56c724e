"""Level and noise of an image on a coarse mesh, for the star finder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

#: Side of a box (px).
BOX = 64

_STRIDE = 4


@dataclass(frozen=True)
class BackgroundMesh:
    """Level and noise of an image in boxes of 64 pixels.

    Attributes
    ----------
    level, noise : float32 array, shape (boxes_y, boxes_x)
        Clipped median and its robust scatter, from every fourth pixel of every fourth row (data units).
    """

    level: NDArray[np.float32]
    noise: NDArray[np.float32]

    def at(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the level, bilinear between the boxes' centres, and the noise of the box."""
        position = []
        for value, count in ((x, self.level.shape[1]), (y, self.level.shape[0])):
            scaled = np.clip((value + 0.5) / BOX - 0.5, 0.0, count - 1.0)
            low = np.minimum(scaled.astype(np.intp), max(count - 2, 0))
            position.append((low, np.minimum(low + 1, count - 1), scaled - low))
        (x0, x1, tx), (y0, y1, ty) = position
        upper = self.level[y0, x0] * (1 - tx) + self.level[y0, x1] * tx
        lower = self.level[y1, x0] * (1 - tx) + self.level[y1, x1] * tx
        box_y = np.clip(y // BOX, 0, self.noise.shape[0] - 1).astype(np.intp)
        box_x = np.clip(x // BOX, 0, self.noise.shape[1] - 1).astype(np.intp)
        return upper * (1 - ty) + lower * ty, self.noise[box_y, box_x].astype(np.float64)


def background_mesh(
    data: NDArray[np.float32], bad: NDArray[np.uint8] | NDArray[np.bool_] | None = None
) -> BackgroundMesh:
    """Measure level and noise of an image in boxes of 64 pixels.

    Boxes with fewer than eight usable samples take the image's median.

    Parameters
    ----------
    data : float32 array, shape (ny, nx)
        The image.
    bad : uint8 or bool array, shape (ny, nx), optional
        Not zero where a pixel is unusable.

    Returns
    -------
    BackgroundMesh
    """
    start = min(_STRIDE // 2, data.shape[0] - 1, data.shape[1] - 1)
    sample = data[start::_STRIDE, start::_STRIDE].astype(np.float32)
    if bad is not None:
        sample[bad[start::_STRIDE, start::_STRIDE] != 0] = np.nan
    side = BOX // _STRIDE
    boxes = [-(-n // BOX) for n in data.shape]
    padded = np.full((boxes[0] * side, boxes[1] * side), np.nan, dtype=np.float32)
    padded[: sample.shape[0], : sample.shape[1]] = sample
    padded[~np.isfinite(padded)] = np.inf
    stacked = padded.reshape(boxes[0], side, boxes[1], side).swapaxes(1, 2).reshape(-1, side * side)
    values = np.sort(stacked, axis=1)
    level, noise = _clipped_levels(values)
    usable = np.isfinite(level)
    fill = (float(np.median(level[usable])), float(np.median(noise[usable]))) if usable.any() else (0.0, 0.0)
    level = np.where(usable, level, fill[0]).astype(np.float32)
    noise = np.where(usable, noise, fill[1]).reshape(boxes)
    # 256 samples give the noise to 8 %; a mean over 3x3 boxes keeps low ones from letting peaks in.
    edged = np.pad(noise, 1, mode="edge")
    ny, nx = noise.shape
    smooth = sum(edged[j : j + ny, i : i + nx] for j in range(3) for i in range(3)) / 9.0
    return BackgroundMesh(level.reshape(boxes), np.asarray(smooth, dtype=np.float32))


def _clipped_levels(values: NDArray[np.float32]) -> tuple[FloatArray, FloatArray]:
    """Median and noise of sorted rows (unusable samples last, +inf), clipped at 3 sigma from above."""
    rows = np.arange(values.shape[0])
    count = np.isfinite(values).sum(axis=1)
    last = count.copy()
    enough = count >= 8
    level = noise = np.full(rows.size, np.nan)
    for _ in range(4):
        level = np.where(enough, values[rows, np.maximum(last, 1) // 2], np.nan).astype(np.float64)
        # From the 16 % point: the upper side carries the stars.
        noise = level - np.where(enough, values[rows, (np.maximum(last, 1) * 0.1587).astype(np.intp)], np.nan)
        inside = (values <= (level + 3.0 * noise)[:, None]).sum(axis=1)
        last = np.where(enough, np.maximum(np.minimum(last, inside), 1), last)
    return level, noise
