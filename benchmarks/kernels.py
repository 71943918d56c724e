"""Print the CPU time of every pixel kernel and its goal; write JSON.

One thread; the shortest of several runs counts, because other work on the machine slows single ones by up to a factor
of two. The goals are for an idle 2023 server core with AVX-512 and 25 GB/s. The bandwidth of this machine's memory is
printed first: relative to its goal, a kernel limited by it cannot be faster than the ratio of the two.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from nirred.algorithms.calibrate import calibrate
from nirred.algorithms.coadd import Accumulator, Entry, Under
from nirred.algorithms.combine import NoiseModel, Rejection, combine
from nirred.algorithms.correlate import cross_correlate
from nirred.algorithms.medians import medians
from nirred.algorithms.objmask import object_mask
from nirred.algorithms.outliers import Expected, OnPlane, OutlierLimits, fill_hidden, flag_outliers
from nirred.algorithms.pixelmap import PixelMap
from nirred.algorithms.register import match_offset
from nirred.algorithms.resample_gather import gather_rows
from nirred.algorithms.resample_shift import bad_fraction_shift_rows, shift_rows
from nirred.algorithms.response import CalibrationInputs, LinearityCurve
from nirred.algorithms.sky_rows import SkyFrames, Targets, subtract
from nirred.algorithms.stars import find_stars
from nirred.run.limits import one_blas_thread, one_heap

#: Bandwidth in copying of the machine for which the goals were set, bytes per second.
REFERENCE_COPY = 22e9
FWHM, NOISE, STARS = 4.0, 100.0, 500


@dataclass(frozen=True)
class Timing:
    """One kernel: the measured value, in `unit`; the goal, or None; whether more is better."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    rate: bool = False

    @property
    def share(self) -> float | None:
        """Speed relative to the goal."""
        if self.goal is None:
            return None
        return self.value / self.goal if self.rate else self.goal / self.value


def least(task: Callable[[], object], turns: int = 7) -> float:
    """Shortest CPU time of several runs, seconds, after one that loads or compiles."""
    task()
    spent = []
    for _ in range(turns):
        start = time.process_time()
        task()
        spent.append(time.process_time() - start)
    return min(spent)


def in_ms(name: str, task: Callable[[], object], goal: float | None = None, turns: int = 7) -> Timing:
    """CPU milliseconds of a call."""
    return Timing(name, 1e3 * least(task, turns), "ms", goal)


def copying(size: int) -> Timing:
    """Bytes read and written per CPU second."""
    source = np.ones((size, size), np.float32)
    target = np.empty_like(source)
    return Timing("copy of a plane", 2e-9 * source.nbytes / least(lambda: np.copyto(target, source)), "GB/s", 22, True)


def combining(size: int, frames: int) -> Iterator[Timing]:
    """Million pixels times frames per CPU second."""
    random = np.random.default_rng(frames)
    shape = (frames, size, size)
    data = random.normal(1000, 30, shape).astype(np.float32)
    data[random.random(shape) < 2e-4] += 3000
    dq = (random.random(shape) < 0.01).astype(np.uint16)
    var = np.full(shape, 900, np.float32)
    plane = np.ones(shape[1:], np.float32)
    model = NoiseModel(100 * plane, plane, np.full(frames, 800.0))
    clip, outliers = Rejection("sigclip"), Rejection("noise", 5, 5)
    cases: dict[str, tuple[Callable[[], object], float | None]] = {
        "mean with variances": (lambda: combine(data, dq, var), None),
        "median": (lambda: combine(data, dq, method="median"), 350),
        "sigma clip with variances": (lambda: combine(data, dq, var, rejection=clip), 300),
        "clip by the noise model": (lambda: combine(data, dq, noise=model, rejection=outliers), None),
    }
    for name, (case, goal) in cases.items():
        rate = data.size / least(case) / 1e6
        yield Timing(f"{name}, {frames} frames", rate, "Mpx/s", goal, True)


def calibrating(size: int) -> Timing:
    """Fused linearity, gain, dark, flat and flags."""
    random = np.random.default_rng(0)
    shape = (size, size)
    raw = random.normal(5000, 100, shape).astype(np.float32)
    curve = LinearityCurve(np.array([[1, 6e-7, 1.28e-12]]), (1.266,), 150_000.0)
    dark, flat = (random.normal(level, 0.05, shape).astype(np.float32) for level in (10, 1))
    static = (random.random(shape) < 0.01).astype(np.uint16)
    inputs = CalibrationInputs(12.3, 2, 10.0, curve, 12_000.0, 11_000.0, dark, None, flat, static)
    out = np.zeros(shape, np.float32), np.zeros(shape, np.uint16)
    return in_ms("calibration", lambda: calibrate(raw, inputs, out), 4 * size**2 / 2048**2)


def running_sky(size: int, window: int = 6, frames: int = 20) -> Timing:
    """Means of six neighbours: nanoseconds per pixel of a frame."""
    random = np.random.default_rng(3)
    rows = (16, size)
    data = random.normal(1000, 30, (frames, *rows)).astype(np.float32)
    dq = (random.random(data.shape) < 0.01).astype(np.uint16)
    ones, order = np.ones(frames), range(frames)
    given = SkyFrames(data, dq, order, 0, 0 * ones, 1000 * ones, 1000 * ones, ones)
    first = [min(max(i - window // 2, 0), frames - window - 1) for i in order]
    skies = [[j for j in range(first[i], first[i] + window + 1) if j != i] for i in order]
    targets, out = Targets(order, 0 * ones, 1000 * ones, 0 * ones, skies), (np.empty_like(data), order, 0)
    smooth = np.ones(rows, np.float32)

    def sweep() -> None:
        subtract(given, targets, 1, smooth, None, out)

    return Timing("running sky of 6", 1e9 * least(sweep) / (frames * rows[0] * rows[1]), "ns/px", 6)


def field(size: int, dx: float, dy: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Stars of S/N 10 to 200 in sky noise, 1 % bad pixels; another seed, another noise."""
    random, noise = np.random.default_rng(7), np.random.default_rng(seed)
    x, y = random.uniform(30, size - 30, (2, STARS)) + np.array([[dx], [dy]])
    sigma = FWHM / 2.3548
    peaks = np.exp(random.uniform(np.log(10), np.log(200), STARS)) * NOISE / (sigma * np.sqrt(np.pi))
    image = noise.normal(0, NOISE, (size, size)).astype(np.float32)
    for xs, ys, peak in zip(x, y, peaks, strict=True):
        rows, columns = np.mgrid[int(ys) - 10 : int(ys) + 12, int(xs) - 10 : int(xs) + 12]
        inside = (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
        light = peak * np.exp(-((columns - xs) ** 2 + (rows - ys) ** 2) / (2 * sigma**2))
        image[rows[inside], columns[inside]] += light[inside]
    bad = noise.random(image.shape) < 0.01
    image[bad] = 1e5
    return image, bad.astype(np.uint8)


def after_the_sky(size: int) -> Iterator[Timing]:
    """The kernels between sky subtraction and stack, except the resampling."""
    random = np.random.default_rng(9)
    shape = (size, size)
    frame, plane = random.normal(0, 30, shape).astype(np.float32), np.ones(shape, np.float32)
    dq = (random.random(shape) < 0.01).astype(np.uint16)
    images = random.normal(0, 30, (10, size // 4, size)).astype(np.float32)
    images[random.random(images.shape) < 0.01] = np.nan
    yield Timing("median of images, 10 frames", images.size / least(lambda: medians(images)) / 1e6, "Mpx/s", 350, True)
    told = OnPlane(0 * plane, np.full(shape, 10, np.uint16), (0, 0))
    expected = Expected(told, 100 * plane, plane, 1.0, 800.0, 1.0)
    yield in_ms("outliers of a frame", lambda: flag_outliers(frame, dq, expected, OutlierLimits()))
    yield in_ms("hidden pixels filled", lambda: fill_hidden(frame, dq, 1, told, 1.0))
    sums, under, clear = Accumulator.empty(*shape), Under(dq, plane, plane), 0 * plane
    yield in_ms(
        "sums of a stack, a frame", lambda: sums.add(frame, clear, under, Entry(0.1, 1.0, 800.0), 0.35, (6, 255))
    )


def distorted(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The radial distortion of a wide camera, 60 pixels at the corners of 2048 x 2048."""
    u, v = x - 1021.5, y - 1015.5
    angle2 = (u**2 + v**2) * np.radians(5.396445e-5) ** 2
    factor = 1 + 14584.8 * angle2 + 1755295542.4 * angle2**2
    return 1021.5 + u * factor, 1015.5 + v * factor


def imaging(size: int) -> Iterator[Timing]:
    """Star lists, registration, masks and resampling."""
    area, shape = size**2 / 2048**2, (size, size)
    image, bad = field(size, 0, 0, 1)
    other, other_bad = field(size, 13.37, -8.62, 2)
    first, second = find_stars(image, bad), find_stars(other, other_bad)
    out = {"out": np.empty_like(image), "coverage": np.empty_like(image)}
    turned = PixelMap.from_affine(np.array([[1.0, -0.01], [0.01, 1.0]]), np.zeros(2), shape)
    wide = PixelMap.from_function(distorted, shape)
    yield in_ms("star list, FWHM known", lambda: find_stars(image, bad, fwhm=FWHM), 15 * area)
    yield in_ms("match of two lists", lambda: match_offset(first, second, (10, -5), 30), 0.9)
    yield in_ms("cross-correlation", lambda: cross_correlate(image, other, bad, other_bad, guess=(10, -5)), None, 2)
    yield in_ms("object mask", lambda: object_mask(image, bad, NOISE), None, 3)
    yield in_ms("shift, bilinear", lambda: shift_rows(image, bad, 0.3, 0.4, kernel="bilinear", **out), 8 * area)
    yield in_ms("shift, Lanczos-3", lambda: shift_rows(image, bad, 0.3, 0.4, **out))
    yield in_ms("masked share, shifted", lambda: bad_fraction_shift_rows(bad, 0.3, 0.4))
    yield in_ms("gather, bilinear", lambda: gather_rows(image, bad, turned, kernel="bilinear"), 45 * area, 3)
    yield in_ms("gather, Lanczos-3, turned", lambda: gather_rows(image, bad, turned), 130 * area, 3)
    yield in_ms("gather, Lanczos-3, distorted", lambda: gather_rows(image, bad, wide), 182 * area, 3)


def timings(size: int) -> Iterator[Timing]:
    """All kernels."""
    yield copying(size)
    yield calibrating(size)
    for frames in (9, 14, 30):
        yield from combining(size // 2, frames)
    yield running_sky(size)
    yield from imaging(size)
    yield from after_the_sky(size)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=2048, help="pixels per side; goals are scaled by the area")
    parser.add_argument("--json", type=Path, default=Path("kernels.json"), help="where the figures go")
    options = parser.parse_args(arguments)
    found: list[Timing] = []
    print(f"{f'kernel, {options.size} x {options.size}':36}{'':>8}{'goal':>8}  speed over the goal's")
    with one_blas_thread(), one_heap():  # as in a run
        for timing in timings(options.size):
            found.append(timing)
            goal = "-" if timing.goal is None else f"{timing.goal:.3g}"
            share = "" if timing.share is None else f"{timing.share:6.2f}"
            print(f"{timing.name:36}{timing.value:8.1f}{goal:>8}  {timing.unit:6}{share}", flush=True)
    document = [asdict(timing) | {"share": timing.share} for timing in found]
    options.json.write_text(json.dumps({"kernels": document}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
