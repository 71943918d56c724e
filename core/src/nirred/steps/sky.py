"""Sky steps: which frames serve as sky, the sky of each frame, and its subtraction in two passes."""

from __future__ import annotations

import numpy as np

from ..algorithms.background import level
from ..algorithms.combine import combine
from ..algorithms.drift import predict_level
from ..algorithms.objmask import blank_fraction
from ..algorithms.sky import RunningSky, SkyFrames, mark_strays, pattern_power, subtract_sky
from ..algorithms.sky_shape import sky_shape
from ..dq import DQ
from ..errors import StepError
from ..group import BAD, NOT_SKY, OBJECT, FrameState, Group, PlaneState
from ..params import Params, param
from ..params import Params as StepParams
from ..plugin.recipes import StepCall
from ..step import GroupStep
from ..store import PlaneStack
from .residual import level_frames

#: Rows of a frame that are worked on at once.
BLOCK = 64
#: Frames that share one estimate of the large-scale sky and of the pattern's power.
EPOCH = 32
#: A median of more frames than this is not worth its time.
MOST_IN_MEDIAN = 64
#: Below this share of blank pixels a target fills the field: its zero level comes from the sky frames.
FILLED = 0.10
#: Power beside which every noise is small.
WHOLE = np.float32(1e20)


class SeparateSky(GroupStep):
    """Targets and skies, as the plan told them apart."""

    name = "separate_sky"
    doc = "tell target frames from sky frames: by pointing, guiding and names; one pointing: all are both"

    class Params(StepParams):
        """Parameters of `separate_sky`; they act when the plan is made."""

        ref_obj: str | None = param(None, "names of frames on target, comma-separated")
        ref_sky: str | None = param(None, "names of frames on sky, comma-separated")
        frac_FOV: float = param(0.9, "frames this far apart, in fields of view, are different pointings", ge=0.3, lt=1)

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        group.need(group.targets, "frames on target")
        on, off = len(group.indices("object", "both")), len(group.indices("sky"))
        group.extras["offset_sky_frames"] = off > 0
        group.context.say(f"{group.task.id}: {on} frames on target, {off} on sky")


class AssociateSky(GroupStep):
    """Sky frames of each frame, nearest in time."""

    name = "associate_sky"
    doc = "choose sky frames for each frame: far enough away on the sky, near enough in time"

    class Params(StepParams):
        """Parameters of `associate_sky`."""

        time: float = param(600.0, "largest difference in time", unit="s", gt=0)
        distance: float = param(3.0, "smallest distance of the field centres", unit="arcsec", ge=0)
        min_skies: int | None = param(3, "take at least so many, whatever the time", ge=1)
        max_skies: int | None = param(None, "take at most so many", ge=1)
        use_all: bool = param(False, "every frame that is far enough away, target or sky")

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        pool = group.indices() if params.use_all else group.indices("sky", "both")
        late = []
        for i in group.indices():
            chosen, widened = choose_skies(group, i, pool, params)
            group.skies[i] = chosen
            if widened and group.frames[i].role != "sky":
                late.append(group.frames[i].info.name)
        if late:
            group.remark(
                f"fewer than {params.min_skies} sky frames within {params.time:g} s of "
                f"{len(late)} frames ({late[0]} ...); later ones are used"
            )


def choose_skies(group: Group, i: int, pool: list[int], params: AssociateSky.Params) -> tuple[tuple[int, ...], bool]:
    """Indices of the sky frames of frame i, in order of time, and whether the time limit was widened."""
    here = group.frames[i]
    far = [j for j in pool if j != i and (params.distance == 0 or _separation(here, group.frames[j]) > params.distance)]
    far.sort(key=lambda j: (abs(_time(group.frames[j]) - _time(here)), j))
    inside = sum(abs(_time(group.frames[j]) - _time(here)) <= params.time for j in far)
    number = max(params.min_skies or 0, inside)
    if params.max_skies is not None:
        number = min(number, params.max_skies)
    chosen = far[:number]
    return tuple(sorted(chosen, key=lambda j: (_time(group.frames[j]), j))), inside < len(chosen)


def _time(frame: FrameState) -> float:
    when = frame.info.descriptors.ut_datetime
    return when.timestamp() if when is not None else 0.0


def _separation(a: FrameState, b: FrameState) -> float:
    """Distance of two field centres, arcsec; infinite when a frame has no coordinates."""
    if not a.info.wcs or not b.info.wcs:
        return float("inf")
    (ra1, dec1), (ra2, dec2) = centre(a), centre(b)
    cos = np.cos(np.radians(dec1))
    dra = (ra1 - ra2 + 180.0) % 360.0 - 180.0
    return 3600.0 * float(np.hypot(dra * cos, dec1 - dec2))


def centre(frame: FrameState) -> tuple[float, float]:
    """Right ascension and declination (degrees) of the first plane's centre."""
    ny, nx = frame.info.detectors[0].shape
    ra, dec = frame.info.wcs[0].wcs.wcs_pix2world((nx - 1) / 2, (ny - 1) / 2, 0)
    return float(ra), float(dec)


class SkyCorrect(GroupStep):
    """Subtract each frame's sky."""

    name = "sky_correct"
    doc = "subtract the sky: robust mean of the associated frames, scaled or shifted to each frame's own level"

    class Params(StepParams):
        """Parameters of `sky_correct`."""

        mask_objects: bool = param(True, "leave pixels covered by objects out of the sky")
        scale_sky: bool | None = param(
            None,
            "scale the sky to the level of the frame; False: keep that of the sky frames; default: from the data",
        )
        offset_sky: bool = param(False, "shift the sky to the frame's level instead of scaling it")
        nsigma: float = param(4.0, "a sky frame's pixel this far from the others is not sky", gt=0)
        model: bool = param(True, "shrink the noise of the sky's small-scale pattern by what is known of its power")
        gradient: bool = param(True, "take off a residual plane or parabola where enough of the field is blank")

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        if params.offset_sky and params.scale_sky:
            raise StepError("sky_correct: scale_sky and offset_sky exclude each other", "set one")
        if not any(group.skies.get(i) for i in group.indices()):
            raise StepError("no frame has a sky frame", "add sky frames, or associate_sky:distance=0")
        for i in group.targets:
            if not group.skies.get(i):
                group.leave_out(i, "no sky frame is far enough from it (associate_sky:distance)")
        for p, state in enumerate(group.planes):
            if state.sub is None:
                scratch = None if state.sci.in_memory else group.context.scratch
                state.sub = PlaneStack(state.sci.shape, np.float32, scratch)
            zero, unit = measure_levels(group, p, params)
            targets = group.indices()
            for epoch in _epochs(group, targets):
                _subtract_epoch(group, p, epoch, (zero, unit), params)
            predicted = {i for i in targets if params.mask_objects and _from_sky_frames(group, i, params)}
            level_frames(group, state, targets, predicted, masked=params.mask_objects, shape=params.gradient)


def _additive(group: Group, state: PlaneState, levels: np.ndarray, params: SkyCorrect.Params) -> bool:
    """True when the sky is to be shifted, not scaled.

    Asked for; or a dark pattern is still in the frames; or the sky is no brighter than the noise, so that a factor
    would mean nothing.

    Raises
    ------
    StepError
        Scaling is asked for and a sky is not positive.
    """
    if params.offset_sky:
        return True
    living = group.indices()
    lowest = float(np.min(levels[living]))
    if params.scale_sky is None:
        return group.setup.dark is None or lowest <= 3.0 * float(np.sqrt(state.typical_noise[0]))
    if lowest <= 0:
        name = group.frames[living[int(np.argmin(levels[living]))]].info.name
        raise StepError(
            f"{name}: its sky is {lowest:.1f} electrons and cannot be scaled", "sky_correct:offset_sky=True"
        )
    return False


def measure_levels(group: Group, p: int, params: SkyCorrect.Params) -> tuple[np.ndarray, np.ndarray]:
    """Sky level of every frame into `FrameState.sky`, and (zero, unit) of the sky model of plane `p`."""
    state = group.planes[p]
    extra = int(OBJECT) if params.mask_objects else 0
    levels = np.zeros(len(group.frames))
    for i in group.indices():
        frame = group.frames[i]
        bad = state.bad(i, extra)
        measured = level(state.sci.frame(i), bad)
        frame.blank = blank_fraction(bad, state.bad(i))
        if measured.n == 0:
            measured = level(state.sci.frame(i), state.bad(i))
        levels[i], error = measured.value, measured.error
        state.sky[i] = measured.value
        if p == 0:
            frame.sky, frame.sky_err = measured.value, error
    filled = [i for i in group.indices("object") if _from_sky_frames(group, i, params)]
    for i in filled:
        levels[i] = _predicted(group, i, levels, p)
    if filled and params.mask_objects and p == 0:
        group.extras["filled"] = True
        group.remark("the target fills the field; its zero level comes from the sky frames")
    if _additive(group, state, levels, params):
        return levels, np.ones_like(levels)
    return np.zeros_like(levels), levels


def _from_sky_frames(group: Group, i: int, params: SkyCorrect.Params) -> bool:
    if not group.indices("sky"):
        return False
    if params.scale_sky is False and not params.offset_sky:
        return True
    return params.scale_sky is None and params.mask_objects and group.frames[i].blank < FILLED


def _predicted(group: Group, i: int, levels: np.ndarray, p: int) -> float:
    skies = group.indices("sky")
    times = [_time(group.frames[j]) for j in skies]
    errors = [group.frames[j].sky_err for j in skies]
    value, error = predict_level(times, [levels[j] for j in skies], errors, _time(group.frames[i]))
    group.planes[p].sky[i] = value
    if p == 0:
        group.frames[i].sky, group.frames[i].sky_err = value, error
    return value


def _epochs(group: Group, targets: list[int]) -> list[list[int]]:
    """Runs of consecutive frames whose sky frames together are about `EPOCH`, or twice what one frame has."""
    ordered = sorted((i for i in targets if group.skies.get(i)), key=lambda i: (_time(group.frames[i]), i))
    epochs: list[list[int]] = []
    union: set[int] = set()
    for i in ordered:
        grown = union | set(group.skies[i])
        if epochs and (len(grown) <= EPOCH or len(epochs[-1]) < len(group.skies[i])):
            epochs[-1].append(i)
            union = grown
        else:
            epochs.append([i])
            union = set(group.skies[i])
    return epochs


def _subtract_epoch(
    group: Group, p: int, epoch: list[int], model: tuple[np.ndarray, np.ndarray], params: SkyCorrect.Params
) -> None:
    """Subtract the sky of a run of frames that share their sky frames."""
    state = group.planes[p]
    union = sorted({j for i in epoch for j in group.skies[i]})
    halves = (union[0::2], union[1::2]) if len(union) > 1 else (union, union)
    ny, nx = state.shape
    estimates = [(np.empty((ny, nx)), np.empty((ny, nx))) for _ in range(3)]
    for start in range(0, ny, BLOCK):
        stop = min(start + BLOCK, ny)
        frames = _rows(group, state, start, stop, model, params, union)
        _flag_not_sky(group, state, frames, (start, stop), union, params.nsigma)
        running = RunningSky(frames)
        for (g, u), members in zip(estimates, (union, *halves), strict=True):
            running.move_to(tuple(members))
            g[start:stop], u[start:stop] = running.pattern()
    units = estimates[0][1]
    power = np.zeros((ny, nx), np.float32)
    noise = np.zeros((ny, nx), np.float32)
    shrink = params.model and params.mask_objects and len(union) >= 4
    sections = (a.section for a in group.frames[0].info.detectors[p].amplifiers)
    amplifiers = [(slice(s.y1, s.y2), slice(s.x1, s.x2)) for s in sections]
    smooth = sky_shape(estimates[0], estimates[1:] if shrink else (), amplifiers)
    if shrink:
        power, noise = pattern_power(estimates[1], estimates[2], smooth)
        # A pattern stronger than its noise is taken off whole: shrinkage would save little, and what it leaves of a
        # skewed pattern is no noise. Its mean stays in the stack, its mode tilts the frames' residual surfaces.
        power = np.where(power * units > noise, WHOLE, power)
    _record_sky_noise(group, state, epoch, (power, noise, units), model)
    for start in range(0, ny, BLOCK):
        stop = min(start + BLOCK, ny)
        rows = slice(start, stop)
        frames = _rows(group, state, start, stop, model, params, union)
        running = RunningSky(frames)
        for i in epoch:
            running.move_to(group.skies[i])
            done = subtract_sky(
                state.sci.rows(i, start, stop),
                running.pattern(),
                smooth[rows],
                (power[rows], noise[rows]),
                (float(model[0][i]), float(model[1][i])),
            )
            assert state.sub is not None
            state.sub.put(i, done, start)


def _rows(
    group: Group,
    state: PlaneState,
    start: int,
    stop: int,
    model: tuple[np.ndarray, np.ndarray],
    params: SkyCorrect.Params,
    union: list[int],
) -> SkyFrames:
    """Rows of the sky frames with what is sky in them; other frames are empty places in the lists."""
    useless = BAD | NOT_SKY | (OBJECT if params.mask_objects else np.uint16(0)) | np.uint16(6)
    n = len(group.frames)
    data: list[np.ndarray] = [np.empty((0, 0), np.float32)] * n
    ok: list[np.ndarray] = [np.empty((0, 0), np.uint8)] * n
    for j in union:
        data[j] = state.sci.rows(j, start, stop)
        ok[j] = ((state.dq.rows(j, start, stop) & useless) == 0).view(np.uint8)
    data[0] = data[union[0]] if data[0].size == 0 else data[0]
    levels = model[1] if model[0].any() == 0 else model[0]
    scales = np.array([state.noise_scale.get(j, f.noise_scale) for j, f in enumerate(group.frames)])
    return SkyFrames(data, ok, model[0], model[1], np.maximum(levels, 0.0), scales)


def _flag_not_sky(
    group: Group, state: PlaneState, frames: SkyFrames, rows: tuple[int, int], union: list[int], nsigma: float
) -> None:
    """Flag pixels of sky frames that stray from the median of all of them."""
    if len(union) < 3:
        return
    sample = union[:: -(-len(union) // MOST_IN_MEDIAN)]
    middle = combine(
        [frames.data[j] for j in sample],
        [np.where(frames.ok[j] != 0, np.uint8(0), np.uint8(DQ.NO_DATA)) for j in sample],
        method="median",
        scale=1.0 / frames.unit[sample],
        zero=-frames.zero[sample] / frames.unit[sample],
    )
    centre, count = middle.sci.astype(np.float64), middle.n
    constant = np.broadcast_to(_part(state.constant, rows), centre.shape)
    per_electron = np.broadcast_to(_part(state.per_electron, rows), centre.shape)
    typical = float(np.mean(frames.level[union])), float(np.mean(frames.unit[union]))
    spread = 1.571 * (constant + typical[0] * per_electron) / typical[1] ** 2 / np.maximum(count, 1)
    frames.flag_outliers(union, centre, spread.astype(np.float64), (constant, per_electron), nsigma)
    for j in union:
        dq = state.dq.rows(j, *rows)
        state.dq.put(j, mark_strays(dq, frames.ok[j], BAD | OBJECT | np.uint16(6), NOT_SKY), rows[0])


def _part(values: np.ndarray | float, rows: tuple[int, int]) -> np.ndarray:
    array = np.asarray(values, np.float32)
    return array if array.ndim == 0 or array.shape[0] == 1 else array[rows[0] : rows[1]]


def _record_sky_noise(
    group: Group,
    state: PlaneState,
    epoch: list[int],
    estimate: tuple[np.ndarray, np.ndarray, np.ndarray],
    model: tuple[np.ndarray, np.ndarray],
) -> None:
    """Mean variance that the subtracted sky adds to a frame's pixel, over the frame's own noise model."""
    power, noise, units = (a[::8, ::8] for a in estimate)
    total = float(np.sum([model[1][j] for j in {j for i in epoch for j in group.skies[i]}]))
    for i in epoch:
        own = float(np.sum([model[1][j] for j in group.skies[i]]))
        variance = state.expected_variance(state.sky.get(i, group.frames[i].sky))
        if noise.any():
            v = noise / np.maximum(units * own / max(total, 1e-30), 1e-30)
            added = np.where(power + v > 0, power * v / np.maximum(power + v, 1e-30), 0.0)
            state.sky_variance[i] = float(np.median(added)) * model[1][i] ** 2 / variance
        else:
            state.sky_variance[i] = 1.0 / max(len(group.skies[i]), 1)


SKY_STEPS = (SeparateSky, AssociateSky, SkyCorrect)
