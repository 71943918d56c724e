"""Answers of hooks that register what a plugin brings: cameras, steps, recipes, rules, masks and executors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any

from ..plugin.instrument import ExecutorSpec, Instrument
from ..plugin.recipes import Recipe, RecipePatch, StepCall
from ..plugin.rules import CalibrationRule, MaskSpec, Match, seconds
from ..plugin.simulation import SimulatedDetector, Simulation
from .terms import drained, index, need, number, pairs, word, words


def _instruments(answer: Any) -> tuple[Instrument, ...]:
    found = drained(answer, (Instrument,))
    for i in found:
        word(i.name, "name of an instrument")
        need(i.name == i.name.lower(), f"name of an instrument {i.name!r} is not in lower case")
        drained(i.examples, (str,), f"{i.name}: examples")
    return found


def _steps(answer: Any) -> tuple[type, ...]:
    from ..params import Params
    from ..step import FrameStep, GroupStep

    found = drained(answer, (FrameStep, GroupStep), classes=True)
    for step in found:
        name = getattr(step, "name", None)
        need(isinstance(name, str) and name.isidentifier(), f"class {step.__name__}: name = {name!r}")
        need(isinstance(step.Params, type) and issubclass(step.Params, Params), f"step {name}: Params is not a Params")
        missing = sorted(getattr(step, "__abstractmethods__", ()))
        need(not missing, f"step {name}: it has no {', '.join(missing)}")
    return found


def _recipes(answer: Any) -> tuple[Recipe | RecipePatch, ...]:
    found = drained(answer, (Recipe, RecipePatch))
    for r in found:
        word(r.name if isinstance(r, Recipe) else r.base, "name of a recipe")
        if isinstance(r, RecipePatch):
            _patch(r)
    return found


def _patch(patch: RecipePatch) -> None:
    what = f"patch of {patch.base}"
    words(patch.for_tags, f"{what}: for_tags")
    need(all(isinstance(call, StepCall) for _, call in pairs(patch.insert, f"{what}: insert")), f"{what}: insert")
    drained(patch.drop, (str,), f"{what}: drop")
    values = patch.set.values() if isinstance(patch.set, Mapping) else [v for _, v in pairs(patch.set, f"{what}: set")]
    for value in values:
        if not isinstance(value, Mapping):
            pairs(value, f"{what}: set")


def _rules(answer: Any) -> tuple[CalibrationRule, ...]:
    found = drained(answer, (CalibrationRule,))
    for r in found:
        word(r.kind, "kind of a rule")
        for name in ("for_tags", "not_tags", "candidate_tags"):
            words(getattr(r, name), f"rule {r.kind}: {name}")
        for time in (r.within, r.remark_beyond):
            need(time is None or seconds(time) > 0, f"rule {r.kind}: {time!r}")
        need(r.when is None or callable(r.when), f"rule {r.kind}: when is not a function")
        index(r.minimum, f"rule {r.kind}: minimum")
        need(isinstance(r.scale_by, str), f"rule {r.kind}: scale_by = {r.scale_by!r}")
        drained(r.rank, (str,), f"rule {r.kind}: rank")
        for term in drained(r.match, (Match,), f"rule {r.kind}: match"):
            word(term.descriptor, f"rule {r.kind}: descriptor of a Match")
            if term.tol is not None:
                number(term.tol, f"rule {r.kind}: tol of {term.descriptor}", 0.0)
    return found


def _masks(answer: Any) -> tuple[MaskSpec, ...]:
    found = drained(answer, (MaskSpec,))
    for m in found:
        word(m.name, "name of a mask")
        need(isinstance(m.bit, Integral) and 0 < int(m.bit) < 1 << 16, f"mask {m.name}: bit = {m.bit!r}")
        need(m.scope in ("detector", "group", "frame"), f"mask {m.name}: scope = {m.scope!r}")
        words(m.for_tags, f"mask {m.name}: for_tags")
        words(m.not_tags, f"mask {m.name}: not_tags")
        need(callable(m.compute), f"mask {m.name}: compute is not a function")
        need(isinstance(m.parameters, Mapping), f"mask {m.name}: parameters = {m.parameters!r}")
    return found


def _executors(answer: Any) -> tuple[ExecutorSpec, ...]:
    found = drained(answer, (ExecutorSpec,))
    for e in found:
        word(e.name, "name of an executor")
        need(callable(e.make), f"executor {e.name}: make is not a function")
    return found


def _simulation(answer: Any) -> Simulation | None:
    need(answer is None or isinstance(answer, Simulation), f"returned a {type(answer).__name__}, no Simulation")
    if answer is not None:
        word(answer.instrument, "instrument")
        drained(answer.detectors, (SimulatedDetector,))
        lacking = {"dark", "lamp_on", "object"} - set(answer.settings)
        need(answer.detectors and not lacking, f"no {', '.join(sorted(lacking)) or 'detector'} is simulated")
    simulation: Simulation | None = answer
    return simulation


#: The check of each hook's answer.
CHECKS: dict[str, Callable[[Any], Any]] = {
    "nirred_instruments": _instruments,
    "nirred_steps": _steps,
    "nirred_recipes": _recipes,
    "nirred_calibration_rules": _rules,
    "nirred_masks": _masks,
    "nirred_executors": _executors,
    "nirred_simulation": _simulation,
}
