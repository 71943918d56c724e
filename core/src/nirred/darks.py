"""Dark and bias for subtraction, in the unit of the frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .frame import Plane
from .group import Group


def settle_dark(group: Group) -> None:
    """Convert dark and bias to the unit of the frames, known only after all frame steps are set up, and add them.

    Raises
    ------
    StepError
        They are in another unit, and the gain is unknown.
    """
    setup, info = group.setup, group.frames[0].info
    for kind in ("dark", "bias"):
        master = group.calibrations.get(kind)
        if master is None or master.unit == group.unit:
            continue
        gains = [info.gain(p) for p in range(min(len(master.planes), len(info.detectors)))]
        factors = [gain if master.unit == "adu" else 1.0 / gain for gain in gains]
        planes = [_times(plane, k) for plane, k in zip(master.planes, factors, strict=False)]
        group.calibrations[kind] = replace(master, planes=planes, unit=group.unit)
        if getattr(setup, kind) is not None:
            setattr(setup, kind, planes)
    if setup.bias is not None:
        setup.dark, setup.dark_scale, setup.bias = _sum(setup.dark, setup.dark_scale, setup.bias), 1.0, None


def without_light(group: Group) -> list[Plane] | None:
    """What frames show without light by their dark and bias, in their unit (`settle_dark`); None without either."""
    dark, bias = group.calibrations.get("dark"), group.calibrations.get("bias")
    if dark is None:
        return None if bias is None else bias.planes
    if bias is None or dark.holds_bias:
        return dark.planes if dark.scale == 1.0 else [_times(plane, dark.scale) for plane in dark.planes]
    return _sum(dark.planes, dark.scale, bias.planes)


def _times(plane: Plane, factor: float) -> Plane:
    var = None if plane.var is None else plane.var * np.float32(factor**2)
    return Plane(plane.data * np.float32(factor), plane.dq, var)


def _sum(dark: list[Plane] | None, scale: float, bias: list[Plane]) -> list[Plane]:
    """Sum of the bias and `scale` times the dark."""
    if dark is None:
        return bias
    planes = []
    for d, b in zip(dark, bias, strict=True):
        scaled = _times(d, scale)
        var = None if scaled.var is None or b.var is None else scaled.var + b.var
        planes.append(Plane(scaled.data + b.data, d.dq | b.dq, var))
    return planes
