"""Typed parameters with unit, range and doc; the origin of every value is kept; the user's values take precedence."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import PydanticUndefined

from .errors import ConfigError

#: Conversion factors from the written unit to the parameter's unit.
_UNITS = {
    "s": {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0},
    "arcsec": {"arcsec": 1.0, "arcmin": 60.0, "deg": 3600.0},
    "deg": {"deg": 1.0, "arcmin": 1 / 60.0, "arcsec": 1 / 3600.0},
    "pixel": {"pixel": 1.0, "pix": 1.0, "px": 1.0},
    "electron": {"electron": 1.0, "e-": 1.0, "e": 1.0},
}
_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-z-]+)\s*")
_SHOWN = 200
_WORDS: dict[str, Any] = {"none": None, "true": True, "false": False}


def param(default: Any, doc: str, *, unit: str = "", **constraints: Any) -> Any:
    """Declare a parameter: default, one line of documentation, unit, and pydantic constraints (ge, lt, ...)."""
    return Field(default, description=doc, json_schema_extra={"unit": unit} if unit else None, **constraints)


class Params(BaseModel):
    """Base of a step's parameters: frozen, no unknown names, quantities as text accepted ('5 min')."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    skip: bool = param(False, "pass the frames through this step untouched")
    write_outputs: bool = param(False, "write the data as they are after this step to OUT/intermediate")

    @model_validator(mode="before")
    @classmethod
    def _quantities(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        return {k: _from_text(cls, k, v) for k, v in values.items()}

    @classmethod
    def unit(cls, name: str) -> str:
        """Unit of a parameter, or ''."""
        extra = cls.model_fields[name].json_schema_extra
        return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


def _from_text(cls: type[Params], name: str, value: Any) -> Any:
    if name not in cls.model_fields:
        return value
    kind = cls.model_fields[name].annotation
    choices = get_args(kind) or (kind,)
    if value in choices or (value is None and "none" in choices):
        return "none" if value is None and type(None) not in choices else value  # the word may be a choice
    if type(value) is int and str in choices and int not in choices and float not in choices:
        value = str(value)  # a name may be a number
    value = worded(value)
    if isinstance(value, bool) and bool not in choices and {int, float} & set(choices):
        raise ValueError(f"{name} is a number, not {value}")  # Python would take it for 1 or 0
    if not isinstance(value, str):
        return value
    unit = cls.unit(name)
    found = _QUANTITY.fullmatch(value)
    if not (unit and found):
        return value
    table = _UNITS.get(unit, {unit: 1.0})
    if found[2] not in table:
        raise ValueError(f"{name} is in {unit}; {value!r} is not (known: {', '.join(table)})")
    return float(found[1]) * table[found[2]]


def worded(value: Any) -> Any:
    """Interpret the words none, true and false; a TOML file cannot express None otherwise."""
    return _WORDS.get(value.strip().lower(), value) if isinstance(value, str) else value


@dataclass(frozen=True)
class Setting:
    """One value of one parameter and who set it."""

    step: str
    name: str
    value: Any
    origin: str


def snake(name: str) -> str:
    """Convert a DRAGONS-style name: skyCorrect -> sky_correct, makeProcessedBPM -> make_processed_bpm."""
    irregular = {
        "addDQ": "add_dq",
        "addVAR": "add_var",
        "ADUToElectrons": "adu_to_electrons",
        "adjustWCSToReference": "adjust_wcs_to_reference",
        "checkWCS": "check_wcs",
        "makeBPM": "make_bpm",
        "makeProcessedBPM": "make_processed_bpm",
        "getBPM": "get_bpm",
    }
    if name in irregular:
        return irregular[name]
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def brief(value: Any) -> str:
    """A value shortened for a message."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def nearest(word: str, known: Iterable[str]) -> str:
    """'did you mean ...?' for a misspelt word, or ''."""
    close = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else ""


def check_value(kind: type[Params], setting: Setting) -> None:
    """Check a single value before anything is read or planned.

    Raises
    ------
    ConfigError
        The value is not valid for the parameter; the message gives its origin and the general default.
    """
    field = kind.model_fields[setting.name]
    wanted: Any = Annotated[field.annotation, field]
    adapter: TypeAdapter[Any] = TypeAdapter(wanted, config=ConfigDict(allow_inf_nan=False))
    usual = f"{_default(kind, setting.name)}; a camera may have its own: `nirred params FILE`"
    try:
        value = adapter.validate_python(_from_text(kind, setting.name, setting.value))
    except ValidationError as error:
        raise _unfit(setting, error.errors()[0]["msg"], usual) from None
    except ValueError as error:
        raise _unfit(setting, str(error), usual) from None
    if isinstance(value, Path) and not value.is_file():
        raise _unfit(setting, "no such file", usual)


def _unfit(setting: Setting, reason: str, hint: str) -> ConfigError:
    said = reason.replace("Input should be", "should be")
    return ConfigError(
        f"{setting.step}:{setting.name} = {brief(setting.value)} (set by {setting.origin}): {said}", hint
    )


def resolve(step: str, kind: type[Params], settings: Iterable[Setting]) -> tuple[Params, dict[str, str]]:
    """Apply settings to a step's defaults in the order given; later ones take precedence.

    Returns
    -------
    Params
        The values.
    dict
        {name: origin} of every parameter.

    Raises
    ------
    ConfigError
        Unknown name (with the nearest known) or a value out of range or of the wrong kind, naming its origin, and the
        value that would hold without it.
    """
    values: dict[str, Any] = {}
    otherwise: dict[str, str] = {}
    origins = dict.fromkeys(kind.model_fields, "default")
    for s in settings:
        name = s.name if s.name in kind.model_fields else snake(s.name)
        if name not in kind.model_fields:
            hint = nearest(name, kind.model_fields) or f"known: {', '.join(kind.model_fields)}"
            raise ConfigError(f"{step}:{s.name} ({s.origin}): no such parameter", hint)
        if name in values:
            otherwise[name] = f"without it: {_with_unit(kind, name, values[name])} ({origins[name]})"
        values[name], origins[name] = s.value, s.origin
    try:
        return kind(**values), origins
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "?"
        if name == "?":
            name = next((n for n in values if n in first["msg"]), "?")
        setting = Setting(step, name, values.get(name), origins.get(name, "?"))
        raise _unfit(setting, first["msg"], otherwise.get(name) or _default(kind, name)) from None


def _default(kind: type[Params], name: str) -> str:
    default = kind.model_fields[name].default if name in kind.model_fields else None
    return f"default: {_with_unit(kind, name, None if default is PydanticUndefined else default)}"


def _with_unit(kind: type[Params], name: str, value: Any) -> str:
    """A value for a message; a text has its unit, if any, in it."""
    unit = kind.unit(name) if name in kind.model_fields and isinstance(value, (int, float)) else ""
    return f"{brief(value)} {unit}".rstrip()
