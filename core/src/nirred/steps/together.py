"""Frames at the same position, or nearly so: noise that they share does not average out in their mean."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..group import Group

#: Frames less than this apart, in pixels, are at one position: a pixel of their mean is a pixel of the detector.
STILL = 1.0
#: Radius of the apertures for which VAR is meant, FWHM: one value of VAR serves apertures of one FWHM and larger.
APERTURE = 1.5


@dataclass(frozen=True)
class Together:
    """How many frames share a frame's sky noise, itself included: in a pixel, and in an aperture."""

    pixel: float
    aperture: float


def frames_together(group: Group, frames: list[int]) -> dict[int, Together]:
    """For each frame, how many of `frames` have its position and share its sky, itself included.

    Exposures of one position have the same sky noise at the same pixels: the variance of the mean of k of them is
    (1 + k v) / k, not (1 + v) / k, where v is the variance of the sky. Frames that share the sky in part count in part;
    pattern left in all of them is shared whatever their skies. If a dither pattern returns to each position within a
    few pixels, the noise is shared in an aperture but not in a pixel.
    """
    lasting = {i: float(np.mean([state.sky_lasting.get(i, 0.0) for state in group.planes])) for i in frames}
    places = np.array([(group.frames[j].dx, group.frames[j].dy) for j in frames])
    radius = APERTURE * group.registration.star_width
    found = {}
    for i, place in zip(frames, places, strict=True):
        own = set(group.skies.get(i, ()))
        still = np.abs(places - place).max(axis=1) < STILL
        overlap = np.maximum(shared_area(np.hypot(*(places - place).T), radius), still)
        pixel = aperture = 1.0
        for k in np.flatnonzero(overlap > 0):
            if frames[k] != i:
                other = set(group.skies.get(frames[k], ()))
                skies = len(own & other) / max(len(own), len(other), 1)
                share = lasting[i] + (1.0 - lasting[i]) * skies
                pixel, aperture = pixel + share * float(still[k]), aperture + share * float(overlap[k])
        found[i] = Together(pixel, aperture)
    return found


def shared_area(apart: np.ndarray, radius: float) -> np.ndarray:
    """Share of a circle's area that overlaps another circle of the same radius, with centres `apart`."""
    x = np.clip(apart / (2.0 * radius), 0.0, 1.0)
    return np.asarray((np.arccos(x) - x * np.sqrt(1.0 - x * x)) * 2.0 / math.pi)
