"""Speed and accuracy of star lists, registration and resampling (CPU time of one thread).

Run as ``python benchmarks/kernels_c.py``; prints a table, or writes JSON with ``--json FILE``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nirred.algorithms.correlate import cross_correlate
from nirred.algorithms.pixelmap import PixelMap
from nirred.algorithms.register import match_offset
from nirred.algorithms.resample_gather import gather_rows
from nirred.algorithms.resample_shift import bad_fraction_shift_rows, shift_rows
from nirred.algorithms.stars import find_stars, measure_at

SIZE, FWHM, NOISE = 2048, 4.0, 100.0


def cpu_ms(task: Callable[[], object], turns: int = 5) -> float:
    """Least CPU time of some turns after one for compilation (ms)."""
    task()
    times = []
    for _ in range(turns):
        start = time.process_time()
        task()
        times.append(time.process_time() - start)
    return 1e3 * min(times)


def emir(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    u, v = x - 1021.5, y - 1015.5
    theta2 = (u**2 + v**2) * np.radians(5.396445e-5) ** 2
    factor = 1 + 14584.8 * theta2 + 1755295542.4 * theta2**2
    return 1021.5 + u * factor, 1015.5 + v * factor


def field(dx: float, dy: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """500 stars of S/N 10 to 200 in sky noise, 1 % bad pixels."""
    rng = np.random.default_rng(7)
    x, y = rng.uniform(30, SIZE - 30, (2, 500)) + np.array([[dx], [dy]])
    sigma = FWHM / 2.3548
    peak = np.exp(rng.uniform(np.log(10), np.log(200), 500)) * NOISE / (sigma * np.sqrt(np.pi))
    noise = np.random.default_rng(seed)
    image = noise.normal(0, NOISE, (SIZE, SIZE)).astype(np.float32)
    for xs, ys, p in zip(x, y, peak):
        j, i = int(ys), int(xs)
        window = (slice(max(j - 10, 0), j + 12), slice(max(i - 10, 0), i + 12))
        rows, columns = np.mgrid[window]
        shape = image[window].shape
        rows, columns = rows[: shape[0], : shape[1]], columns[: shape[0], : shape[1]]
        image[window] += p * np.exp(-((columns - xs) ** 2 + (rows - ys) ** 2) / (2 * sigma**2))
    bad = noise.random(image.shape) < 0.01
    image[bad] = 1e5
    return image, bad.astype(np.uint8), x, y


def main() -> None:
    image, bad, _, _ = field(0, 0, 1)
    other, other_bad, _, _ = field(13.37, -8.62, 2)
    first, second = find_stars(image, bad), find_stars(other, other_bad)
    found = match_offset(first, second, (10, -5), 30)
    assert found is not None
    out, coverage = np.empty_like(image), np.empty_like(image)
    buffers = {"out": out, "coverage": coverage}
    distorted = PixelMap.from_function(emir, (SIZE, SIZE))
    turned = PixelMap.from_affine(np.array([[1.0, -0.01], [0.01, 1.0]]), np.zeros(2), (SIZE, SIZE))
    table = {
        "star list (goal 15)": cpu_ms(lambda: find_stars(image, bad)),
        "star list, FWHM known": cpu_ms(lambda: find_stars(image, bad, fwhm=FWHM)),
        "forced, 300 stars": cpu_ms(lambda: measure_at(image, bad, first.x[:300], first.y[:300], FWHM, noise=NOISE)),
        "match (goal 1)": cpu_ms(lambda: match_offset(first, second, (10, -5), 30)),
        "correlation": cpu_ms(lambda: cross_correlate(image, other, bad, other_bad, guess=(10, -5)), 2),
        "shift bilinear (goal 8)": cpu_ms(lambda: shift_rows(image, bad, 0.3, 0.4, kernel="bilinear", **buffers)),
        "shift Lanczos-3": cpu_ms(lambda: shift_rows(image, bad, 0.3, 0.4, **buffers)),
        "shift Lanczos-3, no mask": cpu_ms(lambda: shift_rows(other, None, 0.3, 0.4, **buffers)),
        "bad fraction": cpu_ms(lambda: bad_fraction_shift_rows(bad, 0.3, 0.4)),
        "pixel map ZPN": cpu_ms(lambda: PixelMap.from_function(emir, (SIZE, SIZE)), 2),
        "gather bilinear (goal 45)": cpu_ms(lambda: gather_rows(image, bad, turned, kernel="bilinear"), 3),
        "gather Lanczos-3 affine (goal 130)": cpu_ms(lambda: gather_rows(image, bad, turned), 3),
        "gather Lanczos-3 ZPN": cpu_ms(lambda: gather_rows(image, bad, distorted), 3),
        "gather Lanczos-3 ZPN, no mask": cpu_ms(lambda: gather_rows(image, None, distorted), 3),
    }
    error = float(np.hypot(found.dx - 13.37, found.dy + 8.62))
    if len(sys.argv) == 3 and sys.argv[1] == "--json":
        Path(sys.argv[2]).write_text(json.dumps({"cpu_ms": table, "offset_error_px": error}, indent=1))
        return
    for name, value in table.items():
        print(f"{name:38s} {value:8.1f} ms")
    print(f"offset error {error:.4f} px of {found.n_matched} stars, quoted {found.dx_err:.4f}")


if __name__ == "__main__":
    main()
