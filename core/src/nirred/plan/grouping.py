"""Sort frames into groups that are reduced together: science, darks, lamp flats."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..plugin.coordinates import separation
from .moments import HOUR, by_exposure, by_gap, configuration, order, stamp
from .pointing import field_center, target

if TYPE_CHECKING:
    from ..plugin.rules import CalibrationRule
    from .model import FrameInfo

NIGHT_GAP = 6 * HOUR  # a longer pause between science frames starts a new night
CALIBRATION_GAP = 12 * HOUR
SAME_TARGET = 30.0  # arcsec
NEIGHBOUR = 3600.0  # arcsec: fields of one name, and skies of their own name, lie within this
SKY_WITHIN = HOUR  # s, between a frame that is called sky and the nearest science frame
_CALLED_SKY = re.compile("sky|blank", re.IGNORECASE)


@dataclass
class ScienceGroup:
    """Frames of one target in one configuration and night; `sky` frames are known to be off target."""

    frames: list[FrameInfo]
    standard: bool = False
    sky: list[FrameInfo] = field(default_factory=list)

    @property
    def all(self) -> list[FrameInfo]:
        """Target and sky frames in time order."""
        return sorted([*self.frames, *self.sky], key=order)


def science_groups(frames: Iterable[FrameInfo]) -> tuple[list[ScienceGroup], list[FrameInfo]]:
    """Group science, standard and sky frames.

    Returns
    -------
    list of ScienceGroup
        In time order.
    list of FrameInfo
        Sky frames without a science group.
    """
    kinds: dict[Hashable, list[FrameInfo]] = defaultdict(list)
    skies: list[FrameInfo] = []
    for frame in sorted(frames, key=order):
        if frame.descriptors.role == "sky":
            skies.append(frame)
        else:
            key = (frame.owner, frame.instrument, frame.descriptors.role, configuration(frame))
            kinds[key].append(frame)
    groups = [
        ScienceGroup(target, standard=target[0].descriptors.role == "standard")
        for kind in kinds.values()
        for same in by_exposure(kind)
        for night in by_gap(same, NIGHT_GAP)
        for target in _by_target(night)
    ]
    groups = _absorb_called_sky(sorted(groups, key=lambda g: order(g.frames[0])))
    orphans = [f for f in skies if not _join_nearest(f, groups)]
    return groups, orphans


def _by_target(frames: Sequence[FrameInfo]) -> list[list[FrameInfo]]:
    """Group by friends-of-friends in target coordinates, or by name and field if a frame has none."""
    alike: dict[Hashable, list[FrameInfo]] = defaultdict(list)
    for frame in frames:
        alike[target(frame) or (frame.descriptors.object, field_center(frame))].append(frame)
    groups: list[list[list[FrameInfo]]] = []  # lists of runs at one position each: only the positions are compared
    for run in alike.values():
        mine = [any(_same_target(run[0], other[0]) for other in g) for g in groups]
        merged = [*(r for g, m in zip(groups, mine) if m for r in g), run]
        groups = [*(g for g, m in zip(groups, mine) if not m), merged]
    return [sorted((f for run in g for f in run), key=order) for g in groups]


def _same_target(one: FrameInfo, other: FrameInfo) -> bool:
    a, b = target(one), target(other)
    if a is not None and b is not None:
        return separation(a, b) <= SAME_TARGET
    if (one.descriptors.object or "") != (other.descriptors.object or ""):
        return False
    a, b = field_center(one), field_center(other)
    return a is None or b is None or separation(a, b) <= NEIGHBOUR


def _absorb_called_sky(groups: list[ScienceGroup]) -> list[ScienceGroup]:
    """Make groups whose object is called sky or blank the sky of the nearest science group, if one is close enough."""
    called = [g for g in groups if all(_CALLED_SKY.search(f.descriptors.object or "") for f in g.frames)]
    hosts = [g for g in groups if g not in called]
    for group in called:
        near = [h for h in hosts if _is_sky_of(group, h)]
        if near:
            min(near, key=lambda h: _time_apart(group.frames[0], h)).sky += group.frames
        else:
            hosts.append(group)
    return sorted(hosts, key=lambda g: order(g.frames[0]))


def _is_sky_of(group: ScienceGroup, host: ScienceGroup) -> bool:
    if not _combines(group.frames[0], host):
        return False
    if not any(_time_apart(f, host) <= SKY_WITHIN for f in group.frames):
        return False
    here, there = (target(f) or field_center(f) for f in (group.frames[0], host.frames[0]))
    return here is None or there is None or separation(here, there) <= NEIGHBOUR


def _combines(frame: FrameInfo, group: ScienceGroup) -> bool:
    first = group.frames[0]
    same = frame.owner == first.owner and configuration(frame) == configuration(first)
    return same and len(by_exposure([frame, first])) == 1


def _time_apart(frame: FrameInfo, group: ScienceGroup) -> float:
    apart = [abs(stamp(frame) - stamp(f)) for f in group.frames]
    return min((a for a in apart if math.isfinite(a)), default=math.inf)


def _join_nearest(frame: FrameInfo, groups: Sequence[ScienceGroup]) -> bool:
    fitting = [g for g in groups if _combines(frame, g) and _time_apart(frame, g) <= NIGHT_GAP]
    if fitting:
        min(fitting, key=lambda g: _time_apart(frame, g)).sky.append(frame)
    return bool(fitting)


# -- calibrations -------------------------------------------------------------------------------------------------
def calibration_groups(
    frames: Iterable[FrameInfo], rules: Callable[[FrameInfo], Sequence[CalibrationRule]]
) -> list[list[FrameInfo]]:
    """Group darks or lamp frames that are combined into one master.

    Parameters
    ----------
    frames : iterable of FrameInfo
        Frames of one role.
    rules : callable
        ``rules(frame)``: the rules by which its master will be matched. The descriptors they compare must be equal
        within a group, and so must exposure time, read mode, coadds, lamp and detector. A pause of 12 h starts a new
        group.
    """
    kinds: dict[Hashable, list[FrameInfo]] = defaultdict(list)
    for frame in sorted(frames, key=order):
        kinds[_kind(frame, rules(frame))].append(frame)
    groups = [night for kind in kinds.values() for same in by_exposure(kind) for night in by_gap(same, CALIBRATION_GAP)]
    return sorted(groups, key=lambda g: order(g[0]))


def relit(frames: Iterable[FrameInfo], rules: Callable[[FrameInfo], Sequence[CalibrationRule]]) -> list[FrameInfo]:
    """Frames, lamp-off ones taken for lamp-on ones if their lamp burnt and no lamp-on frame has their configuration.

    A shutter may stop the light of one lamp and not of another. Where lamp-on frames exist, a closed shutter tells the
    others from them; where there are none, nothing else can be the flats.

    Parameters
    ----------
    frames : iterable of FrameInfo
        Frames of any role.
    rules : callable
        As in `calibration_groups`.
    """
    found = list(frames)
    with_lamp = {_kind(f, rules(f)) for f in found if f.descriptors.role == "lamp_on"}

    def checked(frame: FrameInfo) -> FrameInfo:
        known = frame.descriptors
        if known.role != "lamp_off" or known.get("lamp") in (None, "Off") or _kind(frame, rules(frame)) in with_lamp:
            return frame
        return replace(frame, descriptors=replace(known, role="lamp_on"))

    return [checked(frame) for frame in found]


def _kind(frame: FrameInfo, rules: Sequence[CalibrationRule]) -> Hashable:
    terms = {m.descriptor: m.tol for r in rules for m in r.match if m.descriptor != "exposure_time"}
    terms.update(read_mode=None, coadds=None, lamp=None)
    values = tuple((n, _cell(frame.descriptors.get(n), tol)) for n, tol in sorted(terms.items()))
    return frame.owner, frame.instrument, values, tuple((d.shape, d.epoch) for d in frame.detectors)


def _cell(value: Any, tol: float | None) -> str:
    if tol and isinstance(value, (int, float)) and math.isfinite(value):
        return f"{round(value / tol)}"
    return str(value)
