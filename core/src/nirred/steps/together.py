"""Frames that stand still, or nearly so: what they share does not average out in their mean."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..group import Group

#: Frames that are less than this apart, in pixels, stand still: a pixel of their mean is one of the detector.
STILL = 1.0
#: Radius of the apertures for which VAR is to hold, FWHM: VAR has one value for those of one FWHM and larger.
APERTURE = 1.5


@dataclass(frozen=True)
class Together:
    """How many frames share a frame's noise of the sky, itself included: in a pixel, and in an aperture."""

    pixel: float
    aperture: float


def frames_together(group: Group, frames: list[int]) -> dict[int, Together]:
    """For each frame, how many of `frames` stand where it does and share its sky, itself included.

    Exposures of one position have the same noise of the sky at the same places: the variance of the mean of k of them
    is (1 + k v) / k, not (1 + v) / k, where v is that of the sky. Frames that share it in part count in part: pattern
    that was left in all of them they share whatever their skies. Those of a pattern of positions that comes back to
    each within a few pixels have it in one aperture, not in one pixel.
    """
    lasting = {i: float(np.mean([state.sky_lasting.get(i, 0.0) for state in group.planes])) for i in frames}
    places = np.array([(group.frames[j].dx, group.frames[j].dy) for j in frames])
    radius = APERTURE * (group.extras.get("fwhm") or 4.0)
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
    """Part of a circle's area that it shares with another one of its size, whose centre is so far apart."""
    x = np.clip(apart / (2.0 * radius), 0.0, 1.0)
    return np.asarray((np.arccos(x) - x * np.sqrt(1.0 - x * x)) * 2.0 / math.pi)
