"""Plugins: faults stay isolated, conflicts name both packages, and only a frame's owner is called."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import nirred_niri
from nirred import registry as module
from nirred.errors import Ambiguous, ConfigError, PluginError, Unclaimed
from nirred.headers import Headers
from nirred.plugin import CalibrationRule, Claim, Event, Instrument, Recipe, hookimpl
from nirred.registry import Fault, PluginInfo, Registry, in_order
from nirred.testing.headers import headers_from_text

NIRI = headers_from_text("INSTRUME= 'NIRI    '")


def plugin(name: str = "cam", weight: int | None = 0, **hooks: Callable[..., Any]) -> ModuleType:
    """A plugin that brings the camera `name` and claims NIRI's frames with `weight` (None: nothing)."""

    @hookimpl
    def nirred_claim(headers: Headers) -> Claim | None:
        return None if weight is None or headers.get("INSTRUME") != "NIRI" else Claim(name, weight)

    @hookimpl
    def nirred_instruments() -> list[Instrument]:
        return [Instrument(name, name.upper())]

    own = {k: hookimpl(v) for k, v in hooks.items()}
    found = ModuleType(f"plugin_{name}")
    vars(found).update(
        {"NIRRED_API": (1, 0), "nirred_claim": nirred_claim, "nirred_instruments": nirred_instruments} | own
    )
    return found


def failing(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("out of coffee")


def install(monkeypatch: pytest.MonkeyPatch, **found: Any) -> None:
    """Pretend that entry points exist: name=object, or name=exception raised at import."""

    class Point:
        def __init__(self, name: str, target: Any) -> None:
            self.name, self.value, self.target = name, f"{name}_module", target
            self.dist = SimpleNamespace(name=f"nirred-{name}", version="1.2")

        def load(self) -> Any:
            if isinstance(self.target, Exception):
                raise self.target
            return self.target

    points = [Point(k.rstrip("_"), v) for k, v in found.items()]
    monkeypatch.setattr(module, "entry_points", lambda group: points if group == module.GROUP else [])


def test_import_error_is_isolated(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, good=plugin("good"), bad=ImportError("no module named fancy"), worse=SystemError("boom"))
    found = Registry.discover()
    assert found.names == ["good"]
    assert found.claim(NIRI)[0] == "good"
    assert "ImportError: no module named fancy" in found.found["bad"].error
    assert found.found["bad"].package == "nirred-bad"
    assert "SystemError" in found.found["worse"].error
    assert [i.name for i in in_order(list(found.found.values()))] == ["good", "bad", "worse"]


def test_a_slow_or_heavy_import_is_told_and_hinders_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, quick=plugin("quick"), slow=plugin("slow"), heavy=plugin("heavy"))
    clock = iter(float(t) for t in (0, 0.2, 10, 10.1, 20, 23.5))  # heavy, quick, slow: in order of their names
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr("nirred.packages.HEAVY", ("nirred_heavy_library",))
    before = dict(sys.modules)
    point = next(p for p in module.entry_points(group=module.GROUP) if p.name == "heavy")
    load = point.load
    point.load = lambda: sys.modules.setdefault("nirred_heavy_library", ModuleType("x")) and load()
    try:
        found = Registry.discover()
    finally:
        for name in set(sys.modules) - set(before):
            del sys.modules[name]
    assert found.names == ["heavy", "quick", "slow"] and found.complaints() == []
    remarks = {name: info.remarks for name, info in found.found.items()}
    wait = "every command waits for it"
    assert remarks == {
        "quick": (),
        "slow": (f"takes 3.5 s to import: {wait}",),
        "heavy": (f"imports nirred_heavy_library at start: {wait}",),
    }


def test_real_entry_point_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("ghost", "no_such_package_anywhere", module.GROUP)
    monkeypatch.setattr(module, "entry_points", lambda group: [point])
    assert "cannot be imported: ModuleNotFoundError" in Registry.discover().found["ghost"].error


@pytest.mark.parametrize("names", [{"only": ["a"]}, {"environment": "a"}, {"environment": " ,a , "}])
def test_only_the_wanted_are_loaded(monkeypatch: pytest.MonkeyPatch, names: dict[str, Any]) -> None:
    install(monkeypatch, a=plugin("a"), b=ImportError("never imported"))
    if "environment" in names:
        monkeypatch.setenv("NIRRED_PLUGINS", names["environment"])
    assert list(Registry.discover(names.get("only")).found) == ["a"]


def test_blanks_in_the_list_of_the_wanted_and_names_that_nobody_bears(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, niri=plugin("niri"), f2=plugin("f2"), emir=plugin("emir"))
    monkeypatch.setenv("NIRRED_PLUGINS", "niri, f2")
    assert list(Registry.discover().found) == ["f2", "niri"]
    monkeypatch.setenv("NIRRED_PLUGINS", "niri, nirii")
    with pytest.raises(ConfigError, match=r"NIRRED_PLUGINS: no plugin 'nirii'.*did you mean 'niri'"):
        Registry.discover()
    assert list(Registry.discover(["niri", "absent"]).found) == ["niri"]
    monkeypatch.setenv("NIRRED_PLUGINS", "")
    assert Registry.discover().found == {}


@pytest.mark.parametrize(
    ("version", "message"),
    [((2, 0), "API 2.0"), ((0, 9), "API 0.9"), ((1, 99), "API 1.99"), (None, "says no NIRRED_API"), ("1.0", "says no")],
)
def test_other_versions_of_the_contract_are_refused(version: Any, message: str) -> None:
    old = plugin()
    vars(old)["NIRRED_API"] = version
    found = Registry()
    assert message in found.add(old, "old").error
    assert found.names == []
    with pytest.raises(Unclaimed):
        found.claim(NIRI)


def test_two_packages_with_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, cam=plugin("cam"), cam_=plugin("other"), fine=plugin("fine"))
    found = Registry.discover()
    assert found.names == ["fine"]
    assert "two packages register the name 'cam'" in next(i.error for i in found.found.values() if i.error)


def test_one_camera_in_two_packages_names_the_first() -> None:
    found = Registry()
    assert not found.add(plugin("niri"), "a", "nirred-niri").error
    assert "'niri' is already brought by nirred-niri" in found.add(plugin("niri"), "b", "my-niri").error
    assert found.names == ["a"]


def test_misspelt_hook_is_refused() -> None:
    error = Registry().add(plugin(nirred_claims=lambda headers: None), "typo").error
    assert "hooks do not fit the contract" in error
    assert "'nirred_claims'; did you mean 'nirred_claim'?" in error


def test_hook_with_an_unknown_argument_is_refused() -> None:
    assert "pixels" in Registry().add(plugin(nirred_tags=lambda pixels: frozenset()), "typo").error


def test_equal_claims_name_both_packages() -> None:
    found = Registry()
    found.add(plugin("a"), "a", "nirred-a")
    found.add(plugin("b"), "b", "nirred-b")
    with pytest.raises(Ambiguous, match="nirred-a and nirred-b"):
        found.claim(NIRI)


def test_heavier_claim_owns_and_a_fallback_yields() -> None:
    found = Registry()
    found.add(plugin("fallback", -1), "fallback")
    assert found.claim(NIRI)[0] == "fallback"
    found.add(plugin("real", 0), "real")
    assert found.claim(NIRI)[0] == "real"


def test_raising_claim_counts_as_none_and_is_reported_once() -> None:
    calls = []

    def claim(headers: Headers) -> Claim:
        calls.append(headers)
        raise KeyError("INSTRUME")

    found = Registry()
    found.add(plugin("bad", nirred_claim=claim), "bad")
    found.add(plugin("good"), "good")
    for _ in range(3):
        assert found.claim(NIRI)[0] == "good"
    assert found.faults == {"bad": Fault("nirred_claim failed: KeyError: 'INSTRUME'", "nirred_claim")}
    assert sum(headers is NIRI for headers in calls) == 3


def test_claim_of_a_wrong_kind_is_none() -> None:
    found = Registry()
    found.add(plugin("odd", nirred_claim=lambda headers: "mine"), "odd")
    with pytest.raises(Unclaimed):
        found.claim(NIRI)


def test_only_the_owner_is_asked() -> None:
    asked = []

    def tags(name: str) -> Callable[[Headers], frozenset[str]]:
        def nirred_tags(headers: Headers) -> frozenset[str]:
            asked.append(name)
            return frozenset({name.upper()})

        return nirred_tags

    found = Registry()
    for name in ("a", "b", "c"):
        found.add(plugin(name, nirred_tags=tags(name)), name)
    assert found.ask("b", "nirred_tags", headers=NIRI) == {"B"}
    assert asked == ["b"]
    assert found.ask("b", "nirred_wcs", headers=NIRI) is None


def test_failure_of_the_owner_names_package_and_hook() -> None:
    found = Registry()
    found.add(plugin("bad", nirred_describe=lambda headers: failing()), "bad", "nirred-bad")
    with pytest.raises(PluginError, match="nirred-bad: nirred_describe failed: RuntimeError: out of coffee"):
        found.ask("bad", "nirred_describe", headers=NIRI)


def test_late_failure_in_an_iterable_is_contained() -> None:
    def rules() -> Any:
        yield CalibrationRule("dark", frozenset({"A"}))
        raise RuntimeError("out of coffee")

    found = Registry()
    found.add(plugin("bad", nirred_calibration_rules=rules), "bad")
    found.add(plugin("good", nirred_calibration_rules=lambda: [CalibrationRule("flat", frozenset())]), "good")
    assert [(n, r.kind) for n, r in found.rules()] == [("good", "flat")]
    assert "nirred_calibration_rules failed" in found.faults["bad"].text


def test_wrong_kind_of_item_is_reported() -> None:
    found = Registry()
    found.add(plugin("bad", nirred_recipes=lambda: [Recipe("r", ()), "reduce"]), "bad")
    assert found.recipes() == []
    assert found.faults["bad"].text == "nirred_recipes: returned a str, wanted: Recipe or RecipePatch"


def test_failing_instruments_refuse_the_plugin() -> None:
    found = Registry()
    assert "out of coffee" in found.add(plugin("bad", nirred_instruments=failing), "bad").error
    assert found.names == []


def test_observers_are_told_until_they_fail() -> None:
    heard: list[str] = []
    tries: list[str] = []

    def bad(event: Event) -> None:
        tries.append(event.kind)
        raise RuntimeError("out of coffee")

    found = Registry()
    found.add(plugin("bad", nirred_event=bad), "bad")
    found.add(plugin("good", nirred_event=lambda event: heard.append(event.kind)), "good")
    for kind in ("started", "finished"):
        found.notify(Event(kind))
    assert heard == ["started", "finished"]
    assert tries == ["started"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("INSTRUME= 'GNIRS   '", "nirred-gnirs"),
        ("INSTRUME= 'Hawki   '", "no installed plugin knows INSTRUME = 'Hawki'"),
        ("OBJECT  = 'x'", "no INSTRUME"),
    ],
)
def test_unclaimed_frames_say_what_would_help(text: str, message: str) -> None:
    found = Registry()
    found.add(plugin(weight=None), "none")
    with pytest.raises(Unclaimed) as caught:
        found.claim(headers_from_text(text))
    assert message in str(caught.value)


def test_what_installed_plugins_claim_is_said_of_an_unclaimed_frame() -> None:
    found = Registry()
    found.add(nirred_niri, "niri")
    with pytest.raises(Unclaimed) as caught:
        found.claim(headers_from_text("INSTRUME= 'Hawki   '"))
    assert "INSTRUME = NIRI" in str(caught.value.hint)


def test_unclaimed_frame_of_a_broken_plugin_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, niri=ImportError("no module named fancy"))
    with pytest.raises(Unclaimed, match="nirred-niri cannot be imported"):
        Registry.discover().claim(NIRI)


def test_info_holds_the_cameras() -> None:
    info = Registry().add(plugin("cam"), "cam", "nirred-cam", "0.3")
    assert info == PluginInfo("cam", "nirred-cam", "0.3", instruments=("cam",))
