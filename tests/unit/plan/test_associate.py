"""Comparisons made by rules, and their wording."""

from __future__ import annotations

from typing import Any

import pytest

from nirred.plan.moments import text
from nirred.plugin import CalibrationRule, Match, hookimpl
from nirred.plugin.frames import Section


class DarkRule:
    """An add-on package with a rule of its own for darks."""

    NIRRED_API = (1, 0)

    def __init__(self, *match: Match, scale_by: str = "") -> None:
        self.rule = CalibrationRule("dark", frozenset({"CAM"}), match, optional=True, scale_by=scale_by)

    @hookimpl
    def nirred_calibration_rules(self) -> list[CalibrationRule]:
        return [self.rule]


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


@pytest.mark.parametrize("match", [Match("dit"), Match("dit", tol=0.1), Match("dit", or_unstated=True)])
def test_a_rule_that_misspells_a_descriptor_matches_nothing(night: Any, match: Match) -> None:
    """Without the name every dark would lack it as the frame does, and match."""
    night.dither(3)
    night.lamps()
    night.darks(5, 5.0)
    night.registry.add(DarkRule(match), "a_site", "nirred-a-site")
    (missing,) = (m for m in night.plan().task("c001_image").missing if m.kind == "dark")
    assert "dit: wanted a descriptor of this name, found none: is it misspelt in the rule?" in missing.reason


def test_a_scaled_calibration_says_so(night: Any) -> None:
    night.dither(3)
    night.lamps()
    night.darks(5, 5.0)
    night.registry.add(DarkRule(scale_by="exposure_time"), "a_site", "nirred-a-site")
    (dark,) = (c for c in night.plan().task("c001_image").calibrations if c.kind == "dark")
    assert dark.scale == 4.0 and dark.reason.endswith(", scaled by 4")


def test_a_calibration_that_cannot_be_scaled_is_not_used(night: Any) -> None:
    """With a factor of 1 it would be subtracted as it is."""
    night.dither(3)
    night.lamps()
    night.darks(5, 5.0)
    night.registry.add(DarkRule(scale_by="airmass"), "a_site", "nirred-a-site")
    (missing,) = (m for m in night.plan().task("c001_image").missing if m.kind == "dark")
    assert "airmass: wanted values to scale by (the frame: none), found none" in missing.reason
