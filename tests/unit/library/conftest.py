"""Finished calibrations of the toy camera, and libraries that contain them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nirred.library import CalibrationLibrary

Make = Callable[..., Path]


@pytest.fixture
def library(tmp_path: Path, night: Any) -> CalibrationLibrary:
    return CalibrationLibrary(tmp_path / "library.db", night.registry, timeout=0.3)


@pytest.fixture
def product(night: Any, tmp_path: Path) -> Make:
    """Write a product of nirred to masters/ and return its path."""
    masters = tmp_path / "masters"
    masters.mkdir()

    def make(kind: str, name: str, **cards: Any) -> Path:
        role = {"dark": "dark", "flat": "lamp_on", "bpm": "lamp_on", "image": "science"}[kind]
        own = {"NIRRED": "0.1.0", "NIRKIND": kind, "NCOMBINE": 5, "TAG": "PROCESSED"}
        raw: Path = night.frame(role, name, **(own | cards))
        return raw.rename(masters / name)

    return make
