from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nirred.errors import ConfigError
from nirred.plugin import RecipePatch, hookimpl
from nirred.plugin.recipes import Recipe, S
from nirred.recipe_files import read_recipe, recipe_toml
from nirred.recipes import core_recipes, lacking, recipe_for
from nirred.registry import Registry

Call = Callable[..., tuple[int, str, str]]
ODD = Recipe(
    "odd",
    (
        S("prepare", text='a "quoted" \\ \n line', flag=True, number=2.5, nothing="none", several=(1, 2)),
        S("sky_correct", "sky", "skysub", label="first"),
        S("sky_correct", "sky"),
    ),
    makes="image",
    doc="ünïcode",
)


@pytest.mark.parametrize("recipe", [*core_recipes(), ODD], ids=lambda r: r.name)
def test_a_recipe_survives_its_file(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "r.toml").write_text(recipe_toml(recipe), encoding="utf-8")
    found = read_recipe(tmp_path / "r.toml")
    assert (found.name, found.makes, found.doc) == (recipe.name, recipe.makes, recipe.doc)
    for a, b in zip(found.steps, recipe.steps, strict=True):
        assert (a.step, a.takes, a.gives, a.label) == (b.step, b.takes, b.gives, b.label)
        assert {k: tuple(v) if isinstance(v, list) else v for k, v in a.params} == dict(b.params)


def test_none_is_text_that_parameters_understand() -> None:
    assert 'dark = "none"' in recipe_toml(Recipe("r", (S("a", dark=None),)))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("nmae = 'x'", "name"),
        ("name = 'x'", "steps"),
        ("steps = [1]", "table"),
        ("[[steps]]\nstep = 1", "text"),
        ("[[steps]]\nlabel = 'x'", "step"),
        ("[[steps]]\nstp = 'x'", "step"),
        ("[[steps]]\nstep = 'x'\nparams = 1", "params"),
        ("[[steps]]\nstep = 'x'\n[[steps]]\nstep = 'x'", "label"),
        ("[[", "toml"),
    ],
)
def test_faults(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(ConfigError, match=word):
        read_recipe(tmp_path / "r.toml")


def test_commands(night: Path, nirred: Call, tmp_path: Path) -> None:
    assert "make_processed_dark" in nirred("recipes")[1]
    assert {r["name"] for r in json.loads(nirred("recipes", "--json")[1])} >= {"reduce", "make_processed_bpm"}
    assert "stack_darks" in nirred("recipes", night / "d1.fits")[1]
    assert json.loads(nirred("recipes", night / "s1.fits", "--json")[1])["recipe"] is None
    assert "spectrum" in nirred("recipes", night / "s1.fits")[1]
    code, out, _ = nirred("recipe", "show", "makeProcessedBPM", "--toml")
    (tmp_path / "mine.toml").write_text(out)
    assert code == 0
    assert "make_bpm" in nirred("recipe", "show", tmp_path / "mine.toml")[1]
    assert json.loads(nirred("recipe", "show", "reduce", "--json")[1])["makes"] == "image"
    code, _, err = nirred("recipe", "show", "reduse")
    assert code == 2 and "reduce" in err


class Varying:
    """Adds a step to `reduce` for images of the test camera."""

    NIRRED_API = (1, 0)

    def __init__(self, step: str = "mask_objects") -> None:
        self.step = step

    @hookimpl
    def nirred_recipes(self) -> list[RecipePatch]:
        again = S(self.step, label=f"{self.step}_again")
        return [RecipePatch("reduce", frozenset({"CAM", "IMAGE"}), insert=(("sky_correct", again),))]


def test_a_recipe_as_a_camera_uses_it(night: Path, nirred: Call, plugins: Registry, tmp_path: Path) -> None:
    """The file takes what plugins add with it: a recipe from a file is used as it stands."""
    assert not plugins.add(Varying(), "varying", "nirred-varying", "1.0").error
    assert "mask_objects_again" not in nirred("recipe", "show", "reduce")[1]
    assert "mask_objects_again" not in nirred("recipe", "show", "reduce", night / "d1.fits")[1]
    code, out, _ = nirred("recipe", "show", "reduce", night / "i1.fits", "--toml")
    (tmp_path / "mine.toml").write_text(out)
    assert code == 0 and "mask_objects_again" in [c.label for c in read_recipe(tmp_path / "mine.toml").steps]
    assert nirred("recipe", "show", "reduce", night / "x1.fits")[0] == 4


def test_an_own_recipe_without_what_a_camera_adds_is_told(plugins: Registry) -> None:
    assert not plugins.add(Varying("write_frames"), "varying", "nirred-varying", "1.0").error
    image, dark = frozenset({"CAM", "IMAGE"}), frozenset({"CAM", "DARK"})
    plain, varied = (recipe_for("reduce", plugins, tags) for tags in (dark, image))
    (remark,) = lacking(plain, "reduce", plugins, image)
    assert remark.startswith("your recipe reduce lacks what this camera adds to it: write_frames (")
    assert not lacking(varied, "reduce", plugins, image) and not lacking(plain, "reduce", plugins, dark)
    assert not lacking(None, "reduce", plugins, image) and not lacking(ODD, "odd", plugins, image)


@pytest.mark.parametrize("name", ["getBPM", "get_bpm"])
def test_a_step_shown_as_recipe(nirred: Call, plugins: object, name: str) -> None:
    code, out, _ = nirred("recipe", "show", name)
    assert code == 0 and out.startswith("get_bpm: ") and "  get_bpm()" in out
    code, _, err = nirred("recipe", "show", "getBMP")
    assert code == 2 and "get_bpm" in err


def test_a_product_that_nobody_makes(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('makes = "imag"\n[[steps]]\nstep = "prepare"\n')
    with pytest.raises(ConfigError, match="image"):
        read_recipe(tmp_path / "r.toml")
