from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nirred.params import Params, param
from nirred.plugin.recipes import Recipe, S

Call = Callable[..., tuple[int, str, str]]


class Shine:
    name, aliases = "shine", ("sparkle",)

    class Params(Params):
        level: float = param(1.0, "how much", unit="electron")
        width: float = param(1.0, "how wide", unit="s")
        mask: bool = param(True, "with masks")


class Rest:
    name, aliases = "rest", ()

    class Params(Params):
        pass


@pytest.fixture(autouse=True)
def steps(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: dict[str, Any] = {"shine": Shine, "rest": Rest}
    recipe = Recipe("reduce", (S("shine", label="first", mask=False), S("shine")), makes="image")
    monkeypatch.setattr("nirred.recipes.step_types", lambda registry=None: kinds)
    monkeypatch.setattr("nirred.recipes.CORE", (recipe,))


def shown(nirred: Call, *words: Any) -> dict[tuple[str, str], tuple[Any, str]]:
    code, out, _ = nirred("params", *words, "--json")
    assert code == 0
    return {(r["step"], r["name"]): (r["value"], r["origin"]) for r in json.loads(out)}


def test_values_of_this_file_with_origin(night: Path, nirred: Call) -> None:
    (night / "nirred.toml").write_text("[steps.shine]\nwidth = '2 min'\n")
    found = shown(nirred, night / "i1.fits", "sparkle")
    assert found["shine", "level"] == (2.5, "plugin cam")
    assert found["shine", "mask"] == (True, "default")
    assert found["first", "mask"] == (False, "recipe reduce")
    assert found["first", "width"] == (120.0, str(night / "nirred.toml"))
    assert shown(nirred, night / "i1.fits") == found
    assert "electron" in nirred("params", night / "i1.fits")[1]


def test_a_step_outside_the_recipe_can_be_asked_for(night: Path, nirred: Call) -> None:
    every = {"skip", "write_outputs"}
    assert shown(nirred, night / "i1.fits", "rest") == {("rest", name): (False, "default") for name in every}


def test_faults(night: Path, nirred: Call) -> None:
    code, _, err = nirred("params", night / "i1.fits", "shien")
    assert code == 2 and "shine" in err
    assert nirred("params", night / "x2.fits")[0] == 4
    (night / "nirred.toml").write_text("[steps.shine]\nwidht = 2\n")
    code, _, err = nirred("params", night / "i1.fits")
    assert code == 2 and "width" in err and "nirred.toml" in err
