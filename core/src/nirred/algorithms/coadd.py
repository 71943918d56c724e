"""The weighted sums of a stack, by rows of its grid, which limits memory for any number of frames.

Sums run over frames in a fixed order in float64: neither the tile size nor the number of threads changes a bit of the
result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.compiled import kernel, subkernel

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


class Through(NamedTuple):
    """Pixels of a plane under rows of a grid, for a plane that is mapped onto it by more than a shift.

    Parameters
    ----------
    pixels : int32 (rows, nx)
        Nearest pixel, as an index into the ravelled plane; -1 where there is none.
    area : float32 (rows, nx)
        Plane's pixels per pixel of the grid.
    electrons : bool
        Values are electrons in the plane's pixels and are multiplied by the area; else they are surface brightness.
    gain : float
        Factor on the variance besides the area: for noise in apertures, where the number of grid pixels that share a
        pixel of the plane is proportional to 1 / area.
    """

    pixels: NDArray[np.int32]
    area: Float32
    electrons: bool
    gain: float = 1.0


class Entry(NamedTuple):
    """How a frame enters a stack.

    Parameters
    ----------
    weight : float
        In the mean.
    transparency : float
        By which its values are divided.
    sky : float
        Its sky level, whose noise its pixels have.
    excess : float
        Factor on the variance of its pixels.
    """

    weight: float
    transparency: float
    sky: float
    excess: float = 1.0


class _Rules(NamedTuple):
    """Largest masked share of a value that is used; flags that are recorded of used pixels, and of those left out."""

    most_hidden: np.float32
    of_used: np.uint16
    of_lost: np.uint16


class _Planes(NamedTuple):
    """Flags and noise model of a plane."""

    flags: NDArray[np.uint16]
    constant: Float32
    per_electron: Float32


class _Totals(NamedTuple):
    """Sums of rows of a stack, the number of frames, and flags, as in `Accumulator`."""

    sums: Float64
    number: NDArray[np.uint16]
    seen: NDArray[np.uint16]


class _Row(NamedTuple):
    """A row of a frame: its values, the masked share of each, flags and noise model of the pixels below."""

    values: Float32
    hidden: Float32
    flags: NDArray[np.uint16]
    constant: Float32
    per_electron: Float32


class _Scratch(NamedTuple):
    """Which values of a row are used: 1 or 0, and all bits or none."""

    taken: Float32
    mask: NDArray[np.uint16]


@subkernel
def _add_row(
    row: _Row, entry: Entry, rules: _Rules, totals: _Totals, r: int, low: int, high: int, scratch: _Scratch
) -> None:
    """Add a frame's values / transparency with its weight to columns [low, high) of row `r` of the sums."""
    values, hidden, flags, constant, per_electron = row
    light, total, noise, own = (
        totals.sums[0, r, low:high],
        totals.sums[1, r, low:high],
        totals.sums[2, r, low:high],
        totals.sums[3, r, low:high],
    )
    number, used, lost = totals.number[r, low:high], totals.seen[0, r, low:high], totals.seen[1, r, low:high]
    taken, mask = scratch
    weight, scale, sky = entry.weight, entry.transparency, entry.sky
    share, squared, gain = weight / scale, weight * weight * entry.excess / (scale * scale), weight * weight / scale
    zero, infinite, every = np.float32(0), np.float32(np.inf), np.uint16(0xFFFF)
    for j in range(values.size):
        taken[j] = (hidden[j] <= rules.most_hidden) & (abs(values[j]) < infinite)
    for j in range(values.size):
        there = taken[j] > zero
        electrons = np.float64(per_electron[j])
        light[j] += share * np.float64(values[j] if there else zero)
        total[j] += weight if there else 0.0
        noise[j] += squared * (np.float64(constant[j]) + sky * electrons) if there else 0.0
        own[j] += gain * electrons if there else 0.0
    for j in range(values.size):  # as wide as the flags, for the vector unit
        mask[j] = every * np.uint16(taken[j])
    for j in range(values.size):
        number[j] -= mask[j]
        used[j] |= flags[j] & rules.of_used & mask[j]
        lost[j] |= flags[j] & rules.of_lost & ~mask[j]


@kernel
def _add(
    values: np.ndarray,
    hidden: np.ndarray,
    planes: _Planes,
    origin: tuple[int, int],
    entry: Entry,
    rules: _Rules,
    totals: _Totals,
) -> None:
    """Add one frame's rows, whose pixels correspond to those of the planes apart from `origin`."""
    (x, y), (flags, constant, per_electron) = origin, planes
    low = min(max(0, -x), values.shape[1])
    high = max(low, min(values.shape[1], flags.shape[1] - x))
    scratch = _Scratch(np.empty(high - low, np.float32), np.empty(high - low, np.uint16))
    for r in range(max(0, -y), min(values.shape[0], flags.shape[0] - y)):
        row = _Row(
            values[r, low:high],
            hidden[r, low:high],
            flags[y + r, x + low : x + high],
            constant[y + r, x + low : x + high],
            per_electron[y + r, x + low : x + high],
        )
        _add_row(row, entry, rules, totals, r, low, high, scratch)


@kernel
def _add_mapped(
    values: np.ndarray,
    hidden: np.ndarray,
    planes: _Planes,
    through: Through,
    entry: Entry,
    rules: _Rules,
    totals: _Totals,
) -> None:
    """Add one frame's rows, whose pixels lie through a map over those of the planes."""
    pixels, area, electrons, gain = through.pixels, through.area, through.electrons, np.float32(through.gain)
    one, width = np.float32(1), values.shape[1]
    bits, models, grey = planes.flags.ravel(), planes.constant.ravel(), planes.per_electron.ravel()
    light, flags = np.empty(width, np.float32), np.empty(width, np.uint16)
    constant, per_electron = np.empty(width, np.float32), np.empty(width, np.float32)
    factor = np.empty(width, np.float32)
    scratch = _Scratch(np.empty(width, np.float32), np.empty(width, np.uint16))
    for r in range(values.shape[0]):
        low, high = 0, width
        while low < high and pixels[r, low] < 0:
            low += 1
        while high > low and pixels[r, high - 1] < 0:
            high -= 1
        row, places, size = values[r, low:high], pixels[r, low:high], area[r, low:high]
        for j in range(size.size):
            factor[j] = gain * (size[j] if electrons else one / size[j])
            light[j] = row[j] * (size[j] if electrons else one)
        for j in range(places.size):
            k = np.uint64(places[j] if places[j] > 0 else 0)
            constant[j], per_electron[j] = models[k] * factor[j], grey[k] * factor[j]
        for j in range(places.size):
            flags[j] = bits[np.uint64(places[j])] if places[j] >= 0 else 0
        n = high - low
        below = _Row(light[:n], hidden[r, low:high], flags[:n], constant[:n], per_electron[:n])
        _add_row(below, entry, rules, totals, r, low, high, scratch)


@kernel
def _mean(sums: np.ndarray, sci: np.ndarray, var: np.ndarray) -> None:
    """Values and variances of sums, NaN without weight."""
    for y in range(sci.shape[0]):
        for x in range(sci.shape[1]):
            weight = sums[1, y, x]
            value = sums[0, y, x] / weight
            sci[y, x] = value
            var[y, x] = (sums[2, y, x] + sums[3, y, x] * (value if value > 0.0 else 0.0)) / (weight * weight)


@dataclass(frozen=True)
class Under:
    """Flags and noise model of a plane's pixels nearest to those of rows of a grid.

    Parameters
    ----------
    flags : uint16 (ny, nx)
    constant, per_electron : float32 (ny, nx)
        Noise model.
    origin : (int, int)
        (x, y) in these planes of the rows' pixel (0, 0); pixels beyond the planes have no data.
    through : Through, optional
        Used instead of `origin` if the planes are not merely shifted relative to the rows.
    """

    flags: NDArray[np.uint16]
    constant: Float32
    per_electron: Float32
    origin: tuple[int, int] = (0, 0)
    through: Through | None = None


@dataclass(frozen=True)
class Accumulator:
    """Running sums of rows of a stack.

    Parameters
    ----------
    sums : float64 (4, rows, nx)
        Of weighted values, weights, weighted noise, weighted electrons per source electron.
    count : uint16 (rows, nx)
        Frames per pixel.
    seen : uint16 (2, rows, nx)
        Flags of the pixels that were used, and of those that were left out.
    """

    sums: Float64
    count: NDArray[np.uint16]
    seen: NDArray[np.uint16]

    @classmethod
    def empty(cls, rows: int, nx: int) -> Accumulator:
        """All zero."""
        return cls(np.zeros((4, rows, nx)), np.zeros((rows, nx), np.uint16), np.zeros((2, rows, nx), np.uint16))

    def add(
        self,
        values: Float32,
        hidden: Float32,
        under: Under,
        entry: Entry,
        limit: float,
        marks: tuple[int, int] = (0, 0),
    ) -> None:
        """Add one frame.

        Parameters
        ----------
        values : float32 (rows, nx)
            Resampled, NaN without data.
        hidden : float32 (rows, nx)
            Share of the pixel that comes from masked pixels, 0 to 1.
        under : Under
            Flags and noise model at the pixels.
        entry : Entry
            Weight of the frame, its transparency and its noise.
        limit : float
            Pixels with a larger masked share are left out.
        marks : (int, int)
            Flags that are recorded of pixels that are used, and of those that are left out.
        """
        rules = _Rules(np.float32(limit), np.uint16(marks[0]), np.uint16(marks[1]))
        planes = _Planes(under.flags, under.constant, under.per_electron)
        totals = _Totals(self.sums, self.count, self.seen)
        if under.through is None:
            _add(values, hidden, planes, under.origin, entry, rules, totals)
        else:
            _add_mapped(values, hidden, planes, under.through, entry, rules, totals)

    def result(self) -> tuple[Float32, Float32]:
        """Stacked rows and their variance, including the noise of the stack's signal; NaN without data."""
        sci, var = (np.empty(self.count.shape, np.float32) for _ in range(2))
        _mean(self.sums, sci, var)
        return sci, var

    def variance(self, signal: Float32) -> Float32:
        """Variance of rows with this signal, float32 (rows, nx), in place of that of their mean; NaN where empty."""
        with np.errstate(invalid="ignore"):
            noise = self.sums[2] + self.sums[3] * np.maximum(signal, np.float32(0))
            return np.asarray(noise / self.sums[1] ** 2, np.float32)
