"""Steps that find stars and register frames."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from ..algorithms.doubled import find_doubling
from ..algorithms.islands import place_island, shared
from ..algorithms.register import Registration
from ..algorithms.sequence import solve_offsets
from ..algorithms.sizes import relative_sizes
from ..algorithms.stars import SHARPEST_FWHM, StarList, estimate_fwhm, find_stars
from ..dq import DQ
from ..field import Field, field_of, join
from ..geometry import NEARLY_A_SHIFT, geometry
from ..group import Group
from ..offsets import guess_offsets, lit_sides, pointing_clusters
from ..parallel import each_frame
from ..params import Params, param
from ..params import Params as StepParams
from ..plugin.recipes import StepCall
from ..results import require
from ..step import GroupStep

#: Number of frames whose FWHM is measured without a first guess; the others of the group start from their median.
SIZED = 3
#: Registrations of two passes that differ by more than this disagree, pixels.
CONTESTED = 10.0
#: Least S/N of a star that should have been matched; among the fainter ones are cosmic rays and noise.
SURE = 10.0


class DetectSources(GroupStep):
    """Make star lists of the sky-subtracted frames."""

    name = "detect_sources"
    doc = "star lists with windowed centroids of each sky-subtracted frame"

    class Params(StepParams):
        """Parameters of `detect_sources`."""

        threshold: float = param(5.0, "detection threshold in sigma of the smoothed frame", gt=0)
        max_stars: int = param(400, "keep the brightest", ge=1)

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        frames, fwhm = group.indices(), group.registration.fwhm
        first = SIZED if fwhm is None else 0
        lists = _star_lists(group, frames[:first], params, None)
        if fwhm is None:
            fwhm = _typical([group.frames[i].fwhm for i in lists])
        found = group.registration
        found.stars = lists | _star_lists(group, frames[first:], params, fwhm)
        found.fwhm = _typical([group.frames[i].fwhm for i in group.targets]) or found.fwhm


def _star_lists(
    group: Group, frames: list[int], params: DetectSources.Params, fwhm: float | None
) -> dict[int, list[StarList]]:
    """Stars of each plane of the frames, whose FWHM is recorded; `fwhm` is the first guess, pixels."""

    def find(i: int) -> list[StarList]:
        lists = [
            find_stars(
                state.sub.frame(i), state.bad(i, DQ.SATURATED),
                fwhm=fwhm, threshold=params.threshold, max_stars=params.max_stars, gain=group.electrons(p),
            )
            for p, state in enumerate(group.planes)
        ]  # fmt: skip
        group.frames[i].fwhm = estimate_fwhm(join(lists), min_snr=10.0)
        return lists

    return dict(zip(frames, each_frame(group, frames, find), strict=True))


def all_stars(group: Group, i: int) -> StarList:
    """Stars of all planes of a frame, in the planes' pixels."""
    return join(require(group.registration.stars, "stars")[i])


def _typical(widths: list[float]) -> float | None:
    """Median of the measured FWHM; None without any."""
    known = [w for w in widths if np.isfinite(w)]
    return float(np.median(known)) if known else None


class AdjustWcs(GroupStep):
    """Measure the offset of every frame from its reference, from stars."""

    name = "adjust_wcs_to_reference"
    doc = "measure sub-pixel offsets from star lists, starting from the header WCS; leave out frames where this fails"
    aliases = ("adjustWCSToReference",)

    class Params(StepParams):
        """Parameters of `adjust_wcs_to_reference`."""

        method: Literal["sources", "offsets"] = param("sources", "measure offsets from stars, or trust the header's")
        fallback: Literal["offsets", "none"] = param(
            "none",
            "if a frame's offset cannot be measured: use the header's, or leave the frame out; in a field almost "
            "without stars the headers' are always used",
        )
        first_pass: float = param(
            5.0, "search radius round the header's offset; at least 8 pixels are searched", unit="arcsec", gt=0
        )
        min_sources: int = param(1, "least number of matched stars; images that correlate need none", ge=1)
        rotate: bool | Literal["auto"] = param(
            "auto",
            "measure rotations relative to the headers' from the stars; auto: use those that move corners by more than "
            "0.15 pixel, beyond 5 sigma; False: trust the headers",
        )
        offsets: Path | tuple[tuple[float, float], ...] | None = param(
            None,
            "pixel positions (x y) of one object, one per frame or pointing, in frame order: a file or a list",
        )
        distorted: bool = param(
            True, "positions in `offsets` are those on the raw frames; False: they are corrected for distortion"
        )
        final: bool = param(
            True,
            "choose the reference frame, and leave out frames that cannot be measured; False: an earlier pass, for "
            "object masks, which places frames on sky, too",
        )

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        if params.method == "sources":
            _leave_out_doubled(group)
        clusters = pointing_clusters(group, group.targets if params.final else group.indices())
        group.registration.clusters = clusters
        for cluster in clusters:
            self._register(group, cluster, params)
        if params.final:
            group.need(group.targets, "registered frames")
            geometry(group).refer(group.reference)

    def _register(self, group: Group, cluster: list[int], params: Params) -> None:
        field = field_of(group, cluster, params.offsets, distorted=params.distorted)
        lists = [field.stars(i) for i in cluster] if params.method == "sources" else []
        solved: list[Registration | None] = [None] * len(cluster)
        reference, measured = 0, len(lists) > 1
        if measured:
            solved, reference = _measured(group, field, cluster, lists, params)
        empty = params.offsets is None and _is_empty(lists, solved, reference)
        if params.final:
            group.registration.reference = cluster[reference]
            group.registration.registered |= any(r is not None and r.method != "reference" for r in solved)
            if empty:
                _tell_unmeasured(group, cluster, solved)
            if measured:
                usual = _typical([group.frames[i].fwhm for i in cluster]) or np.nan
                _size_by_common_stars(group, cluster, relative_sizes(lists, solved, field.centre, usual))
        for k, (i, found) in enumerate(zip(cluster, solved, strict=True)):
            field.put(k, reference, found)
            if found is None and params.final and not empty:
                self._fall_back(group, i, params)

    def _fall_back(self, group: Group, i: int, params: Params) -> None:
        trusted = params.method == "offsets" or params.offsets is not None
        if not trusted and i != group.registration.reference and params.fallback == "none":
            group.leave_out(i, "cannot be registered: too few stars in common with the other frames")


def _measured(
    group: Group, field: Field, cluster: list[int], lists: list[StarList], params: AdjustWcs.Params
) -> tuple[list[Registration | None], int]:
    """Registrations of a field's frames by their stars, None where too few agree, and the index of the reference.

    A final pass takes the first one's into account. Frames that hardly overlap the others are placed together.
    """
    solve = partial(_solve, field, cluster, lists, params.rotate)
    scale = group.frames[cluster[0]].info.descriptors.pixel_scale or 1.0
    guesses, sigma = np.asarray(field.guesses, float), params.first_pass / scale / 5.0
    solved, reference = solve(guesses, sigma)
    first, keys = group.registration.first, [(cluster[0], i) for i in cluster]
    if params.final:
        solved = _reconsidered(solve, guesses, solved, reference, [first.get(key) for key in keys])
    else:
        first.update({key: r for key, r in zip(keys, solved, strict=True) if r is not None})
    solved = [r if r is not None and _counts(r, params.min_sources) else None for r in solved]
    solved, island = place_island(
        lambda some: solve(guesses[some], sigma, some),
        guesses,
        solved,
        reference,
        shared(guess_offsets(group, cluster)[0], lit_sides(group, cluster[0])[::-1]),
        field.sigma,
    )
    if island and params.final:
        _tell_island(group, [cluster[k] for k in island])
    return solved, reference


def _solve(
    field: Field,
    cluster: list[int],
    lists: list[StarList],
    rotate: bool | Literal["auto"],
    places: np.ndarray,
    sigma: float,
    some: list[int] | None = None,
) -> tuple[list[Registration | None], int]:
    """Register a field's frames, or `some` of them, from their expected places."""
    members = list(range(len(cluster))) if some is None else some
    return solve_offsets(
        [lists[k] for k in members],
        places,
        sigma,
        fit_rotation=rotate is True,
        centre=field.centre if rotate else (0.0, 0.0),
        least_turn=NEARLY_A_SHIFT / max(np.hypot(*field.centre), 1.0) if rotate else np.inf,
        images=lambda k: field.image(cluster[members[k]]),
    )


def _tell_island(group: Group, island: list[int]) -> None:
    group.remark(
        f"{group.named(island)}: hardly any overlap with the others; registered among themselves and placed where "
        "the headers say; if these are sky frames, say so (--skies)"
    )


def _size_by_common_stars(group: Group, cluster: list[int], ratios: np.ndarray) -> None:
    """Record the FWHM of frames, given their ratios to the usual one, NaN where they are unknown."""
    known = {i: float(ratio) for i, ratio in zip(cluster, ratios, strict=True) if np.isfinite(ratio)}
    usual = _typical([group.frames[i].fwhm for i in known])
    if usual is not None:
        for i, ratio in known.items():
            group.frames[i].fwhm = usual * ratio


def _is_empty(lists: list[StarList], solved: list[Registration | None], reference: int) -> bool:
    """Whether most of several frames have no sure star, nor has the reference, or nothing has been registered to it.

    Failing to be registered does not count against a frame then: clouds would hide stars that the reference shows.
    """
    stars = [np.count_nonzero((found.snr > SURE) & (found.fwhm > SHARPEST_FWHM)) for found in lists]
    if len(lists) < 2 or 2 * int(np.count_nonzero(stars)) >= len(lists):
        return False
    return not stars[reference] or not any(r is not None and r.method != "reference" for r in solved)


def _tell_unmeasured(group: Group, cluster: list[int], solved: list[Registration | None]) -> None:
    lost = [i for i, found in zip(cluster, solved, strict=True) if found is None or found.method == "reference"]
    if len(lost) == len(cluster):
        group.remark("the frames show no stars: they are placed where their headers say")
    elif len(lost) > 1:
        group.remark(f"the frames show hardly any stars: {len(lost) - 1} of them are placed where their headers say")


def _leave_out_doubled(group: Group) -> None:
    """Leave out frames in which every star appears twice: positions, fluxes and masks would be wrong."""
    frames = group.indices()
    found = {i: find_doubling(all_stars(group, i)) for i in frames}
    doubled = {i: d for i, d in found.items() if d is not None}
    if 2 * len(doubled) >= len(frames):  # such are the camera's images, or the sky's
        return
    for i, d in doubled.items():
        group.leave_out(
            i,
            f"{d.doubled} of {d.expected} stars have a second image at ({d.dx:+.1f}, {d.dy:+.1f}) pixels with "
            f"{d.light:.2f} of their light: the telescope moved in the exposure",
        )


def _reconsidered(
    solve: Callable[[np.ndarray, float], tuple[list[Registration | None], int]],
    guesses: np.ndarray,
    solved: list[Registration | None],
    reference: int,
    before: list[Registration | None],
) -> list[Registration | None]:
    """Registrations of a second pass, or those near the first pass's if they are based on more stars.

    In a wide search a few stars among many ghosts may agree by chance. As skies and ghosts differ between the passes,
    such agreements lie at different offsets.
    """
    origin = before[reference]
    places = guesses - guesses[reference]
    contested = False
    for k, (first, second) in enumerate(zip(before, solved, strict=True)):
        if first is not None and origin is not None:
            places[k] = first.dx - origin.dx, first.dy - origin.dy
        elif second is not None:
            places[k] = second.dx, second.dy
        contested |= second is not None and bool(np.hypot(*(places[k] - (second.dx, second.dy))) > CONTESTED)
    if not contested:
        return solved
    near, _ = solve(places, CONTESTED / 5.0)
    better = _stars_behind(near) > _stars_behind(solved)
    return near if better else solved


def _stars_behind(solved: list[Registration | None]) -> tuple[int, int]:
    """Number of registered frames, and of matched stars."""
    found = [r for r in solved if r is not None]
    return len(found), sum(r.n_matched for r in found)


def _counts(found: Registration, least: int) -> bool:
    """Whether a registration is based on enough stars, or needs none."""
    return found.method in ("correlation", "reference") or found.n_matched >= least


REGISTER_STEPS = (DetectSources, AdjustWcs)
