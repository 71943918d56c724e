"""What the user says about a plan, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..params import Setting, nearest
from .associate import INTERNAL, Source
from .model import FrameInfo

if TYPE_CHECKING:
    from ..plugin.frames import Descriptors
    from ..registry import Registry

Library = Callable[[str, FrameInfo], Sequence[Source]]


@dataclass(frozen=True)
class PlanOptions:
    """What the user says about the plan.

    Parameters
    ----------
    user_cal : Mapping of str to Path
        {kind: file}; kinds with or without `processed_`. Always taken.
    user_bpm : Path or None
        Bad-pixel mask, combined with whatever else there is.
    objects, skies, exclude : tuple of str
        Parts of file names.
    only : callable or None
        Predicate of Descriptors.
    allow_missing : tuple of str
        Kinds of calibration that may be missing.
    strict : bool
        A missing optional calibration blocks its task, too.
    out : Path or None
        Output directory, never searched for input.
    recipe : str or None
        Run this recipe (a name or FILE.toml) on the frames that it fits, and make what these need; None: everything.
    library : callable or None
        ``library(kind, frame) -> sequence of Source``: finished calibrations of a kind that might serve a frame.
    uses : frozenset of str or None
        Kinds of calibration that `recipe` makes use of; None: as its steps tell.
    settings : tuple of Setting
        Parameters of steps as `config.check_settings` gives them: a calibration whose step is skipped is not sought.
    """

    user_cal: Mapping[str, Path] = field(default_factory=dict)
    user_bpm: Path | None = None
    objects: tuple[str, ...] = ()
    skies: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    only: Callable[[Descriptors], bool] | None = None
    allow_missing: tuple[str, ...] = ()
    strict: bool = False
    out: Path | None = None
    recipe: str | None = None
    library: Library | None = None
    uses: frozenset[str] | None = None
    settings: tuple[Setting, ...] = ()


def kind_of(name: str) -> str:
    """A kind of calibration as the user may write it: processed_dark is dark."""
    return name.strip().lower().removeprefix("processed_")


def user_calibrations(registry: Registry, options: PlanOptions) -> dict[str, Path]:
    """The user's calibrations by kind.

    Raises
    ------
    ConfigError
        A kind that no rule knows, or a file that does not exist.
    """
    known = {"dark", "flat", "bpm"} | {r.kind for _, r in registry.rules()} - INTERNAL
    found = {}
    for name, path in options.user_cal.items():
        kind = kind_of(name)
        if kind not in known:
            hint = nearest(kind, known) or f"kinds: {', '.join(sorted(known))}"
            raise ConfigError(f"--user-cal {name}:{path}: {name!r} is not used in imaging", hint)
        if not Path(path).is_file():
            raise ConfigError(f"--user-cal {name}:{path}: no such file", "check the path")
        found[kind] = Path(path)
    if options.user_bpm is not None and not Path(options.user_bpm).is_file():
        raise ConfigError(f"--user-bpm {options.user_bpm}: no such file", "check the path")
    return found
