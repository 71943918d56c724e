"""Outliers of a frame in detector coordinates against the sequence's median, and replacement values for them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.outlier_fill import fill_lost
from nirred.algorithms.outlier_kernels import (
    Conditions,
    Median,
    Noise,
    OutlierLimits,
    fill_from_model,
    flag_plane,
    grow,
)
from nirred.algorithms.outlier_mapped import BLOCK, Blocks, flag_mapped, survey_blocks
from nirred.algorithms.pixelmap import PixelMap

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]
UInt16 = NDArray[np.uint16]


#: No map: a plane's own model needs none.
_NOWHERE = np.empty((3, 0, 0))


@dataclass(frozen=True)
class OnPlane:
    """Median of a sequence at the pixels of a plane.

    Parameters
    ----------
    model : float32 (ny, nx)
        Median of the sequence at the plane's pixels, at transparency 1; NaN without one.
    count : uint16 (height, width)
        Number of frames in each pixel of a grid.
    origin : (int, int)
        (x, y) in `count` of the plane's pixel (0, 0); pixels beyond it have 0 frames.
    """

    model: Float32
    count: UInt16
    origin: tuple[int, int]

    @property
    def median(self) -> Median:
        """As the kernels need it."""
        return Median(self.model, self.count, _NOWHERE, 1)


@dataclass(frozen=True)
class OnGrid:
    """Median of a sequence on a grid, interpolated bilinearly to a plane's pixels on demand.

    Parameters
    ----------
    model : float32 (height, width)
        Median of the sequence, at transparency 1; NaN without one.
    count : uint16 (height, width)
        Number of frames in each pixel.
    blocks : Blocks
        Largest absolute value and least count of each block of pixels.
    back : PixelMap, optional
        From a plane's pixels to the grid's.
    """

    model: Float32
    count: UInt16
    blocks: Blocks
    back: PixelMap | None = None

    @classmethod
    def of(cls, model: Float32, count: UInt16) -> OnGrid:
        """Measure the blocks of a grid, for all planes on it."""
        shape = -(-model.shape[0] // BLOCK), -(-model.shape[1] // BLOCK)
        blocks = Blocks(np.empty(shape, np.float32), np.empty(shape, np.uint16))
        survey_blocks(model, count, *blocks)
        return cls(model, count, blocks)

    @property
    def median(self) -> Median:
        """As the kernels need it.

        Raises
        ------
        ValueError
            There is no map.
        """
        if self.back is None:
            raise ValueError("a model on a grid needs the map that leads there")
        return Median(self.model, self.count, self.back.nodes, self.back.step)


@dataclass(frozen=True)
class Expected:
    """Expected values of a frame's pixels, from the sequence, and their noise.

    Parameters
    ----------
    told : OnPlane or OnGrid
        The sequence's model.
    constant, per_electron : float32 (ny, nx)
        Noise model of the frame's pixels.
    transparency, sky, excess : float
        Of the frame, see `Conditions`.
    """

    told: OnPlane | OnGrid
    constant: Float32
    per_electron: Float32
    transparency: float
    sky: float
    excess: float


def core_slope(fwhm: float, usual: float) -> float:
    """Slope tolerance for star cores in a frame of seeing `fwhm` among others of `usual`, as a share of the step.

    A Gaussian of the same flux has (usual/fwhm)**2 times the peak, and its steepness is taken over half a FWHM: half of
    the peak. A margin of a quarter allows for non-Gaussian profiles; 0 if a width is unknown, 2 at most.
    """
    change = abs((usual / fwhm) ** 2 - 1.0) if fwhm > 0 and usual > 0 else 0.0
    return min(2.5 * change, 2.0)


def flank_reach(fwhm: float, slope: float) -> int:
    """Pixels over which stars' flanks are compared: by as much do they move, 2 FWHM from the centre, with the seeing.

    A slope tolerance is 5 times the relative change of the seeing that it allows for, see `core_slope`.
    """
    return max(1, math.ceil(2.0 * fwhm * slope / 5.0))


def flag_outliers(sub: Float32, dq: UInt16, expected: Expected, limits: OutlierLimits) -> UInt8:
    """Flag pixels of a sky-subtracted frame, on its detector, that deviate from the sequence's blotted model.

    Parameters
    ----------
    sub : float32 (ny, nx)
        Sky-subtracted frame, electron.
    dq : uint16 (ny, nx)
        Its flags; those of bright and of unusable pixels are used.
    expected : Expected
        Model and noise.
    limits : OutlierLimits
        Thresholds.

    Returns
    -------
    uint8 (ny, nx)
        1 where flagged.
    """
    words = np.zeros(-(-sub.size // 8), np.uint64)  # of eight flags each
    flags = words.view(np.uint8)[: sub.size].reshape(sub.shape)
    told, noise = expected.told, Noise(expected.constant, expected.per_electron)
    frame = Conditions(expected.transparency, expected.sky, expected.excess)
    if isinstance(told, OnGrid):
        flag_mapped(sub, dq, told.median, told.blocks, noise, frame, limits, flags)
    else:
        flag_plane(sub, dq, told.median, told.origin, noise, frame, limits, flags)
    grow(flags, words)
    return flags


def fill_hidden(data: Float32, dq: UInt16, bits: int, told: OnPlane | OnGrid, scale: float) -> None:
    """Set unusable pixels to the model's value, else the mean of good ones around, else 0, so that they do not ring.

    Parameters
    ----------
    data : float32 (ny, nx)
        Sky-subtracted frame, changed in place.
    dq : uint16 (ny, nx)
        Its flags.
    bits : int
        Flags of unusable pixels.
    told : OnPlane or OnGrid
        The sequence's median.
    scale : float
        The frame's transparency, by which the model is multiplied.
    """
    lost = np.zeros(data.shape[0], np.bool_)
    fill_from_model(data, dq, np.uint16(bits), told.median, np.float32(scale), lost)
    fill_lost(data, dq, np.uint16(bits), lost)
