"""Fixtures of the conformance kit, for every test run where nirred is installed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.register_assert_rewrite("nirred.testing.conformance")

if TYPE_CHECKING:
    from ..registry import Registry
    from ..run.api import RunResult
    from .night import Night

NIGHT: dict[str, Any] = {"frames": 5, "size": 256, "seed": 3}
#: Few calibrations, and enough stars for such a small field.
KNOBS: dict[str, Any] = {"darks": 3, "short_darks": 3, "lamps_on": 3, "lamps_off": 3, "density": 3000.0}
#: The night for which the accuracy bars are defined.
FULL: dict[str, Any] = {"frames": 9, "seed": 5}
#: Cameras of more pixels are tried with sub-arrays of this side.
MOST_PIXELS, SUB_ARRAY = 2 * 2048**2, 1024


def pytest_configure(config: pytest.Config) -> None:
    """Describe the kit's marker, for test runs of other projects."""
    config.addinivalue_line("markers", "slow: longer than a few seconds; leave out with -m 'not slow'")


@dataclass
class ReducedNight:
    """A simulated night, its output directory and the result of its reduction."""

    night: Night
    out: Path
    result: RunResult


@dataclass
class NightCache:
    """Small nights of this session, by plugin: simulated and reduced once."""

    home: Path
    nights: dict[str, Night] = field(default_factory=dict)
    reduced: dict[str, ReducedNight] = field(default_factory=dict)

    def night(self, plugin: str, registry: Registry) -> Night:
        """A small dithered night of the plugin's first simulated camera; skips the test where there is none."""
        if plugin not in self.nights:
            self.nights[plugin] = self._simulate(plugin, registry, self.home / plugin, {**NIGHT, **KNOBS})
        return self.nights[plugin]

    def _simulate(self, plugin: str, registry: Registry, home: Path, options: dict[str, Any]) -> Night:
        from .simulate import simulate_night

        cameras = registry.simulations()
        if not cameras:
            pytest.skip(f"{plugin} brings no simulation")
        return simulate_night(cameras[min(cameras)], home, scenario="dither", **options)

    def reduce(self, plugin: str, registry: Registry) -> ReducedNight:
        """The same night, reduced with all defaults."""
        night = self.night(plugin, registry)
        if plugin not in self.reduced:
            self.reduced[plugin] = self._reduce(night, registry, self.home / plugin / "reduced")
        return self.reduced[plugin]

    def _reduce(self, night: Night, registry: Registry, out: Path) -> ReducedNight:
        from ..run.api import RunOptions, run

        return ReducedNight(night, out, run([night.raw_dir], out, RunOptions(jobs=1), registry))

    def full(self, plugin: str, registry: Registry) -> ReducedNight:
        """A night with the usual calibrations, of full size but for mosaics of many pixels, reduced."""
        home, cameras = self.home / f"{plugin}-full", registry.simulations()
        pixels = sum(math.prod(d.shape) for d in cameras[min(cameras)].detectors) if cameras else 0
        options = {**FULL, "size": SUB_ARRAY if pixels > MOST_PIXELS else None}
        return self._reduce(self._simulate(plugin, registry, home, options), registry, home / "reduced")


@pytest.fixture(scope="session", autouse=True)
def nirred_without_library() -> Iterator[None]:
    """Tests neither use nor fill the user's calibration library; one that wants a library names its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIRRED_LIBRARY", "none")
        yield


@pytest.fixture(scope="session")
def nirred_nights(tmp_path_factory: pytest.TempPathFactory) -> NightCache:
    """Simulated nights of this session."""
    return NightCache(tmp_path_factory.mktemp("nirred-nights"))


@pytest.fixture(scope="class")
def nirred_registry(request: pytest.FixtureRequest) -> Registry:
    """A registry with only the plugin that the test class names; for an add-on package, with its camera's."""
    from ..registry import Registry

    plugin = request.cls.plugin
    registry = Registry.discover(only=[plugin])
    camera = camera_of(plugin, registry)
    return Registry.discover(only=[plugin, camera]) if camera else registry


def camera_of(plugin: str, registry: Registry) -> str:
    """The plugin of the camera that an add-on package names in its for_tags; '' for a plugin with its own camera."""
    if plugin not in registry.found or registry.found[plugin].error or registry.found[plugin].instruments:
        return ""
    items = [i for _, i in (*registry.rules(), *registry.masks(), *registry.recipes())]
    tags = frozenset().union(*(getattr(i, "for_tags", ()) for i in items))
    return next((name for name, i in type(registry).discover().instruments() if i.name.upper() in tags), "")


@pytest.fixture(scope="class")
def nirred_night(request: pytest.FixtureRequest, nirred_registry: Registry, nirred_nights: NightCache) -> Night:
    """Small simulated night of the plugin under test."""
    return nirred_nights.night(request.cls.plugin, nirred_registry)


@pytest.fixture(scope="class")
def nirred_reduced(
    request: pytest.FixtureRequest, nirred_registry: Registry, nirred_nights: NightCache
) -> ReducedNight:
    """The same night, reduced."""
    return nirred_nights.reduce(request.cls.plugin, nirred_registry)


@pytest.fixture(scope="class")
def nirred_full(request: pytest.FixtureRequest, nirred_registry: Registry, nirred_nights: NightCache) -> ReducedNight:
    """A night of full size of the plugin under test, reduced."""
    return nirred_nights.full(request.cls.plugin, nirred_registry)
