"""The report page of runs given by small records: order of the findings, escaping, no external links."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from nirred.errors import DataError
from nirred.report import report_path, write_report

EVIL = "<script>alert(1)</script>\"'&\u202e\x1b[31m Ümlaut"
VOID = {"meta", "img", "br", "hr", "link", "input"}
SELF_CLOSED = {"line", "rect", "circle", "path", "polyline"}


class Page(HTMLParser):
    """Checks that elements are balanced; keeps tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, k, v or "") for k, v in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        assert tag in SELF_CLOSED
        self.attributes += [(tag, k, v or "") for k, v in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def check(text: str) -> Page:
    """Requirements for every report."""
    page = Page(text)
    assert not {"script", "iframe", "object", "embed", "link", "base", "form"} & set(page.tags)
    for tag, key, value in page.attributes:
        assert not key.startswith("on")
        if key in ("href", "src"):
            assert re.match(r"(#|\.\./[^.]|data:image/png;base64,)", value), (tag, value[:80])
    assert "http:" not in text and "https:" not in text and "url(" not in text and "@import" not in text
    assert all(c.isprintable() or c == "\n" for c in text)
    alts = [value for tag, key, value in page.attributes if tag == "img" and key == "alt"]
    assert len(alts) == page.tags.count("img") and all(alts)
    ids = [value for _, key, value in page.attributes if key == "id"]
    assert len(ids) == len(set(ids))
    return page


def task(name: str, **changes: Any) -> dict[str, Any]:
    plain = {
        "id": name, "recipe": "reduce", "title": "NGC 1 J", "instrument": "cam", "outcome": "done", "degraded": False,
        "inputs": [], "calibrations": [], "missing": [], "products": [f"{name}.fits"], "remarks": [], "cpu_s": 1.5,
    }  # fmt: skip
    return plain | changes


def lose(name: str, reason: str, role: str = "object") -> dict[str, Any]:
    """A file that task t left out."""
    entry = {"task": "t", "role": role, "outcome": "rejected", "reason": reason}
    return {"file": name, "fate": "rejected", "reason": reason, "roles": [entry]}


def save(out: Path, *tasks: dict[str, Any], files: Any = (), **more: Any) -> Page:
    record = {"schema": "nirred-run/1", "nirred": "0.1.0", "degraded": False, "files": list(files), "tasks": tasks}
    (out / "run.json").write_text(json.dumps(record | more))
    return check(write_report(out).read_text(encoding="utf-8"))


def stack(path: Path, title: str = "NGC 1", size: int = 40) -> None:
    rng = np.random.default_rng(1)
    head = fits.PrimaryHDU()
    head.header.update(OBJECT=title, NIRKIND="image", EXPTIME=20.0, TEXPTIME=60.0, CORRFAC=1.0, REFFRAME="a.fits")
    head.header["LINCORR"] = "SKIPPED: no curve"
    sci = fits.ImageHDU(rng.normal(0, 2, (size, size)).astype(np.float32), name="SCI")
    sci.header["LEVELERR"] = 0.25
    planes = [fits.ImageHDU(np.full((size, size), v, t), name=n) for n, v, t in _PLANES]
    kind = [("file", "S9"), *((n, "f8") for n in _NUMBERS), ("state", "S8"), ("reason", "S16")]
    row = (0.0, 0.0, 0.01, 0.01, 100.0, 3.0, 1.0, 0.5)
    rows = [(b"a.fits", *row, b"used", b""), (b"b.fits", *row, b"rejected", b"<b>clouds</b>")]
    frames = fits.BinTableHDU(np.array(rows, kind), name="FRAMES")
    fits.HDUList([head, sci, *planes, frames]).writeto(path)


_PLANES = (("VAR", 4, np.float32), ("DQ", 0, np.int16), ("NEXP", 3, np.int16))
_NUMBERS = ("xoff", "yoff", "xoff_err", "yoff_err", "sky", "fwhm", "transparency", "weight")


def test_a_stack_and_what_was_left_out(tmp_path: Path) -> None:
    stack(tmp_path / "t.fits")
    inputs = [{"file": f"/n/{name}.fits", "role": "object"} for name in "ab"]
    page = save(tmp_path, task("t", inputs=inputs), files=[lose("/n/b.fits", "<b>clouds</b>")])
    assert "cam: NGC 1 J" in page.text and "1 group: 1 done" in page.text
    assert "Frames left out : 1 of 2: b.fits: <b>clouds</b>" in page.text
    assert "LINCORR SKIPPED: no curve" in page.text and "used, reference" in page.text
    assert "zero level known to ±0.25" in page.text and "measured is 1.0" in page.text
    assert page.tags.count("img") == 2  # the stack and its coverage
    assert ("a", "href", "../t.fits") in page.attributes


@pytest.mark.parametrize("outcome", ["done", "failed"])
def test_frames_left_out_for_one_reason_are_told_together(tmp_path: Path, outcome: str) -> None:
    """On the sky and of calibrations, too, and of groups without product."""
    stack(tmp_path / "t.fits")
    lost = [lose(f"/n/{name}.fits", "clouds", role) for name, role in (("a", "object"), ("b", "sky"))]
    error = {"message": "no frames left", "hint": ""} if outcome == "failed" else None
    fate = [lose("/n/c.fits", "no frames left")] if outcome == "failed" else []
    remarks = [f"t: {name}.fits left out: clouds" for name in "ab"]
    inputs = [{"file": f"/n/{name}.fits", "role": "object"} for name in "abc"]
    page = save(tmp_path, task("t", outcome=outcome, remarks=remarks, inputs=inputs, error=error), files=[*lost, *fate])
    assert "Frames left out : 2 of 3: a.fits, b.fits: clouds t" in page.text
    first = page.text[page.text.index("What to know first") : page.text.index("Level of a calibration")]
    assert first.split("Stacks")[0].count("clouds") == 1


def test_what_was_not_measured_of_a_frame_is_not_shown(tmp_path: Path) -> None:
    """FRAMES has an offset of 0 and a transparency of 1 for a frame that was left out before its registration."""
    stack(tmp_path / "t.fits")
    with fits.open(tmp_path / "t.fits", mode="update") as hdus:
        frames = hdus["FRAMES"].data
        frames["xoff_err"][1] = frames["yoff_err"][1] = frames["sky"][1] = np.nan
        hdus["SCI"].header["BUNIT"] = "adu"
    page = save(tmp_path, task("t"))
    row = page.text[page.text.index("Frames on target") :]
    assert "b.fits - - - 3.00 - 0.5000 rejected" in row and "a.fits 0.000 ± 0.010 0.000 ± 0.010" in row
    assert "sky (adu)" in row and "Transparency taken as 1 in all frames" in page.text
    assert not any("b.fits: 0 px" in text for text in page.words)


def test_frames_that_serve_twice_are_told_in_words(tmp_path: Path) -> None:
    page = save(tmp_path, task("t", outcome="failed", products=[]), files=[lose("/n/a.fits", "clouds", "both")])
    assert "a.fits object and sky rejected" in page.text and "object and sky of t (rejected)" in page.text


def test_transparencies_that_differ_are_plotted(tmp_path: Path) -> None:
    stack(tmp_path / "t.fits")
    without = save(tmp_path, task("t"))
    with fits.open(tmp_path / "t.fits", mode="update") as hdus:
        hdus["FRAMES"].data["transparency"][0] = 0.97
    page = save(tmp_path, task("t"))
    plots = [
        sum((tag, key, value) == ("svg", "class", "plot") for tag, key, value in p.attributes) for p in (without, page)
    ]
    assert plots == [3, 4] and "Transparency 0.97" in page.text


def test_frames_of_the_sky_are_plotted_but_no_frames_on_target(tmp_path: Path) -> None:
    stack(tmp_path / "t.fits")
    with fits.open(tmp_path / "t.fits", mode="update") as hdus:
        hdus["FRAMES"].data["state"][1] = "sky"
        hdus["FRAMES"].data["xoff"][1] = np.nan
    inputs = [{"file": "/n/a.fits", "role": "object"}, {"file": "/n/b.fits", "role": "sky"}]
    page = save(tmp_path, task("t", inputs=inputs))
    assert "1 of 1 on target" in page.text and "Frames left out" not in page.text
    assert "Sky level (electron): on target circles, sky frames squares" in page.text
    assert "b.fits: 100 electron" in page.text and "b.fits: 3 px" not in page.text


def test_nothing_is_said_twice(tmp_path: Path) -> None:
    stack(tmp_path / "t.fits")
    doubtful = {"kind": "dark", "file": "d.fits", "level": 2, "reason": "only 2 frames", "source": "input"}
    told = ["b.fits left out: <b>clouds</b>", "dark: only 2 frames", "c.fits left out: dull"]
    renamed = "named after the directory of /n/2/a.fits: another product is called t.fits"
    of_t = task("t", calibrations=[doubtful], remarks=[*told, renamed])
    page = save(tmp_path, of_t, task("u", remarks=[renamed]), files=[lose("/n/b.fits", "<b>clouds</b>")])
    first = page.text[: page.text.index("Stacks", page.text.index("What to know first"))]
    assert first.count("clouds") == first.count("only 2 frames") == first.count("c.fits left out") == 1
    assert first.count("product names include the directory") == 1 and "t, u" in first


def missed(kind: str, nearest: str) -> dict[str, Any]:
    """A calibration that was not found, as the plan describes it."""
    why = "exposure_time: wanted 20, found 10"
    reason = f"no {kind}; nearest is {nearest} ({why})"
    return {"kind": kind, "optional": True, "reason": reason, "candidates": [{"file": nearest, "why": why}]}


def test_the_nearest_miss_is_named_once_in_each_section(tmp_path: Path) -> None:
    stack(tmp_path / "t.fits")
    missing = [missed("dark", "old_dark.fits")]
    error = {"message": f"{missing[0]['reason']}: name one with --user-cal dark:FILE", "hint": ""}
    stopped = task("u", outcome="blocked", products=[], missing=missing, error=error)
    for one in (task("t", degraded=True, missing=missing), stopped):
        page = save(tmp_path, one)
        plan = page.text.index("Level of a calibration")
        assert page.text[:plan].count("old_dark.fits") == page.text[plan:].count("old_dark.fits") == 1


def test_raw_frames_are_asked_for_where_no_file_can_be_named(tmp_path: Path) -> None:
    """`--user-cal` refuses the kinds that are pools of raw frames."""
    stack(tmp_path / "t.fits")
    page = save(tmp_path, task("t", degraded=True, missing=[missed("lampoff_flat", "a.fits")]))
    assert "Add raw frames for a lampoff_flat" in page.text and "--user-cal" not in page.text


def test_failures_come_first_then_what_is_missing_with_a_remedy(tmp_path: Path) -> None:
    stack(tmp_path / "t.fits")
    missing = [missed("dark", "old_dark.fits")]
    error = {"message": "u: no frames on target left", "hint": "run.json tells of every frame"}
    doubtful = {"kind": "flat", "file": "f.fits", "level": 3, "reason": "90 d before", "source": "library"}
    page = save(
        tmp_path,
        task("t", degraded=True, missing=missing, calibrations=[doubtful], remarks=["t: the sky was flat"]),
        task("u", outcome="failed", products=[], error=error),
        files=[{"file": "/n/x.fits", "fate": "unreadable", "reason": "truncated", "roles": []}],
    )
    order = ["no frames on target left", "no dark; nearest is", "truncated", "the sky was flat"]
    places = [page.text.index(text) for text in order]
    assert places == sorted(places)
    assert "--user-cal dark:FILE" in page.text and "3: a risk" in page.text and "90 d before" in page.text
    assert "2 groups: 1 done, 1 failed, 1 of them degraded" in page.text


def test_nothing_to_say(tmp_path: Path) -> None:
    assert "There was nothing to reduce." in save(tmp_path).text
    stack(tmp_path / "t.fits")
    with fits.open(tmp_path / "t.fits", mode="update") as hdus:
        del hdus[0].header["LINCORR"]
        hdus["FRAMES"].data["state"] = "used"
    assert "Every group was reduced" in save(tmp_path, task("t")).text


@pytest.mark.parametrize("outcome", ["failed", "blocked", "interrupted"])
def test_every_end_is_told(tmp_path: Path, outcome: str) -> None:
    page = save(tmp_path, task("t", outcome=outcome, products=[], error={"message": "why", "hint": "so"}))
    assert f"NGC 1 J {outcome} : why" in page.text and "no stack" in page.text


def test_text_of_headers_and_records_is_escaped(tmp_path: Path) -> None:
    stack(tmp_path / "t.fits", "<script>alert(1)</script>\"'&")
    calibration = {"kind": EVIL, "file": f"/x/{EVIL}", "level": 9, "reason": EVIL, "source": EVIL}
    missing = [{"kind": EVIL, "optional": True, "reason": EVIL, "candidates": [{"file": EVIL, "why": EVIL}]}]
    error = {"message": EVIL, "hint": EVIL}
    roles = [{"task": "t", "role": "sky", "outcome": "rejected", "reason": EVIL}]
    page = save(
        tmp_path,
        task(
            "t", title=EVIL, instrument=EVIL, recipe=EVIL, calibrations=[calibration], missing=missing, remarks=[EVIL]
        ),
        task("u", outcome="failed", products=["javascript:alert(1)"], error=error),
        files=[{"file": EVIL, "fate": "used", "reason": EVIL, "roles": roles}],
        wcs=[{"frame": EVIL, "state": "stale", "note": EVIL}],
        remarks=[EVIL],
        settings=[{"step": EVIL, "name": EVIL, "value": EVIL, "origin": EVIL}],
        plugins=[{"name": "x", "package": EVIL, "version": EVIL}],
    )
    assert page.text.count("<script>alert(1)</script>") > 10
    assert "Ümlaut" in page.text


def test_products_that_are_gone_damaged_or_elsewhere(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    stack(tmp_path / "elsewhere.fits")
    (out / "broken.fits").write_bytes(b"SIMPLE  =                    T" + bytes(9000))
    stack(out / "no_planes.fits")
    with fits.open(out / "no_planes.fits", mode="update") as hdus:
        del hdus["VAR"], hdus["NEXP"], hdus["FRAMES"]
    products = ["gone.fits", "broken.fits", "../elsewhere.fits", "no_planes.fits"]
    page = save(out, task("t", products=products))
    assert "gone.fits: it is not there any more" in page.text
    assert "broken.fits: it cannot be read" in page.text
    assert "elsewhere.fits: it is not there any more" in page.text
    assert "too few blank pixels" in page.text


def test_same_bytes_again(tmp_path: Path) -> None:
    stack(tmp_path / "t.fits")
    save(tmp_path, task("t"))
    first = report_path(tmp_path).read_bytes()
    assert write_report(tmp_path).read_bytes() == first


def test_without_a_record(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        write_report(tmp_path)
    (tmp_path / "run.json").write_text('{"schema": "nirred-run/9"}')
    with pytest.raises(DataError, match="schema"):
        write_report(tmp_path)
    assert not report_path(tmp_path).exists()
