"""nirred: near-infrared imaging reduction, from a directory of raw frames to science-ready stacks."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import File, open, run, select
    from .library import CalibrationLibrary

__version__ = "0.1.0"
__all__ = ["CalibrationLibrary", "File", "__version__", "open", "run", "select"]


def __getattr__(name: str) -> Any:
    """Import the interface when it is first used: ``import nirred`` costs nothing."""
    if name == "CalibrationLibrary":
        from .library import CalibrationLibrary

        return CalibrationLibrary
    if name in __all__:
        from . import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Runner(ModuleType):
    """The sub-package `nirred.run`, callable as the function of that name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from .api import run

        return run(*args, **kwargs)


class _Package(ModuleType):
    """nirred itself: importing its sub-package `run` must not take ``nirred.run(...)`` away."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "run" and isinstance(value, ModuleType):
            value.__class__ = _Runner
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
