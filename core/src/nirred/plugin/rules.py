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
    """Convert '180 d', '600 s', '10 min' or a number of seconds to seconds.

    Raises
    ------
    ValueError
        The text is not a time.
    """
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        return float(text)
    found = re.fullmatch(r"\s*([0-9.eE+-]+)\s*(s|min|h|d)?\s*", str(text))
    if not found:
        raise ValueError(f"{text!r} is not a time; write '600 s', '10 min', '2 h' or '180 d'")
    return float(found[1]) * SECONDS[found[2] or "s"]


@dataclass(frozen=True)
class Match:
    """One term of a rule: compare a descriptor of the frame with that of the calibration.

    Parameters
    ----------
    descriptor : str
        Its name; entries of `Descriptors.extra` too. A value of None matches only None; for `read_mode` and
        `well_depth_setting` None matches nothing. The texts "Unknown" and "Invalid", and a name that neither the frame
        nor the calibration has, match nothing.
    tol : float or None
        The values must differ by less than this, in the descriptor's unit; if the frame has no value, any matches.
        None: the values must be equal.
    or_unstated : bool
        A calibration without a value matches too, such as an observatory's master for all settings.
    """

    descriptor: str
    tol: float | None = None
    or_unstated: bool = False


@dataclass(frozen=True)
class CalibrationRule:
    """Which calibrations may be used for which frames.

    Parameters
    ----------
    kind : str
        Kind of calibration: ``dark``, ``flat``, ``lampoff_flat``, ``bpm``, ``bpm_dark`` or a plugin's own.
    for_tags : frozenset of str
        Tags that the frame must all have, including the instrument's (its name in upper case).
    match : tuple of Match
        Terms that must all hold.
    within : str or None
        Largest difference of ut_datetime ('180 d'), before or after; None: any age.
    minimum : int
        Number of raw frames that a master made from INPUT should have; with fewer it is used with a remark.
    optional : bool
        True: without the calibration the result is degraded. False: the group fails.
    scale_by : str
        Descriptor by whose ratio, the frame's over the calibration's, the calibration is multiplied
        ('exposure_time'); empty: never. Without both values the calibration is not used.
    rank : tuple of str
        Descriptors whose equality decides between candidates equally close in time.
    before_only : bool
        The calibration must not be later than the frame: valid-from dates of static masks.
    when : callable or None
        ``when(tags, descriptors)`` of the frame; if it returns False the rule does not apply.
    not_tags : frozenset of str
        Tags that exclude a frame.
    candidate_tags : frozenset of str
        Tags that the calibration's raw frames must all have, in addition to the role for its kind.
    remark_beyond : str or None
        Difference in time beyond which the choice gets a remark ('1 d').
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
        """Whether the rule applies to a frame with these tags and descriptors."""
        if not self.for_tags <= tags or self.not_tags & tags:
            return False
        return self.when is None or self.when(tags, descriptors)


@dataclass(frozen=True)
class MaskInput:
    """Input of a mask's `compute`: one plane of a frame or group, calibrated by the steps so far.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx) of the plane.
    descriptors : Descriptors
        Of the frame, or of the group's reference frame.
    tags : frozenset of str
        Of the same frame.
    images : sequence of float32 (ny, nx)
        Electrons; empty for scope ``detector``.
    plane : int
        Index of the plane's detector in the answer of `nirred_detectors`.
    remark : callable
        ``remark(text)`` adds a sentence to the task's remarks if something was not as expected.
    flattened : bool
        Whether the images have been divided by a flat.
    bad : sequence of uint8 (ny, nx)
        Of each image: non-zero where a pixel is unusable.
    """

    shape: tuple[int, int]
    descriptors: Descriptors
    tags: frozenset[str]
    images: Sequence[np.ndarray] = ()
    plane: int = 0
    remark: Callable[[str], object] = lambda text: None
    flattened: bool = False
    bad: Sequence[np.ndarray] = ()


@dataclass(frozen=True)
class MaskSpec:
    """A mask that a plugin provides for an instrument.

    Parameters
    ----------
    name : str
        Unique. ``-p add_dq:add_illum_mask=False`` omits all masks of an instrument.
    bit : int
        DQ bit that the mask sets.
    scope : {"detector", "group", "frame"}
        Computed once per detector (F2 disc), once per group from its frames (GNIRS keyhole), or for each frame.
    for_tags, not_tags : frozenset of str
        Tags that the frames must all have, and tags that exclude a frame.
    compute : callable
        ``compute(MaskInput, parameters) -> bool array (ny, nx)``, True where flagged.
    parameters : Mapping
        Names and defaults of the user's parameters (xshift, yshift), passed to `compute`.
    remark : str
        Remark for the observer if a mask of scope ``frame`` flags any pixels ("shadow of the guide probe").
    """

    name: str
    bit: int
    scope: Literal["detector", "group", "frame"]
    for_tags: frozenset[str]
    compute: Callable[[MaskInput, Mapping[str, Any]], np.ndarray]
    not_tags: frozenset[str] = frozenset()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    remark: str = ""
