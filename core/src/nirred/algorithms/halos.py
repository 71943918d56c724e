"""Light of extended objects below the detection limit: extrapolated profiles, averaged by their likelihood."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nirred.algorithms.profile import INDICES, RINGS, SIZES, extended_objects, sersic_grid

Float64 = NDArray[np.float64]

LARGE, MOST_LARGE = 0.002, 8  # objects with considered outer light: least share of the image, most
FAR = np.geomspace(0.25, 64.0, 81)  # edges of the rings that contain blank pixels, isophotal radii
#: Halo light that parabolas fitted through its pixels may leave or remove: rms amplitude over half of the field, in
#: noise of a block; 0.1 to 0.25 on nights with galaxies that fill a third of it.
BEND = 0.15
#: For a masked object: relative error of its annuli; fewest annuli that determine its profile; the profile's parameters
#: (index, size, brightness, level); mean square of the residuals above which it is rejected, an error of 6 percent.
SMOOTH, TOLD, PARAMETERS, POOR = 0.02, 8, 4, 9.0
MASKED = 0.9  # share of a ring above which its sky is that of its surroundings
#: Radius, in mask radii, at which an object is as bright as the light lost inside its mask (indices 1 to 4, dithers by
#: 0.3 to 0.8 of the mask), and the error of the sky there, noise of a block.
BESIDE, SUNK = 2.0, 0.3
LOST = 2.0  # of the depth of a hollow: three objects of 0.06 to 0.15 of the field lost 0.7 to 2.3 of it


@dataclass(frozen=True)
class Halo:
    """An extended object's light beyond its isophote.

    Attributes
    ----------
    ellipse : tuple of float
        Centre x and y, semi-major axis of the isophote, axis ratio, angle (radian, from x towards y).
    brightness : float64, shape (80,)
        In the rings of `FAR`, units of the image.
    """

    ellipse: tuple[float, ...]
    brightness: Float64

    def on_pixels(self, side: float, x0: float = 0.0, y0: float = 0.0) -> Halo:
        """The halo in pixels from (x0, y0), if it was found in blocks of `side` pixels."""
        x, y, major, ratio, angle = self.ellipse
        middle = 0.5 * (side - 1.0)
        return Halo((side * x + middle + x0, side * y + middle + y0, side * major, ratio, angle), self.brightness)

    def at(self, x: ArrayLike, y: ArrayLike) -> Float64:
        """Brightness at positions."""
        return np.asarray(np.interp(_radii(self.ellipse, x, y), np.sqrt(FAR[1:] * FAR[:-1]), self.brightness))


def find_halos(surface: NDArray[np.float32], found: NDArray[np.uint8]) -> list[Halo]:
    """Halos of the extended objects of an image; parameters as of `light_between`."""
    return [Halo(tuple(ellipse.tolist()), fit.mean()) for ellipse, _, fit in _fits(surface, found)]


def sunken_halos(surface: NDArray[np.float32], found: NDArray[np.uint8], masked: NDArray[np.bool_]) -> list[Halo]:
    """Halos of extended objects in frames that serve each other as sky, where the sky contains them beyond their masks.

    Inside its mask an object appears with its light minus that around the mask, which was subtracted with the sky.
    Outside, the subtraction leaves next to nothing of it: the halo is extrapolated from the shape inside the mask, and
    only if a profile fits that shape.

    Parameters
    ----------
    surface, found : ndarray, shape (h, w)
        As of `light_between`.
    masked : ndarray of bool, shape (h, w)
        Blocks that were excluded from the subtracted sky.

    Returns
    -------
    list of Halo
        Of objects that are large enough to be measured.
    """
    halos = []
    for ellipse, profile, noise in extended_objects(surface, found, LARGE * found.size, MOST_LARGE, error=SMOOTH):
        reach, (radius, means, errors) = _masked_to(masked, ellipse), profile
        falling = means <= np.minimum.accumulate(means) + 3.0 * errors  # a rise is due to a star on it
        told = falling & (radius < reach)
        if np.count_nonzero(told) < TOLD:
            continue
        bend = _bend(noise, ellipse, found.shape)
        fit = _Likely.of((radius[told], means[told], errors[told]), bend, (BESIDE * reach, SUNK * noise))
        if fit.misfit <= POOR:
            halos.append(Halo(tuple(ellipse.tolist()), fit.mean()))
    return halos


def light_between(
    surface: NDArray[np.float32], found: NDArray[np.uint8], blank: NDArray[np.float32], *, sunk: bool = False
) -> tuple[float, float]:
    """Mean light of extended objects on pixels taken as blank, from their profiles above an unknown sky level.

    Parameters
    ----------
    surface : ndarray of float32, shape (h, w)
        Means of the good pixels in blocks; NaN where there are none.
    found : ndarray of uint8, shape (h, w)
        Detected blocks.
    blank : ndarray of float32, shape (h, w)
        Number of blank pixels in each block.
    sunk : bool
        The subtracted sky may have contained some of the objects' light: the loss is at least the depth of the hollow
        around them plus the light expected in it. The error includes `LOST` times the depth.

    Returns
    -------
    light, error : float
        In units of the surface.
    """
    light, variance = 0.0, 0.0
    if blank.any():
        for ellipse, means, fit in _fits(surface, found):
            own, error = fit.over(_lying(blank, ellipse))
            light, variance = light + own, variance + error**2
            if sunk:
                variance += (LOST * min(float(means.min()), 0.0)) ** 2
    return light, float(np.sqrt(variance))


def _fits(surface: NDArray[np.float32], found: NDArray[np.uint8]) -> Iterator[tuple[Float64, Float64, _Likely]]:
    """Isophotal ellipse, means of annuli and likely profiles of each object that is large enough."""
    for ellipse, profile, noise in extended_objects(surface, found, LARGE * found.size, MOST_LARGE):
        yield ellipse, profile[1], _Likely.of(profile, _bend(noise, ellipse, found.shape))


def _bend(noise: float, ellipse: Float64, shape: tuple[int, ...]) -> float:
    """Light that a parabola may leave at the isophote."""
    return float(BEND * noise * (2.0 * ellipse[2] / min(shape)) ** 2)


def _masked_to(masked: NDArray[np.bool_], ellipse: Float64) -> float:
    """Radius along an ellipse, in its semi-major axes, within which nearly all of an image is masked."""
    y, x = np.indices(masked.shape)
    ring = np.searchsorted(RINGS, _radii(ellipse, x, y).ravel())
    pixels, hidden = np.bincount(ring), np.bincount(ring, masked.ravel())
    bare = np.flatnonzero(hidden < MASKED * pixels)
    return float(RINGS[bare[0] - 1]) if bare.size and bare[0] > 0 else 0.0 if bare.size else np.inf


def _radii(ellipse: ArrayLike, x: ArrayLike, y: ArrayLike) -> Float64:
    """Distance of positions from the centre of an ellipse, along it, in its semi-major axes."""
    x0, y0, major, ratio, angle = np.asarray(ellipse)
    u, v, c, s = np.asarray(x) - x0, np.asarray(y) - y0, np.cos(angle), np.sin(angle)
    return np.asarray(np.hypot(u * c + v * s, (v * c - u * s) / ratio) / major)


def _lying(blank: NDArray[np.float32], ellipse: Float64) -> Float64:
    """Share of the blank pixels in rings between the radii of `FAR` along an ellipse."""
    y, x = np.nonzero(blank)
    ring = np.searchsorted(FAR, _radii(ellipse, x, y)).clip(1, FAR.size - 1) - 1
    return np.asarray(np.bincount(ring, blank[y, x], FAR.size - 1) / blank.sum())


@dataclass(frozen=True)
class _Likely:
    """Sersic profiles of all indices and sizes: how likely each is, and its light in the rings of `FAR`.

    Attributes
    ----------
    likelihood, scale, error : float64, shape (indices, sizes)
        Likelihood of each profile, its brightness at the effective radius, and the 1-sigma error of that.
    far : float64, shape (indices, sizes, rings)
        Profiles of brightness 1 there.
    misfit : float
        Mean square of the best profile's residuals at the annuli, in their errors.
    """

    likelihood: Float64
    scale: Float64
    error: Float64
    far: Float64
    misfit: float

    @classmethod
    def of(
        cls, profile: tuple[Float64, Float64, Float64], bend: float, sunk: tuple[float, float] | None = None
    ) -> _Likely:
        """Fit each profile to the means of annuli, with a free level, and a bend of the sky with prior error `bend`.

        The fall-off of the profile determines how much of its light was taken for sky. A parabola fitted through pixels
        with halo light contains some of it; on the annuli it is a level plus a term in the square of the radius. If the
        sky is too low by the profile's value at some radius, `sunk` is that radius and the error of the level; the
        errors of the annuli are then at least the best profile's residuals.
        """
        radius, means, errors = profile
        steepness, _ = sersic_grid()
        exponent = 1.0 / INDICES[:, None, None]
        model = np.exp(-steepness * (radius / SIZES[:, None]) ** exponent)
        # the priors of level and bend are one more measurement each, of 0
        before = [[0.0, 1.0 / bend]]
        if sunk is not None:
            model = model - np.exp(-steepness * (sunk[0] / SIZES[:, None]) ** exponent)
            before.append([1.0 / sunk[1], 0.0])
        outwards = np.maximum(np.sqrt(FAR[1:] * FAR[:-1]), radius.min())  # inwards small ones rise beyond all measure
        far = np.exp(-steepness * (outwards / SIZES[:, None]) ** exponent)
        sky, _ = np.linalg.qr(np.concatenate([np.stack([1.0 / errors, radius**2 / errors], axis=1), before]))
        model = np.pad(model / errors, ((0, 0), (0, 0), (0, len(before))))
        values = np.append(means / errors, np.zeros(len(before)))
        apart = model - np.einsum("isr,rk,qk->isq", model, sky, sky)
        deviations = values - sky @ (sky.T @ values)
        squares = np.maximum(np.sum(apart**2, axis=-1), 1e-300)
        scale = np.maximum(np.sum(apart * deviations, axis=-1) / squares, 0.0)
        misfit = np.sum((deviations - scale[..., None] * apart) ** 2, axis=-1)
        square = float(misfit.min()) / max(radius.size - PARAMETERS, 1)
        likelihood = np.exp(-0.5 * (misfit - misfit.min()) / (max(square, 1.0) if sunk is not None else 1.0))
        return cls(likelihood / likelihood.sum(), scale, 1.0 / np.sqrt(squares), far, square)

    def mean(self) -> Float64:
        """Mean brightness in the rings."""
        return np.asarray(np.einsum("is,isf->f", self.likelihood * self.scale, self.far))

    def over(self, rings: Float64) -> tuple[float, float]:
        """Mean over shares of the rings, and its error."""
        far = self.far @ rings
        light = float(np.sum(self.likelihood * self.scale * far))
        square = float(np.sum(self.likelihood * far**2 * (self.scale**2 + self.error**2)))
        return light, float(np.sqrt(max(square - light * light, 0.0)))
