"""Level and shape of the sky behind a target, interpolated in time between offset sky frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..algorithms.drift import FieldBasis, Sky, predict_shapes, predict_sky
from ..algorithms.flags import flagged
from ..algorithms.nested import NestedSurfaces, fit_nested
from ..algorithms.surface import FIELD_STEP, Surface, fit_points, surface_order
from ..group import Group
from ..parallel import each_frame
from ..states import BAD, OBJECT, SkyShape
from .residual import SMALL_BOXES, take_off
from .skymodel import SkyModel, time_of

Float64 = NDArray[np.float64]
#: Fewest sky frames from which the drift of the sky's shape can be measured.
LEAST = 3
#: Sampling step for the large scale of a subtracted sky, which has no noise of its own, pixels.
STEP = 32


def sky_levels(group: Group, targets: list[int], levels: Float64, errors: Float64, seen: Float64) -> Sky | None:
    """Sky of target frames from the sky frames and the drift of the targets' own levels; None without sky frames.

    Parameters
    ----------
    group : Group
        The group; its frames have roles.
    targets : list of int
        Frames on target.
    levels, errors : float64
        Sky level of every frame of the group, and its error.
    seen : float64
        Levels of the target frames, comparable with each other.
    """
    skies = group.indices("sky")
    if not skies or not targets:
        return None
    times = np.array([time_of(f) for f in group.frames])
    if np.ptp(times[[*skies, *targets]]) == 0:  # no times: a sequence
        times = np.arange(len(times), dtype=float)
    return predict_sky(times[skies], levels[skies], errors[skies], times[targets], seen[targets])


def expected_shapes(model: SkyModel, targets: list[int]) -> dict[int, SkyShape]:
    """Large-scale sky left in target frames, predicted from the sky frames before and after.

    Sky frames and subtracted skies are compared with one pattern, that of the first target; objects are masked.
    """
    group, state = model.group, model.state
    skies = [j for j in group.indices("sky") if surface_order(state.blank.get(j, 1.0)) == 2]
    if len(skies) < LEAST or not targets:
        return {}
    pattern, hidden = _pattern(model, targets[0]), state.bad(targets[0])
    lit = hidden[::FIELD_STEP, ::FIELD_STEP] == 0

    def one(j: int) -> NestedSurfaces | None:
        data = np.asarray(
            state.sci.frame(j) - np.float32(model.zero[j]) - np.float32(model.unit[j]) * pattern, np.float32
        )
        if j in state.evened:
            state.evened[j].times(-1.0).take_off(data)
        bad = flagged(state.dq.frame(j), int(BAD | OBJECT)) | hidden
        return fit_nested(data, bad, lit, 2, least=SMALL_BOXES)

    found = each_frame(group, skies, one)
    fits = {j: fit for j, fit in zip(skies, found, strict=True) if fit is not None and len(fit.surfaces) == 3}
    if len(fits) < LEAST:
        return {}
    basis = FieldBasis.of(lit, state.shape, 2)
    return _between(model, basis, fits, {i: _left_in(model, i, pattern, hidden) for i in targets})


def _pattern(model: SkyModel, i: int) -> np.ndarray:
    """Sky subtracted from frame i, in units of the model."""
    taken = model.state.sci.frame(i) - model.state.sub.frame(i) - np.float32(model.zero[i])
    return np.asarray(taken / np.float32(model.unit[i]))


def _left_in(model: SkyModel, i: int, pattern: np.ndarray, hidden: np.ndarray) -> Float64:
    """Coefficients of the large-scale difference between frame i's subtracted sky and the pattern, in its units."""
    apart = (_pattern(model, i) - pattern)[::STEP, ::STEP]
    y, x = np.nonzero((hidden | model.state.bad(i))[::STEP, ::STEP] == 0)
    rows, columns, values = (np.asarray(a, np.float64) for a in (STEP * y, STEP * x, apart[y, x]))
    surface = fit_points(columns, rows, values, model.state.shape, 2)
    return np.nan_to_num(surface.coefficients)


def _between(
    model: SkyModel, basis: FieldBasis, fits: dict[int, NestedSurfaces], taken: dict[int, Float64]
) -> dict[int, SkyShape]:
    """Shapes at the times of the frames of `taken`, minus those already in their subtracted skies."""
    group, state, skies, targets = model.group, model.state, list(fits), list(taken)
    variance = sum(f.chi2 for f in fits.values()) / sum(f.freedom for f in fits.values())
    values, power = predict_shapes(
        basis,
        [time_of(group.frames[j]) for j in skies],
        np.array([basis.amplitudes(fits[j].surfaces[-1].coefficients / model.unit[j]) for j in skies]),
        np.array([[max(c * variance, 0.0) / model.unit[j] ** 2 for c in fits[j].costs] for j in skies]),
        [time_of(group.frames[i]) for i in targets],
        max(float(np.mean([state.sky[j] / model.unit[j] for j in skies])), 1e-3),
    )
    expected = {}
    for k, i in enumerate(targets):
        unit = float(model.unit[i])
        coefficients = unit * basis.coefficients(values[k] - basis.amplitudes(taken[i]))
        expected[i] = SkyShape(Surface(coefficients, state.shape), tuple((unit**2 * power[k]).tolist()))
    return expected


def level_lit(model: SkyModel, p: int, *, gradient: bool) -> None:
    """Bring frames whose mode is a target's light to the sky level and shape predicted from the sky frames."""
    skies = model.group.sky.predicted.get(p, {})
    if not skies or not model.state.lit:
        return
    shapes = expected_shapes(model, list(skies)) if gradient else {}
    flat = Surface.zero(model.state.shape)
    added = bool(model.zero.any())
    for i, level in skies.items():
        known = shapes[i].surface if i in shapes else flat
        even = 0.0 if i in shapes else float(np.median(_pattern(model, i)[::STEP, ::STEP])) - (not added)
        own = model.zero[i] if added else model.unit[i]
        take_off(model.state.sub, i, known.raised(level - float(own) - float(model.unit[i]) * even))
