from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

import nirred
from nirred.errors import DataError, PluginError, Unclaimed, Unreadable
from nirred.registry import Registry

Call = Callable[..., tuple[int, str, str]]


def test_select_by_position_as_the_tutorials_do(night: Path) -> None:
    assert [Path(n).name for n in nirred.select(str(night), ["DARK"], [], "exposure_time==20")] == ["d1.fits"]
    names = [str(night / n) for n in ("i2.fits", "d1.fits")]
    assert nirred.select(names, [], ["DARK"]) == names[:1]
    assert nirred.select(names) == names  # order as given
    assert nirred.select(str(night / "i*.fits"), "image") == sorted(str(p) for p in night.glob("i*.fits"))


def test_select_says_what_it_leaves_out(night: Path, caplog: pytest.LogCaptureFixture) -> None:
    left: dict[str, Exception] = {}
    nirred.select(str(night), on_skip=lambda name, error: left.update({Path(name).name: error}))
    assert {n: type(e) for n, e in left.items()} == {"x1.fits": Unclaimed, "x2.fits": Unreadable}
    with caplog.at_level(logging.WARNING, "nirred"):
        nirred.select(str(night))
    assert len(caplog.records) == 2
    with pytest.raises(DataError, match="none of the 1"):
        nirred.select(str(night / "x2.fits"), on_skip=lambda *_: None)
    with pytest.raises(DataError):
        nirred.select("absent.fits")


def test_open_reads_no_pixels(night: Path) -> None:
    frame = nirred.open(night / "i1.fits")
    assert frame.descriptors.exposure_time == 20.002
    assert frame.tags == {"CAM", "IMAGE"}
    assert (frame.owner, frame.instrument, frame.headers.get("OBJECT")) == ("cam", "cam", "FS 17")
    assert "frame" not in frame.__dict__
    assert nirred.open(night / "s1.fits").unsupported == "spectrum"


def test_select_command_writes_a_list_that_select_reads(night: Path, nirred: Call, tmp_path: Path) -> None:
    code, out, err = nirred("select", night, "-t", "IMAGE", "--expr", 'object!="FS 17"', "-o", tmp_path / "o.lis")
    assert (code, out) == (0, "")
    assert "x1.fits" in err and "x2.fits" in err
    lines = (tmp_path / "o.lis").read_text().splitlines()
    assert [line[0] for line in lines[:3]] == ["#"] * 3
    assert [Path(n).name for n in lines[3:]] == ["i2.fits"]
    code, out, _ = nirred("select", f"@{tmp_path / 'o.lis'}", "--expr=filter_name=='J'")
    assert [Path(n).name for n in out.split()] == ["i2.fits"]
    assert nirred("select", night, "--expr", "filter_name=='J'", "--strict")[1] == ""
    code, _, err = nirred("select", night, "--expr", "exposur_time==1")
    assert code == 2 and "exposure_time" in err and "^" in err
    assert nirred("select", night, "-o", tmp_path / "absent" / "l.lis")[0] == 2


def test_show_prints_a_plain_table(night: Path, nirred: Call) -> None:
    code, out, _ = nirred("show", night / "d1.fits", night / "d2.fits", "-d", "exposure_time,filter_name")
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == lines[2] == "-" * len(lines[1])
    assert lines[1].split() == ["filename", "exposure_time", "filter_name"]
    assert lines[3].split()[1:] == ["20.002", "blank"] and len(lines[3]) == len(lines[1])


def test_show_reads_names_from_stdin(night: Path, nirred: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"# list\n{night / 'i1.fits'}\n\n{night / 'i2.fits'}\n"))
    assert nirred("show", "-d", "object", "--csv")[1].splitlines()[1].endswith("i1.fits,FS 17")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert nirred("show", "-d", "object")[0] == 2


def test_show_json_is_free_of_nan_and_dates_are_iso(night: Path, nirred: Call) -> None:
    rows = json.loads(nirred("show", night / "i1.fits", "--json")[1])
    assert rows[0]["file"] == str(night / "i1.fits")
    assert rows[0]["seeing"] is None
    assert rows[0]["ut_datetime"] == "2016-01-02T03:04:05"
    assert rows[0]["filter_name"] == "J"
    full = json.loads(nirred("show", night / "i1.fits", "--long", "--json", "-d", "filter_name")[1])
    assert full == [{"file": str(night / "i1.fits"), "filter_name": "J_G01"}]


def test_show_keywords_needs_no_plugin(night: Path, nirred: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nirred.described.installed_plugins", Registry)
    code, out, _ = nirred("show", night / "x1.fits", "-k", "INSTRUME,NOPE", "--json")
    assert (code, json.loads(out)) == (0, [{"file": str(night / "x1.fits"), "INSTRUME": "OTHER", "NOPE": None}])
    assert nirred("show", night / "x1.fits", "-d", "object")[0] == PluginError.exit_code


def test_show_says_what_is_wrong(night: Path, nirred: Call) -> None:
    code, _, err = nirred("show", night / "i1.fits", "-d", "exposure_tme")
    assert code == 2 and "exposure_time" in err
    assert nirred("show", night / "x2.fits", "-d", "object")[0] == 4
    assert nirred("show", night / "i1.fits", "--csv", "--json")[0] == 2


def test_header_text_does_not_drive_the_terminal(night: Path, nirred: Call) -> None:
    out = nirred("show", night / "i1.fits", "-d", "hint")[1]
    assert "\x1b" not in out and "red" in out


def test_tags_lists_every_file(night: Path, nirred: Call) -> None:
    rows = {Path(r["file"]).name: r for r in json.loads(nirred("tags", night, "--json")[1])}
    assert rows["i1.fits"]["tags"] == ["CAM", "IMAGE"]
    assert rows["s1.fits"]["unsupported"] == "spectrum"
    assert "OTHER" in rows["x1.fits"]["error"]
    assert len(rows) == 7
    assert "(CAM) (IMAGE)" in nirred("tags", night / "i1.fits")[1]


def test_tags_of_nothing_usable_say_so_by_the_exit_code(tmp_path: Path, nirred: Call) -> None:
    (tmp_path / "junk.fits").write_bytes(b"junk" * 1000)
    code, out, err = nirred("tags", tmp_path / "junk.fits")
    assert code == 4 and "junk.fits" in out and "none of the 1 files" in err


def test_plugins_names_what_to_install(nirred: Call, plugins: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    plugins.add(object(), "odd", "nirred-odd")
    rows = json.loads(nirred("plugins", "--json")[1])
    assert [(r["name"], r["state"]) for r in rows] == [("cam", "loaded"), ("odd", "refused")]
    assert "NIRRED_API" in rows[1]["reason"]
    assert "Test camera" in nirred("plugins")[1]
    monkeypatch.setattr("nirred.described.installed_plugins", Registry)
    code, out, _ = nirred("plugins")
    assert code == 0
    assert all(f"nirred-{name}" in out for name in ("niri", "f2", "gnirs", "emir"))
    code, _, err = nirred("tags", "x")
    assert code == 3 and "nirred-niri" in err


def test_select_json_and_a_misspelt_tag(night: Path, nirred: Call) -> None:
    code, out, err = nirred("select", night, "--tags", "DRAK", "--json")
    assert (code, json.loads(out)) == (0, [])
    assert "'DRAK'" in err and "'DARK'" in err
    assert json.loads(nirred("select", night, "--tags", "DARK", "--json")[1]) == [
        str(night / f"d{n}.fits") for n in (1, 2)
    ]
    assert "remark" not in nirred("select", night, "--tags", "DARK", "--xtags", "FLAT")[2]
