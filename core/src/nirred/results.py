"""Results that the steps of one task pass on to later steps, besides frames, planes and streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .frame import Plane


@dataclass(frozen=True)
class Calibration:
    """A master calibration that is not a mask.

    Parameters
    ----------
    planes : list of Plane
        One per detector.
    name : str
        Of its file, for keywords such as DARKCOR.
    scale : float
        Factor on a dark of another exposure time.
    unit : {"electron", "adu"}
    holds_bias : bool
        False: a dark from which the bias has been subtracted.
    """

    planes: list[Plane]
    name: str = "done"
    scale: float = 1.0
    unit: str = "electron"
    holds_bias: bool = True
