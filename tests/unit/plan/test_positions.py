"""A list of positions that does not fit its frames is refused before anything is reduced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nirred.errors import ConfigError
from nirred.params import Setting

NAME = ("adjust_wcs_to_reference", "offsets")


@pytest.fixture
def plan(night: Any, tmp_path: Path) -> Any:
    """Five frames on target, four of a standard; `plan(lines)` with a list of so many positions."""
    night.dither(5)
    night.dither(4, at=(20.0, 5.0), role="standard", OBJECT="FS 17")
    night.lamps()
    path = tmp_path / "mine.txt"

    def planned(lines: int | str, **options: Any) -> Any:
        path.write_text(lines if isinstance(lines, str) else "8 8\n" * lines)
        return night.plan(settings=(Setting(*NAME, str(path), "test"),), **options)

    return planned


def test_groups_that_a_list_does_not_fit_are_blocked(plan: Any) -> None:
    blocked = {t.id: t.blocked for t in plan(5).tasks if t.blocked}
    assert list(blocked) == ["c006_image"] and "mine.txt: 5 positions for 4 frames" in blocked["c006_image"]


def test_groups_that_share_a_list_are_told(night: Any, plan: Any) -> None:
    assert not any("another group" in r for t in plan(5).tasks for r in t.remarks)
    night.dither(5, at=(90.0, 5.0), OBJECT="M2", SEQ="s2")
    told = {t.id for t in plan(5).tasks for r in t.remarks if "applied to another group" in r}
    assert len(told) == 2 and "c001_image" in told


@pytest.mark.parametrize(
    ("lines", "fault"), [(3, "3 positions for 5 frames"), ("8 8\nx 9\n", "not a list"), ("", "0 po")]
)
def test_a_list_that_fits_no_group_is_refused(plan: Any, lines: int | str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        plan(lines)


def test_positions_may_be_those_of_pointings(night: Any, plan: Any) -> None:
    """But not if, according to the headers, the telescope moved meanwhile."""
    alone = {"only": lambda told: told.object == "M9", "allow_missing": ("flat",)}
    for x in (0.0, 0.0, 2.0, 2.0):
        night.sky(x, 0.0, OBJECT="M9", SEQ="s9", at=(80.0, 0.0))
    assert [t.blocked for t in plan(2, **alone).tasks if t.makes == "image"] == [""]
    with pytest.raises(ConfigError, match="1 positions for 4 frames"):
        plan(1, **alone)
