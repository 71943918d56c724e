"""The calibration library: finished darks, flats and masks, found by their headers."""

from __future__ import annotations

from .catalogue import CalibrationLibrary, Entry
from .database import NONE, default_place
from .shelf import Shelf, open_shelf

__all__ = ["NONE", "CalibrationLibrary", "Entry", "Shelf", "default_place", "open_shelf"]
