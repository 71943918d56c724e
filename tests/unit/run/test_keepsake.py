"""Data of a task for the report are collected before its frames are released."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nirred.registry import Registry
from nirred.run.api import RunOptions, RunResult, run
from nirred.run.keepsake import glimpse_path
from nirred.steps.catalogue import MakeCatalogue
from nirred.testing.night import Night


def test_science_tasks_leave_a_glimpse(reduced: tuple[RunResult, Path], night: Night) -> None:
    result, out = reduced
    (name,) = (t for t in result.products if t.endswith("_image"))
    with np.load(glimpse_path(out, name)) as kept:
        assert str(kept["frame"]) in night.frames and set(kept["names"]) <= set(night.frames)
        assert np.isfinite(kept["sub_1"]).any()
    assert not any(glimpse_path(out, t).exists() for t in result.products if t != name)


def test_frames_are_given_up_before_the_catalogue(
    night: Night, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    original = MakeCatalogue.apply

    def apply(self, group, params, call):
        seen.append([stack.closed for p in group.planes for stack in (p.sci, p.dq, p.subtracted)])
        original(self, group, params, call)

    monkeypatch.setattr(MakeCatalogue, "apply", apply)
    result = run([night.raw_dir], tmp_path, RunOptions(jobs=1), registry)
    assert result.exit_code == 0
    assert seen == [[True, True, True]]
