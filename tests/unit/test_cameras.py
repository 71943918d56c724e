"""Errors of a plugin's simulated camera name its package and are not reported as bugs of nirred."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nirred.errors import ConfigError, PluginError
from nirred.plugin import hookimpl
from nirred.registry import Registry
from nirred.testing.simulate import simulate_night
from nirred_niri.simulation import simulation

FEW = {"scenario": "dither", "frames": 1, "size": 64, "darks": 1, "short_darks": 1, "lamps_on": 1, "lamps_off": 1}


def cameras(**changes: Any) -> Registry:
    class Odd:
        NIRRED_API = (1, 0)

        @hookimpl
        def nirred_simulation(self) -> Any:
            return replace(simulation(), resized=None, **changes)

    registry = Registry()
    registry.add(Odd(), "odd", "nirred-odd")
    return registry


def raising(*_: Any) -> Any:
    raise KeyError("FILTER")


def leaving(*_: Any) -> Any:
    raise SystemExit(3)


def detectors(illuminated: Any) -> Any:
    return tuple(replace(d, illuminated=illuminated) for d in simulation().detectors)


WRONG = {
    "headers raise": ({"headers": raising}, "nirred-odd: headers of its simulated camera failed: KeyError: 'FILTER'"),
    "headers leave": ({"headers": leaving}, "nirred-odd: headers .* failed: SystemExit: 3"),
    "headers are none": (
        {"headers": lambda exposure: None},
        "nirred-odd: headers .* returned 'None', wanted",
    ),
    "a header too few": ({"detectors": simulation().detectors * 2}, "2 planes, 2 headers"),
    "value that FITS has not": ({"headers": lambda e: [{"EXPTIME": float("nan")}]}, "EXPTIME = nan"),
    "name that is a path": ({"file_name": lambda exposure: "../a.fits"}, "file_name .* returned '../a.fits'"),
    "name that is none": ({"file_name": lambda exposure: 3}, "file_name .* returned '3'"),
    "light raises": ({"detectors": detectors(raising)}, "illuminated .* failed: KeyError"),
    "light elsewhere": ({"detectors": detectors(lambda shape: np.ones(3, bool))}, "no array of shape"),
    "extras raise": ({"extras": raising}, "extras .* failed"),
    "extras are none": ({"extras": lambda night: []}, "extras .* returned a list"),
}


@pytest.mark.parametrize("case", WRONG)
def test_told_with_the_package_s_name(case: str, tmp_path: Any) -> None:
    changes, said = WRONG[case]
    camera = cameras(**changes).simulations()["niri"]
    with pytest.raises(PluginError, match=said) as caught:
        simulate_night(camera, tmp_path / "night", **FEW)
    assert not (tmp_path / "a.fits").exists() and caught.value.hint


def test_variants_and_sizes_are_looked_after_too(tmp_path: Any) -> None:
    camera = cameras(variants={"old": raising, "none": lambda: 3}).simulations()["niri"]
    for name, said in (("old", "variant 'old' .* failed"), ("none", "variant 'none' .* returned a int, no Simulation")):
        with pytest.raises(PluginError, match=said):
            camera.variants[name]()
    sized = replace(simulation(), resized=lambda size: replace(simulation(), headers=raising))

    class Sized:
        NIRRED_API = (1, 0)

        @hookimpl
        def nirred_simulation(self) -> Any:
            return sized

    registry = Registry()
    registry.add(Sized(), "sized", "nirred-sized")
    with pytest.raises(PluginError, match="nirred-sized: headers"):
        simulate_night(registry.simulations()["niri"], tmp_path, **FEW)


@pytest.mark.parametrize("changes", [{"detectors": ()}, {"settings": {}}, {"settings": {"dark": 1, "lamp_on": 2}}])
def test_a_camera_without_the_least_is_told_of_and_left_out(changes: Any) -> None:
    registry = cameras(**changes)
    assert registry.simulations() == {}
    assert [t for t in registry.complaints() if "nirred-odd: nirred_simulation: no " in t]


def test_errors_meant_for_the_user_pass(tmp_path: Any) -> None:
    def refuse(exposure: Any) -> Any:
        raise ConfigError("this camera has no such filter", "another one")

    with pytest.raises(ConfigError, match="no such filter"):
        simulate_night(cameras(headers=refuse).simulations()["niri"], tmp_path, **FEW)
