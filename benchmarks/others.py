"""Compare CPU time and results with ccdproc, photutils and reproject for the same tasks on the same arrays; write JSON.

Needs benchmarks/requirements.txt in addition to nirred's dependencies; missing packages are skipped and named.
Differences are between the two results, in units of the pixel noise; they are not expected to be zero, because packages
differ in details (ccdproc clips by the deviation from the mean, photutils' boxes use a median, not a mode).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from nirred.algorithms.combine import Rejection, combine
from nirred.algorithms.mesh import mesh_background
from nirred.algorithms.objmask import object_mask
from nirred.algorithms.pixelmap import PixelMap
from nirred.algorithms.resample_gather import gather_rows
from nirred.plugin import make_wcs

NOISE, FWHM = 30.0, 4.0


@dataclass(frozen=True)
class Comparison:
    """One task done by both: CPU seconds, and the rms difference of the results in units of the pixel noise.

    `difference` is None where the results are not meant to be the same.
    """

    task: str
    package: str
    theirs: float
    ours: float
    difference: float | None

    @property
    def ratio(self) -> float:
        """CPU time of the other package relative to ours."""
        return self.theirs / self.ours


def timed(task: Callable[[], np.ndarray], turns: int = 2) -> tuple[float, np.ndarray]:
    """Shortest CPU time of several runs, seconds, after one to load our kernels, and the result."""
    spent = []
    for _ in range(turns):
        start = time.process_time()
        made = task()
        spent.append(time.process_time() - start)
    return min(spent), made


def compare(task: str, package: str, theirs: Callable[[], np.ndarray], ours: Callable[[], np.ndarray]) -> Comparison:
    """Time both and compare where both have a value."""
    ours()
    slow, one = timed(theirs)
    fast, two = timed(ours, 5)
    apart = np.asarray(one, np.float64) - np.asarray(two, np.float64)
    rms = float(np.sqrt(np.nanmean(apart[np.isfinite(apart)] ** 2)))
    return Comparison(task, package, slow, fast, rms / NOISE)


def sky_with_stars(size: int) -> np.ndarray:
    """Noise, a gradient and 300 stars, float32."""
    random = np.random.default_rng(5)
    image = random.normal(0, NOISE, (size, size)) + np.linspace(0, 2 * NOISE, size)
    rows, columns = np.mgrid[-10:11, -10:11]
    star = np.exp(-(rows**2 + columns**2) / (2 * (FWHM / 2.3548) ** 2))
    for x, y, peak in zip(*random.integers(12, size - 12, (2, 300)), random.pareto(1.0, 300) * NOISE, strict=True):
        image[y - 10 : y + 11, x - 10 : x + 11] += min(peak, 1e4) * star
    return image.astype(np.float32)


def with_ccdproc(size: int, frames: int = 14) -> Iterator[Comparison]:
    """Clipped mean and median of masked frames."""
    from astropy.nddata import CCDData
    from ccdproc import Combiner

    random = np.random.default_rng(1)
    data = random.normal(1000, NOISE, (frames, size, size)).astype(np.float32)
    data[random.random(data.shape) < 2e-4] += 3000
    bad = random.random(data.shape) < 0.01
    dq = 16 * bad.astype(np.uint16)

    def combiner() -> Combiner:
        return Combiner([CCDData(d, unit="electron", mask=m) for d, m in zip(data, bad, strict=True)])

    def clipped() -> np.ndarray:
        stack = combiner()
        stack.sigma_clipping(low_thresh=3, high_thresh=3, func=np.ma.median)
        return np.asarray(stack.average_combine().data)

    clip = Rejection("sigclip", 3, 3, max_iters=1)
    yield compare(f"clipped mean of {frames}", "ccdproc", clipped, lambda: combine(data, dq, rejection=clip).sci)
    yield compare(
        f"median of {frames}",
        "ccdproc",
        lambda: np.asarray(combiner().median_combine().data),
        lambda: combine(data, dq, method="median").sci,
    )


def with_photutils(size: int) -> Iterator[Comparison]:
    """Background on a mesh, and a mask of objects."""
    from photutils.background import Background2D, SExtractorBackground
    from photutils.segmentation import detect_sources, make_2dgaussian_kernel
    from scipy.signal import fftconvolve

    image = sky_with_stars(size)
    flat = image - mesh_background(image, None).evaluate()

    def segments() -> np.ndarray:
        smooth = fftconvolve(flat, np.asarray(make_2dgaussian_kernel(FWHM, size=11)), mode="same")
        return detect_sources(smooth, 3 * float(np.std(smooth[np.abs(smooth) < NOISE])), npixels=6).data != 0

    yield compare(
        "background on 64 px boxes",
        "photutils",
        lambda: Background2D(image, 64, filter_size=3, bkg_estimator=SExtractorBackground()).background,
        lambda: mesh_background(image, None).evaluate(),
    )
    found = compare("object mask", "photutils", segments, lambda: object_mask(flat, None, NOISE))
    yield Comparison(found.task, found.package, found.theirs, found.ours, None)  # ours is grown, theirs not


def with_reproject(size: int) -> Iterator[Comparison]:
    """Bilinear resampling by a turned and shifted tangent plane."""
    from reproject import reproject_interp

    image = sky_with_stars(size)
    middle, scale, angle = (size + 1) / 2, 5e-5, np.radians(0.3)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    source = make_wcs((middle, middle), (150.0, 2.0), ((-scale, 0.0), (0.0, scale)))
    target = make_wcs((middle + 3.3, middle - 2.7), (150.0, 2.0), ((-cos, sin), (sin, cos)))

    def through(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return source.all_world2pix(*target.all_pix2world(x, y, 0), 0)

    def ours() -> np.ndarray:
        mapped = PixelMap.from_function(through, image.shape)
        return gather_rows(image, None, mapped, kernel="bilinear")[0]

    yield compare(
        "bilinear, turned",
        "reproject",
        lambda: reproject_interp((image, source), target, shape_out=image.shape, roundtrip_coords=False)[0],
        ours,
    )


def comparisons(size: int) -> Iterator[Comparison]:
    """Comparisons with all installed packages."""
    for package, function in (("ccdproc", with_ccdproc), ("photutils", with_photutils), ("reproject", with_reproject)):
        if importlib.util.find_spec(package) is None:
            print(f"{package} is not installed: pip install -r benchmarks/requirements.txt")
            continue
        yield from function(size)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, help="pixels per side")
    parser.add_argument("--json", type=Path, default=Path("others.json"), help="where the figures go")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    found: list[Comparison] = []
    print(f"{f'{options.size} x {options.size}':28}{'package':12}{'theirs s':>10}{'ours s':>9}{'ratio':>7}  rms/noise")
    for item in comparisons(options.size):
        found.append(item)
        numbers = f"{item.theirs:10.3f}{item.ours:9.3f}{item.ratio:7.0f}"
        difference = "-" if item.difference is None else f"{item.difference:.4f}"
        print(f"{item.task:28}{item.package:12}{numbers}  {difference}", flush=True)
    rows = [asdict(item) | {"ratio": item.ratio} for item in found]
    options.json.write_text(json.dumps({"comparisons": rows}, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
