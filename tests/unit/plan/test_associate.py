"""Comparisons made by rules, and their wording."""

from __future__ import annotations

from typing import Any

import pytest

from nirred.plan.moments import text
from nirred.plugin.frames import Section


def test_values_in_messages_are_as_astronomers_write_them() -> None:
    left, right = Section(0, 512, 0, 1024), Section(512, 1024, 0, 1024)
    assert text(left) == "[1:512,1:1024]"
    assert text((left, right)) == "[1:512,1:1024], [513:1024,1:1024]"
    assert (text(None), text(20.002), text("J")) == ("none", "20.002", "J")


@pytest.mark.parametrize("mode", ["Unknown", "Invalid", "absent"])
def test_an_unknown_read_mode_finds_no_dark(night: Any, mode: str) -> None:
    night.dither(3, MODE=mode)
    night.lamps()
    night.darks(5, 20.0, MODE=mode)
    night.darks(5, 20.0, MODE="slow")
    missing = {m.kind: m.reason for m in night.plan().task("c001_image").missing}
    assert "read_mode: wanted" in missing["dark"] and "not known from its header: matches nothing" in missing["dark"]
