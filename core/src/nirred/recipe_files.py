"""Recipes as TOML files, and the recipe for each role of frames."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .params import nearest, snake
from .plugin.recipes import Recipe, StepCall
from .textfiles import read_toml

_RECIPE_KEYS = ("name", "makes", "doc", "steps")
#: Kinds of product that a recipe can make; "" for a recipe that only inspects or writes frames.
MAKES = ("image", "dark", "flat", "bpm", "skyflat", "")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,79}")
_STEP_KEYS = ("step", "takes", "gives", "label", "params")
#: Recipe for a single frame, by the role from its header.
FOR_ROLE = {
    "dark": "make_processed_dark",
    "lamp_on": "make_processed_flat",
    "lamp_off": "make_processed_flat",
    "flat": "make_processed_flat",
    "science": "reduce",
    "standard": "reduce",
    "sky": "reduce",
}


def recipe_toml(recipe: Recipe) -> str:
    """Write a recipe as TOML for `read_recipe`.

    TOML has no None; the text "none" stands for it, as on the command line.
    """
    lines = [f"name = {_toml(recipe.name)}"]
    lines += [f"{key} = {_toml(value)}" for key, value in (("makes", recipe.makes), ("doc", recipe.doc))]
    for call in recipe.steps:
        lines += ["", "[[steps]]", f"step = {_toml(call.step)}"]
        lines += [f"label = {_toml(call.label)}"] if call.label else []
        lines += [f"takes = {_toml(call.takes)}"] if call.takes != "main" else []
        lines += [f"gives = {_toml(call.gives)}"] if call.gives != call.takes else []
        if call.params:
            lines.append("params = {" + ", ".join(f"{k} = {_toml(v)}" for k, v in call.params) + "}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe from a TOML file.

    Raises
    ------
    ConfigError
        No such file, invalid TOML, an unknown key or product (the nearest is suggested), no steps.
    """
    path = Path(path)
    table = read_toml(path, f"recipe {path}", "`nirred recipe show reduce --toml` prints one")
    _check_keys(table, _RECIPE_KEYS, f"recipe {path}")
    steps = table.get("steps")
    if not isinstance(steps, list) or not steps:
        raise ConfigError(f"recipe {path}: no [[steps]]", "`nirred recipe show reduce --toml` prints an example")
    calls = tuple(_call(step, f"recipe {path}, step {number}") for number, step in enumerate(steps, 1))
    labels = [c.name for c in calls]
    twice = sorted({n for n in labels if labels.count(n) > 1})
    if twice:
        raise ConfigError(f"recipe {path}: {twice[0]!r} is called twice", "give one of the calls a label")
    name, makes = table.get("name", re.sub(r"\W", "_", path.stem)), table.get("makes", "image")
    _check_name(name, "name", f"recipe {path}")
    if makes not in MAKES:
        hint = nearest(str(makes), MAKES) or f"known: {', '.join(m for m in MAKES if m)}"
        raise ConfigError(f"recipe {path}: makes = {makes!r} is not a product", hint)
    return Recipe(snake(name), calls, makes, str(table.get("doc", "")))


def _call(table: Any, where: str) -> StepCall:
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: {table!r} is not a table", "write [[steps]]")
    _check_keys(table, _STEP_KEYS, where)
    params = table.get("params", {})
    if not isinstance(params, dict):
        raise ConfigError(f"{where}: params = {params!r}", "write params = {name = value}")
    texts = {key: table.get(key, "") for key in ("step", "takes", "gives", "label")}
    wrong = next((k for k, v in texts.items() if not isinstance(v, str)), None)
    if wrong or not texts["step"]:
        raise ConfigError(f"{where}: {wrong or 'step'} must be text", 'write step = "sky_correct"')
    for key, text in texts.items():
        _check_name(text or "main", key, where)
    takes = texts["takes"] or "main"
    items = tuple(sorted((snake(k), v) for k, v in params.items()))
    return StepCall(snake(texts["step"]), takes, texts["gives"] or takes, items, texts["label"])


def _check_name(name: Any, key: str, where: str) -> None:
    """Check a name: letters, digits and underscores only, because it is shown on terminals, in files and in tables."""
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise ConfigError(f"{where}: {key} = {name!r}", f"{key} is a word of letters, digits and _")


def _check_keys(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            raise ConfigError(f"{where}: no key {key!r}", nearest(key, known) or f"known: {', '.join(known)}")
