"""Check every header WCS against the pointing keywords and its neighbours; rebuild those that contradict them.

The limits are those of the observatory's own check: 30 arcsec between the reference position and the pointing, and for
neighbours a shift less than half the expected one (if above 10 px) or in the opposite direction (if above 2 px).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..plugin.coordinates import separation, wcs_from_pointing
from ..plugin.frames import PlaneWcs
from .model import SCIENCE
from .moments import configuration, end, order, split, stamp

if TYPE_CHECKING:
    from ..plugin.coordinates import AnyWcs
    from .model import FrameInfo

LIMIT = 30.0  # arcsec
MAX_DEAD_TIME = 60.0  # s; a longer pause ends a sequence
SCALES_AGREE = 0.1  # largest relative difference between the WCS's scale along one axis and the camera's
ROTATED = 0.1  # deg; the WCS of a frame rotated by more cannot replace another's
MISTURNED = 1.0  # deg; a rebuilt WCS further from its frame's position angle was kept from a frame of another angle
NEIGHBOURS = 9  # frames whose orientation is compared with that of a rebuilt WCS
SIGMA_SHIFTED, SIGMA_POINTING = 1.0, 5.0  # arcsec, added error of a WCS rebuilt from a neighbour, from the pointing


def check_wcs(frames: Iterable[FrameInfo], *, mend: bool = True) -> list[FrameInfo]:
    """Check the WCS of all frames, and correct it where possible.

    Parameters
    ----------
    frames : iterable of FrameInfo
        Frames of any instruments. Frames are returned unchanged if their WCS was made from the pointing, if the plugin
        says that it cannot be checked (descriptor `wcs_check` False), or if they are calibrations without a WCS.
    mend : bool
        False: a WCS that contradicts the pointing is kept, with state ok and a note (``prepare:bad_wcs=ignore``).

    Returns
    -------
    list of FrameInfo
        In time order. `wcs_state` is ok, rebuilt or stale, with a note on the expected and found values.

    Notes
    -----
    Uses the descriptors `expected_ra` and `expected_dec` (degrees: the WCS reference position computed from target
    coordinates and offsets) and `detector_x_offset`, `detector_y_offset` (pixels). Frames without an expected position
    are only compared with their neighbours. A science frame without a WCS is given one if these descriptors,
    `position_angle` and either another frame of its configuration or `pixel_scale` and `wcs_flipped` are available.
    """
    ordered = sorted(frames, key=order)
    checked: dict[int, FrameInfo] = {}
    kinds: dict[tuple[str, str], list[tuple[int, FrameInfo]]] = {}
    for index, frame in enumerate(ordered):
        wanted = frame.wcs and frame.wcs_state == "ok" and frame.descriptors.get("wcs_check") is not False
        if wanted:
            kinds.setdefault((frame.owner, frame.instrument), []).append((index, frame))
    for walked in kinds.values():
        for sequence in split(walked, lambda run, item: _new_sequence(run[-1][1], item[1])):
            results = _check_sequence([f for _, f in sequence])
            checked.update({i: f for (i, _), f in zip(sequence, results)})
    mended = [checked.get(i, f) for i, f in enumerate(ordered)]
    good = [f for f in mended if f.wcs and f.wcs_state == "ok"]
    mended = [_oriented(f, good) if f.wcs_state == "rebuilt" else f for f in mended]
    if not mend:
        mended = [_kept(f, found) for f, found in zip(ordered, mended, strict=True)]
    return [_supplied(f, mended) if _lacking(f) else f for f in mended]


def _kept(frame: FrameInfo, found: FrameInfo) -> FrameInfo:
    """The frame with its WCS as it was, and what was found wrong with it."""
    if found.wcs_state == frame.wcs_state:
        return found
    return replace(frame, wcs_note=f"{found.wcs_note.split('; ')[0]}; used as it is")


def stopping(frame: FrameInfo) -> FrameInfo:
    """The frame with a note that its group fails if its WCS was found wrong (``prepare:bad_wcs=exit``)."""
    if frame.wcs_state not in ("stale", "rebuilt"):
        return frame
    return replace(frame, wcs_note=f"{frame.wcs_note.split('; ')[0]}; its group fails (prepare:bad_wcs=exit)")


def _lacking(frame: FrameInfo) -> bool:
    role, checkable = frame.descriptors.role, frame.descriptors.get("wcs_check") is not False
    return not frame.wcs and role in SCIENCE and checkable


def _supplied(frame: FrameInfo, others: Sequence[FrameInfo]) -> FrameInfo:
    """Give a science frame without WCS that of the nearest frame of its configuration, or one from its descriptors.

    Either is centred on the pointing keywords; without these, or if the orientation is unknown, the frame has no WCS.
    """
    here, angle = expected(frame), frame.descriptors.position_angle
    if here is None or angle is None:
        return frame
    like = [o for o in others if _like(o, frame)]
    why = "the header has no WCS that can be used (CTYPE, CRPIX, CRVAL, CD)"
    if like:
        base = min(like, key=lambda o: (abs(stamp(o) - stamp(frame)), order(o)))
        old = tuple(float(v) for v in base.wcs[0].wcs.wcs.crval)
        planes = _moved(base.wcs, (old[0], old[1]), here, SIGMA_POINTING)
        note = f"{why}; rebuilt from {base.name} and the pointing"
        return replace(frame, wcs=planes, wcs_state="rebuilt", wcs_note=note)
    scale, flipped = frame.descriptors.pixel_scale, frame.descriptors.get("wcs_flipped")
    if not scale or flipped is None or len(frame.detectors) != 1:
        return frame
    ny, nx = frame.detectors[0].shape
    wcs = wcs_from_pointing(*here, scale, angle, center=((nx - 1) / 2, (ny - 1) / 2), flipped=bool(flipped))
    plane = PlaneWcs(wcs, SIGMA_POINTING, "rebuilt")
    return replace(frame, wcs=(plane,), wcs_state="rebuilt", wcs_note=f"{why}; rebuilt from the pointing")


def _like(other: FrameInfo, frame: FrameInfo) -> bool:
    """Whether the WCS of a frame fits another frame except for the position."""
    same = (other.owner, other.instrument, configuration(other)) == (
        frame.owner,
        frame.instrument,
        configuration(frame),
    )
    known = bool(other.wcs) and other.wcs_state in ("ok", "rebuilt") and other.descriptors.position_angle is not None
    return same and known and math.isfinite(stamp(other) - stamp(frame)) and not _turned(other, frame)


def expected(frame: FrameInfo) -> tuple[float, float] | None:
    """WCS reference position computed from target coordinates and offsets, degrees."""
    ra, dec = frame.descriptors.get("expected_ra"), frame.descriptors.get("expected_dec")
    known = ra is not None and dec is not None and math.isfinite(ra) and math.isfinite(dec)
    return (float(ra), float(dec)) if known else None


def _expected_on_array(frame: FrameInfo) -> tuple[float, float] | None:
    """The same from target coordinates and the shift stated for the array, which a port may mirror."""
    d, reference = frame.descriptors, frame.wcs[0].wcs.wcs.crpix
    if None in (d.target_ra, d.target_dec, d.detector_x_offset, d.detector_y_offset):
        return None
    on_target = frame.wcs[0].wcs.deepcopy()
    on_target.wcs.crval = [d.target_ra, d.target_dec]
    there = [[reference[0] - d.detector_x_offset, reference[1] - d.detector_y_offset]]
    ra, dec = on_target.wcs_pix2world(there, 1)[0]
    return float(ra), float(dec)


def _new_sequence(before: FrameInfo, frame: FrameInfo) -> bool:
    a, b = before.descriptors, frame.descriptors
    if (a.sequence_id, a.object) != (b.sequence_id, b.object):
        return True
    return stamp(frame) - end(before) > MAX_DEAD_TIME


def _check_sequence(frames: Sequence[FrameInfo]) -> list[FrameInfo]:
    """Check frames against their offsets on the sky, or on the array if more of them agree with these.

    A port that mirrors the field may do so in the offsets, the WCS or both; the WCS is the one that is checked.
    """
    found = _checked([_Pointing.of(f) for f in frames])
    if not _faults(found):
        return found
    return min(found, _checked([_Pointing.of(f, on_array=True) for f in frames]), key=_faults)


def _faults(frames: Sequence[FrameInfo]) -> int:
    return sum(f.wcs_state != "ok" or bool(f.wcs_note) for f in frames)


def _checked(pointings: Sequence[_Pointing]) -> list[FrameInfo]:
    frames = [p.frame for p in pointings]
    bad = {i: p.astray for i, p in enumerate(pointings) if p.astray}
    if len(bad) == len(frames) and _follows(pointings):
        note = f"{pointings[0].astray}, kept: all frames agree and follow the offsets"
        return [replace(p.frame, wcs_note=note) for p in pointings]
    base, notes = _base(pointings, bad), dict[int, str]()
    if base is not None:
        wrong = {i: p.contradicts(base) for i, p in enumerate(pointings) if i not in bad}
        wrong = {i: why for i, why in wrong.items() if why}
        kept = _undecided(pointings, wrong) if base.expected is None else set()
        notes = {i: f"{wrong[i]}; kept" for i in kept}
        bad |= {i: why for i, why in wrong.items() if i not in kept}
    return [
        _mend(p, base, bad[i]) if i in bad else replace(p.frame, wcs_note=notes.get(i, ""))
        for i, p in enumerate(pointings)
    ]


def _undecided(pointings: Sequence[_Pointing], wrong: Mapping[int, str]) -> set[int]:
    """Frames that cannot be shown to be wrong, in the absence of any pointing.

    These are half or more of all frames, so that either side may be right, or several that agree with each other, as
    frames of another target do.
    """
    if 2 * len(wrong) >= len(pointings):
        return set(wrong)
    return {i for i in wrong if any(j != i and not pointings[i].contradicts(pointings[j]) for j in wrong)}


def _base(pointings: Sequence[_Pointing], bad: dict[int, str]) -> _Pointing | None:
    """The reference frame: the first with which most agree, if possible among those that agree with their pointing.

    Agreement with the pointing is not enough: a frame that kept the WCS of a neighbour may be within the limit.
    """
    good = [p for i, p in enumerate(pointings) if i not in bad]
    trusted = [p for p in good if p.expected is not None] or good
    agreed = (p for p in trusted if 2 * sum(bool(q.contradicts(p)) for q in good) < len(good))
    return next(agreed, trusted[0] if trusted else None)


def _follows(pointings: Sequence[_Pointing]) -> bool:
    """Whether telescope and WCS moved together, which means that the target coordinates must be wrong."""
    first = pointings[0]
    moved = any(math.hypot(*(first.expected_shift(p) or (0.0, 0.0))) > 10.0 for p in pointings)
    return moved and not any(p.contradicts(first) for p in pointings[1:])


@dataclass(frozen=True)
class _Pointing:
    """A frame with the values compared by the check."""

    frame: FrameInfo
    wcs: AnyWcs
    position: tuple[float, float]  # degrees, of the WCS reference
    expected: tuple[float, float] | None
    scale: float  # arcsec per pixel
    on_array: bool = False  # shift and position are those stated for the array, not those expected on the sky

    @classmethod
    def of(cls, frame: FrameInfo, *, on_array: bool = False) -> _Pointing:
        wcs = frame.wcs[0].wcs
        cd = wcs.pixel_scale_matrix
        return cls(
            frame,
            wcs,
            (float(wcs.wcs.crval[0]), float(wcs.wcs.crval[1])),
            _expected_on_array(frame) if on_array else expected(frame),
            math.sqrt(abs(cd[0][0] * cd[1][1] - cd[0][1] * cd[1][0])) * 3600.0,
            on_array,
        )

    @property
    def astray(self) -> str:
        """Why the frame contradicts its own pointing keywords, or ''."""
        if self.expected is None:
            return ""
        distance = separation(self.position, self.expected)
        if distance <= LIMIT:
            return ""
        return f"WCS at {_where(self.position)}, pointing says {_where(self.expected)} ({distance:.0f} arcsec off)"

    def expected_shift(self, other: _Pointing) -> tuple[float, float] | None:
        """Shift of sources in pixels from `self` to `other`, from the header's offsets."""
        a, b = self.frame.descriptors, other.frame.descriptors
        if None in (a.detector_x_offset, a.detector_y_offset, b.detector_x_offset, b.detector_y_offset):
            return None
        x, y = b.detector_x_offset - a.detector_x_offset, b.detector_y_offset - a.detector_y_offset  # type: ignore[operator]
        drawn = None if self.on_array else self._drawn_shift(other)
        if drawn is not None and abs(math.hypot(*drawn) - math.hypot(x, y)) <= 1.0 + SCALES_AGREE * math.hypot(x, y):
            return drawn
        return x, y

    def _drawn_shift(self, other: _Pointing) -> tuple[float, float] | None:
        """The same shift from the pointings on the sky, with the WCS of `self`."""
        if self.expected is None or other.expected is None:
            return None
        before, after = self.wcs.wcs_world2pix([self.expected, other.expected], 0)
        return float(before[0] - after[0]), float(before[1] - after[1])

    def contradicts(self, base: _Pointing) -> str:
        """Why, given the header's offsets, the frame's WCS contradicts that of the base, or ''."""
        wanted = base.expected_shift(self)
        if wanted is None or base is self or _turned(self.frame, base.frame):
            return ""
        there = self.wcs.wcs_world2pix([base.position], 0)[0]
        here = base.wcs.wcs_world2pix([base.position], 0)[0]
        found = float(there[0] - here[0]), float(there[1] - here[1])
        size = math.hypot(*wanted)
        too_small = size > 10.0 and math.hypot(*found) < 0.5 * size
        backwards = any(abs(w) > 2.0 and w * f < 0 for w, f in zip(wanted, found))
        alone = self.expected is None
        too_far = alone and math.hypot(wanted[0] - found[0], wanted[1] - found[1]) * self.scale > LIMIT
        if not (too_small or backwards or too_far):
            return ""
        return (
            f"WCS moved ({found[0]:.1f}, {found[1]:.1f}) px from {base.frame.name}, "
            f"the offsets say ({wanted[0]:.1f}, {wanted[1]:.1f})"
        )


def _mend(bad: _Pointing, base: _Pointing | None, why: str) -> FrameInfo:
    shift = base.expected_shift(bad) if base is not None else None
    if base is not None and shift is not None and not _turned(bad.frame, base.frame):
        reference = base.wcs.wcs.crpix
        moved = base.wcs.wcs_pix2world([[reference[0] - shift[0], reference[1] - shift[1]]], 1)[0]
        planes = _moved(base.frame.wcs, base.position, (float(moved[0]), float(moved[1])), SIGMA_SHIFTED)
        return replace(
            bad.frame, wcs=planes, wcs_state="rebuilt", wcs_note=f"{why}; rebuilt from {base.frame.name} and offsets"
        )
    if bad.expected is not None:
        planes = _moved(bad.frame.wcs, bad.position, bad.expected, SIGMA_POINTING)
        return replace(bad.frame, wcs=planes, wcs_state="rebuilt", wcs_note=f"{why}; rebuilt from the pointing")
    return replace(bad.frame, wcs_state="stale", wcs_note=f"{why}; no good frame or pointing to rebuild it from")


def _moved(
    planes: Sequence[PlaneWcs], old: tuple[float, float], new: tuple[float, float], sigma: float
) -> tuple[PlaneWcs, ...]:
    """Copies of all planes' WCS, moved on the sky like the first plane's reference from `old` to `new`."""
    stretch = math.cos(math.radians(old[1])) / max(math.cos(math.radians(new[1])), 1e-6)
    out = []
    for plane in planes:
        wcs = plane.wcs.deepcopy()
        ra, dec = (float(v) for v in wcs.wcs.crval)
        wcs.wcs.crval = [(new[0] + _difference(ra, old[0]) * stretch) % 360.0, new[1] + dec - old[1]]
        wcs.wcs.set()
        out.append(replace(plane, wcs=wcs, sigma_arcsec=math.hypot(plane.sigma_arcsec, sigma), origin="rebuilt"))
    return tuple(out)


def _oriented(frame: FrameInfo, good: Sequence[FrameInfo]) -> FrameInfo:
    """Turn a rebuilt WCS to its frame's position angle if good frames show that it was kept from another angle."""
    angle = frame.descriptors.position_angle
    alike = [o for o in good if _of_one_optics(o, frame)]
    if angle is None or not alike:
        return frame
    alike = sorted(alike, key=lambda o: (abs(stamp(o) - stamp(frame)), order(o)))[:NEIGHBOURS]
    here = _angle(frame)
    turns = [_difference(angle - (o.descriptors.position_angle or 0.0), here - _angle(o)) for o in alike]
    turn = min(turns, key=lambda t: sum(abs(_difference(t, other)) for other in turns))  # a median of angles
    if abs(turn) <= MISTURNED:
        return frame
    note = f"{frame.wcs_note}; turned by {turn:.1f} deg to its position angle"
    return replace(frame, wcs=_rotated(frame.wcs, turn), wcs_note=note)


def _of_one_optics(one: FrameInfo, other: FrameInfo) -> bool:
    """Whether position angles and orientations of two frames' WCS can be compared."""
    cameras = [(f.owner, f.instrument, f.descriptors.camera) for f in (one, other)]
    if cameras[0] != cameras[1] or one.descriptors.position_angle is None:
        return False
    (a, b), (c, d) = one.wcs[0].wcs.pixel_scale_matrix
    (e, f), (g, h) = other.wcs[0].wcs.pixel_scale_matrix
    return bool((a * d - b * c) * (e * h - f * g) > 0) and math.isfinite(stamp(one) - stamp(other))


def _angle(frame: FrameInfo) -> float:
    """Position angle of +y by the first plane's WCS, degrees east of north."""
    (_, east), (_, north) = frame.wcs[0].wcs.pixel_scale_matrix
    return math.degrees(math.atan2(east, north))


def _rotated(planes: Sequence[PlaneWcs], turn: float) -> tuple[PlaneWcs, ...]:
    """Copies of all planes' WCS, turned by degrees east of north about the first plane's reference position."""
    import numpy as np

    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    matrix = np.array([[cos, sin], [-sin, cos]])
    ra0, dec0 = (float(v) for v in planes[0].wcs.wcs.crval)
    narrow = max(math.cos(math.radians(dec0)), 1e-6)
    out = []
    for plane in planes:
        wcs = plane.wcs.deepcopy()
        ra, dec = (float(v) for v in wcs.wcs.crval)
        east, north = matrix @ np.array([_difference(ra, ra0) * narrow, dec - dec0])
        wcs.wcs.crval = [(ra0 + float(east) / narrow) % 360.0, dec0 + float(north)]
        turned = matrix @ wcs.pixel_scale_matrix
        if wcs.wcs.has_cd():
            wcs.wcs.cd = turned
        else:
            wcs.wcs.pc = turned / np.asarray(wcs.wcs.get_cdelt())[:, None]
        wcs.wcs.set()
        out.append(replace(plane, wcs=wcs))
    return tuple(out)


def _turned(one: FrameInfo, other: FrameInfo) -> bool:
    a, b = one.descriptors.position_angle, other.descriptors.position_angle
    return a is not None and b is not None and abs(_difference(a, b)) > ROTATED


def _difference(a: float, b: float) -> float:
    return (a - b + 180.0) % 360.0 - 180.0


def _where(position: tuple[float, float]) -> str:
    return f"({position[0]:.5f}, {position[1]:+.5f})"
