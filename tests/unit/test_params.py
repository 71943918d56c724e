"""Typed parameters: quantities, layers, origins, and errors that suggest the nearest."""

from __future__ import annotations

from typing import Literal

import pytest

from nirred.errors import ConfigError
from nirred.params import Params, Setting, check_value, nearest, param, resolve, snake


class Sky(Params):
    time: float = param(600.0, "largest difference in time", unit="s", gt=0)
    distance: float = param(3.0, "smallest distance", unit="arcsec", ge=0)
    angle: float = param(0.0, "an angle", unit="deg")
    level: float | None = param(None, "a level", unit="electron")
    frames: int = param(3, "how many", ge=1)
    scale: bool | None = param(None, "scale or not")
    how: Literal["mean", "median"] = param("mean", "which one")
    names: str | None = param(None, "names")


def value(name, given):
    return getattr(resolve("sky", Sky, [Setting("sky", name, given, "-p")])[0], name)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("time", "300", 300.0),
        ("time", 300, 300.0),
        ("time", "5 min", 300.0),
        ("time", "5min", 300.0),
        ("time", " 0.5 h ", 1800.0),
        ("time", "1e2 s", 100.0),
        ("distance", "1 arcmin", 60.0),
        ("angle", "90 arcmin", 1.5),
        ("angle", "-3 deg", -3.0),
        ("level", "none", None),
        ("level", "-20 e-", -20.0),
        ("level", "1.5 electron", 1.5),
        ("frames", "4", 4),
        ("scale", "False", False),
        ("scale", "true", True),
        ("scale", "None", None),
        ("how", "median", "median"),
        ("names", "a,b", "a,b"),
    ],
)
def test_text_becomes_the_value_in_the_parameter_s_unit(name, given, expected):
    got = value(name, given)
    assert got == expected and type(got) is type(expected)


@pytest.mark.parametrize(
    ("name", "given"),
    [("time", "-1"), ("time", "5 arcsec"), ("time", "soon"), ("time", "5 5"), ("time", "1.2.3 s"),
     ("distance", "nan deg"),
     ("time", True), ("level", "True"), ("frames", "false"),
     ("frames", "0"), ("frames", "2.5"), ("how", "mode"), ("scale", "perhaps"), ("time", None)],
)  # fmt: skip
def test_a_value_that_does_not_fit_names_parameter_and_origin(name, given):
    with pytest.raises(ConfigError) as caught:
        value(name, given)
    assert f"sky:{name}" in caught.value.message and "-p" in caught.value.message
    assert repr(Sky.model_fields[name].default) in caught.value.hint


def test_the_hint_does_not_take_the_general_default_for_the_camera_s() -> None:
    wrong = Setting("sky", "time", "7 kg", "-p")
    with pytest.raises(ConfigError) as caught:
        check_value(Sky, wrong)  # before a frame is known
    assert caught.value.hint == "default: 600.0 s; a camera may have its own: `nirred params FILE`"
    with pytest.raises(ConfigError) as caught:
        resolve("sky", Sky, [Setting("sky", "time", 900, "plugin niri"), wrong])
    assert caught.value.hint == "without it: 900 s (plugin niri)"


def test_later_layers_win_and_every_value_keeps_its_origin():
    layers = [
        Setting("sky", "time", 900, "plugin niri"),
        Setting("sky", "frames", 5, "recipe reduce"),
        Setting("sky", "time", "4 min", "nirred.toml"),
    ]
    values, origins = resolve("sky", Sky, layers)
    assert (values.time, values.frames, values.distance) == (240.0, 5, 3.0)
    assert origins["time"] == "nirred.toml" and origins["frames"] == "recipe reduce"
    assert origins["distance"] == origins["skip"] == "default"
    assert set(origins) == set(Sky.model_fields)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'distance'"):
        resolve("sky", Sky, [Setting("sky", "distanc", 1, "-p")])
    with pytest.raises(ConfigError, match="known: "):
        resolve("sky", Sky, [Setting("sky", "qqqq", 1, "-p")])
    assert nearest("xyzzy", ["sky"]) == ""


def test_parameters_are_frozen_and_defaults_are_checked():
    values, _ = resolve("sky", Sky, [])
    with pytest.raises(ValueError, match="frozen"):
        values.time = 5.0

    class Wrong(Params):
        time: float = param(-1.0, "wrong", gt=0)

    with pytest.raises(ConfigError, match="default"):
        resolve("wrong", Wrong, [])


def test_units_are_told():
    assert Sky.unit("time") == "s" and Sky.unit("frames") == ""


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("skyCorrect", "sky_correct"), ("makeProcessedBPM", "make_processed_bpm"), ("addDQ", "add_dq"),
     ("ADUToElectrons", "adu_to_electrons"), ("adjustWCSToReference", "adjust_wcs_to_reference"), ("addVAR", "add_var"),
     ("nonlinearityCorrect", "nonlinearity_correct"), ("sky_correct", "sky_correct"), ("makeBPM", "make_bpm")],
)  # fmt: skip
def test_spellings_of_the_incumbents(theirs, ours):
    assert snake(theirs) == ours == snake(ours)


def test_the_word_none_may_be_a_choice():
    class Fallback(Params):
        mode: Literal["none", "header"] = param("header", "what to do")
        limit: float | None = param(1.0, "a limit")

    assert Fallback(mode="none").mode == "none"
    assert Fallback(mode=None).mode == "none"  # as the command line reads it
    assert Fallback(limit="none").limit is None


def test_a_name_may_be_a_number():
    class Both(Params):
        either: float | str = param("a", "a number or a name")

    assert Sky(names=270).names == "270" and type(Both(either=3).either) is float
    check_value(Sky, Setting("sky", "names", 270, "me"))
    for wrong in (2.5, True, [270]):
        with pytest.raises(ConfigError, match="names"):
            check_value(Sky, Setting("sky", "names", wrong, "me"))
