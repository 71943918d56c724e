"""The report of real runs: always written, and never a cause of failure."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nirred.report import report_path, write_report
from nirred.run.api import RunOptions, run
from nirred.run.task import failure


def test_a_run_leaves_a_report_that_can_be_made_again_elsewhere(reduced, tmp_path):
    result, out = reduced
    assert result.report == report_path(out) and result.exit_code == 0
    text = result.report.read_text(encoding="utf-8")
    assert text.count("<img ") == 6  # stack, coverage, frame; dark, flat, mask
    assert text.count('<svg class="plot"') == 3  # sky, seeing, offset
    assert "taken as 1 in all frames" in text  # no plot of transparencies that do not differ
    assert "Depth" in text and "measured is" in text and "as the observatory plans it" in text
    assert "UTC, 20" in text  # times of the frames, without the raw files
    copy = Path(shutil.copytree(out, tmp_path / "copy"))
    report_path(copy).unlink()
    assert write_report(copy).read_text(encoding="utf-8") == text


def test_no_report_when_none_is_wanted(reduce, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "x.fits").write_text("no FITS")
    assert reduce(tmp_path / "raw", report=False).report is None
    assert not (tmp_path / "out" / "report").exists()
    written = reduce(tmp_path / "raw").report  # nothing could be reduced: it says so
    assert written is not None and "There was nothing to reduce" in written.read_text()
    assert "1 file unreadable" in written.read_text()


def test_an_older_report_goes_with_the_products_that_it_describes(night, reduced, registry, tmp_path, monkeypatch):
    out, said = Path(shutil.copytree(reduced[1], tmp_path / "out")), []
    options = RunOptions(jobs=1, report=False, on_event=lambda event: said.append(event.message))
    assert run([night.raw_dir], out, options, registry).report is None
    assert report_path(out).exists()  # all products are as they were
    monkeypatch.setattr("nirred.run.executors.execute", lambda job, context: failure(job.task, "no"))
    run([night.raw_dir], out, options, registry)
    assert not report_path(out).parent.exists()
    (line,) = [text for text in said if "report" in text]
    assert "index.html of an earlier run" in line and f"nirred report {out}" in line


@pytest.mark.parametrize("error", [ValueError("a bug"), MemoryError(), OSError(28, "No space left on device")])
def test_trouble_with_the_report_is_said_and_changes_nothing(reduce, tmp_path, monkeypatch, error):
    def broken(out):
        raise error

    monkeypatch.setattr("nirred.report.write_report", broken)
    (tmp_path / "x.fits").write_text("no FITS")
    result = reduce(tmp_path / "x.fits")
    assert result.report is None and result.exit_code == 4
    assert any("no report" in r for r in json.loads((tmp_path / "out" / "run.json").read_text())["remarks"])
    assert "no report" in (tmp_path / "out" / "nirred.log").read_text()


def test_an_interrupted_run_has_a_report(night, reduce, tmp_path, monkeypatch):
    def stop(job, context):
        raise KeyboardInterrupt

    monkeypatch.setattr("nirred.run.executors.execute", stop)
    with pytest.raises(KeyboardInterrupt):
        reduce(night.raw_dir)
    assert "interrupted" in report_path(tmp_path / "out").read_text()


def test_settings_plugins_and_times_are_recorded(reduced):
    record = reduced[0].record
    assert record["settings"] == [] and record["started"] <= record["finished"]
    assert {"name": "niri", "package": "nirred-niri"}.items() <= next(
        p for p in record["plugins"] if p["name"] == "niri"
    ).items()
