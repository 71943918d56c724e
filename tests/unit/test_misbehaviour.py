"""Faulty plugins: one clear message with the package's name, and all other frames are reduced."""

from __future__ import annotations

import inspect
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import nirred
from nirred import hookspecs
from nirred.errors import PluginError
from nirred.plan.options import PlanOptions
from nirred.plugin import (
    CalibrationRule,
    Claim,
    Instrument,
    Linearity,
    MaskSpec,
    Match,
    Recipe,
    RecipePatch,
    S,
    Simulation,
    hookimpl,
)
from nirred.run.api import RunOptions, run
from nirred.step import GroupStep

TAGS = frozenset({"CAM"})
#: Consequence of a fault in each hook: the plugin is refused; no claim; an unreadable file; a failed task; a remark;
#: or only the requested operation is affected.
SHOWS = {
    "nirred_instruments": "refused",
    "nirred_steps": "refused",
    "nirred_recipes": "refused",
    "nirred_calibration_rules": "refused",
    "nirred_masks": "refused",
    "nirred_executors": "refused",
    "nirred_claim": "unclaimed",
    "nirred_tags": "unreadable",
    "nirred_describe": "unreadable",
    "nirred_detectors": "unreadable",
    "nirred_wcs": "unreadable",
    "nirred_exposures": "unreadable",
    "nirred_open": "failed",
    "nirred_step_defaults": "failed",
    "nirred_event": "remark",
    "nirred_footprint": "asked",
    "nirred_read_calibration": "asked",
    "nirred_simulation": "asked",
    "nirred_read_request": "asked",
}
ARGUMENTS = {
    "nirred_footprint": {"headers": None},
    "nirred_read_calibration": dict.fromkeys(("path", "kind", "headers", "descriptors")),
    "nirred_simulation": {},
    "nirred_read_request": {"paths": (), "context": None},
}


def specified() -> dict[str, tuple[str, ...]]:
    """Hooks of the contract with their arguments."""
    functions = inspect.getmembers(hookspecs, inspect.isfunction)
    return {n: tuple(inspect.signature(f).parameters) for n, f in functions if n.startswith("nirred_")}


def raising(*_: Any) -> Any:
    raise RuntimeError("out of coffee")


def leaving(*_: Any) -> Any:
    raise SystemExit(3)


def strange(*_: Any) -> Any:
    return 42


def late(*_: Any) -> Any:
    yield from ()
    raise RuntimeError("out of coffee")


def endless(*_: Any) -> Any:
    return itertools.repeat("X")


MANNERS = {f.__name__: f for f in (raising, leaving, strange, late, endless)}


def hook(name: str, behave: Any) -> Any:
    """An implementation of a hook, with the arguments of the contract, that behaves so."""
    bodies = {
        (): lambda self: behave(),
        ("headers",): lambda self, headers: behave(headers),
        ("path", "exposure", "headers"): lambda self, path, exposure, headers: behave(headers),
        ("path", "kind", "headers", "descriptors"): lambda self, path, kind, headers, descriptors: behave(kind),
        ("step", "tags", "descriptors"): lambda self, step, tags, descriptors: behave(step),
        ("paths", "context"): lambda self, paths, context: behave(paths),
        ("event",): lambda self, event: behave(event),
    }
    made = bodies[specified()[name]]
    made.__name__ = name
    return hookimpl(made)


@pytest.fixture
def add(night):
    """Install the camera 'rough' beside 'cam', with hooks that behave as told."""

    def install(claims: Any = "ROUGH", **hooks: Any) -> Any:
        def mine(self, headers):
            return Claim("rough") if claims is None or headers.get("INSTRUME") == claims else None

        own = {"nirred_instruments": lambda self: [Instrument("rough", "Rough")], "nirred_claim": mine}
        own = {k: hookimpl(v) for k, v in own.items()} | hooks
        base = type(night.registry.manager.get_plugin("cam"))
        return night.registry.add(type("Rough", (base,), own)(), "rough", "nirred-rough", "0.1")

    return install


def reduced(night, out):
    night.darks(3)
    mine = night.darks(3, INSTRUME="ROUGH")
    result = run([night.folder], out, RunOptions(PlanOptions(recipe="make_processed_dark"), jobs=1), night.registry)
    fates = {entry["file"].rpartition("/")[2]: (entry["fate"], entry["reason"]) for entry in result.record["files"]}
    return result, [fates[p.name] for p in mine], [f for f in fates.values() if f[0] == "used"]


def said(result) -> list[str]:
    """What the run says: its remarks, messages and the reasons of files."""
    words = [*result.record.get("remarks", ()), *result.messages, *(f["reason"] for f in result.record["files"])]
    return sorted({w for w in words if w})


def test_every_hook_of_the_contract_is_tried():
    assert set(SHOWS) == set(specified())


IN_A_RUN = [n for n, shows in SHOWS.items() if shows not in ("asked", "remark")]
CASES = [(n, m) for n in IN_A_RUN for m in ("raising", "strange")]
CASES += [(n, m) for n in ("nirred_recipes", "nirred_tags", "nirred_claim") for m in ("leaving", "late", "endless")]


@pytest.mark.parametrize(("name", "manner"), CASES)
def test_a_fault_in_a_hook_stays_with_its_plugin(night, add, tmp_path, name, manner):
    add(**{name: hook(name, MANNERS[manner])})
    result, mine, used = reduced(night, tmp_path / "out")
    assert len(used) == 3, "the other camera is reduced whatever this one does"
    expected = {"refused": "unclaimed"}.get(SHOWS[name], SHOWS[name])
    assert {fate for fate, _ in mine} == {expected}
    told = [text for text in said(result) if "nirred-rough" in text and name in text]
    assert told, said(result)


@pytest.mark.parametrize("manner", ["raising", "leaving", "strange"])
@pytest.mark.parametrize("name", [n for n, shows in SHOWS.items() if shows == "asked"])
def test_hooks_that_are_asked_on_demand(add, night, name, manner):
    assert not add(**{name: hook(name, MANNERS[manner])}).error
    if (name, manner) == ("nirred_read_request", "strange"):
        return
    with pytest.raises(PluginError, match=f"nirred-rough: {name}"):
        night.registry.ask("rough", name, **ARGUMENTS[name])


def test_an_observer_that_raises_is_told_of_once(night, add, tmp_path):
    heard = []
    add(nirred_event=hook("nirred_event", raising))
    night.darks(3)
    options = RunOptions(jobs=1, on_event=lambda event: heard.append(event.message))
    done = run([night.folder], tmp_path / "out", options, night.registry)
    assert done.exit_code == 0
    assert done.record["remarks"] == ["nirred-rough: nirred_event failed: RuntimeError: out of coffee"]
    assert [m for m in heard if "out of coffee" in m] == [
        "nirred-rough: nirred_event failed: RuntimeError: out of coffee"
    ]


def test_a_broken_simulation_leaves_the_others(night, add):
    add(nirred_simulation=hook("nirred_simulation", raising))
    assert night.registry.simulations() == {}
    assert "nirred_simulation failed" in night.registry.complaints()[0]


def test_a_broken_footprint_is_a_remark(night, add):
    add(nirred_footprint=hook("nirred_footprint", raising))
    night.dither(4, INSTRUME="ROUGH")
    plan = night.plan()
    assert any("nirred-rough: nirred_footprint failed" in r for r in plan.remarks)
    assert {f.verdict for f in plan.files} == {None}


@pytest.mark.parametrize("keyword", [None, "nobody"])
def test_a_claim_of_everything_is_refused(night, add, tmp_path, keyword):
    def everything(self, headers):
        return Claim("rough") if keyword is None or "INSTRUME" in headers.primary else None

    info = add(nirred_claim=hookimpl(everything))
    assert "claims everything" in info.error
    result, mine, used = reduced(night, tmp_path / "out")
    assert len(used) == 3 and {fate for fate, _ in mine} == {"unclaimed"}
    assert "nirred-rough is not used: claims everything" in result.record["remarks"][0]


@pytest.mark.parametrize(
    "change", [{"exposure_time": float("nan")}, {"role": "wonder"}, {"coadds": 0}, {"object": b"M31"}, {"gain": True}]
)
def test_descriptors_that_cannot_be(night, add, tmp_path, change):
    base = type(night.registry.manager.get_plugin("cam"))

    def describe(self, headers):
        return replace(base.nirred_describe(self, headers), **change)

    add(nirred_describe=hookimpl(describe))
    _, mine, used = reduced(night, tmp_path / "out")
    assert len(used) == 3
    name = next(iter(change))
    assert all(fate == "unreadable" and f"nirred_describe: {name} = " in reason for fate, reason in mine)


class Blink(GroupStep):
    """A step that raises."""

    name = "blink"
    doc = "raises"

    def apply(self, group, params, call):
        raise ZeroDivisionError("out of coffee")


def bad_curve():
    raise OSError("no such table")


UNFIT = {
    "unknown step": (Recipe("polish", (S("prepare"), S("shine"))), "recipe 'polish': there is no step 'shine'"),
    "unknown parameter": (Recipe("polish", (S("prepare", shine=1),)), "prepare:shine"),
    "unknown base": (RecipePatch("reduec", TAGS), "patch of recipe 'reduec': did you mean 'reduce'?"),
    "unknown place": (RecipePatch("reduce", TAGS, drop=("shine",)), "it has no step 'shine' to patch"),
    "unknown insert": (RecipePatch("reduce", TAGS, insert=(("", S("sky_corect")),)), "did you mean 'sky_correct'?"),
    "bad value": (RecipePatch("reduce", TAGS, set={"add_dq": {"time": "soon"}}), "add_dq:time"),
    "no step call": (Recipe("polish", ("prepare",)), "a str is no step call"),
    "name of the core": (Recipe("reduce", (S("prepare"),)), "recipe 'reduce' is already brought by nirred"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_recipes_that_do_not_fit_refuse_their_plugin(night, add, tmp_path, case):
    recipe, message = UNFIT[case]
    add(nirred_recipes=hook("nirred_recipes", lambda: [recipe]))
    result, mine, used = reduced(night, tmp_path / "out")
    assert len(used) == 3 and {fate for fate, _ in mine} == {"unclaimed"}
    assert [r for r in result.record["remarks"] if "nirred-rough is not used" in r and message in r]


def test_names_that_two_packages_bring(night, add):
    night.darks(3)
    step = type("Blink2", (Blink,), {"name": "prepare"})
    add(nirred_steps=hook("nirred_steps", lambda: [step]))
    assert "step 'prepare' is already brought by nirred" in night.plan().remarks[0]


def test_rules_that_raise(night, add, tmp_path):
    """The owner's own: its frames are unreadable. Another package's: it is dropped, and said."""
    own = CalibrationRule("dark", frozenset(), when=raising)
    add(nirred_calibration_rules=hook("nirred_calibration_rules", lambda: [own]))
    result, mine, used = reduced(night, tmp_path / "out")
    assert len(used) == 3
    assert all(f == "unreadable" and "nirred-rough: rule 'dark' failed: RuntimeError" in r for f, r in mine)
    assert sum("rule 'dark' failed" in r for r in result.record["remarks"]) == 1


BROKEN = {
    "mask": ("nirred_masks", [MaskSpec("spot", 64, "detector", frozenset({"CAM"}), raising)], "mask 'spot' of"),
    "linearity": ("nirred_detectors", None, "linearity of"),
    "step": ("nirred_steps", [Blink], "step 'blink' of"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_raises_during_the_reduction_names_its_package(night, add, tmp_path, case):
    name, answer, message = BROKEN[case]
    base = type(night.registry.manager.get_plugin("cam"))
    patch = RecipePatch("make_processed_dark", frozenset({"ROUGH"}), insert=(("stack_darks", S("blink")),))
    hooks = {"nirred_tags": hook("nirred_tags", lambda headers: {"CAM", "ROUGH"})}
    if case == "linearity":

        def detectors(self, headers):
            one = base.nirred_detectors(self, headers)[0]
            return [replace(one, linearity=Linearity(bad_curve, "pixel"))]

        hooks[name] = hookimpl(detectors)
    else:
        hooks[name] = hook(
            name, lambda: [replace(a, for_tags=frozenset({"ROUGH"})) if case == "mask" else a for a in answer]
        )
    if case == "step":
        hooks["nirred_recipes"] = hook("nirred_recipes", lambda: [patch])
    add(**hooks)
    result, mine, used = reduced(night, tmp_path / "out")
    assert len(used) == 3 and {fate for fate, _ in mine} == {"failed"}
    assert [t for t in said(result) if t.startswith(f"nirred-rough: {message}")], said(result)


def test_numbers_of_numpy_are_numbers(night, add, tmp_path):
    base = type(night.registry.manager.get_plugin("cam"))

    def describe(self, headers):
        told = base.nirred_describe(self, headers)
        return replace(told, exposure_time=np.float32(20.0), coadds=np.int16(1))

    add(nirred_describe=hookimpl(describe))
    _, mine, _ = reduced(night, tmp_path / "out")
    assert {fate for fate, _ in mine} == {"used"}


def test_simulation_is_of_its_kind(night, add):
    add(nirred_simulation=hook("nirred_simulation", lambda: Simulation))
    with pytest.raises(PluginError, match="returned a type, no Simulation"):
        night.registry.ask("rough", "nirred_simulation")


def test_an_add_on_for_another_camera_is_named_in_provenance(night, tmp_path):
    """An extra step, another dark rule and a site's mask for somebody else's camera: all three act, and are said."""
    from nirred.provenance import read_table

    seen = []

    class Look(GroupStep):
        """Looks."""

        name = "look"
        doc = "counts the frames that are left"

        def apply(self, group, params, call):
            seen.append(len(group.indices()))

    class Site:
        NIRRED_API = (1, 0)

        @hookimpl
        def nirred_steps(self):
            """One."""
            return [Look]

        @hookimpl
        def nirred_recipes(self):
            """After the stack of darks."""
            return [RecipePatch("make_processed_dark", TAGS, insert=(("stack_darks", S("look")),))]

        @hookimpl
        def nirred_masks(self):
            """The lowest row."""
            return [MaskSpec("site_row", 1, "detector", TAGS, first_row)]

        @hookimpl
        def nirred_calibration_rules(self):
            """Lamps want darks of their own exposure time."""
            lamps = lambda tags, told: told.role == "lamp_on"  # noqa: E731
            return [CalibrationRule("dark", TAGS, (Match("exposure_time", tol=0.01),), optional=True, when=lamps)]

    assert not night.registry.add(Site(), "site", "nirred-cam-site", "2.1").error
    night.darks(3)
    result = run([night.folder], tmp_path / "out", RunOptions(jobs=1), night.registry)
    product = next(iter(result.products.values()))
    rows = [r for r in read_table(product) if r.item == "plugin"]
    assert [(r.name, r.value) for r in rows] == [("nirred-cam", ""), ("nirred-cam-site", "2.1")]
    brought = rows[1].origin
    assert brought == "site: patch of make_processed_dark, step look, mask site_row"
    assert seen == [3]
    steps = {r.name: r.origin for r in read_table(product) if r.item == "step"}
    assert steps["look"] == "nirred-cam-site 2.1" and steps["stack_darks"] == f"nirred {nirred.__version__}"
    from astropy.io import fits

    from nirred.run.addons import addons

    assert (fits.getdata(product, "DQ")[0] & 1).all()
    night.darks(3, seconds=7.0)
    night.lamps(3, 3)
    night.dither(4)
    flat = next(t for t in night.plan().tasks if t.makes == "flat")
    assert [a.kind for a in flat.calibrations if a.kind == "dark"] == ["dark"]
    assert addons(flat, (), night.registry) == {"site": ["rule dark", "mask site_row"]}


def first_row(given, parameters):
    mask = np.zeros(given.shape, bool)
    mask[0] = True
    return mask
