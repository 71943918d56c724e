"""Masks that an instrument brings: of a detector, of a group from its frames, of each frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import StepError
from .plugin.rules import MaskInput, MaskSpec

if TYPE_CHECKING:
    from .group import Group, PlaneState
    from .plan.model import FrameInfo


def instrument_masks(group: Group, scope: str) -> list[MaskSpec]:
    """The plugins' masks of one scope that are for this group's frames."""
    tags = group.task.first.tags
    return [s for _, s in group.context.registry.masks() if s.scope == scope and _concerns(s, tags)]


def _concerns(spec: MaskSpec, tags: frozenset[str]) -> bool:
    return spec.for_tags <= tags and not spec.not_tags & tags


def detector_mask(group: Group, spec: MaskSpec, given: Mapping[str, Any]) -> list[np.ndarray]:
    """One mask of detector scope for every plane, with the user's parameters over the mask's own."""
    return [_compute(group, spec, given, group.task.first, p, []) for p in range(len(group.task.first.detectors))]


def apply_late_masks(group: Group) -> None:
    """Flag what masks of group and frame scope say, from calibrated frames.

    A mask of a group is computed once, from its lamp-on frames where it has any, else from all frames. Frames whose
    tags the mask is not for (darks among flats) keep their flags.

    Raises
    ------
    StepError
        A mask has not the shape of its plane.
    """
    for spec, given in group.setup.late_masks:
        for p, state in enumerate(group.planes):
            shared = None
            if spec.scope == "group":
                shown = group.indices("lamp_on") or group.indices()
                images = [state.sci.frame(i) for i in shown]
                shared = _compute(group, spec, given, group.frames[shown[0]].info, p, images)
            for i in group.indices():
                info = group.frames[i].info
                if _concerns(spec, info.tags):
                    own = shared
                    if own is None:
                        own = _compute(group, spec, given, info, p, [state.sci.frame(i)])
                    _flag(state, i, own)


def _flag(state: PlaneState, i: int, mask: np.ndarray) -> None:
    state.dq.put(i, state.dq.frame(i) | mask)


def _compute(
    group: Group, spec: MaskSpec, given: Mapping[str, Any], info: FrameInfo, p: int, images: list[np.ndarray]
) -> np.ndarray:
    """The mask's bit where it flags, uint16."""
    shape = info.detectors[p].shape
    parameters = {**spec.parameters, **{k: v for k, v in given.items() if k in spec.parameters}}

    def remark(text: str) -> None:
        group.remark(f"{group.task.id}: {text}")

    asked = MaskInput(shape, info.descriptors, info.tags, images, p, remark)
    flagged = np.asarray(spec.compute(asked, parameters))
    if flagged.shape != shape:
        raise StepError(f"mask {spec.name!r} is {flagged.shape[::-1]}, {info.name} is {shape[::-1]} pixels (x, y)")
    return np.where(flagged != 0, np.uint16(spec.bit), np.uint16(0))
