"""Configuration in layers: user file, ``nirred.toml`` beside the data, environment, command line; each with its origin.

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
from .params import Setting, nearest, snake

if TYPE_CHECKING:
    from .step import Step

FILE_NAME = "nirred.toml"
#: Options of a run that may be configured, with the kind of value.
OPTIONS: dict[str, type | tuple[type, ...]] = {
    "recipe": str,
    "jobs": int,
    "memory": (str, int),
    "scratch": str,
    "strict": bool,
    "allow_missing": (list, str),
    "exclude": (list, str),
    "user_bpm": str,
    "user_cal": dict,
    "log_file": str,
}
#: Environment variables that are no configuration of a run.
RESERVED = ("NIRRED_PLUGINS", "NIRRED_CONFIG")
#: Parameters that every step has; `skip_primitive` is the incumbents' spelling.
COMMON = {"skip_primitive": "skip"}

_MEMORY = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?)\s*([KMGT]?)(i?)B?\s*", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


@dataclass(frozen=True)
class Option:
    """Value of an option and who set it."""

    value: Any
    origin: str


@dataclass(frozen=True)
class Config:
    """What is configured, low to high already applied.

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


def user_file(environ: Mapping[str, str] | None = None) -> Path:
    """The user's file: NIRRED_CONFIG, or nirred.toml in the platform's configuration directory."""
    named = (os.environ if environ is None else environ).get("NIRRED_CONFIG")
    if named:
        return Path(named)
    from platformdirs import user_config_dir

    return Path(user_config_dir("nirred")) / FILE_NAME


def load_config(inputs: Iterable[str | Path] = (), environ: Mapping[str, str] | None = None) -> Config:
    """Read all layers below the command line.

    Parameters
    ----------
    inputs : iterable of paths
        What is to be reduced: ``nirred.toml`` is sought in these directories, and beside these files and lists.
    environ : mapping, optional
        Default ``os.environ``.

    Raises
    ------
    ConfigError
        A file that is no TOML, an unknown key (the nearest is suggested), a value of the wrong kind.
    """
    environ = os.environ if environ is None else environ
    settings: list[Setting] = []
    options: dict[str, Option] = {}
    files = [p for p in (user_file(environ), *_beside(inputs)) if p.is_file()]
    for path in files:
        _add_file(path, settings, options)
    _add_environment(environ, settings, options)
    return Config(tuple(settings), options, tuple(files))


def _beside(inputs: Iterable[str | Path]) -> Iterator[Path]:
    seen = set()
    for item in inputs:
        path = Path(str(item).removeprefix("@"))
        home = path if path.is_dir() else path.parent
        if home not in seen:
            seen.add(home)
            yield home / FILE_NAME


def _add_file(path: Path, settings: list[Setting], options: dict[str, Option]) -> None:
    import tomli

    try:
        tables = tomli.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomli.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}", "mend the file") from None
    for name, table in tables.items():
        if name not in ("run", "steps") or not isinstance(table, dict):
            raise ConfigError(f"{path}: no table [{name}]", nearest(name, ("run", "steps")) or "[run], [steps.NAME]")
    for name, value in tables.get("run", {}).items():
        options[name] = _checked(name, value, str(path))
        if name == "user_cal":  # files beside the configuration
            options[name] = replace(options[name], value={k: str(path.parent / str(v)) for k, v in value.items()})
    for step, values in tables.get("steps", {}).items():
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: [steps] {step} = {values!r}", f"write a table [steps.{step}]")
        settings += [make_setting(f"{step}:{n}", v, str(path)) for n, v in values.items()]


def _add_environment(environ: Mapping[str, str], settings: list[Setting], options: dict[str, Option]) -> None:
    for name in sorted(environ):
        if not name.startswith("NIRRED_") or name in RESERVED:
            continue
        step, _, parameter = name.removeprefix("NIRRED_").lower().partition("__")
        value = parse_value(environ[name])
        if parameter:
            settings.append(make_setting(f"{step}:{parameter}", value, f"environment {name}"))
        else:
            options[step] = _checked(step, value, f"environment {name}")


def _checked(name: str, value: Any, origin: str) -> Option:
    if name not in OPTIONS:
        raise ConfigError(f"{origin}: no option {name!r}", nearest(name, OPTIONS) or f"known: {', '.join(OPTIONS)}")
    kinds = OPTIONS[name]
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(
            {str: "text", int: "a whole number", bool: "true or false", list: "a list", dict: "a table"}[k]
            for k in kinds
        )
        raise ConfigError(f"{origin}: {name} = {value!r}", f"{name} is {wanted}")
    return Option(value, origin)


def parse_memory(value: str | int) -> int:
    """Bytes of '2GB', '512 MiB', '1.5G' or a number.

    Raises
    ------
    ConfigError
        No size, or less than 64 MB.
    """
    found = _MEMORY.fullmatch(str(value))
    if not found:
        raise ConfigError(f"{value!r} is no size of memory", "write 2GB or 512MB")
    base = 1024 if found[3] else 1000
    size = int(float(found[1]) * base ** " KMGT".index(found[2].upper() or " "))
    if size < 64_000_000:
        raise ConfigError(f"memory of {size} bytes is too little", "at least 64MB; did you forget the unit, as in 2GB?")
    return size


def parse_value(text: str) -> Any:
    """None, True, False, a number, a list in square brackets, or text, as a user writes it."""
    stripped = text.strip()
    word = stripped.lower()
    if word in ("none", "true", "false"):
        return {"none": None, "true": True, "false": False}[word]
    if _NUMBER.fullmatch(stripped):
        return float(stripped) if re.search(r"[.eE]", stripped) else int(stripped)
    if stripped[:1] in "[(" and stripped[-1:] in "])" and len(stripped) > 1:
        inner = stripped[1:-1].strip()
        return [parse_value(item) for item in inner.split(",") if item.strip()]
    if len(stripped) > 1 and stripped[0] == stripped[-1] and stripped[0] in "'\"":
        return stripped[1:-1]
    return text


def parse_setting(text: str, origin: str) -> Setting:
    """``step:parameter=value`` or ``parameter=value`` (every step that has it; the step is then '').

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


def check_settings(
    settings: Iterable[Setting], steps: Mapping[str, type[Step]], labels: Mapping[str, str] | None = None
) -> tuple[Setting, ...]:
    """Check steps and parameters of settings; one without a step is given to every step that has the parameter.

    Parameters
    ----------
    settings : iterable of Setting
        Any order; it is kept.
    steps : mapping
        Step classes by name.
    labels : mapping, optional
        {label: step} of the calls in recipes that bear one; a setting for a label keeps it.

    Raises
    ------
    ConfigError
        An unknown step or parameter, with the nearest known.
    """
    alike = {alias: name for name, kind in steps.items() for alias in (*kind.aliases, *map(snake, kind.aliases))}
    places = {name: name for name in steps} | dict(labels or {})
    checked: list[Setting] = []
    for given in settings:
        name = snake(given.name)
        s = replace(given, name=COMMON.get(name, name))
        place = alike.get(s.step, snake(s.step))
        if place and place not in places:
            raise ConfigError(f"no step {s.step!r} ({s.origin})", nearest(place, places) or "see `nirred recipes`")
        takers = [place] if place else [n for n, kind in steps.items() if s.name in kind.Params.model_fields]
        known = {n for place in takers or steps for n in steps[places[place]].Params.model_fields}
        if s.name not in known:
            where = f"{s.step}:{s.name}" if s.step else s.name
            listed = f"known: {', '.join(sorted(known))}" if place else "see `nirred params FILE`"
            raise ConfigError(f"{where} ({s.origin}): no such parameter", nearest(s.name, sorted(known)) or listed)
        checked += [Setting(taker, s.name, s.value, s.origin) for taker in takers]
    return tuple(checked)
