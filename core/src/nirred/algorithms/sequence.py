"""Joint solution for the offsets of a sequence of frames.

Frames are first matched one by one with the best frame, by stars near the guess. Frames with too few stars in
common with it are matched with the nearest frame already matched, the rest by triangles, or by images if given.
Then all positions of all stars are fitted together for one position per star and one offset per frame: an
offset's error is that of the frame's own stars and of the reference's, not of a pair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.correlate import cross_correlate
from nirred.algorithms.neighbours import nearest
from nirred.algorithms.register import (
    CLIP,
    POSITION_FLOOR,
    Registration,
    as_reference,
    consensus,
    match_offset,
    with_turn,
)
from nirred.algorithms.stars import StarList, estimate_fwhm
from nirred.algorithms.triangles import match_triangles

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.intp]
#: Number of matched frames, the nearest ones, with which a frame is tried.
MOST_LINKS = 3
#: Number of stars from which a match is not chance.
FIRM = 3

#: Frames are looked for at least this far from where their guesses say (px).
NEAR = 8.0
#: Stars are matched a second time within this distance of an offset that triangles found (px).
RECHECK = 30.0
#: Two measurements of one offset agree within this (px).
AGREEMENT = 2.0
#: Stars of several frames are one source within this distance (px).
SAME = 1.0

Images = Callable[[int], tuple[NDArray[np.float32], NDArray[np.uint8]]]


def solve_offsets(
    lists: Sequence[StarList],
    guesses: FloatArray,
    sigma: float,
    *,
    fit_rotation: bool = False,
    centre: tuple[float, float] = (0.0, 0.0),
    images: Images | None = None,
    least_turn: float = float("inf"),
) -> tuple[list[Registration | None], int]:
    """Register all frames of a sequence to its best one, as described in the module's docstring.

    Parameters
    ----------
    lists : sequence of StarList
        One per frame.
    guesses : float64 array, shape (n, 2)
        Expected (x, y) of a fixed source in each frame, up to a common constant (px).
    sigma : float
        1-sigma error of the guesses (px); the search goes out to five times that, at least 8 px.
    fit_rotation : bool
        Allow for small rotations about `centre`.
    centre : tuple of float
        (x, y) at which offsets hold (px).
    images : callable, optional
        Returns (data, bad) of a frame, for frames whose stars cannot be matched.
    least_turn : float
        Without `fit_rotation`: rotations of at least this (radian) are measured if there are enough stars.

    Returns
    -------
    registrations : list of Registration or None
        None for frames that could not be registered.
    reference : int
        Index of the reference frame.

    Raises
    ------
    ValueError
        There are no frames, or not one guess for each.
    """
    positions = np.asarray(guesses, dtype=np.float64)
    if not lists or positions.shape != (len(lists), 2):
        raise ValueError(f"{len(lists)} star lists need as many guesses, got shape {positions.shape}")
    reference = _best_frame(lists)
    radius = max(5.0 * sigma, NEAR)
    found = _match_by_stars(lists, positions, reference, radius, fit_rotation, centre)
    radius = _credible(found, positions, reference, radius)
    for k in [k for k, known in enumerate(found) if known is None]:
        turn = 0.1 if fit_rotation else 0.02
        pair, guess = (reference, k), (positions[k] - positions[reference]).tolist()
        found[k] = _by_triangles(lists, pair, turn, centre, images)
        if found[k] is None and images is not None:
            found[k] = _correlated(pair, guess, radius, images)
    for _ in range(2):
        found = _solve_together(lists, found, reference, np.array(centre))
    if not fit_rotation and np.isfinite(least_turn):
        turned = [_turned(lists, found, (reference, k), centre, least_turn) for k in range(len(lists))]
        if any(r is not s for r, s in zip(turned, found, strict=True)):
            found = _solve_together(lists, turned, reference, np.array(centre))
    return found, reference


def _turned(
    lists: Sequence[StarList],
    found: Sequence[Registration | None],
    pair: tuple[int, int],
    centre: tuple[float, float],
    least: float,
) -> Registration | None:
    reference, k = pair
    known = found[k]
    if known is None or k == reference or known.method == "correlation":
        return known
    return with_turn(lists[reference], lists[k], known, centre, least)


def _by_triangles(
    lists: Sequence[StarList], pair: tuple[int, int], turn: float, centre: tuple[float, float], images: Images | None
) -> Registration | None:
    """Offset from triangles, without a guess, if confirmed by a second measurement: the stars' brightness, or images.

    Three stars of unrelated lists sometimes agree by chance; their brightnesses, or a correlation of the images, are
    independent evidence.
    """
    first, second = lists[pair[0]], lists[pair[1]]
    seen = match_triangles(first, second, max_rotation=turn, centre=centre)
    if seen is None:
        return None
    again = match_offset(
        first,
        second,
        (seen.dx, seen.dy),
        RECHECK,
        fit_rotation=abs(seen.rotation) > 0,
        centre=centre,
        trust_guess=False,
    )
    if again is None or again.n_matched < 3 or np.hypot(again.dx - seen.dx, again.dy - seen.dy) > AGREEMENT:
        again = None if images is None else _correlated(pair, (seen.dx, seen.dy), AGREEMENT, images)
    return None if again is None else seen


def _correlated(
    pair: tuple[int, int], guess: tuple[float, float], radius: float, images: Images
) -> Registration | None:
    (a, mask_a), (b, mask_b) = images(pair[0]), images(pair[1])
    return cross_correlate(a, b, mask_a, mask_b, guess=guess, max_shift=radius)


def _match_by_stars(
    lists: Sequence[StarList],
    positions: FloatArray,
    reference: int,
    radius: float,
    fit_rotation: bool,
    centre: tuple[float, float],
) -> list[Registration | None]:
    """Match stars near the guesses, with the reference or via other frames: dithers may exceed a narrow field.

    A match by fewer than `FIRM` stars may be chance; it is used only for frames without a firm match, and not where
    the firm ones show that no guess is so wrong.
    """
    found: list[Registration | None] = [None] * len(lists)
    found[reference] = as_reference(len(lists[reference]))
    for least in (FIRM, 1):
        radius = _credible(found, positions, reference, radius)
        fresh = [k for k, r in enumerate(found) if r is not None]
        while fresh:
            links, fresh = fresh, []
            for k in [k for k in range(len(lists)) if found[k] is None]:
                apart = np.hypot(*(positions[links] - positions[k]).T)
                for j in [links[n] for n in np.argsort(apart, kind="stable")[:MOST_LINKS]]:
                    dx, dy = (positions[k] - positions[j]).tolist()
                    step = match_offset(lists[j], lists[k], (dx, dy), radius, fit_rotation=fit_rotation, centre=centre)
                    way = found[j]
                    if step is not None and way is not None and step.n_matched >= least:
                        found[k] = step if j == reference else _joined(way, step)
                        fresh.append(k)
                        break
    return found


def _credible(found: Sequence[Registration | None], positions: FloatArray, reference: int, radius: float) -> float:
    """Search radius (px) for frames without a firm match: that of the guesses' errors in two or more firm matches."""
    firm = {k: r for k, r in enumerate(found) if r is not None and k != reference and r.n_matched >= FIRM}
    if len(firm) < 2:
        return radius
    missed = np.array([(r.dx, r.dy) for r in firm.values()]) - (positions[list(firm)] - positions[reference])
    return min(radius, max(5.0 * float(np.sqrt(np.mean(missed**2))), NEAR))


def _joined(first: Registration, second: Registration) -> Registration:
    """Registration of a frame via another frame: `second` is relative to that other one."""
    c, s = np.cos(second.rotation), np.sin(second.rotation)
    return replace(
        second,
        dx=float(c * first.dx - s * first.dy) + second.dx,
        dy=float(s * first.dx + c * first.dy) + second.dy,
        dx_err=float(np.hypot(first.dx_err, second.dx_err)),
        dy_err=float(np.hypot(first.dy_err, second.dy_err)),
        rotation=first.rotation + second.rotation,
        scale=first.scale * second.scale,
    )


def _best_frame(lists: Sequence[StarList]) -> int:
    """Frame with most position information: the sum of the inverse variances of its round stars."""
    merit = []
    for stars in lists:
        size = estimate_fwhm(stars)
        pointlike = np.abs(stars.fwhm - size) < 0.3 * size
        limited = np.maximum(stars.position_error[pointlike], 0.02)
        merit.append(float((1.0 / limited**2).sum()))
    return int(np.argmax(merit))


def _on_reference(stars: StarList, found: Registration, centre: FloatArray) -> FloatArray:
    """Positions of a frame's stars in the reference frame: offset subtracted, rotation undone."""
    relative = np.column_stack([stars.x, stars.y]) - centre - (found.dx, found.dy)
    c, s = np.cos(found.rotation), np.sin(found.rotation)
    return np.asarray(relative @ np.array([[c, -s], [s, c]]) + centre)


def _link(
    lists: Sequence[StarList], found: Sequence[Registration | None], reference: int, centre: FloatArray
) -> tuple[list[IndexArray], int]:
    """Assign each star of each frame the number of its source in a common list, -1 without a source."""
    order = [reference, *(k for k in range(len(lists)) if k != reference)]
    master = np.empty((0, 2))
    labels = [np.full(len(stars), -1, dtype=np.intp) for stars in lists]
    for k in order:
        registration = found[k]
        if registration is None or len(lists[k]) == 0 or registration.method == "correlation":
            continue
        here = _on_reference(lists[k], registration, centre)
        if len(master):
            distance, source, _ = nearest(here, master, SAME)
            by_distance = np.argsort(distance, kind="stable")[: np.count_nonzero(np.isfinite(distance))]
            known, first = np.unique(source[by_distance], return_index=True)  # one star per source: the nearest one
            labels[k][by_distance[first]] = known
        new = np.flatnonzero(labels[k] < 0)
        labels[k][new] = len(master) + np.arange(new.size)
        master = np.vstack([master, here[new]])
    return labels, len(master)


def _solve_together(
    lists: Sequence[StarList], found: list[Registration | None], reference: int, centre: FloatArray
) -> list[Registration | None]:
    """One round of the common fit; frames without a link to the reference keep their registrations."""
    labels, n_sources = _link(lists, found, reference, centre)
    seen = np.zeros(n_sources, dtype=np.intp)
    for label in labels:
        seen[label[label >= 0]] += 1
    frame = np.concatenate([np.full(label.size, k, dtype=np.intp) for k, label in enumerate(labels)])
    source = np.concatenate(labels)
    usable = [r is not None and r.method != "correlation" for r in found]
    residual = np.concatenate(
        [
            _on_reference(stars, r, centre) if r is not None and ok else np.zeros((len(stars), 2))
            for stars, r, ok in zip(lists, found, usable)
        ]
    )
    variance = np.concatenate([stars.position_error**2 for stars in lists]) + POSITION_FLOOR**2
    keep = (source >= 0) & np.isfinite(variance)
    keep[keep] = seen[source[keep]] >= 2
    frame, source, residual, variance = frame[keep], source[keep], residual[keep], variance[keep]
    linked = _linked(frame, source, len(lists), reference)
    result = list(found)
    if linked.sum() < 2:
        return result
    inside = linked[frame]
    fit = _Fit(frame[inside], source[inside], residual[inside], variance[inside], len(lists), n_sources, reference)
    for k in np.flatnonzero(linked):
        registration = found[k]
        if k == reference or registration is None:
            continue
        # The correction holds in the reference's axes; the offset is measured in the frame's.
        c, s = np.cos(registration.rotation), np.sin(registration.rotation)
        step = np.array([[c, -s], [s, c]]) @ fit.offset[k]
        result[k] = replace(
            registration,
            dx=registration.dx + float(step[0]),
            dy=registration.dy + float(step[1]),
            dx_err=float(fit.error[k, 0]),
            dy_err=float(fit.error[k, 1]),
            n_matched=int(fit.count[k]),
            rms=float(fit.rms[k]),
        )
    return result


def _linked(frame: IndexArray, source: IndexArray, n_frames: int, reference: int) -> NDArray[np.bool_]:
    """Frames that are linked to the reference through common sources."""
    reached = np.zeros(n_frames, dtype=bool)
    reached[reference] = True
    while True:
        known = np.unique(source[reached[frame]])
        more = reached.copy()
        more[frame[np.isin(source, known)]] = True
        if np.array_equal(more, reached):
            return reached
        reached = more


def _agreeing(frame: IndexArray, source: IndexArray, position: FloatArray, variance: FloatArray) -> NDArray[np.bool_]:
    """Measurements that agree, frame by frame, on the frame's offset from the medians of the sources."""
    apart = position - np.stack([_medians(source, position[:, axis]) for axis in range(2)], axis=1)[source]
    use = np.zeros(frame.size, dtype=bool)
    for here in _members(frame):
        use[here] = consensus(apart[here], variance[here])
    return use


def _medians(label: IndexArray, values: FloatArray) -> FloatArray:
    """Median of the values of each label, from 0 to the highest; entries of labels without values are meaningless."""
    order = np.lexsort((values, label))
    count = np.bincount(label)
    first = np.cumsum(count) - count
    low, high = (np.minimum(first + np.maximum(n, 0) // 2, values.size - 1) for n in (count - 1, count))
    ranked = values[order]
    return np.asarray(0.5 * (ranked[low] + ranked[high]))


def _members(label: IndexArray) -> list[IndexArray]:
    """Indices of the equal labels."""
    order = np.argsort(label, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(label[order])) + 1)


class _Fit:
    """Least squares for position = source + offset of the frame, with clipping of single measurements.

    Sources are eliminated, which leaves one small symmetric system in the frames' offsets.
    """

    def __init__(
        self,
        frame: IndexArray,
        source: IndexArray,
        position: FloatArray,
        variance: FloatArray,
        n_frames: int,
        n_sources: int,
        reference: int,
    ) -> None:
        weight = np.where(_agreeing(frame, source, position, variance), 1.0 / variance, 0.0)
        self.offset = np.zeros((n_frames, 2))
        scaled = np.zeros_like(position)
        for _ in range(5):
            table = np.zeros((n_frames, n_sources))
            np.add.at(table, (frame, source), weight)
            total = table.sum(axis=0)
            total[total == 0] = 1.0
            mean = np.stack([np.bincount(source, weight * position[:, a], n_sources) for a in range(2)], 1)
            mean = mean / total[:, None]
            right = np.stack(
                [np.bincount(frame, weight * (position - mean[source])[:, a], n_frames) for a in range(2)], 1
            )
            matrix = np.diag(table.sum(axis=1)) - (table / total) @ table.T
            active = np.flatnonzero(table.sum(axis=1) > 0)
            active = active[active != reference]
            inverse = np.linalg.pinv(matrix[np.ix_(active, active)], hermitian=True)
            self.offset[active] = inverse @ right[active]
            shifted = position - self.offset[frame]
            star = np.stack([np.bincount(source, weight * shifted[:, a], n_sources) for a in range(2)], 1)
            residual = shifted - (star / total[:, None])[source]
            scaled = residual / np.sqrt(variance)[:, None]
            used = weight > 0
            excess = max(1.0, 1.4826 * float(np.median(np.abs(scaled[used]))))
            kept = np.abs(scaled).max(axis=1) <= CLIP * excess
            if np.array_equal(kept, used):
                break
            weight = np.where(kept, 1.0 / variance, 0.0)
        self.error = np.zeros((n_frames, 2))
        self.error[active] = np.sqrt(np.maximum(np.diag(inverse), 0.0))[:, None] * excess
        self.count = np.bincount(frame[weight > 0], minlength=n_frames)
        squares = np.bincount(frame[weight > 0], (residual[weight > 0] ** 2).mean(axis=1), n_frames)
        self.rms = np.sqrt(squares / np.maximum(self.count, 1))
