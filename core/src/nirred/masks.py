"""Masks provided by an instrument's plugin: per detector, per group from its frames, or per frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .blame import blamed
from .errors import StepError
from .plugin.rules import MaskInput, MaskSpec

if TYPE_CHECKING:
    from .group import Group
    from .plan.model import FrameInfo
    from .registry import Registry


def instrument_masks(group: Group, scope: str) -> list[MaskSpec]:
    """The plugins' masks of one scope that apply to this group's frames."""
    tags = group.task.first.tags
    return [s for _, s in group.context.registry.masks() if s.scope == scope and _concerns(s, tags)]


def _concerns(spec: MaskSpec, tags: frozenset[str]) -> bool:
    return spec.for_tags <= tags and not spec.not_tags & tags


def detector_mask(group: Group, spec: MaskSpec, given: Mapping[str, Any]) -> list[np.ndarray]:
    """One mask of detector scope for every plane, with the user's parameters over the mask's own: uint16."""
    first, registry, bit = group.task.first, group.context.registry, np.uint16(spec.bit)
    shapes = enumerate(d.shape for d in first.detectors)
    found = (_compute(registry, spec, given, first, _asked(group, first, (p, shape))) for p, shape in shapes)
    return [np.where(flagged, bit, np.uint16(0)) for flagged in found]


def apply_late_masks(group: Group) -> None:
    """Apply masks of group and frame scope, computed from calibrated frames.

    A mask of a group is computed once, from its lamp-on frames if it has any, else from all frames. The flags of frames
    to which the mask does not apply (darks among flats) are not changed.

    Raises
    ------
    StepError
        The shape of a mask differs from that of its plane.
    """
    for spec, given in group.setup.late_masks:
        shares: dict[str, float] = {}
        for p, state in enumerate(group.planes):
            shared = None
            if spec.scope == "group":
                shown = group.indices("lamp_on") or group.indices()
                shared = _late(group, (spec, given), shown[0], p, shown)
            for i in group.indices():
                info = group.frames[i].info
                if _concerns(spec, info.tags):
                    own = _late(group, (spec, given), i, p, [i]) if shared is None else shared
                    share = float(np.mean(own))
                    if share > 0:
                        state.dq.put(i, np.where(own, state.dq.frame(i) | np.uint16(spec.bit), state.dq.frame(i)))
                        shares[info.name] = max(shares.get(info.name, 0.0), share)
        _say(group, spec, shares)


def _say(group: Group, spec: MaskSpec, shares: dict[str, float]) -> None:
    """Add one remark for all frames in which a mask flags pixels."""
    if not spec.remark or not shares or spec.scope != "frame":
        return
    most = max(shares, key=lambda name: shares[name])
    count = f"{len(shares)} of {len(group.indices())} frames"
    group.remark(f"{spec.remark}: flagged in {count}, up to {100 * shares[most]:.1f} % of the pixels ({most})")


def _late(group: Group, mask: tuple[MaskSpec, Mapping[str, Any]], of: int, p: int, shown: Sequence[int]) -> np.ndarray:
    """A mask of plane `p` of frame `of`, from the calibrated planes of the frames `shown`."""
    info, state = group.frames[of].info, group.planes[p]
    asked = _asked(group, info, (state.number, state.shape))
    asked = replace(asked, images=[state.sci.frame(i) for i in shown], bad=[state.bad(i) for i in shown])
    return _compute(group.context.registry, *mask, info, asked)


def _asked(group: Group, info: FrameInfo, plane: tuple[int, tuple[int, int]]) -> MaskInput:
    """What a mask is asked of a plane, given by its detector's number in the camera and its shape."""
    (number, shape), flattened = plane, group.setup.flat is not None
    return MaskInput(shape, info.descriptors, info.tags, (), number, group.remark, flattened)


def _compute(
    registry: Registry, spec: MaskSpec, settings: Mapping[str, Any], info: FrameInfo, given: MaskInput
) -> np.ndarray:
    """Compute a mask: bool (ny, nx), True for flagged pixels."""
    parameters = {**spec.parameters, **{k: v for k, v in settings.items() if k in spec.parameters}}
    hint = "report it, or -p add_dq:add_illum_mask=False"
    with blamed(registry.origin(spec), f"mask {spec.name!r} of {info.name}", hint):
        flagged, shape = np.asarray(spec.compute(given, parameters)), given.shape
    if flagged.shape != shape:
        what = f"mask {spec.name!r} is {flagged.shape[::-1]}, {info.name} is {shape[::-1]} pixels (x, y)"
        raise StepError(what, hint)
    return flagged.astype(bool, copy=False)
