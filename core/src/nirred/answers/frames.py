"""Answers of hooks that are asked about a file: whose it is, its metadata, detectors, coordinates and pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from numbers import Integral, Real
from typing import Any, get_args

from ..plugin.frames import Amplifier, Claim, Descriptors, Detector, Exposure, Linearity, PlaneWcs, Role, Section
from ..plugin.instrument import Request, RequestSet
from .terms import LONGEST_TEXT, drained, index, need, number, pairs, word

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


def _claim(answer: Any) -> Claim | None:
    if answer is None:
        return None
    need(isinstance(answer, Claim), f"returned a {type(answer).__name__}, not a Claim")
    word(answer.instrument, "instrument")
    number(answer.weight, "weight")
    need(isinstance(answer.unsupported, str), f"unsupported = {answer.unsupported!r}")
    claim: Claim = answer
    return claim


def _tags(answer: Any) -> frozenset[str]:
    tags = drained(answer, (str,))
    for tag in tags:
        word(tag, "a tag")
    return frozenset(tags)


def _descriptors(answer: Any) -> Descriptors:
    need(isinstance(answer, Descriptors), f"returned a {type(answer).__name__}, not Descriptors")
    told: Descriptors = answer
    for name, kinds in _FIELDS:
        value = getattr(told, name)
        need(isinstance(value, kinds) and not (isinstance(value, bool) and bool not in kinds), f"{name} = {value!r}")
        if isinstance(value, Real) and not isinstance(value, bool):
            number(value, name)
        elif isinstance(value, str):
            need(len(value) <= LONGEST_TEXT, f"{name} has {len(value)} characters")
    need(told.role in get_args(Role), f"role = {told.role!r}")
    need(told.coadds >= 1, f"coadds = {told.coadds!r}")
    need(isinstance(told.extra, Mapping) and isinstance(told.pretty, Mapping), "extra and pretty are mappings")
    pairs(told.configuration, "configuration")
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
    for one in found:
        _detector(one)
    return found


def _detector(d: Detector) -> None:
    sides = d.shape if isinstance(d.shape, tuple) else ()
    good = len(sides) == 2 and all(isinstance(n, Integral) and int(n) >= 1 for n in sides)
    need(good, f"shape = {d.shape!r}, wanted: (ny, nx)")
    for name in ("gain", "read_noise", "saturation", "non_linear"):
        value = getattr(d, name)
        if value is not None:
            number(value, name, 0.0)
    need(d.gain is None or d.gain > 0, f"gain = {d.gain!r}")
    index(d.coadds, "coadds", 1)
    need(d.section is None or isinstance(d.section, Section), f"section = {d.section!r}")
    need(isinstance(d.epoch, str) and isinstance(d.name, str), f"epoch = {d.epoch!r}, name = {d.name!r}")
    need(isinstance(d.amplifiers, Sequence), f"amplifiers = {d.amplifiers!r}")
    drained(d.amplifiers, (Amplifier,), "amplifiers")
    if d.linearity is not None:
        _linearity(d.linearity)
    if d.hdu is not None:
        index(d.hdu, "hdu")


def _linearity(curve: Any) -> None:
    need(isinstance(curve, Linearity), f"linearity is a {type(curve).__name__}")
    need(curve.per in _CURVES, f"linearity: per = {curve.per!r}")
    need(isinstance(curve.valid_to, Real) and float(curve.valid_to) > 0, f"linearity: valid_to = {curve.valid_to!r}")
    for delta in drained(curve.time_delta, (Real,), "linearity: time_delta"):
        number(delta, "linearity: time_delta")
    if callable(curve.coefficients):
        return
    what = "linearity: coefficients"
    rows = [_listed(terms) for terms in drained(_listed(curve.coefficients), (object,), what)]
    curves = [drained(terms, (Real,), what) for terms in rows]
    lengths = {len(terms) for terms in curves}
    fits = len(curves) == _CURVES[curve.per] and len(lengths) == 1 and 0 not in lengths
    need(fits, f"{what} of {len(curves)} curves of {sorted(lengths)} terms do not fit {curve.per!r}")
    for term in (t for terms in curves for t in terms):
        number(term, "linearity: a coefficient")
    need(len(curve.time_delta) in (1, len(curves)), f"linearity: time_delta = {curve.time_delta!r}")


def _listed(value: Any) -> Any:
    """A list instead of an array."""
    return value.tolist() if hasattr(value, "tolist") else value


def _wcs(answer: Any) -> tuple[PlaneWcs, ...] | None:
    if answer is None:
        return None
    found = drained(answer, (PlaneWcs,))
    for plane in found:
        number(plane.sigma_arcsec, "sigma_arcsec", 0.0)
        need(hasattr(plane.wcs, "wcs_pix2world"), f"wcs is a {type(plane.wcs).__name__}, not an astropy.wcs.WCS")
        need(plane.origin in ("header", "pointing", "rebuilt"), f"origin = {plane.origin!r}")
    return found


def _exposures(answer: Any) -> tuple[Exposure, ...] | None:
    if answer is None:
        return None
    found = drained(answer, (Exposure,))
    for e in found:
        index(e.index, "index")
        if e.plane is not None:
            index(e.plane, "plane")
        for hdu in drained(e.hdus, (Integral,), "hdus"):
            index(hdu, "hdus")
    need(len({e.index for e in found}) == len(found), "two exposures have the same index")
    return found


def _footprint(answer: Any) -> tuple[Any, ...] | None:
    if answer is None:
        return None
    found = tuple(drained(polygon, (tuple, list)) for polygon in drained(answer, (tuple, list)))
    for polygon in found:
        need(len(polygon) >= 3 and all(len(corner) == 2 for corner in polygon), "a polygon has three corners or more")
        for corner in polygon:
            number(corner[0], "right ascension")
            number(corner[1], "declination")
    return found


def _opened(answer: Any) -> Any:
    from ..frame import Ramp

    if isinstance(answer, Ramp):
        kinds = [getattr(getattr(a, "dtype", None), "kind", " ") for a in (answer.reads, answer.times)]
        need(all(k in "fiu" for k in kinds), "reads and times of a ramp are not arrays of numbers")
        need(answer.reads.ndim == 3 and answer.times.ndim == 1, "a ramp needs reads (n, ny, nx) and times (n,)")
        return answer
    return _framed(answer)


def _framed(answer: Any) -> Any:
    if answer is None:
        return None
    from ..frame import Frame

    need(isinstance(answer, Frame), f"returned a {type(answer).__name__}; this nirred takes a Frame or None")
    need(answer.unit in ("adu", "electron"), f"unit = {answer.unit!r}, wanted: 'adu' or 'electron'")
    for plane in answer.planes:
        kind = getattr(getattr(plane.data, "dtype", None), "kind", "")
        need(kind in "fiu" and kind and plane.data.ndim == 2, "a plane is not a 2-D array of numbers")
    return answer


def _defaults(answer: Any) -> Mapping[str, Any]:
    if answer is None:
        return {}
    need(isinstance(answer, Mapping), f"returned a {type(answer).__name__}, not a mapping")
    need(all(isinstance(k, str) for k in answer), "a parameter's name is not text")
    return dict(answer)


def _requests(answer: Any) -> RequestSet | None:
    if answer is None:
        return None
    need(isinstance(answer, RequestSet), f"returned a {type(answer).__name__}, not a RequestSet")
    for request in drained(answer.requests, (Request,)):
        word(request.id, "id of a request")
    found: RequestSet = answer
    return found


#: The check of each hook's answer.
CHECKS: dict[str, Callable[[Any], Any]] = {
    "nirred_claim": _claim,
    "nirred_tags": _tags,
    "nirred_describe": _descriptors,
    "nirred_detectors": _detectors,
    "nirred_wcs": _wcs,
    "nirred_exposures": _exposures,
    "nirred_footprint": _footprint,
    "nirred_open": _opened,
    "nirred_read_calibration": _framed,
    "nirred_step_defaults": _defaults,
    "nirred_read_request": _requests,
}
