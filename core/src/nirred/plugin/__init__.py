"""The plugin interface: `hookimpl`, `API_VERSION` and the dataclasses that hooks take and return.

A plugin is a module (or any object) that implements some of the hooks of `nirred.hookspecs` with `@hookimpl`, sets
``NIRRED_API = (1, 0)``, and is registered in the entry-point group ``nirred.plugins``. It imports only this package
and `nirred.algorithms` from nirred.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..dq import DQ, NOT_SIGNAL
from ..errors import ConfigError, DataError, NirredError
from ..headers import Header, Headers
from ..textfiles import read_text
from . import gemini
from .coordinates import make_wcs, wcs_from_header, wcs_from_pointing
from .frames import (
    Amplifier,
    Claim,
    Descriptors,
    Detector,
    Exposure,
    Linearity,
    PlaneWcs,
    Polygon,
    Role,
    Section,
)
from .instrument import Event, ExecutorSpec, Instrument, Request, RequestContext, RequestOutcome, RequestSet
from .markers import API_VERSION, hookimpl
from .recipes import Recipe, RecipePatch, S, StepCall
from .rules import CalibrationRule, MaskInput, MaskSpec, Match, seconds
from .simulation import (
    ExposureSettings,
    FlatCharacter,
    SimulatedDetector,
    SimulatedExposure,
    SimulatedWcs,
    Simulation,
)
from .tagging import TagRule, evaluate, rule

if TYPE_CHECKING:
    from ..fitsio import read_image
    from ..frame import Frame, Plane, Ramp
    from ..params import Params, nearest, param
    from ..step import FrameStep, GroupStep, Step

_LAZY = {
    "Frame": "frame",
    "Plane": "frame",
    "Ramp": "frame",
    "Params": "params",
    "param": "params",
    "nearest": "params",
    "FrameStep": "step",
    "GroupStep": "step",
    "Step": "step",
    "read_image": "fitsio",
}

__all__ = [
    "API_VERSION",
    "DQ",
    "NOT_SIGNAL",
    "Amplifier",
    "CalibrationRule",
    "Claim",
    "ConfigError",
    "DataError",
    "Descriptors",
    "Detector",
    "Event",
    "ExecutorSpec",
    "Exposure",
    "ExposureSettings",
    "FlatCharacter",
    "Frame",
    "FrameStep",
    "GroupStep",
    "Header",
    "Headers",
    "Instrument",
    "Linearity",
    "MaskInput",
    "MaskSpec",
    "Match",
    "NirredError",
    "Params",
    "Plane",
    "PlaneWcs",
    "Polygon",
    "Ramp",
    "Recipe",
    "RecipePatch",
    "Request",
    "RequestContext",
    "RequestOutcome",
    "RequestSet",
    "Role",
    "S",
    "Section",
    "SimulatedDetector",
    "SimulatedExposure",
    "SimulatedWcs",
    "Simulation",
    "Step",
    "StepCall",
    "TagRule",
    "evaluate",
    "gemini",
    "hookimpl",
    "make_wcs",
    "nearest",
    "param",
    "read_image",
    "read_text",
    "rule",
    "seconds",
    "wcs_from_header",
    "wcs_from_pointing",
]


def __getattr__(name: str) -> Any:
    """Import names that need numpy or pydantic only on first use."""
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(f"nirred.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
