from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nirred.config import (
    check_settings,
    given_settings,
    load_config,
    parse_memory,
    parse_setting,
    parse_value,
    user_file,
)
from nirred.errors import ConfigError
from nirred.params import Params, Setting, param


class Sky:
    name, aliases = "sky_correct", ("subtractSky",)

    class Params(Params):
        scale_sky: bool = param(True, "scale")


class Detect:
    name, aliases = "detect_sources", ()

    class Params(Params):
        threshold: float = param(3.0, "sigma")
        scale_sky: bool = param(True, "x")


STEPS: dict[str, Any] = {"sky_correct": Sky, "detect_sources": Detect}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("None", None),
        ("true", True),
        ("False", False),
        ("3", 3),
        ("-2.5e3", -2500.0),
        ("skip", "skip"),
        ("5 min", "5 min"),
        ("[1, 2.5,x]", [1, 2.5, "x"]),
        ("[]", []),
        ("'20'", "20"),
        ("0270", "0270"),
        ("0", 0),
        ("-0.5", -0.5),
        ("[0270,270]", ["0270", 270]),
        ("", ""),
        ("a=b", "a=b"),
    ],
)
def test_values(text: str, value: object) -> None:
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_settings_accept_the_incumbents_spelling() -> None:
    assert parse_setting("skyCorrect:scale_sky=False", "me") == Setting("sky_correct", "scale_sky", False, "me")
    assert parse_setting("darkCorrect:skip_primitive=True", "me") == Setting("dark_correct", "skip", True, "me")
    assert parse_setting("a:b=c=d", "me").value == "c=d"
    assert given_settings({"addDQ:time": 3}, "api") == (Setting("add_dq", "time", 3, "api"),)
    assert given_settings([("addDQ:user_bpm", "None")], "api")[0].value is None
    for wrong in ("scale_sky", "step:=3", "=3"):
        with pytest.raises(ConfigError):
            parse_setting(wrong, "me")
    with pytest.raises(ConfigError):
        given_settings([3], "api")


def test_settings_are_checked_against_the_steps() -> None:
    every = check_settings([parse_setting("scale_sky=False", "me")], STEPS)
    assert [s.step for s in every] == ["sky_correct", "detect_sources"]
    assert check_settings([parse_setting("subtractSky:scale_sky=1", "me")], STEPS)[0].step == "sky_correct"
    labelled = check_settings([parse_setting("sky_first:scale_sky=1", "me")], STEPS, {"sky_first": "sky_correct"})
    assert labelled[0].step == "sky_first"
    for text, hint in (
        ("sky_corect:scale_sky=1", "sky_correct"),
        ("sky_correct:scale_sk=1", "scale_sky"),
        ("sky_correct:threshold=1", "known"),
        ("treshold=1", "threshold"),
    ):
        with pytest.raises(ConfigError, match=hint) as caught:
            check_settings([parse_setting(text, "command line")], STEPS)
        assert "command line" in str(caught.value)


def test_layers_from_low_to_high(tmp_path: Path) -> None:
    user, data = tmp_path / "user.toml", tmp_path / "raw"
    data.mkdir()
    user.write_text('[run]\njobs = 1\nmemory = "1GB"\n[steps.skyCorrect]\nscale_sky = true\n')
    (data / "nirred.toml").write_text("[run]\njobs = 2\n[steps.sky_correct]\nscale_sky = false\n")
    environ = {"NIRRED_CONFIG": str(user), "NIRRED_JOBS": "3", "NIRRED_SKY_CORRECT__SCALE_SKY": "None", "HOME": "/"}
    found = load_config([data, data / "a.fits", f"@{data}/l.lis"], environ)
    assert found.options["jobs"].value == 3 and "NIRRED_JOBS" in found.options["jobs"].origin
    assert found.options["memory"].origin == str(user)
    assert [s.value for s in found.settings] == [True, False, None]
    assert {s.step for s in found.settings} == {"sky_correct"}
    assert found.files == (user, data / "nirred.toml")
    assert found.value("scratch", "x") == "x"
    assert user_file({}).name == "nirred.toml"


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("STRICT", "1", True),
        ("REPORT", "0", False),
        ("REGISTER", "False", False),
        ("EXCLUDE", "281", "281"),
        ("SCRATCH", "2026", "2026"),
        ("MEMORY", "4000000000", 4_000_000_000),
        ("LIBRARY", "none", "none"),
    ],
)
def test_values_of_options_in_the_environment(variable: str, text: str, value: object) -> None:
    found = load_config([], {"NIRRED_CONFIG": os.devnull, f"NIRRED_{variable}": text}).value(variable.lower())
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("text", ["2", "yes", "1.5"])
def test_a_switch_in_the_environment_is_one_or_none(text: str) -> None:
    with pytest.raises(ConfigError, match="environment NIRRED_STRICT: strict"):
        load_config([], {"NIRRED_CONFIG": os.devnull, "NIRRED_STRICT": text})


@pytest.mark.parametrize(
    ("kind", "word"), [("link", "No such file"), ("loop", "Too many levels"), ("folder", "a directory, not a file")]
)
def test_a_configuration_that_cannot_be_read_is_not_passed_over(tmp_path: Path, kind: str, word: str) -> None:
    path = tmp_path / "nirred.toml"
    path.mkdir() if kind == "folder" else path.symlink_to("absent" if kind == "link" else path.name)
    with pytest.raises(ConfigError, match=rf"nirred\.toml: .*{word}"):
        load_config([tmp_path], {"NIRRED_CONFIG": os.devnull})


def test_files_are_meant_from_where_their_names_stand(tmp_path: Path) -> None:
    for name in ("bad.fits", "mine.toml", "flat.fits"):
        (tmp_path / name).touch()
    (tmp_path / "nirred.toml").write_text(
        """
        [run]
        user_bpm = "bad.fits"
        recipe = "mine.toml"
        user_cal = {flat = "flat.fits", dark = "~/dark.fits"}
        [steps.add_dq]
        user_bpm = "bad.fits"
        static_bpm = "default"
        [steps.associate_sky]
        time = "1.5 min"
        """
    )
    found = load_config([tmp_path], {"NIRRED_CONFIG": os.devnull})
    assert found.value("user_bpm") == str(tmp_path / "bad.fits")
    assert found.value("recipe") == str(tmp_path / "mine.toml")
    masters = {"flat": str(tmp_path / "flat.fits"), "dark": str(Path("~/dark.fits").expanduser())}
    assert found.value("user_cal") == masters
    assert [s.value for s in found.settings] == [str(tmp_path / "bad.fits"), "default", "1.5 min"]
    (tmp_path / "nirred.toml").write_text('[run]\nrecipe = "make_processed_bpm"')
    assert load_config([tmp_path], {"NIRRED_CONFIG": os.devnull}).value("recipe") == "make_processed_bpm"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[run]\njob = 2", "jobs"),
        ("[run]\njobs = 'two'", "whole number"),
        ("[run]\njobs = true", "whole number"),
        ("[run]\nstrict = 1", "true or false"),
        ("[step.sky_correct]\nx = 1", "steps"),
        ("jobs = 2", "run"),
        ("[steps]\nsky_correct = 1", "table"),
        ("[run\n", "nirred.toml"),
    ],
)
def test_faults_name_the_file(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "nirred.toml").write_text(text)
    with pytest.raises(ConfigError, match=word) as caught:
        load_config([tmp_path], {"NIRRED_CONFIG": os.devnull})
    assert str(tmp_path) in str(caught.value)


def test_a_configuration_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"NIRRED_CONFIG: no file .*mine\.toml"):
        load_config([tmp_path], {"NIRRED_CONFIG": str(tmp_path / "mine.toml")})
    with pytest.raises(ConfigError, match="NIRRED_CONFIG: no file"):
        load_config([tmp_path], {"NIRRED_CONFIG": str(tmp_path)})


def test_an_unknown_variable_is_named() -> None:
    with pytest.raises(ConfigError, match=r"NIRRED_JOB.*jobs"):
        load_config([], {"NIRRED_JOB": "3", "NIRRED_CONFIG": os.devnull})


@pytest.mark.parametrize(
    ("text", "size"), [("2GB", 2 * 10**9), ("512 MiB", 512 * 2**20), ("1.5g", 1_500_000_000), (10**9, 10**9)]
)
def test_memory(text: str | int, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["2", "much", "-2GB", "2 apples", ""])
def test_no_memory(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_memory(text)


def test_config_show(night: Path, nirred: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nirred.recipes.step_types", lambda registry=None: STEPS)
    monkeypatch.setenv("NIRRED_SKY_CORRECT__SCALE_SKY", "false")
    (night / "nirred.toml").write_text("[run]\njobs = 7\n")
    code, out, _ = nirred("config", "show", night, "--json")
    shown = json.loads(out)
    assert code == 0
    assert shown["run"]["jobs"] == {"value": 7, "origin": str(night / "nirred.toml")}
    assert shown["run"]["memory"] == {"value": "2GB", "origin": "default"}
    assert shown["steps"][0]["value"] is False
    out = nirred("config", "show", night)[1]
    assert "scale_sky" in out and "[run]" in out and "[steps]" in out
