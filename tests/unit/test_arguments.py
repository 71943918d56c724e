"""What a caller gives and what is configured, merged into the options of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nirred.arguments import Given, plan_options, run_options
from nirred.config import Config, Option, given_settings
from nirred.errors import ConfigError
from nirred.params import Setting
from nirred.registry import Registry


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    path = tmp_path / "c.fits"
    path.write_bytes(b"x")
    return path


def options(config: Config | None = None, **given: Any) -> Any:
    asked = Given(**{k: given.pop(k) for k in ("recipe", "params", "user_cal") if k in given}, options=given)
    return run_options("out", asked, config or Config(), Registry())


def test_the_caller_wins_over_the_configuration(calibration: Path) -> None:
    configured = Config(
        (Setting("sky_correct", "scale_sky", True, "file"),),
        {"jobs": Option(2, "file"), "memory": Option("1GB", "file"), "exclude": Option("a,b", "file")},
    )
    found = options(configured, jobs=5, params={"skyCorrect:scale_sky": False}, offsets=str(calibration))
    assert (found.jobs, found.memory, found.plan.exclude) == (5, 10**9, ("a", "b"))
    assert [s.value for s in found.plan.settings] == [True, False, str(calibration)]
    assert {s.origin for s in found.plan.settings[1:]} == {"nirred.run()"}
    assert found.plan.settings[-1].name == "offsets"
    assert options(configured, jobs=None).jobs == 2


def test_pairs_and_mappings_of_parameters_are_alike() -> None:
    pairs = [("skyCorrect:scale_sky", "False"), ("darkCorrect:do_cal", "skip")]
    assert options(params=pairs).plan.settings == options(params=dict(pairs)).plan.settings
    assert [(s.step, s.name, s.value) for s in options(params=pairs).plan.settings] == [
        ("sky_correct", "scale_sky", False),
        ("dark_correct", "do_cal", "skip"),
    ]


def test_planning_options(calibration: Path) -> None:
    plan = options(
        user_cal={"processed_dark": calibration, "flat": str(calibration)},
        user_bpm=calibration,
        objects="a, b",
        allow_missing=("flat, dark", "bpm"),
        only="exposure_time == 20",
        strict=True,
        recipe="makeProcessedBPM",
    ).plan
    assert plan.user_cal == {"dark": calibration, "flat": calibration}
    assert (plan.user_bpm, plan.objects, plan.allow_missing) == (calibration, ("a", "b"), ("flat", "dark", "bpm"))
    assert plan.only is not None and plan.only.names == {"exposure_time"}  # type: ignore[attr-defined]
    assert (plan.strict, plan.recipe, plan.out) == (True, "makeProcessedBPM", Path("out"))
    assert plan_options(None, Given(), Config(), Registry()).out is None


def test_what_is_given_comes_after_what_is_configured(calibration: Path, tmp_path: Path) -> None:
    """However either is said: as an option, or as a parameter of a step."""
    other = tmp_path / "other.fits"
    other.write_bytes(b"x")
    said = {"add_dq:user_bpm": str(other), "dark_correct:dark": str(other)}
    said |= {"separate_sky:ref_obj": "a", "separate_sky:ref_sky": "b"}
    settings = given_settings(said, "nirred.toml")
    masters = Option({"Processed_Flat": other, "dark": "absent.fits"}, "nirred.toml")
    configured = Config(settings, {"user_cal": masters})
    for dark in ("dark", "processed_dark"):
        plan = options(configured, user_bpm=calibration, user_cal={dark: calibration}, objects="c", skies=None).plan
        assert (plan.user_bpm, plan.user_cal) == (calibration, {"dark": calibration, "flat": other})
        assert (plan.objects, plan.skies) == (("c",), ("b",))
    plan = options(configured, params={"dark_correct:dark": "none"}, user_cal={"dark": calibration}).plan
    assert (plan.user_cal, plan.user_bpm) == ({"flat": other}, other)


def test_a_plan_knows_the_recipe_as_written_and_its_labels(tmp_path: Path) -> None:
    path = tmp_path / "My.toml"
    path.write_text('name = "mine"\n[[steps]]\nstep = "sky_correct"\nlabel = "rough_sky"\n')
    params = {"rough_sky:scale_sky": False, "darkCorrect:do_cal": "skip", "separateSky:ref_sky": "S1, S2"}
    run = options(recipe=str(path), params=params).plan
    plan = plan_options(None, Given(str(path), params), Config(), Registry())
    assert plan.recipe == run.recipe == str(path)
    assert plan.settings == run.settings
    assert [(s.step, s.name) for s in plan.settings][:2] == [("rough_sky", "scale_sky"), ("dark_correct", "do_cal")]
    assert plan.skies == ("S1", "S2")
    with pytest.raises(ConfigError, match="rough_sky"):
        options(params=params)  # no other recipe has that label


def test_a_label_is_as_good_as_the_step_where_the_plan_is_concerned(tmp_path: Path, calibration: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[[steps]]\nstep = "add_dq"\nlabel = "my_flags"\n')
    plan = options(recipe=str(path), params={"my_flags:user_bpm": calibration, "my_flags:latency": True}).plan
    assert plan.user_bpm == calibration
    assert [(s.step, s.name) for s in plan.settings] == [("add_dq", "user_bpm"), ("my_flags", "latency")]


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"job": 2}, "jobs"),
        ({"jobs": "2"}, "1 to 1024"),
        ({"memory": "much"}, "2GB"),
        ({"user_cal": {"dark": "absent.fits"}}, "absent.fits"),
        ({"user_bpm": "absent.fits"}, "absent.fits"),
        ({"offsets": "absent.txt"}, "absent.txt"),
        ({"params": {"skyCorect:scale_sky": 1}}, "sky_correct"),
        ({"params": {"skyCorrect:scale_skies": 1}}, "scale_sky"),
        ({"only": "exposure_time = 1"}, "=="),
    ],
)
def test_faults_are_named(given: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        options(**given)
