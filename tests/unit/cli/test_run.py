from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits

from nirred.cli.summary import key_figures
from nirred.plugin import Event

Call = Callable[..., tuple[int, str, str]]
FAR = "no flat within 180 d"
RECORD = {
    "tasks": [
        {"id": "a_dark", "outcome": "done", "degraded": False, "remarks": ["lamp off 2 d later"]},
        {
            "id": "b_image",
            "outcome": "done",
            "degraded": True,
            "missing": [{"kind": "dark", "optional": True, "reason": "none of 60 s"}],
        },
        {"id": "c_image", "outcome": "blocked", "degraded": False, "blocked": FAR},
        {"id": "d_image", "outcome": "failed", "error": {"message": "no stars", "hint": "give --offsets"}},
    ],
    "files": [
        *({"file": f"raw/d{n}.fits", "fate": "used", "reason": ""} for n in range(3)),
        *({"file": f"raw/f{n:02}.fits", "fate": "failed", "reason": FAR} for n in range(12)),
        {"file": "raw/x.fits", "fate": "unreadable", "reason": "x.fits: empty file"},
        {"file": "raw/s.fits", "fate": "unsupported", "reason": "spectrum"},
    ],
}


@pytest.fixture
def reduction(night: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Replaces the run by one that sends a few events and returns `RECORD`; records the arguments of the call."""
    api = importlib.import_module("nirred.run.api")
    product = night / "d1.fits"
    calls: list[Any] = []

    def run(inputs: Any, out: Path, options: Any, registry: Any) -> Any:
        calls.append((inputs, out, options))
        tell = options.on_event
        tell(Event("started", "a_dark", "make_processed_dark: a_dark", {"number": 1, "of": 2}))
        tell(Event("progress", message="3 of 10 frames"))
        tell(Event("product", "a_dark", "a_dark.fits"))
        tell(Event("finished", "a_dark", "", {"outcome": "done"}))
        tell(Event("failed", "c_image", FAR, {"outcome": "blocked"}))
        outcomes = {t["id"]: t["outcome"] for t in RECORD["tasks"]}
        return api.RunResult({"a_dark": product}, outcomes, 1, RECORD)

    monkeypatch.setattr(api, "run", run)
    return calls


def test_the_end_of_a_run(night: Path, nirred: Call, reduction: list[Any]) -> None:
    code, out, err = nirred("run", night)
    assert code == 1
    assert "[1/2] make_processed_dark: a_dark" in err and "progress" not in err and "3 of 10" not in err
    for line in (
        "remark: a_dark: lamp off 2 d later",
        "degraded: b_image: no dark (none of 60 s)",
        f"blocked: c_image: {FAR}",
        "failed: d_image: no stars",
        "  hint: give --offsets",
        "17 files: 12 failed, 3 used, 1 unreadable, 1 unsupported",
        "  unreadable: x.fits: empty file",
        "  unsupported: s.fits: spectrum",
        "groups: 2 done, 1 blocked, 1 failed",
    ):
        assert line in out.splitlines()
    assert out.count(FAR) == 1  # reported once, for the group, not for each file
    assert "f07.fits and 4 more" in out and "f08.fits" not in out
    assert out.splitlines()[0].startswith(str(night / "d1.fits"))


def test_the_end_of_a_run_does_not_drive_the_terminal() -> None:
    from nirred.cli.summary import lines
    from nirred.run.api import RunResult

    odd = Path("\x1b[31mred\x07")
    result = RunResult({"a": odd / "a_dark.fits"}, {"a": "done"}, 0, {}, report=odd / "index.html")
    told = list(lines(result))
    assert all(line.isprintable() for line in told), told
    assert told[0].startswith("?[31mred?/a_dark.fits") and told[-1] == "report: ?[31mred?/index.html"


def test_frames_left_out_are_listed_once_by_reason() -> None:
    from nirred.cli.summary import lines
    from nirred.run.api import RunResult

    fates = {"a.fits": "rejected", "b.fits": "rejected", "c.fits": "used"}
    files = [{"file": f"raw/{name}", "fate": fate, "reason": "clouds"} for name, fate in fates.items()]
    remarks = [f"{name} left out: clouds" for name in fates]
    record = {"tasks": [{"id": "a_image", "outcome": "done", "remarks": remarks}], "files": files}
    told = list(lines(RunResult({}, {"a_image": "done"}, 0, record)))
    assert [line for line in told if "clouds" in line] == [
        "remark: a_image: c.fits left out: clouds",  # another group uses it
        "  rejected: a.fits, b.fits: clouds",
    ]


def test_quiet_and_verbose(night: Path, nirred: Call, reduction: list[Any]) -> None:
    _, out, err = nirred("run", night, "-q")
    assert err == "" and out.splitlines()[0].startswith("degraded") and "files:" not in out
    _, out, err = nirred("run", night, "-v")
    assert "3 of 10" in err and "f11.fits" in out and "  used: d0.fits, d1.fits, d2.fits" in out


def test_json_has_stdout_for_itself(night: Path, nirred: Call, reduction: list[Any]) -> None:
    code, out, err = nirred("run", night, "--json")
    assert code == 1
    assert json.loads(out)["tasks"][0]["id"] == "a_dark"
    assert "groups:" in err


def test_options_reach_the_run(night: Path, nirred: Call, reduction: list[Any]) -> None:
    flat = str(night / "d2.fits")
    words = ["run", night / "d1.fits", "-o", "o", "-p", "skyCorrect:scale_sky=False", "darkCorrect:do_cal=skip"]
    words += [night / "i1.fits", "--user_cal", f"processed_flat:{flat}", f"dark:{flat}", "--jobs", "3"]
    words += ["--memory", "1GB", "--allow-missing", "flat", "--objects", "i1,i2", "--only", "exposure_time==20"]
    words += ["--strict", "--scratch", "s", "--exclude", "x1", "--exclude", "x2,x3"]
    assert nirred(*words)[0] == 1
    inputs, out, asked = reduction[0]
    assert (inputs, out) == ([str(night / "d1.fits"), str(night / "i1.fits")], Path("o"))
    assert [(s.step, s.name, s.value, s.origin) for s in asked.plan.settings] == [
        ("sky_correct", "scale_sky", False, "command line"),
        ("dark_correct", "do_cal", "skip", "command line"),
    ]
    assert asked.plan.user_cal == {"flat": Path(flat), "dark": Path(flat)}
    assert (asked.jobs, asked.memory, asked.scratch) == (3, 10**9, Path("s"))
    assert asked.plan.strict
    assert (asked.plan.allow_missing, asked.plan.objects) == (("flat",), ("i1", "i2"))
    assert asked.plan.exclude == ("x1", "x2", "x3")
    nirred("run", night)
    assert reduction[1][2].jobs == 0 and not reduction[1][2].plan.strict


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["-p", "sky_corect:x=1"], 2, "sky_correct"),
        (["--only", "seing > 1"], 2, "seeing"),
        (["--only", "seeing >"], 2, "^"),
        (["--memory", "2"], 2, "2GB"),
        (["--user-cal", "arc:x.fits"], 2, "not used in imaging"),
        (["-r", "reduce", "-r", "makeProcessedBPM"], 2, "several recipes"),
        (["-r", "control.yaml"], 2, "observation file"),
        (["--jobs", "0"], 2, "--jobs"),
    ],
)
def test_faults_before_anything_is_done(
    night: Path, nirred: Call, reduction: list[Any], words: list[str], code: int, text: str
) -> None:
    found, out, err = nirred("run", night, *words)
    assert (found, out, reduction) == (code, "", [])
    assert text in err


def test_progress_on_a_terminal(
    night: Path, nirred: Call, reduction: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    code, out, err = nirred("run", night)
    assert code == 1
    assert "c_image: blocked" in err and "\x1b" not in out


def test_key_figures_come_from_the_header(night: Path) -> None:
    assert key_figures(night / "d1.fits") == ""
    stack = fits.PrimaryHDU()
    stack.header["NCOMBINE"], stack.header["FWHM"] = 3, 5.0
    stack.writeto(night / "stack.fits")
    assert key_figures(night / "stack.fits") == "3 frames, 5.00 px FWHM"
    stack.header["PIXSCALE"] = 0.12
    stack.writeto(night / "stack.fits", overwrite=True)
    assert key_figures(night / "stack.fits") == '3 frames, 0.60" FWHM'
    assert "not a FITS file" in key_figures(night / "x2.fits")


def test_simulate_and_plan(tmp_path: Path, nirred: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nirred_niri")
    monkeypatch.setenv("NIRRED_CONFIG", os.devnull)
    code, out, _ = nirred("simulate", "NIRI", "-o", tmp_path, "--size", "64", "--frames", "4", "--seed", "2")
    raw = tmp_path / "raw"
    assert code == 0 and str(raw) in out
    assert len(list(raw.glob("*.fits"))) == int(out.split()[0])
    made = json.loads(nirred("plan", raw, "--json")[1])
    assert {t["recipe"] for t in made["tasks"]} >= {"make_processed_dark", "make_processed_flat", "reduce"}
    assert made["schema"] == "nirred-run/1"
    code, out, _ = nirred("plan", raw, "--only", 'observation_type!="FLAT"')
    assert code == 1 and "BLOCKED: no flat" in out and "unselected" in out  # darks can still be made
    code, out, _ = nirred("plan", raw, "--only", 'object=="none of them"')
    assert code == 4 and "nothing to reduce" in out
    assert nirred("plan", raw, "--only", 'observation_class=="science"', "--json")[0] == 5
    code, out, _ = nirred("run", raw, "-o", tmp_path / "out", "-r", "alignAndStack", "--library", "none")
    assert code == 4 and "not a frame for align_and_stack (stack finished stacks" in out
    code, _, err = nirred("simulate", "niri", "-o", " ")
    assert code == 2 and "has no name" in err
    code, _, err = nirred("simulate", "nirri", "-o", tmp_path)
    assert code == 2 and "niri" in err
