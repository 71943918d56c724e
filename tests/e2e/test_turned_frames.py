"""Frames with rotator errors, which are not in the headers but can be measured from stars."""

from __future__ import annotations

from nirred.registry import Registry
from nirred.run.api import RunOptions, run
from nirred.testing.accuracy import measure
from nirred.testing.simulate import simulate_night


def test_turns_that_no_header_knows_are_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("NIRRED_LIBRARY", "none")
    registry = Registry.discover(only=["niri"])
    camera = next(iter(registry.simulations().values()))
    few = {"darks": 3, "short_darks": 3, "lamps_on": 3, "lamps_off": 3}
    night = simulate_night(camera, tmp_path, scenario="dither", frames=4, size=384, seed=3, turn_rms=0.15, **few)
    made = run([night.raw_dir], tmp_path / "out", RunOptions(jobs=1, report=False), registry)
    assert made.exit_code == 0
    seen = measure(tmp_path / "out" / night.groups["dither"].product, night, "dither")
    assert seen.offset_rms.value < 0.03  # with `rotate=False` 0.2 and more
    assert seen.fwhm_ratio.value < 1.01
