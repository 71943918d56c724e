"""Configuration layers, each with its origin: user file, ``nirred.toml`` next to the data, environment, command line.

A file has the tables ``[run]`` (jobs, memory, ...) and ``[steps.NAME]`` (parameters of a step).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ConfigError
from .incumbent import COUNTERPARTS, check_unknown_name, of_unknown_step, translated
from .params import Setting, brief, check_value, nearest, snake
from .step import names_by_alias
from .textfiles import read_toml

if TYPE_CHECKING:
    from .step import Step

FILE_NAME = "nirred.toml"
#: Options of a run that may be configured, with the kind of value.
OPTIONS: dict[str, type | tuple[type, ...]] = {
    "recipe": str,
    "jobs": int,
    "memory": (str, int),
    "scratch": str,
    "executor": str,
    "keep_intermediates": bool,
    "strict": bool,
    "allow_missing": (list, str),
    "exclude": (list, str),
    "user_bpm": str,
    "user_cal": dict,
    "log_file": str,
    "library": str,
    "register": bool,
    "report": bool,
}
#: A larger number of threads must be a typing error.
MAX_JOBS = 1024
#: Options that set where files are written.
PLACES = ("scratch", "log_file")
#: Options that only the user may set, not a file next to the data.
OWN = (*PLACES, "library")
#: Origins that apply to this run only; a configuration file applies to all runs and may name steps not used in one.
GIVEN = ("command line", "nirred.run()")
#: Environment variables that do not configure a run.
RESERVED = ("NIRRED_PLUGINS", "NIRRED_CONFIG")
#: Parameters that every step has; `skip_primitive` is DRAGONS' name.
COMMON = {"skip_primitive": "skip"}

_MEMORY = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{0,15})?)\s*([KMGT]?)(i?)B?\s*", re.IGNORECASE)
#: Numbers; digits after a leading zero are part of a name, such as a file's: 0270 is not a number.
_NUMBER = re.compile(r"[-+]?(?!0[0-9])([0-9]{1,300}\.?[0-9]{0,300}|\.[0-9]{1,300})([eE][-+]?[0-9]{1,9})?")


@dataclass(frozen=True)
class Option:
    """Value of an option and its origin."""

    value: Any
    origin: str


@dataclass(frozen=True)
class Config:
    """The configuration, with all layers applied from low to high.

    Attributes
    ----------
    settings : tuple of Setting
        Parameters of steps, lowest layer first.
    options : mapping of str to Option
        Options of a run.
    files : tuple of Path
        The files that were read.
    """

    settings: tuple[Setting, ...] = ()
    options: Mapping[str, Option] = field(default_factory=dict)
    files: tuple[Path, ...] = ()

    def value(self, name: str, default: Any = None) -> Any:
        """Configured value of an option, or the default."""
        return self.options[name].value if name in self.options else default

    def below(self, higher: Config) -> Config:
        """The configuration with a higher layer applied to it."""
        return Config(self.settings + higher.settings, {**self.options, **higher.options}, self.files + higher.files)


def user_file(environ: Mapping[str, str] | None = None) -> Path:
    """The user's file: NIRRED_CONFIG, or nirred.toml in the platform's configuration directory (there may be none).

    Raises
    ------
    ConfigError
        NIRRED_CONFIG names no file; /dev/null stands for none.
    """
    named = (os.environ if environ is None else environ).get("NIRRED_CONFIG")
    if named:
        if not os.path.isfile(named) and named != os.devnull:
            raise ConfigError(f"environment NIRRED_CONFIG: no file {named}", f"name a file, or {os.devnull} for none")
        return Path(named)
    from platformdirs import user_config_dir

    return Path(user_config_dir("nirred")) / FILE_NAME


def load_config(inputs: Iterable[str | Path] = (), environ: Mapping[str, str] | None = None) -> Config:
    """Read all layers below the command line.

    Parameters
    ----------
    inputs : iterable of paths
        Inputs of the run: ``nirred.toml`` is searched for in these directories and next to these files and lists.
    environ : mapping, optional
        Default ``os.environ``.

    Raises
    ------
    ConfigError
        NIRRED_CONFIG names no file; a file is not valid TOML; an unknown key (the nearest is suggested); a value of the
        wrong type.
    """
    environ = os.environ if environ is None else environ
    own = user_file(environ)
    files = [p for p in (own, *_beside(inputs)) if os.path.lexists(p) and str(p) != os.devnull]
    found = Config()
    for path in files:
        layer = _of_file(path)
        if path != own:
            _refuse_places(layer, path, own)
        found = found.below(layer)
    return found.below(_of_environment(environ))


def _beside(inputs: Iterable[str | Path]) -> Iterator[Path]:
    seen = set()
    for item in inputs:
        path = Path(str(item).removeprefix("@"))
        home = path if os.path.isdir(path) else path.parent
        if home not in seen:
            seen.add(home)
            yield home / FILE_NAME


def _of_file(path: Path) -> Config:
    settings: list[Setting] = []
    options: dict[str, Option] = {}
    tables = read_toml(path, str(path), "correct the file")
    for name, table in tables.items():
        if name not in ("run", "steps"):
            raise ConfigError(f"{path}: no table [{name}]", nearest(name, ("run", "steps")) or "[run], [steps.NAME]")
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: {name} = {brief(table)}", f"write a table [{name}]")
    for name, value in tables.get("run", {}).items():
        option = _checked(name, value, str(path))
        if name == "user_cal":
            option = replace(option, value={k: _from(path.parent, str(v)) for k, v in value.items()})
        elif name == "user_bpm" or (name == "recipe" and value.lower().endswith(".toml")):
            option = replace(option, value=_from(path.parent, value))
        elif name == "library":
            option = replace(option, value=_place(option.value, path.parent))
        options[name] = option
    for step, values in tables.get("steps", {}).items():
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: [steps] {step} = {values!r}", f"write a table [steps.{step}]")
        settings += [make_setting(f"{step}:{n}", _found(path.parent, v), str(path)) for n, v in values.items()]
    return Config(tuple(settings), options, (path,))


def _from(home: Path, name: str) -> str:
    """A file name in a configuration; a relative one is relative to the configuration file."""
    return str(home / Path(name).expanduser())


def _found(home: Path, value: Any) -> Any:
    """A parameter's value; if it names an existing file relative to `home`, the path given by `_from`."""
    named = isinstance(value, str) and "\0" not in value and Path(value).suffix
    return _from(home, value) if named and os.path.isfile(_from(home, value)) else value


def _refuse_places(layer: Config, path: Path, own: Path) -> None:
    """Refuse output locations set by a file next to the data: only the user may set them, in the `own` file."""
    for name in OWN:
        if name in layer.options:
            raise ConfigError(f"{path}: {name} cannot be set beside the data", f"set it in {own}, or for one run")


def _of_environment(environ: Mapping[str, str]) -> Config:
    settings: list[Setting] = []
    options: dict[str, Option] = {}
    for name in sorted(environ):
        if not name.startswith("NIRRED_") or name in RESERVED:
            continue
        step, _, parameter = name.removeprefix("NIRRED_").lower().partition("__")
        if parameter:
            value = parse_value(environ[name])
            settings.append(make_setting(f"{step}:{parameter}", value, f"environment {name}"))
        else:
            options[step] = _checked(step, _option_value(step, environ[name]), f"environment {name}")
    return Config(tuple(settings), options)


def _option_value(name: str, text: str) -> Any:
    """An option's value in the environment, where a switch may be 1 or 0, and a name may look like a number."""
    value, kinds = parse_value(text), OPTIONS.get(name, str)
    if kinds is bool and value in (0, 1):
        return bool(value)
    takes_text = kinds is str or (isinstance(kinds, tuple) and str in kinds and int not in kinds)
    return text if takes_text and isinstance(value, int | float) and not isinstance(value, bool) else value


def _place(library: str, home: Path) -> str:
    """Location of a library given in a file; a relative name is relative to that file."""
    alone = "://" in library or library.lower() in ("", "none")
    return library if alone else str(home.absolute() / Path(library).expanduser())


def _checked(name: str, value: Any, origin: str) -> Option:
    if name not in OPTIONS:
        raise ConfigError(f"{origin}: no option {name!r}", nearest(name, OPTIONS) or f"known: {', '.join(OPTIONS)}")
    if name == "library" and value in (None, False):
        value = "none"  # "none" in the environment becomes None, and TOML has false
    kinds = OPTIONS[name]
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(
            {str: "text", int: "a whole number", bool: "true or false", list: "a list", dict: "a table"}[k]
            for k in kinds
        )
        raise ConfigError(f"{origin}: {name} = {value!r}", f"{name} is {wanted}")
    _check_range(name, value, origin)
    return Option(value, origin)


def _check_range(name: str, value: Any, origin: str) -> None:
    if isinstance(value, list) and not all(isinstance(v, str) for v in value):
        raise ConfigError(f"{origin}: {name} = {value!r}", f"{name} is a list of texts")
    if name == "jobs":
        check_jobs(value, origin)
    if name == "memory":
        parse_memory(value, f"{origin}: memory = ")


def check_jobs(value: int, origin: str) -> None:
    """Refuse an implausible number of threads.

    Raises
    ------
    ConfigError
        Not a whole number between 1 and 1024.
    """
    if not isinstance(value, int) or not 1 <= value <= MAX_JOBS:
        raise ConfigError(f"jobs = {brief(value)} ({origin})", f"1 to {MAX_JOBS}")


def parse_memory(value: str | int, where: str = "--memory ") -> int:
    """Convert '2GB', '512 MiB', '1.5G' or a number to bytes; `where` precedes the value in an error message.

    Raises
    ------
    ConfigError
        Not a size, or less than 64 MB.
    """
    found = _MEMORY.fullmatch(value if isinstance(value, str) else f"{value}")
    if not found:
        raise ConfigError(f"{where}{brief(value)} is not a memory size", "write 2GB or 512MB")
    base = 1024 if found[3] else 1000
    size = int(float(found[1]) * base ** " KMGT".index(found[2].upper() or " "))
    if size < 64_000_000:
        raise ConfigError(
            f"{where}{value!r}: {size} bytes are too little", "at least 64MB; did you forget the unit, as in 2GB?"
        )
    return size


def parse_value(text: str) -> Any:
    """Parse a user's text as None, True, False, a number, a list of these in square brackets, or text."""
    stripped = text.strip()
    if stripped[:1] in "[(" and stripped[-1:] in "])" and len(stripped) > 1:
        return [_scalar(item) for item in stripped[1:-1].split(",") if item.strip()]
    return _scalar(text)


def _scalar(text: str) -> Any:
    stripped = text.strip()
    word = stripped.lower()
    if word in ("none", "true", "false"):
        return {"none": None, "true": True, "false": False}[word]
    if _NUMBER.fullmatch(stripped):
        return float(stripped) if re.search(r"[.eE]", stripped) else int(stripped)
    if len(stripped) > 1 and stripped[0] == stripped[-1] and stripped[0] in "'\"":
        return stripped[1:-1]
    return text


def parse_setting(text: str, origin: str) -> Setting:
    """Parse ``step:parameter=value``, or ``parameter=value`` for all steps that have it (the step is then '').

    Raises
    ------
    ConfigError
        Not of that form.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"{text!r} ({origin}) is no setting", "write step:parameter=value")
    return make_setting(key, parse_value(value), origin)


def make_setting(key: str, value: Any, origin: str) -> Setting:
    """A setting from 'step:parameter' and a value."""
    step, _, name = key.strip().rpartition(":")
    if not name.strip():
        raise ConfigError(f"{key!r} ({origin}) names no parameter", "write step:parameter=value")
    name = snake(name.strip())
    return Setting(snake(step.strip()) if step else "", COMMON.get(name, name), value, origin)


def given_settings(params: Mapping[str, Any] | Iterable[Any], origin: str) -> tuple[Setting, ...]:
    """Settings from {"step:parameter": value}, pairs of them, or 'step:parameter=value' texts."""
    items: Iterable[Any] = params.items() if isinstance(params, Mapping) else params
    found = []
    for item in items:
        if isinstance(item, Setting):
            found.append(item)
        elif isinstance(item, str):
            found.append(parse_setting(item, origin))
        elif isinstance(item, Sequence) and len(item) == 2:
            value = parse_value(item[1]) if isinstance(item[1], str) else item[1]
            found.append(make_setting(str(item[0]), value, origin))
        else:
            raise ConfigError(f"params: {item!r} ({origin})", 'write ("step:parameter", value)')
    return tuple(found)


def merged(settings: Iterable[Setting], own: Iterable[Setting]) -> tuple[Setting, ...]:
    """Merge a task's own settings into those of the run: above the configuration, below those given to this run."""
    settings = tuple(settings)
    return (
        *(s for s in settings if s.origin not in GIVEN),
        *own,
        *(s for s in settings if s.origin in GIVEN),
    )


def check_settings(
    settings: Iterable[Setting], steps: Mapping[str, type[Step]], labels: Mapping[str, str] | None = None
) -> tuple[Setting, ...]:
    """Check steps and parameters of settings; one without a step applies to every step that has the parameter.

    Parameters
    ----------
    settings : iterable of Setting
        Any order; it is kept.
    steps : mapping
        Step classes by name.
    labels : mapping, optional
        {label: step} of the labelled calls in recipes; a setting for a label keeps the label.

    Raises
    ------
    ConfigError
        An unknown step or parameter, with the nearest known; a value not valid for the parameter.
    """
    alike = names_by_alias(steps)
    places = {name: name for name in steps} | dict(labels or {})
    checked: list[Setting] = []
    for given in settings:
        name = snake(given.name)
        s = replace(given, name=COMMON.get(name, name))
        place = alike.get(s.step, snake(s.step))
        if place in steps or place not in places:
            s = (translated if place in steps else of_unknown_step)(replace(s, step=place))
            place = s.step
        if place and place not in places:
            raise ConfigError(f"no step {s.step!r} ({s.origin})", nearest(place, places) or "see `nirred recipes`")
        takers = [place] if place else [n for n, kind in steps.items() if s.name in kind.Params.model_fields]
        known = {n for place in takers or steps for n in steps[places[place]].Params.model_fields}
        if s.name not in known:
            check_unknown_name(s)
            where = f"{s.step}:{s.name}" if s.step else s.name
            listed = f"known: {', '.join(sorted(known))}" if place else "see `nirred params FILE`"
            names = sorted(known | {n for step, n in COUNTERPARTS if step == place})
            raise ConfigError(f"{where} ({s.origin}): no such parameter", nearest(s.name, names) or listed)
        for taker in takers:
            check_value(steps[places[taker]].Params, replace(s, step=taker))
        checked += [Setting(taker, s.name, s.value, s.origin) for taker in takers]
    return tuple(checked)
