"""The step that finds and masks objects, and what they hide in frames that serve each other as sky."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np

from ..algorithms.dilation import dilate
from ..algorithms.firststack import Seek, bare_objects, compact_objects, first_objects, lit_boxes
from ..algorithms.flags import flagged, mark
from ..algorithms.mutual import strays
from ..algorithms.objmask import find_objects
from ..algorithms.profile import cut_share, hollowed_share
from ..coadd import Layout, deep_frames, median_model
from ..dq import DQ
from ..errors import StepError
from ..geometry import Target, targets_of
from ..group import Group
from ..parallel import each_frame
from ..params import Params, param
from ..params import Params as StepParams
from ..plugin.recipes import StepCall
from ..states import OBJECT
from ..step import GroupStep
from .match import match_frames
from .moving import tell_light
from .outskirts import prefer_halos, record_halos, remember_mask
from .staying import release_staying

#: Share of the detector that objects may hide in every frame, if frames serve each other as sky, before it counts.
HIDDEN = 0.005
#: Number of pixels that one or two stars may hide in every frame before it counts, even in a small field.
STARS = 400
#: Share of a field that objects in hollows of their own making may cover before it counts.
HOLLOWED = 0.004
#: Share of the detector hidden in every frame in regions cut by its edge, above which the sky is not made again:
#: beyond the edge nothing is measured.
CUT = 0.02
#: Number of frames of a long sequence that are stacked to find its objects.
DEEP = 64
#: A frame's sky is not that of the others if it deviates on a large scale by so many sigma of a pixel, and by so many
#: times the usual deviation; if more of the frames deviate, it is due to the target.
STRAY, UNUSUAL, ALONE = 0.25, 5.0, 0.25


@dataclass(frozen=True)
class Hidden:
    """What objects hide where frames serve each other as sky.

    Attributes
    ----------
    share : float
        Share of the detector that is hidden in all frames.
    cut : float
        Share hidden by regions that an edge cuts, or with light fixed on the detector, whichever is larger.
    buried : bool
        Whether so much of the illuminated area is hidden that the zero level may contain objects' light.
    hollowed : float
        Share of the field whose objects lie in hollows of their own making.
    """

    share: float = 0.0
    cut: float = 0.0
    buried: bool = False
    hollowed: float = 0.0

    def or_more(self, other: Hidden) -> Hidden:
        """The larger of each."""
        return Hidden(
            max(self.share, other.share),
            max(self.cut, other.cut),
            self.buried or other.buried,
            max(self.hollowed, other.hollowed),
        )


@dataclass(frozen=True)
class _FirstStack:
    """A first-pass stack and its relative noise, float32; pixels without a value and of few frames, uint8."""

    model: np.ndarray
    bad: np.ndarray
    thin: np.ndarray
    noise: np.ndarray

    def objects(self, seek: Seek, light: list[float], *, sunk: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mask of objects, block means of the stack without its slope, and the pixels detected in it.

        `light`: errors of the levels that sky frames predict, of planes that are brighter; `sunk`: whether the sky was
        made from the frames themselves.
        """
        mask, surface, found = first_objects(
            self.model, self.bad | self.thin, self.noise, partial(seek, sunk=sunk), bool(light)
        )
        if (self.thin & ~self.bad).any():
            mask |= compact_objects(self.model, self.bad | (1 - self.thin), self.noise, seek)
        if light:
            mask |= lit_boxes(self.model, self.bad, mask, max(light))
        return mask, surface, found


class MaskObjects(GroupStep):
    """Find objects in the first-pass stack of each pointing and mask their pixels in every frame."""

    name = "mask_objects"
    doc = "match the frames' levels, detect objects in the stack of each pointing, grow them, mask them in every frame"
    aliases = ("transferObjectMask", "dilateObjectMask")

    class Params(StepParams):
        """Parameters of `mask_objects`."""

        threshold: float = param(3.0, "sigma of the stack at each smoothing scale", gt=0)
        dilation: float = param(2.0, "grow every mask by this additional radius", unit="pixel", ge=0)
        only_hidden: bool = param(
            False, "run only if, in a dither without sky frames, objects hide pixels in every frame or leave hollows"
        )

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        if params.only_hidden and not group.objects.enclosed:
            return
        group.objects.moving.clear()
        group.objects.shown.clear()
        hidden = Hidden()
        for cluster in group.registration.clusters or [group.indices()]:
            for target in targets_of(group, cluster):
                living = [i for i in cluster if group.frames[i].alive]
                hidden = hidden.or_more(_mask_field(group, living, target, params))
        limit = _worth(math.prod(group.planes[0].shape))
        group.objects.hidden, group.objects.buried = hidden.share if hidden.share > limit else 0.0, hidden.buried
        if not params.only_hidden:
            group.objects.enclosed = (hidden.share > limit or hidden.hollowed > HOLLOWED) and hidden.cut <= CUT


def _mask_field(group: Group, cluster: list[int], target: Target, params: MaskObjects.Params) -> Hidden:
    """Mask the objects of one field in its frames."""
    cluster = _matched(group, cluster, target)
    layout, stack = _stacked(group, cluster, target)
    sunk = any(group.frames[i].role == "both" for i in cluster)
    beside = group.frames[cluster[0]].role == "object"
    light = [s.light.error for p in target.planes if beside and (s := group.planes[p]).lit]
    seek = partial(find_objects, threshold=params.threshold, threads=group.context.threads)
    mask, surface, found = stack.objects(seek, light, sunk=sunk)
    mask = dilate(mask, params.dilation)
    record_halos(group, layout, surface, found)
    marked = _carry(group, cluster, mask, layout)
    group.say(f"objects cover {mask.mean():.1%} of {len(cluster)} frames")
    if not sunk:
        return Hidden()
    bare = cache(partial(bare_objects, stack.model, stack.bad, stack.noise, seek, params.dilation))
    hollowed = hollowed_share(surface, found)
    tell_light(group, cluster, layout, mask, bare, marked, hollowed=hollowed > HOLLOWED)
    staying = release_staying(group, cluster, layout, bare, marked)
    if not staying:
        prefer_halos(group, layout)
    remember_mask(group, layout, mask)
    always = _always(group, cluster, marked)
    return replace(always, cut=max(always.cut, staying), hollowed=hollowed)


def _matched(group: Group, cluster: list[int], target: Target) -> list[int]:
    """Bring a field's frames to one level; leave out those on a part of which other light fell; return the others."""
    parts = [(i, p) for i in deep_frames(group, cluster, target, DEEP) for p in target.planes]
    apart = strays(match_frames(group, parts, target, order=2))  # steps where a frame ends would be halos
    noise = [np.sqrt(group.planes[p].expected_variance(group.sky_level(group.planes[p], i))) for i, p in parts]
    odd = np.flatnonzero(apart > np.maximum(STRAY * np.array(noise), UNUSUAL * np.median(apart)))
    if not odd.size or odd.size > max(1.0, ALONE * len(parts)):
        return cluster
    for k in odd:
        if (i := parts[k][0]) in cluster:
            why = f"its sky differs by {apart[k]:.0f} {group.unit} (mean) from that of the others, beyond a slope"
            group.leave_out(i, f"{why}: stray light, an obstacle, or a readout that failed")
            cluster = [j for j in cluster if j != i]
    return _matched(group, cluster, target)


def _stacked(group: Group, cluster: list[int], target: Target) -> tuple[Layout, _FirstStack]:
    """Median of a field's frames and where it lies."""
    layout, model, count = median_model(group, cluster, target, kernel="nearest", most=DEEP)
    bad = (~np.isfinite(model)).view(np.uint8)
    if bad.all():
        raise StepError("the first-pass stack is empty", "check the bad-pixel masks")
    noise = np.sqrt(np.maximum(count, 1), dtype=np.float32)
    np.reciprocal(noise, out=noise)
    thin = (count < 0.5 * min(len(cluster), DEEP)).view(np.uint8)
    return layout, _FirstStack(model, bad, thin, noise)


def _worth(pixels: int) -> float:
    """Share of this number of pixels that objects may hide in every frame before it counts."""
    return max(HIDDEN, min(CUT, STARS / max(pixels, 1)))


def _carry(group: Group, cluster: list[int], mask: np.ndarray, layout: Layout) -> dict[int, np.ndarray]:
    """Mark the mask's pixels in the planes of frames; return in how many frames each is marked, uint16, by plane."""
    return {p: _mark_plane(group, cluster, mask, layout, p) for p in layout.target.planes}


def _mark_plane(group: Group, cluster: list[int], mask: np.ndarray, layout: Layout, p: int) -> np.ndarray:
    state = group.planes[p]
    marked, lock = np.zeros(state.shape, np.uint16), threading.Lock()

    def work(i: int) -> None:
        carried, dq = layout.carry(mask, i, p), state.dq.frame_to_change(i)
        mark(dq, int(OBJECT), carried)
        with lock:
            np.add(marked, carried, out=marked)

    each_frame(group, cluster, work)
    return marked


def _always(group: Group, cluster: list[int], marked: dict[int, np.ndarray]) -> Hidden:
    """What is marked in all frames; the illuminated pixels may be a small part of the detector (a keyhole)."""
    shares, buried = [], False
    for p, count in marked.items():
        always = count == len(cluster)
        outside = flagged(group.planes[p].dq.frame(cluster[0]), int(DQ.UNILLUMINATED)) != 0
        shares.append((float(always.mean()), cut_share(always, outside)))
        lit = outside.size - np.count_nonzero(outside)
        buried |= bool(np.count_nonzero(always & ~outside) > _worth(lit) * lit)
    share, cut = np.mean(shares, axis=0)
    return Hidden(float(share), float(cut), buried)


OBJECT_STEPS = (MaskObjects,)
