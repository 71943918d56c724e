"""Frames that stand still: what they share does not average out in their mean."""

from __future__ import annotations

import numpy as np

from ..group import Group

#: Frames that are less than this apart, in pixels, stand still: a star covers the same pixels.
STILL = 1.0


def frames_together(group: Group, frames: list[int]) -> dict[int, float]:
    """For each frame, how many of `frames` stand where it does and share its sky, itself included.

    Exposures of one position have the same noise of the sky at the same places: the variance of the mean of k of them
    is (1 + k v) / k, not (1 + v) / k, where v is that of the sky. Frames that share it in part count in part.
    """
    places = np.array([(group.frames[j].dx, group.frames[j].dy) for j in frames])
    found = {}
    for i, place in zip(frames, places, strict=True):
        own = set(group.skies.get(i, ()))
        near = np.flatnonzero(np.abs(places - place).max(axis=1) < STILL)
        others = [set(group.skies.get(frames[k], ())) for k in near if frames[k] != i]
        found[i] = 1.0 + sum(len(own & o) / max(len(own), len(o), 1) for o in others)
    return found
