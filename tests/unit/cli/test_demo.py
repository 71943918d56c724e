from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from nirred.registry import Registry

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def parts(plugins: Registry, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A demonstration with mock night, run and measurement; returns the arguments of their calls."""
    seen: dict[str, Any] = {}
    api = importlib.import_module("nirred.run.api")
    camera = SimpleNamespace(instrument="CAM", scenario="offset", frames=None)

    def simulate(simulation: Any, directory: Path, **options: Any) -> Any:
        seen["night"] = (simulation, options)
        return SimpleNamespace(raw_dir=directory / "raw", groups={"offset": SimpleNamespace(product="a_image.fits")})

    def run(inputs: Any, out: Path, options: Any, registry: Any) -> Any:
        seen["run"] = (inputs, out, options)
        out.mkdir(parents=True)
        if not seen.get("fails"):
            fits.PrimaryHDU(np.arange(100.0).reshape(10, 10)).writeto(out / "a_image.fits")
        return api.RunResult({}, {"a_image": "done"}, 6 if seen.get("fails") else 0, {"tasks": [], "files": []})

    monkeypatch.setattr(plugins, "simulations", lambda: {"CAM": camera}, raising=False)
    monkeypatch.setattr("nirred.testing.simulate.simulate_night", simulate)
    monkeypatch.setattr("nirred.testing.accuracy.measure", lambda path, night, group: (path.name, group))
    monkeypatch.setattr("nirred.testing.bars.table", lambda measured: f"TABLE {measured}")
    monkeypatch.setattr(api, "run", run)
    return seen


def test_demo_reduces_measures_and_draws(parts: dict[str, Any], nirred: Call, tmp_path: Path) -> None:
    home = tmp_path / "demo"
    code, out, err = nirred("demo", "cam", "-o", home, "--size", "256", "--seed", "4")
    assert code == 0
    assert parts["night"][1] == {"scenario": "offset", "frames": None, "seed": 4, "size": 256}
    assert parts["run"][:2] == ([str(home / "raw")], home / "reduced")
    assert "TABLE [('a_image.fits', 'offset')]" in out
    assert "several nights" in out
    assert f"picture: {home / 'a_image.png'}" in out
    assert (home / "a_image.png").is_file()
    assert "simulating" in err


def test_demo_that_fails_says_so(parts: dict[str, Any], nirred: Call, tmp_path: Path) -> None:
    parts["fails"] = True
    code, _, err = nirred("demo", "-o", tmp_path / "demo")
    assert code == 6 and "a_image.fits" in err


def test_the_first_camera_of_ours_is_the_default(plugins: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    from nirred.cli.simulate import simulation

    cameras = {name: SimpleNamespace(instrument=name) for name in ("A", "GNIRS", "NIRI")}
    monkeypatch.setattr(plugins, "simulations", lambda: cameras, raising=False)
    assert simulation(None).instrument == "NIRI"
    assert simulation("a").instrument == "A"


def test_no_camera_to_simulate(plugins: Registry, nirred: Call) -> None:
    code, _, err = nirred("demo")
    assert code == 3 and "no installed plugin" in err
