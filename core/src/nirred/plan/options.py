"""The user's options for a plan, checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..config import check_settings
from ..errors import ConfigError
from ..params import Setting, nearest, worded
from ..recipes import all_recipes, labels_of, own_recipe, step_types
from .associate import Source
from .model import INTERNAL, FrameInfo, Task
from .pointing import FRACTION
from .scan import described, product_of

if TYPE_CHECKING:
    from ..plugin.frames import Descriptors
    from ..plugin.instrument import RequestSet
    from ..registry import Registry


class Library(Protocol):
    """Finished calibrations outside INPUT; `nirred.library.Shelf` is an implementation."""

    @property
    def remarks(self) -> list[str]:
        """Problems with the library, for the plan's remarks."""

    def sources(
        self, kind: str, frame: FrameInfo, within: str | None, enough: Callable[[Source], bool]
    ) -> Sequence[Source]:
        """Candidate calibrations of a kind for a frame, nearest in time first.

        They include those in the rule's window and some beyond, but few farther away than one that is `enough`.
        """

    def fault(self, source: Source) -> str:
        """Why a chosen file must not be used (it has changed), or ''; reads the file."""

    def register(self, path: Path) -> str:
        """Add a calibration made by a run; return '' or an error message."""


#: (step, parameter) that affect the plan, whatever the label of the step in a recipe.
PLANNED = {
    *(("separate_sky", name) for name in ("ref_obj", "ref_sky", "frac_fov")),
    ("prepare", "bad_wcs"),
    ("add_dq", "user_bpm"),
    ("dark_correct", "dark"),
    ("flat_correct", "flat"),
}


@dataclass(frozen=True)
class PlanOptions:
    """The user's options for the plan.

    Parameters
    ----------
    user_cal : Mapping of str to Path
        {kind: file}; kinds with or without `processed_`. Always used.
    user_bpm : Path or None
        Bad-pixel mask, combined with all other masks.
    objects, skies, exclude : tuple of str
        Parts of file names.
    frac_fov : float
        Frames whose centres are separated by this fraction of the field's width are different pointings.
    bad_wcs : str
        What is done about a WCS that contradicts the pointing: ignore: nothing; otherwise it is corrected here if
        possible, and `prepare` does the rest.
    only : callable or None
        Predicate of Descriptors.
    allow_missing : tuple of str
        Kinds of calibration that may be missing.
    strict : bool
        A missing optional calibration blocks its task, too.
    out : Path or None
        Output directory, never searched for input.
    recipe : str or None
        Run this recipe (a name or FILE.toml) on suitable frames and make the calibrations they need; None: everything.
    library : Library or None
        Source of finished calibrations that INPUT does not provide.
    settings : tuple of Setting
        Parameters of steps from `config.check_settings`; no calibration is looked for if its step is skipped.
    requests : RequestSet or None
        Requests of a foreign file: only these are planned; other frames of INPUT provide calibrations for them.
    """

    user_cal: Mapping[str, Path] = field(default_factory=dict)
    user_bpm: Path | None = None
    objects: tuple[str, ...] = ()
    skies: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    frac_fov: float = FRACTION
    bad_wcs: str = "fix"
    only: Callable[[Descriptors], bool] | None = None
    allow_missing: tuple[str, ...] = ()
    strict: bool = False
    out: Path | None = None
    recipe: str | None = None
    library: Library | None = None
    settings: tuple[Setting, ...] = ()
    requests: RequestSet | None = None

    def with_settings(self, settings: Sequence[Setting]) -> PlanOptions:
        """These options with additional checked settings, some of which affect the plan.

        They replace earlier values; None removes one.
        """
        own: dict[str, Any] = {}
        masters = dict(self.user_cal)
        for s in settings:
            value = worded(s.value)
            match s.step, s.name:
                case "separate_sky", "ref_obj" | "ref_sky":
                    names = [] if value is None else str(value).split(",")
                    own["objects" if s.name == "ref_obj" else "skies"] = tuple(n.strip() for n in names if n.strip())
                case "separate_sky", "frac_fov":
                    own["frac_fov"] = float(value)
                case "prepare", "bad_wcs":
                    own["bad_wcs"] = str(value)
                case "add_dq", "user_bpm":
                    own["user_bpm"] = None if value is None else Path(value)
                case "dark_correct" | "flat_correct", "dark" | "flat":
                    others = {kind: path for kind, path in masters.items() if kind_of(kind) != s.name}
                    masters = others if value is None else others | {s.name: Path(value)}
        return replace(self, settings=(*self.settings, *settings), user_cal=masters, **own)


def with_recipe(options: PlanOptions, registry: Registry) -> PlanOptions:
    """These options with the values of the user's own recipe that affect the plan, unless they are set elsewhere.

    Raises
    ------
    ConfigError
        The file is not a recipe.
    """
    own = own_recipe(options.recipe, registry)
    if own is None:
        return options
    usual, said = PlanOptions(), {(s.step, s.name) for s in options.settings}
    told = usual.with_settings(
        [Setting(c.step, k, v, f"recipe {own.name}") for c in own.steps for k, v in c.params if (c.step, k) not in said]
    )
    names = ("objects", "skies", "frac_fov", "bad_wcs", "user_bpm")
    silent = {n: getattr(told, n) for n in names if getattr(options, n) == getattr(usual, n)}
    return replace(options, user_cal={**told.user_cal, **options.user_cal}, **silent)


def with_parameters(options: PlanOptions, settings: Iterable[Setting], registry: Registry) -> PlanOptions:
    """These options with additional parameters of steps; errors as in `known_settings`."""
    return options.with_settings(known_settings(settings, options.recipe, registry))


def known_settings(settings: Iterable[Setting], recipe: str | None, registry: Registry) -> tuple[Setting, ...]:
    """Settings under nirred's names, checked against all steps and the labels in the plugins' recipes and `recipe`.

    Raises
    ------
    ConfigError
        An unknown step or parameter, with the nearest known; `recipe` is a file but not a recipe.
    """
    own = own_recipe(recipe, registry)
    recipes = [*all_recipes(registry).values(), *([own] if own else [])]
    labels = labels_of(recipes)
    checked = check_settings(settings, step_types(registry), labels)
    steps = [labels.get(s.step, s.step) for s in checked]
    return tuple(replace(s, step=n) if (n, s.name) in PLANNED else s for n, s in zip(steps, checked, strict=True))


def kind_of(name: str) -> str:
    """The kind of calibration for a user's spelling: processed_dark is dark."""
    return name.strip().lower().removeprefix("processed_")


def calibration_kinds(registry: Registry) -> set[str]:
    """Kinds of calibration that a user may name, or keep in the library."""
    return {"dark", "flat", "bpm"} | {r.kind for _, r in registry.rules()} - INTERNAL


def check_kinds(names: Iterable[str], what: str, registry: Registry) -> None:
    """Refuse a kind that no task can miss: one that occurs in no rule; lamp-off frames count.

    Raises
    ------
    ConfigError
        An unknown kind; the nearest is suggested.
    """
    known = calibration_kinds(registry) | {"lampoff_flat"}
    for name in names:
        if kind_of(name) not in known:
            hint = nearest(kind_of(name), known) or f"kinds: {', '.join(sorted(known))}"
            raise ConfigError(f"{what}: no calibration of kind {name!r}", hint)


def user_calibrations(registry: Registry, options: PlanOptions) -> dict[str, Path]:
    """The user's calibrations by kind.

    Raises
    ------
    ConfigError
        A kind that occurs in no rule, or a file that does not exist.
    """
    known = calibration_kinds(registry)
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


#: Kinds of finished product that can be used as each kind of calibration.
_SERVES = {"dark": ("dark",), "flat": ("flat", "skyflat"), "bpm": ("bpm",)}


def mistaken(kind: str, frame: FrameInfo | None) -> str:
    """What a calibration named as `kind` is if it is a finished product of another kind; '' if it can serve."""
    if frame is None:
        return ""
    found = product_of(frame) or ("bpm" if frame.descriptors.role == "bpm" else "")
    return found if found not in _SERVES.get(kind, (found,)) else ""


def unused_masters(masters: Mapping[str, Path], mask: Path | None, tasks: Iterable[Task]) -> list[str]:
    """Remarks on the user's calibrations that no task uses."""
    taken = {a.path for t in tasks for a in t.calibrations if a.source == "user"}
    named = [(f"--user-cal {kind}", path) for kind, path in masters.items()]
    named += [("--user-bpm", mask)] if mask is not None else []
    return [f"{o}: no task uses {p.name}: not needed, or of another instrument" for o, p in named if p not in taken]


def described_masters(
    masters: Mapping[str, Path], mask: Path | None, registry: Registry
) -> dict[str, FrameInfo | None]:
    """The user's calibrations, and the mask as `user_bpm`, described by their plugins; None if no plugin claims one.

    Raises
    ------
    ConfigError
        A finished product of another kind, such as a flat given as dark. Files that are not products are not checked,
        because masters made elsewhere have raw headers.
    """
    known = {kind: described(path, registry) for kind, path in masters.items()}
    for kind, frame in known.items():
        if found := mistaken(kind, frame):
            raise ConfigError(f"--user-cal {kind}:{masters[kind]}: it is a finished {found}", f"name a {kind}")
    return known | ({"user_bpm": described(mask, registry)} if mask is not None else {})
