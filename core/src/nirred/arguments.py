"""What the arguments of a run or a plan, from Python or from the command line, and the configuration amount to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ConfigError

if TYPE_CHECKING:
    from .config import Config
    from .plan.options import PlanOptions
    from .plugin.instrument import Event, RequestSet
    from .registry import Registry
    from .run.api import RunOptions

    Params = Mapping[str, Any] | Iterable[tuple[str, Any]]


@dataclass(frozen=True)
class Given:
    """A caller's settings for a run or a plan, as they were given.

    Attributes
    ----------
    recipe : str or None
        Name or TOML file; None: the recipe that each group of frames needs.
    params : mapping or iterable of pairs
        Values by "step:parameter".
    user_cal : mapping
        {kind: path}, with or without ``processed_`` before the kind.
    options : mapping
        By the names in `PLAN_OPTIONS`, `SHORTHANDS` and `RUN_OPTIONS`; None and () mean "not given".
    origin : str
        Who gave them, for messages and provenance.
    requests : RequestSet or None
        From foreign files among the inputs; see `with_requests`.
    """

    recipe: str | None = None
    params: Params = ()
    user_cal: Mapping[str, str | Path] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    origin: str = "nirred.run()"
    requests: RequestSet | None = None


#: Options of a run that affect its plan.
PLAN_OPTIONS = ("user_bpm", "objects", "skies", "exclude", "allow_missing", "only", "strict", "library")
#: Those of them that take several names.
_LISTS = ("objects", "skies", "exclude", "allow_missing")
#: Those that a parameter of a step may say as well.
_NAMING = ("user_bpm", "objects", "skies")
#: Options that are parameters of a step by a shorter name.
SHORTHANDS = {"offsets": "adjust_wcs_to_reference:offsets", "crop": "resample_to_common_frame:crop"}
#: The others.
RUN_OPTIONS = (
    "jobs",
    "memory",
    "scratch",
    "executor",
    "fresh",
    "keep_intermediates",
    "register",
    "report",
    "log_file",
    "on_event",
)


def given_from_command(options: Mapping[str, Any]) -> Given:
    """The settings of the command line, from click's values."""
    rest = {k: v for k, v in options.items() if k not in ("recipe", "params", "user_cal")}
    return Given(options["recipe"], options["params"], options["user_cal"], rest, "command line")


def with_requests(inputs: Sequence[str | Path], given: Given, registry: Registry) -> tuple[list[Any], Given, Path]:
    """Read observation files among the inputs; return the other inputs, the settings and the output directory.

    Raises
    ------
    ConfigError
        A recipe is named beside an observation file, whose blocks have their own.
    NirredError
        As in `requests.take_requests`.
    """
    from . import requests

    control = given.recipe if given.recipe is not None and requests.is_foreign(given.recipe) else None
    rest = {k: v for k, v in given.options.items() if k not in requests.OPTIONS}
    others, asked, base = requests.take_requests(inputs, control, given.options, registry)
    recipe = None if control is not None else given.recipe
    if asked is not None and recipe is not None:
        raise ConfigError(f"recipe {recipe}: each block of an observation file has its own", "-r CONTROL.yaml, or none")
    out = Path("reduced") if asked is None else base
    return others, replace(given, recipe=recipe, options=rest, requests=asked), out


def run_options(out: str | Path, given: Given, config: Config, registry: Registry) -> RunOptions:
    """Merge the configuration and the caller's settings, which take precedence, into the options of one run.

    Raises
    ------
    ConfigError
        An unknown option, step or parameter (the nearest is suggested), or an invalid value.
    """
    from .config import PLACES, check_jobs, parse_memory
    from .run.api import RunOptions

    merged = _merged(given, config)
    if "jobs" in merged:
        check_jobs(merged["jobs"], given.origin)
    if "memory" in merged:
        merged["memory"] = parse_memory(merged["memory"])
    for name in PLACES:
        if name in merged:
            merged[name] = _writable(merged[name], name)
    if not str(out).strip():
        raise ConfigError("the output directory has no name", "write -o reduced/")
    own = {k: v for k, v in merged.items() if k in RUN_OPTIONS}
    return RunOptions(plan=plan_options(out, given, config, registry), **own)


def plan_options(out: str | Path | None, given: Given, config: Config, registry: Registry) -> PlanOptions:
    """The part of a run's options that affects its plan; errors as in `run_options`."""
    from .config import given_settings, make_setting
    from .expressions import compile_expression
    from .library import open_shelf
    from .plan.options import PlanOptions, check_kinds, kind_of, with_parameters

    merged = _merged(given, config)
    values = {k: merged[k] for k in PLAN_OPTIONS if k in merged}
    values |= {name: _words(name, values[name]) for name in _LISTS if name in values}
    if isinstance(values.get("only"), str):
        values["only"] = compile_expression(values["only"])
    check_kinds(values.get("allow_missing", ()), "allow_missing", registry)
    if "user_bpm" in values:
        values["user_bpm"] = _existing(values["user_bpm"], "user_bpm")
    values["library"] = open_shelf(values.get("library"), registry, _sayer(merged.get("on_event")))
    recipe = given.recipe if given.recipe is not None else config.value("recipe")
    if recipe is not None and not recipe.strip():
        raise ConfigError("the recipe has no name", "leave the option out, or see `nirred recipes`")
    if "offsets" in merged:
        merged["offsets"] = str(_existing(merged["offsets"], "offsets"))
    short = [make_setting(key, merged[name], given.origin) for name, key in SHORTHANDS.items() if name in merged]
    masters = {kind_of(k): _existing(v, f"user_cal {k}") for k, v in given.user_cal.items()}
    configured = {kind_of(k): (k, v) for k, v in (config.value("user_cal") or {}).items() if kind_of(k) not in masters}
    # The caller's settings come after the configuration, whether parameters or equivalent options.
    told = {k: values.pop(k) for k in _NAMING if given.options.get(k) not in (None, ())}
    options = PlanOptions(
        **values,
        user_cal={kind: _existing(v, f"user_cal {k}") for kind, (k, v) in configured.items()},
        out=None if out is None else Path(out),
        recipe=recipe if given.requests is None else None,
        requests=given.requests,
    )
    options = with_parameters(options, config.settings, registry)
    options = replace(options, user_cal={**options.user_cal, **masters}, **told)
    return with_parameters(options, (*given_settings(given.params, given.origin), *short), registry)


def _words(name: str, value: Any) -> tuple[str, ...]:
    """Names given to an option that takes several; in a list, each item may contain commas."""
    listed = isinstance(value, str) or name == "allow_missing"
    texts = [value] if isinstance(value, str) else map(str, value)
    return tuple(w.strip() for text in texts for w in (text.split(",") if listed else [text]))


def _sayer(on_event: Callable[[Event], None] | None) -> Callable[[str], None] | None:
    """A function that passes a message to an observer."""
    from .plugin.instrument import Event

    return None if on_event is None else lambda text: on_event(Event("message", message=text))


def _merged(given: Given, config: Config) -> dict[str, Any]:
    from .params import nearest

    known = (*PLAN_OPTIONS, *SHORTHANDS, *RUN_OPTIONS)
    for name in given.options:
        if name not in known:
            raise ConfigError(
                f"no option {name!r} ({given.origin})", nearest(name, known) or f"known: {', '.join(known)}"
            )
    asked = {k: v for k, v in given.options.items() if v is not None and v != ()}
    return {k: o.value for k, o in config.options.items() if k in known} | asked


def _writable(path: str | Path, what: str) -> Path:
    """Check a path to write to; if it does not exist yet, one of its parent directories must be writable."""
    path = Path(path).expanduser()
    there = next((p for p in (path, *path.parents) if os.path.lexists(p)), path)
    wanted = os.path.isfile(there) if what == "log_file" and there == path else os.path.isdir(there)
    if not (wanted and os.access(there, os.W_OK)):
        raise ConfigError(f"{what}: {path} cannot be written", "choose another place")
    return path


def _existing(path: str | Path, what: str) -> Path:
    path = Path(path).expanduser()
    if not os.path.isfile(path):
        raise ConfigError(f"{what}: no file {path}", "check the path")
    return path
