"""Check every answer of a hook before the core uses it, so that errors are attributed to the plugin."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from itertools import islice
from numbers import Integral, Real
from typing import Any, get_args

from .plugin.frames import Amplifier, Claim, Descriptors, Detector, Exposure, Linearity, PlaneWcs, Role, Section
from .plugin.instrument import ExecutorSpec, Instrument, Request, RequestSet
from .plugin.recipes import Recipe, RecipePatch, StepCall
from .plugin.rules import CalibrationRule, MaskSpec, Match, seconds
from .plugin.simulation import SimulatedDetector, Simulation

LONGEST, LONGEST_TEXT = 10_000, 100_000
#: Number of curves for each `Linearity.per`; of those per pixel there is an array.
_CURVES = {"whole": 1, "row_parity": 2, "pixel": 0}
#: Types allowed for each field of `Descriptors`, by its annotation.
_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "Role": (str,),
    "float": (Real,),
    "int": (Integral,),
    "bool": (bool,),
    "datetime": (datetime,),
    "None": (type(None),),
}


class WrongAnswer(ValueError):
    """A hook's answer is not of the required kind; the text says what was found."""


def checked(hook: str, answer: Any) -> Any:
    """Check one hook's answer.

    Parameters
    ----------
    hook : str
        Its name.
    answer : object
        The value returned by the plugin, or a generator of values.

    Returns
    -------
    object
        Tags as a frozenset, sequences as tuples, everything else unchanged.

    Raises
    ------
    WrongAnswer
        The answer is of a wrong kind, not finite, or longer than any camera needs.
    Exception
        Whatever a generator raises when it is drained.
    """
    return _CHECKS[hook](answer) if hook in _CHECKS else answer


def drained(answer: Any, kinds: tuple[type, ...], what: str = "", *, classes: bool = False) -> tuple[Any, ...]:
    """All items of an iterable, () for None; `classes`: subclasses of `kinds` are wanted, not their instances.

    `what` names the part of the answer; '' is the answer itself.
    """
    has = f"{what} has" if what else "returned"
    if answer is None:
        return ()
    if isinstance(answer, (str, bytes, Mapping)) or not isinstance(answer, Iterable):
        raise WrongAnswer(f"{f'{what} is' if what else has} a {type(answer).__name__}, not a sequence")
    items = tuple(islice(answer, LONGEST + 1))
    if len(items) > LONGEST:
        raise WrongAnswer(f"{has} more than {LONGEST} items")
    for item in items:
        good = isinstance(item, type) and issubclass(item, kinds) if classes else isinstance(item, kinds)
        if not good:
            wanted = " or ".join(k.__name__ for k in kinds)
            raise WrongAnswer(f"{has} a {type(item).__name__}, wanted: {'class of ' if classes else ''}{wanted}")
    return items


def _need(condition: object, what: str) -> None:
    if not condition:
        raise WrongAnswer(what)


def _number(value: Any, what: str, low: float = -math.inf) -> None:
    good = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value) and float(value) >= low
    _need(good, f"{what} = {value!r}")


def _index(value: Any, what: str, low: int = 0) -> None:
    _need(isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= low, f"{what} = {value!r}")


def _pairs(value: Any, what: str) -> tuple[tuple[Any, Any], ...]:
    found = drained(value, (tuple, list), what)
    _need(all(len(pair) == 2 and isinstance(pair[0], str) for pair in found), f"{what} is no sequence of (name, value)")
    return found


def _word(value: Any, what: str) -> None:
    _need(isinstance(value, str) and value.strip() and len(value) <= LONGEST_TEXT, f"{what} = {str(value)[:80]!r}")


# -- asked of all and of the owner --------------------------------------------------------------------------------
def _claim(answer: Any) -> Claim | None:
    if answer is None:
        return None
    _need(isinstance(answer, Claim), f"returned a {type(answer).__name__}, not a Claim")
    _word(answer.instrument, "instrument")
    _number(answer.weight, "weight")
    _need(isinstance(answer.unsupported, str), f"unsupported = {answer.unsupported!r}")
    claim: Claim = answer
    return claim


def _requests(answer: Any) -> RequestSet | None:
    if answer is None:
        return None
    _need(isinstance(answer, RequestSet), f"returned a {type(answer).__name__}, not a RequestSet")
    for request in drained(answer.requests, (Request,)):
        _word(request.id, "id of a request")
    found: RequestSet = answer
    return found


def _tags(answer: Any) -> frozenset[str]:
    tags = drained(answer, (str,))
    for tag in tags:
        _word(tag, "a tag")
    return frozenset(tags)


def _descriptors(answer: Any) -> Descriptors:
    _need(isinstance(answer, Descriptors), f"returned a {type(answer).__name__}, not Descriptors")
    told: Descriptors = answer
    for name, kinds in _FIELDS:
        value = getattr(told, name)
        _need(isinstance(value, kinds) and not (isinstance(value, bool) and bool not in kinds), f"{name} = {value!r}")
        if isinstance(value, float):
            _number(value, name)
        elif isinstance(value, str):
            _need(len(value) <= LONGEST_TEXT, f"{name} has {len(value)} characters")
    _need(told.role in get_args(Role), f"role = {told.role!r}")
    _need(told.coadds >= 1, f"coadds = {told.coadds!r}")
    _need(isinstance(told.extra, Mapping) and isinstance(told.pretty, Mapping), "extra and pretty are mappings")
    _pairs(told.configuration, "configuration")
    return told


def _field_kinds() -> tuple[tuple[str, tuple[type, ...]], ...]:
    found = []
    for f in fields(Descriptors):
        if f.name not in ("extra", "pretty", "configuration"):
            found.append((f.name, tuple(k for part in str(f.type).split("|") for k in _KINDS[part.strip()])))
    return tuple(found)


_FIELDS = _field_kinds()


def _detectors(answer: Any) -> tuple[Detector, ...]:
    found = drained(answer, (Detector,))
    for d in found:
        sides = d.shape if isinstance(d.shape, tuple) else ()
        good = len(sides) == 2 and all(isinstance(n, Integral) and int(n) >= 1 for n in sides)
        _need(good, f"shape = {d.shape!r}, wanted: (ny, nx)")
        for name in ("gain", "read_noise", "saturation", "non_linear"):
            value = getattr(d, name)
            if value is not None:
                _number(value, name, 0.0)
        _need(d.gain is None or d.gain > 0, f"gain = {d.gain!r}")
        _index(d.coadds, "coadds", 1)
        _need(d.section is None or isinstance(d.section, Section), f"section = {d.section!r}")
        _need(isinstance(d.epoch, str) and isinstance(d.name, str), f"epoch = {d.epoch!r}, name = {d.name!r}")
        drained(d.amplifiers, (Amplifier,), "amplifiers")
        if d.linearity is not None:
            _linearity(d.linearity)
    for d in found:
        if d.hdu is not None:
            _index(d.hdu, "hdu")
    return found


def _linearity(curve: Any) -> None:
    _need(isinstance(curve, Linearity), f"linearity is a {type(curve).__name__}")
    _need(curve.per in _CURVES, f"linearity: per = {curve.per!r}")
    _need(isinstance(curve.valid_to, Real) and float(curve.valid_to) > 0, f"linearity: valid_to = {curve.valid_to!r}")
    for delta in drained(curve.time_delta, (Real,), "linearity: time_delta"):
        _number(delta, "linearity: time_delta")
    if callable(curve.coefficients):
        return
    what = "linearity: coefficients"
    rows = [_listed(terms) for terms in drained(_listed(curve.coefficients), (object,), what)]
    curves = [drained(terms, (Real,), what) for terms in rows]
    lengths = {len(terms) for terms in curves}
    fits = len(curves) == _CURVES[curve.per] and len(lengths) == 1 and 0 not in lengths
    _need(fits, f"{what} of {len(curves)} curves of {sorted(lengths)} terms do not fit {curve.per!r}")
    for term in (t for terms in curves for t in terms):
        _number(term, "linearity: a coefficient")
    _need(len(curve.time_delta) in (1, len(curves)), f"linearity: time_delta = {curve.time_delta!r}")


def _listed(value: Any) -> Any:
    """A list instead of an array."""
    return value.tolist() if hasattr(value, "tolist") else value


def _wcs(answer: Any) -> tuple[PlaneWcs, ...] | None:
    if answer is None:
        return None
    found = drained(answer, (PlaneWcs,))
    for plane in found:
        _number(plane.sigma_arcsec, "sigma_arcsec", 0.0)
        _need(hasattr(plane.wcs, "wcs_pix2world"), f"wcs is a {type(plane.wcs).__name__}, not an astropy.wcs.WCS")
        _need(plane.origin in ("header", "pointing", "rebuilt"), f"origin = {plane.origin!r}")
    return found


def _exposures(answer: Any) -> tuple[Exposure, ...] | None:
    if answer is None:
        return None
    found = drained(answer, (Exposure,))
    for e in found:
        _index(e.index, "index")
        if e.plane is not None:
            _index(e.plane, "plane")
        for hdu in drained(e.hdus, (Integral,), "hdus"):
            _index(hdu, "hdus")
    _need(len({e.index for e in found}) == len(found), "two exposures have the same index")
    return found


def _footprint(answer: Any) -> tuple[Any, ...] | None:
    if answer is None:
        return None
    found = tuple(drained(polygon, (tuple, list)) for polygon in drained(answer, (tuple, list)))
    for polygon in found:
        _need(len(polygon) >= 3 and all(len(corner) == 2 for corner in polygon), "a polygon has three corners or more")
        for corner in polygon:
            _number(corner[0], "right ascension")
            _number(corner[1], "declination")
    return found


def _opened(answer: Any) -> Any:
    from .frame import Ramp

    if isinstance(answer, Ramp):
        kinds = [getattr(getattr(a, "dtype", None), "kind", " ") for a in (answer.reads, answer.times)]
        _need(all(k in "fiu" for k in kinds), "reads and times of a ramp are not arrays of numbers")
        _need(answer.reads.ndim == 3 and answer.times.ndim == 1, "a ramp needs reads (n, ny, nx) and times (n,)")
        return answer
    return _framed(answer)


def _framed(answer: Any) -> Any:
    if answer is None:
        return None
    from .frame import Frame

    _need(isinstance(answer, Frame), f"returned a {type(answer).__name__}; this nirred takes a Frame or None")
    _need(answer.unit in ("adu", "electron"), f"unit = {answer.unit!r}, wanted: 'adu' or 'electron'")
    for plane in answer.planes:
        kind = getattr(getattr(plane.data, "dtype", None), "kind", "")
        _need(kind in "fiu" and kind and plane.data.ndim == 2, "a plane is not a 2-D array of numbers")
    return answer


def _defaults(answer: Any) -> Mapping[str, Any]:
    if answer is None:
        return {}
    _need(isinstance(answer, Mapping), f"returned a {type(answer).__name__}, not a mapping")
    _need(all(isinstance(k, str) for k in answer), "a parameter's name is not text")
    return dict(answer)


# -- registered once ----------------------------------------------------------------------------------------------
def _instruments(answer: Any) -> tuple[Instrument, ...]:
    found = drained(answer, (Instrument,))
    for i in found:
        _word(i.name, "name of an instrument")
        _need(i.name == i.name.lower(), f"name of an instrument {i.name!r} is not in lower case")
        _need(all(isinstance(e, str) for e in i.examples), f"{i.name}: an example is not text")
    return found


def _steps(answer: Any) -> tuple[type, ...]:
    from .params import Params
    from .step import FrameStep, GroupStep

    found = drained(answer, (FrameStep, GroupStep), classes=True)
    for step in found:
        name = getattr(step, "name", None)
        _need(isinstance(name, str) and name.isidentifier(), f"class {step.__name__}: name = {name!r}")
        _need(isinstance(step.Params, type) and issubclass(step.Params, Params), f"step {name}: Params is not a Params")
        missing = sorted(getattr(step, "__abstractmethods__", ()))
        _need(not missing, f"step {name}: it has no {', '.join(missing)}")
    return found


def _recipes(answer: Any) -> tuple[Recipe | RecipePatch, ...]:
    found = drained(answer, (Recipe, RecipePatch))
    for r in found:
        _word(r.name if isinstance(r, Recipe) else r.base, "name of a recipe")
        if isinstance(r, RecipePatch):
            _patch(r)
    return found


def _patch(patch: RecipePatch) -> None:
    what = f"patch of {patch.base}"
    _words(patch.for_tags, f"{what}: for_tags")
    _need(all(isinstance(call, StepCall) for _, call in _pairs(patch.insert, f"{what}: insert")), f"{what}: insert")
    drained(patch.drop, (str,), f"{what}: drop")
    values = patch.set.values() if isinstance(patch.set, Mapping) else [v for _, v in _pairs(patch.set, f"{what}: set")]
    for value in values:
        if not isinstance(value, Mapping):
            _pairs(value, f"{what}: set")


def _words(value: Any, what: str) -> None:
    _need(isinstance(value, frozenset) and all(isinstance(t, str) for t in value), f"{what} is no frozenset of words")


def _rules(answer: Any) -> tuple[CalibrationRule, ...]:
    found = drained(answer, (CalibrationRule,))
    for r in found:
        _word(r.kind, "kind of a rule")
        for name in ("for_tags", "not_tags", "candidate_tags"):
            _words(getattr(r, name), f"rule {r.kind}: {name}")
        for time in (r.within, r.remark_beyond):
            _need(time is None or seconds(time) > 0, f"rule {r.kind}: {time!r}")
        _need(r.when is None or callable(r.when), f"rule {r.kind}: when is not a function")
        _index(r.minimum, f"rule {r.kind}: minimum")
        _need(isinstance(r.scale_by, str), f"rule {r.kind}: scale_by = {r.scale_by!r}")
        drained(r.rank, (str,), f"rule {r.kind}: rank")
        for term in drained(r.match, (Match,), f"rule {r.kind}: match"):
            _word(term.descriptor, f"rule {r.kind}: descriptor of a Match")
            if term.tol is not None:
                _number(term.tol, f"rule {r.kind}: tol of {term.descriptor}", 0.0)
    return found


def _masks(answer: Any) -> tuple[MaskSpec, ...]:
    found = drained(answer, (MaskSpec,))
    for m in found:
        _word(m.name, "name of a mask")
        _need(isinstance(m.bit, Integral) and 0 < int(m.bit) < 1 << 16, f"mask {m.name}: bit = {m.bit!r}")
        _need(m.scope in ("detector", "group", "frame"), f"mask {m.name}: scope = {m.scope!r}")
        _words(m.for_tags, f"mask {m.name}: for_tags")
        _words(m.not_tags, f"mask {m.name}: not_tags")
        _need(callable(m.compute), f"mask {m.name}: compute is not a function")
        _need(isinstance(m.parameters, Mapping), f"mask {m.name}: parameters = {m.parameters!r}")
    return found


def _executors(answer: Any) -> tuple[ExecutorSpec, ...]:
    found = drained(answer, (ExecutorSpec,))
    for e in found:
        _word(e.name, "name of an executor")
        _need(callable(e.make), f"executor {e.name}: make is not a function")
    return found


def _simulation(answer: Any) -> Simulation | None:
    _need(answer is None or isinstance(answer, Simulation), f"returned a {type(answer).__name__}, no Simulation")
    if answer is not None:
        _word(answer.instrument, "instrument")
        drained(answer.detectors, (SimulatedDetector,))
        lacking = {"dark", "lamp_on", "object"} - set(answer.settings)
        _need(answer.detectors and not lacking, f"no {', '.join(sorted(lacking)) or 'detector'} is simulated")
    simulation: Simulation | None = answer
    return simulation


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "nirred_claim": _claim,
    "nirred_read_request": _requests,
    "nirred_tags": _tags,
    "nirred_describe": _descriptors,
    "nirred_detectors": _detectors,
    "nirred_wcs": _wcs,
    "nirred_exposures": _exposures,
    "nirred_footprint": _footprint,
    "nirred_open": _opened,
    "nirred_read_calibration": _framed,
    "nirred_step_defaults": _defaults,
    "nirred_instruments": _instruments,
    "nirred_steps": _steps,
    "nirred_recipes": _recipes,
    "nirred_calibration_rules": _rules,
    "nirred_masks": _masks,
    "nirred_executors": _executors,
    "nirred_simulation": _simulation,
}
