"""A product and the oracle stack of its night on one grid, with the scene expected from the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from nirred.testing.night import Night
from nirred.testing.oracle import Grid, OracleStack, true_scene
from nirred.testing.photometry import surface


@dataclass(frozen=True)
class Product:
    """What is measured of a product file."""

    sci: np.ndarray
    var: np.ndarray
    nexp: np.ndarray
    noisecov: np.ndarray
    level_error: float
    grid: Grid
    offsets: dict[str, tuple[float, float]]
    weights: dict[str, float]

    @property
    def correlation(self) -> float:
        """Pixel variance over VAR: the centre of NOISECOV."""
        return float(self.noisecov[self.noisecov.shape[0] // 2, self.noisecov.shape[1] // 2])


def read_product(path: Path | str) -> Product:
    """Read SCI (REFX0, REFY0, LEVELERR), VAR, NEXP, NOISECOV and FRAMES (REFFRAME) of a stack.

    Raises
    ------
    KeyError
        An extension or keyword is missing.
    """
    from astropy.io import fits

    with fits.open(path, memmap=False) as hdus:
        header, table = hdus["SCI"].header, hdus["FRAMES"]
        sci = np.asarray(hdus["SCI"].data, np.float64)
        nexp = np.asarray(hdus["NEXP"].data)
        names = [Path(str(name).strip()).name for name in table.data["file"]]
        weights = {name: float(w) for name, w in zip(names, table.data["weight"]) if np.isfinite(w) and w > 0}
        places = zip(names, table.data["xoff"], table.data["yoff"])
        return Product(
            sci=np.where(nexp > 0, sci, np.nan),
            var=np.asarray(hdus["VAR"].data, np.float64),
            nexp=nexp,
            noisecov=np.asarray(hdus["NOISECOV"].data, np.float64),
            level_error=float(header["LEVELERR"]),
            grid=Grid(
                Path(str(table.header["REFFRAME"]).strip()).name,
                (float(header["REFX0"]), float(header["REFY0"])),
                (sci.shape[0], sci.shape[1]),
            ),
            offsets={name: (float(x), float(y)) for name, x, y in places if name in weights},
            weights=weights,
        )


@dataclass(frozen=True)
class Comparison:
    """Product and oracle on one grid, with what the truth says should be there."""

    night: Night
    group: str
    product: Product
    oracle: OracleStack

    @cached_property
    def scale(self) -> float:
        """What the product's flux scale stands for: weighted mean of its frames' true transparencies."""
        weights = self.product.weights
        true = [self.night.frames[name].conditions.transparency for name in weights]
        return float(np.average(true, weights=list(weights.values())))

    @cached_property
    def scene(self) -> np.ndarray:
        """Noise-free stack at transparency 1, electrons."""
        return true_scene(self.night, self.group, self.product.grid, self.product.weights)

    @cached_property
    def compact(self) -> np.ndarray:
        """The scene; without the large components of a target that fills the field."""
        if self.night.groups[self.group].content != "filling":
            return self.scene
        grid, weights = self.product.grid, self.product.weights
        return true_scene(self.night, self.group, grid, weights, extended=False)

    @cached_property
    def fwhm(self) -> float:
        """Pixels."""
        conditions = [self.night.frames[name].conditions.fwhm for name in self.product.weights]
        return float(np.mean(conditions)) / self.night.pixel_scale

    @cached_property
    def room(self) -> float:
        """Electrons of one exposure that a source's brightest pixel may add to the sky and stay linear."""
        detector = self.night.detectors[0]
        first = self.night.frames[next(iter(self.product.weights))]
        return detector.non_linear * detector.gain * first.coadds * 0.9 - first.conditions.sky

    @cached_property
    def covered(self) -> np.ndarray:
        """Pixels covered by half of the frames at which the product has a value, even if it used fewer of them."""
        product, oracle = self.product, self.oracle
        deep = (product.nexp > 0) & (oracle.n > 0.5 * oracle.n.max())
        finite = np.isfinite(product.sci) & np.isfinite(product.var) & np.isfinite(oracle.sci)
        return np.asarray(deep & finite)

    @cached_property
    def blank(self) -> np.ndarray:
        """Covered pixels with less light from sources than half their noise."""
        sigma = math.sqrt(float(np.median(self.oracle.var[self.covered])))
        return self.covered & (self.compact * self.oracle.scale < 0.5 * sigma)

    def residual(self, sci: np.ndarray, scale: float) -> np.ndarray:
        """A stack minus the truth, in electrons at the stack's own scale; NaN where not covered."""
        return np.where(self.covered, sci - scale * self.scene, np.nan)

    @cached_property
    def flat_residuals(self) -> tuple[np.ndarray, np.ndarray]:
        """Residuals of product and oracle, a low-order surface taken out.

        Noise and fluxes are measured on these: zero level and gradients have rows of their own.
        """
        pair = self.residual(self.product.sci, self.scale), self.residual(self.oracle.sci, self.oracle.scale)
        first, second = (image - surface(image, self.blank) for image in pair)
        return first, second
