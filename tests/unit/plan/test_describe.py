from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import nirred
from nirred.plan.describe import candidates_json, plan_json, plan_tables
from nirred.plan.fates import summary
from nirred.plan.model import FATES, FileRecord, FileRole, Refusal


def test_plan_as_json(night: Any) -> None:
    night.dither(3)
    night.lamps()
    night.darks(3)
    (night.folder / "bad.fits").write_bytes(b"")
    plan = night.plan()
    record = json.loads(json.dumps(plan_json(plan)))
    assert (record["schema"], record["nirred"], record["degraded"]) == ("nirred-run/1", nirred.__version__, False)
    assert {f["file"] for f in record["files"]} == {str(p) for p in night.folder.iterdir()}
    assert all({"file", "fate", "reason", "roles"} <= set(f) and f["fate"] in FATES for f in record["files"])
    image = next(t for t in record["tasks"] if t["id"] == "c001_image")
    assert "outcome" not in image and image["recipe"] == "reduce" and image["products"] == ["c001_image.fits"]
    assert image["inputs"][0] == {"file": str(night.folder / "c001.fits"), "role": "both"}
    dark = next(c for c in image["calibrations"] if c["kind"] == "dark")
    assert dark["file"] == "c012_dark.fits" and dark["level"] == 0 and "3 frames" in dark["reason"]
    raw = next(f for f in record["files"] if f["file"].endswith("c001.fits"))
    assert raw["roles"] == [{"task": "c001_image", "role": "both", "reason": ""}]


def test_candidates_as_json(night: Any) -> None:
    night.dither(3)
    night.lamps()
    night.darks(3)
    (dark,) = [a for a in night.plan().task("c001_image").calibrations if a.kind == "dark"]
    (entry,) = candidates_json(dark.candidates)
    assert (
        entry["chosen"] and {"rule": "read_mode", "wanted": "slow", "found": "slow", "passed": True} in entry["rules"]
    )


def test_tables_hold_text_and_leave_out_what_is_empty(night: Any) -> None:
    night.sky(0, 0, stale=(0.0, 300.0))
    night.dither(3)
    night.darks(3, 5.0)
    tables = {title: (columns, rows) for title, columns, rows in plan_tables(night.plan())}
    assert set(tables) == {"Tasks", "Calibrations", "World coordinates", "Not used"}
    for columns, rows in tables.values():
        assert all(len(row) == len(columns) and all(isinstance(c, str) for c in row) for row in rows)
    assert tables["World coordinates"][1][0][:2] == ("c001.fits", "rebuilt")
    why = "no task needs a dark of 5 s with its settings, or others are nearer"
    assert ("c005.fits to c007.fits (3)", "unneeded", why) in tables["Not used"][1]


def test_the_reason_of_a_blocked_task_is_given_once(night: Any) -> None:
    """However many files it has: the reason is long, and its remedy belongs to it."""
    night.dither(3)
    night.darks(3)
    tables = {title: rows for title, _, rows in plan_tables(night.plan())}
    assert [row[4] for row in tables["Tasks"] if row[0] == "c001_image.fits"] == ["BLOCKED: no flat"]
    assert tables["Not used"] == [("c001.fits to c003.fits (3)", "failed", "c001_image is blocked")]
    (why,) = [row[-1] for row in tables["Calibrations"] if row[1] == "flat"]
    assert why.startswith("missing: no flat at all (wanted: ") and "--allow-missing flat" in why


def test_files_that_differ_only_in_name_share_a_row(night: Any) -> None:
    night.dither(3)
    for name in ("c000.fits", "c002b.fits", "c900.fits", "c901.fits"):
        (night.folder / name).write_text("hello")
    plan = night.plan()
    tables = {title: rows for title, _, rows in plan_tables(plan)}
    unreadable = [row for row in tables["Not used"] if row[1] == "unreadable"]
    assert [row[0] for row in unreadable] == ["c000.fits", "c002b.fits", "c900.fits, c901.fits"]
    assert {row[2] for row in unreadable} == {"not a FITS file (leave it out or convert it)"}


def test_frames_that_serve_twice_are_told_in_words(night: Any) -> None:
    night.dither(3)
    tables = {title: rows for title, _, rows in plan_tables(night.plan())}
    assert tables["Tasks"][0][3] == "3 object and sky"


def test_each_remark_has_a_row_of_its_own(night: Any) -> None:
    """However many frames share one: a table is as wide as its longest text."""
    night.dither(3)
    plan = night.plan()
    plan.tasks[0] = replace(plan.tasks[0], remarks=("one", "two"))
    plan.remarks.append("of all")
    tables = {title: rows for title, _, rows in plan_tables(plan)}
    assert tables["Remarks"] == [("", "of all"), (plan.tasks[0].id, "one"), (plan.tasks[0].id, "two")]


@pytest.mark.parametrize(
    "verdict, roles, fate",
    [
        ("duplicate", [FileRole("t", "object", "used", "")], "duplicate"),
        ("product", [], "product"),
        ("product", [FileRole("t", "dark", "", "")], "used"),
        (None, [], "unneeded"),
        (None, [FileRole("t", "object", "", "")], "used"),
        (None, [FileRole("t", "object", "rejected", "clouds"), FileRole("u", "object", "used", "")], "used"),
        (None, [FileRole("t", "object", "rejected", "clouds"), FileRole("u", "object", "failed", "broken")], "failed"),
        (None, [FileRole("t", "object", "rejected", "clouds")], "rejected"),
        (None, [FileRole("t", "object", "blocked", "no flat")], "failed"),
        (None, [FileRole("t", "object", "nothing-to-do", "")], "unneeded"),
    ],
)
def test_summary_fate_by_the_order(verdict: Any, roles: list[FileRole], fate: str) -> None:
    record = FileRecord(Path("a.fits"), verdict, "why", (), "dark" if verdict == "product" else "", roles)
    found, reason = summary(record)
    assert found == fate
    assert reason == {"rejected": "clouds", "failed": roles[-1].reason if roles else ""}.get(fate, reason)


def test_a_refused_request_is_told_with_its_remedy(night: Any) -> None:
    night.dither(3)
    plan = night.plan()
    plan.refused.append(Refusal("7", "blocks.yaml:12", "no file c099.fits", "correct the name"))
    tables = {title: (columns, rows) for title, columns, rows in plan_tables(plan)}
    columns, rows = tables["Requests that cannot be carried out"]
    assert dict(zip(columns, rows[0], strict=True)) == {
        "where": "blocks.yaml:12",
        "why": "no file c099.fits",
        "remedy": "correct the name",
    }
