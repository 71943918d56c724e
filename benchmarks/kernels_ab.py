"""Speed of the pixel kernels in CPU time, against numpy's plain mean on the same frames.

    python benchmarks/kernels_ab.py [--size 1024] [--frames 9 14 30]

Prints million pixel-frames per CPU second (combine) and milliseconds per frame (calibrate). The best of
several alternating rounds counts: what else the machine does slows single rounds by a factor of two.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from nirred.algorithms.calibrate import CalibrationInputs, LinearityCurve, calibrate
from nirred.algorithms.combine import NoiseModel, Rejection, combine

ROUNDS = 5


def best(cases: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Least CPU seconds of each case over alternating rounds, after one call that compiles."""
    for case in cases.values():
        case()
    seconds = dict.fromkeys(cases, np.inf)
    for _ in range(ROUNDS):
        for name, case in cases.items():
            start = time.process_time()
            case()
            seconds[name] = min(seconds[name], time.process_time() - start)
    return seconds


def combine_table(n: int, size: int) -> None:
    """Print the rates for `n` frames."""
    rng = np.random.default_rng(n)
    shape = (n, size, size)
    data = rng.normal(1000, 30, shape).astype(np.float32)
    data[rng.random(shape) < 2e-4] += 3000
    dq = (rng.random(shape) < 0.01).astype(np.uint16)
    var = np.full(shape, 900, np.float32)
    flat = np.ones(shape[1:], np.float32)
    noise = NoiseModel(100 * flat, flat, np.full(n, 800.0))
    clip, outliers = Rejection("sigclip"), Rejection("noise", 5, 5)
    times = best(
        {
            "numpy mean (no mask)": lambda: data.mean(axis=0),
            "mean": lambda: combine(data, dq),
            "mean, var": lambda: combine(data, dq, var),
            "median": lambda: combine(data, dq, method="median"),
            "sigclip": lambda: combine(data, dq, rejection=clip),
            "sigclip, var": lambda: combine(data, dq, var, rejection=clip),
            "noise": lambda: combine(data, dq, noise=noise, rejection=outliers),
            "minmax 1+1": lambda: combine(data, dq, rejection=Rejection("minmax", nlow=1, nhigh=1)),
        }
    )
    for name, seconds in times.items():
        print(f"combine    N={n:<4d} {name:22s} {data.size / seconds / 1e6:7.0f} Mpixel*frames/CPU s")


def calibrate_table(size: int) -> None:
    """Print milliseconds per frame."""
    rng = np.random.default_rng(0)
    shape = (size, size)
    raw = rng.normal(5000, 100, shape)
    inputs = CalibrationInputs(
        gain=12.3,
        coadds=2,
        exposure_per_coadd=10.0,
        linearity=LinearityCurve(np.array([[1, 6e-7, 1.28e-12]]), (1.266,), 150_000.0),
        saturation=12_000.0,
        non_linear=11_000.0,
        dark=rng.normal(10, 1, shape).astype(np.float32),
        flat_reciprocal=rng.normal(1, 0.05, shape).astype(np.float32),
        static_dq=(rng.random(shape) < 0.01).astype(np.uint16),
    )
    out = np.zeros(shape, np.float32), np.zeros(shape, np.uint16)
    frames = {kind: raw.astype(kind) for kind in ("f4", "u2", ">i2", ">i4")}
    copies: dict[str, Callable[[], object]] = {"copy of a plane": lambda: np.copyto(out[0], frames["f4"])}
    cases: dict[str, Callable[[], object]] = {
        f"raw {kind}": partial(calibrate, frame, inputs, out) for kind, frame in frames.items()
    }
    for name, seconds in best(copies | cases).items():
        print(f"calibrate  {size}^2 {name:22s} {seconds * 1e3:7.2f} CPU ms")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, help="pixels per side of the combined frames")
    parser.add_argument("--frames", type=int, nargs="+", default=[9, 14, 30])
    arguments = parser.parse_args()
    calibrate_table(2048)
    for n in arguments.frames:
        combine_table(n, arguments.size)


if __name__ == "__main__":
    main()
