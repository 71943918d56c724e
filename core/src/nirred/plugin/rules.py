"""Calibration rules and masks as data."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from .frames import Descriptors

SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str | float) -> float:
    """'180 d', '600 s', '10 min' or a number of seconds -> seconds.

    Raises
    ------
    ValueError
        Not a time.
    """
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        return float(text)
    found = re.fullmatch(r"\s*([0-9.eE+-]+)\s*(s|min|h|d)?\s*", str(text))
    if not found:
        raise ValueError(f"{text!r} is not a time; write '600 s', '10 min', '2 h' or '180 d'")
    return float(found[1]) * SECONDS[found[2] or "s"]


@dataclass(frozen=True)
class Match:
    """One term of a rule, which compares a descriptor of the frame with the calibration's.

    Parameters
    ----------
    descriptor : str
        Its name; of `Descriptors.extra`, too. None matches only None, and `read_mode` and `well_depth_setting` not even
        that.
    tol : float or None
        The values differ by less, in the descriptor's unit; nothing is compared where the frame has none. None: equal.
    or_unstated : bool
        A calibration without the value matches, as an observatory's master for all settings.
    """

    descriptor: str
    tol: float | None = None
    or_unstated: bool = False


@dataclass(frozen=True)
class CalibrationRule:
    """Which calibration serves which frames.

    Parameters
    ----------
    kind : str
        What is sought: ``dark``, ``flat``, ``lampoff_flat``, ``bpm``, ``bpm_dark`` or a plugin's own.
    for_tags : frozenset of str
        Tags that the asking frame must all have, the instrument's among them (its name in upper case).
    match : tuple of Match
        Terms that must hold.
    within : str or None
        Largest difference of ut_datetime ('180 d'), either side; None: any age.
    minimum : int
        Raw frames that a master made from INPUT must have; fewer make it a risk, said so.
    optional : bool
        Missing degrades the result; False fails the group.
    scale_by : str
        Descriptor by whose ratio the calibration is scaled ('exposure_time'); empty: never.
    rank : tuple of str
        Descriptors whose equality decides between candidates equally near in time.
    before_only : bool
        The calibration must not be later than the frame: valid-from dates of static masks.
    when : callable or None
        ``when(tags, descriptors)`` of the asking frame: False, the rule does not apply.
    not_tags : frozenset of str
        Tags that exclude the asking frame.
    candidate_tags : frozenset of str
        Tags that the calibration's raw frames must all have beyond its kind's role.
    remark_beyond : str or None
        Age beyond which the choice gets a remark ('1 d').
    """

    kind: str
    for_tags: frozenset[str]
    match: tuple[Match, ...] = ()
    within: str | None = None
    minimum: int = 1
    optional: bool = False
    scale_by: str = ""
    rank: tuple[str, ...] = ()
    before_only: bool = False
    when: Callable[[frozenset[str], Descriptors], bool] | None = None
    not_tags: frozenset[str] = frozenset()
    candidate_tags: frozenset[str] = frozenset()
    remark_beyond: str | None = None

    def applies(self, tags: frozenset[str], descriptors: Descriptors) -> bool:
        """True when a frame with these tags and descriptors asks for this kind by this rule."""
        if not self.for_tags <= tags or self.not_tags & tags:
            return False
        return self.when is None or self.when(tags, descriptors)


@dataclass(frozen=True)
class MaskInput:
    """What a mask's `compute` is given: one group's planes, calibrated as far as the recipe has come.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx) of the plane.
    descriptors : Descriptors
        Of the frame, or of the group's reference frame.
    tags : frozenset of str
        Likewise.
    images : sequence of float32 (ny, nx)
        Electrons; for scope ``detector`` empty.
    plane : int
        Index of the plane.
    remark : callable
        ``remark(text)`` puts a sentence into the task's remarks: that something was not as expected.
    flattened : bool
        Whether the images are divided by a flat.
    """

    shape: tuple[int, int]
    descriptors: Descriptors
    tags: frozenset[str]
    images: Sequence[np.ndarray] = ()
    plane: int = 0
    remark: Callable[[str], object] = lambda text: None
    flattened: bool = False


@dataclass(frozen=True)
class MaskSpec:
    """A mask that an instrument brings: planned, typed and user-overridable.

    Parameters
    ----------
    name : str
        Unique. ``-p add_dq:add_illum_mask=False`` leaves all of an instrument's masks out.
    bit : int
        DQ bit that it sets.
    scope : {"detector", "group", "frame"}
        Once per detector (F2 disc); once per group, from its frames (GNIRS keyhole); for each frame.
    for_tags, not_tags : frozenset of str
        Frames it is for.
    compute : callable
        ``compute(MaskInput, parameters) -> bool array (ny, nx)``, True where flagged.
    parameters : Mapping
        Names and defaults of what the user may set (xshift, yshift), passed to `compute`.
    remark : str
        What the observer is told where a mask of scope ``frame`` flags something ("shadow of the guide probe").
    """

    name: str
    bit: int
    scope: Literal["detector", "group", "frame"]
    for_tags: frozenset[str]
    compute: Callable[[MaskInput, Mapping[str, Any]], np.ndarray]
    not_tags: frozenset[str] = frozenset()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    remark: str = ""
