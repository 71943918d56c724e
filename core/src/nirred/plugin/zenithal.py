"""A zenithal polynomial (ZPN) WCS, used by cameras with a radial distortion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .tangent import TangentNumbers, TangentWcs

if TYPE_CHECKING:
    import numpy as np
    from astropy.wcs import WCS

Term = tuple[int, int, float]
#: Largest number of Newton steps to the polynomial's root; starting above it, three or four are enough if convex.
STEPS = 50


class ZenithalWcs(TangentWcs):
    """The part of `astropy.wcs.WCS` that nirred uses, for two ZPN axes (Calabretta & Greisen 2002, 5.1.7).

    With zeta the distance from the reference point in radian, the radius in the projection plane is the sum of
    P_m zeta^m radian. Like `TangentWcs` it avoids importing astropy.wcs; positions agree with wcslib's to 1e-13 radian,
    the tolerance of its iteration.

    Parameters
    ----------
    crpix, crval, cd, frame
        As in `TangentWcs`.
    terms : sequence of (2, m, P_m)
        Terms that satisfy `is_convex`.
    """

    __slots__ = ()
    plain = False

    def __init__(self, crpix: Any, crval: Any, cd: Any, frame: str = "", terms: Sequence[Term] = ()) -> None:
        self.wcs: ZenithalNumbers = ZenithalNumbers(crpix, crval, cd, frame or "ICRS", terms)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the exact numbers."""
        return ZenithalWcs, (*self.wcs.given(), self.wcs.pv)

    def astropy(self) -> WCS:
        """The equivalent `astropy.wcs.WCS`."""
        from .coordinates import make_wcs

        crpix, crval, cd, frame = self.wcs.given()
        return make_wcs(crpix, crval, cd, projection="ZPN", pv=self.wcs.pv, frame=frame)

    def deepcopy(self) -> ZenithalWcs:
        """A copy that can be changed."""
        return ZenithalWcs(*self.wcs.given(), self.wcs.pv)

    def _to_sky(self, x: np.ndarray, y: np.ndarray, origin: int) -> tuple[np.ndarray, np.ndarray]:
        import numpy as np

        from ..algorithms.gnomonic import triad

        n, shift = self.wcs, 1.0 - origin
        east, north = np.radians(np.tensordot(n.cd, np.stack([x + shift - n.crpix[0], y + shift - n.crpix[1]]), 1))
        radius = np.hypot(east, north)
        zeta = self._distance(radius)
        share = np.where(radius > 0, np.sin(zeta) / np.where(radius > 0, radius, 1.0), 1.0)
        axes = np.stack(triad(float(n.crval[0]), float(n.crval[1])), 1)
        direction = np.tensordot(axes, np.stack([share * east, share * north, np.cos(zeta)]), 1)
        ra = np.degrees(np.arctan2(direction[1], direction[0])) % 360.0
        return ra, np.degrees(np.arctan2(direction[2], np.hypot(direction[0], direction[1])))

    def _to_pixels(self, ra: np.ndarray, dec: np.ndarray, origin: int) -> tuple[np.ndarray, np.ndarray]:
        import numpy as np

        from ..algorithms.gnomonic import direction_of, triad

        n, shift = self.wcs, 1.0 - origin
        axes = np.stack(triad(float(n.crval[0]), float(n.crval[1])))
        east, north, outward = np.tensordot(axes, direction_of(ra, dec), 1)
        sine = np.hypot(east, north)
        radius = np.polynomial.polynomial.polyval(np.arctan2(sine, outward), self._powers())
        share = np.degrees(np.where(sine > 0, radius / np.where(sine > 0, sine, 1.0), 1.0))
        x, y = np.tensordot(np.linalg.inv(n.cd), np.stack([share * east, share * north]), 1)
        return x + n.crpix[0] - shift, y + n.crpix[1] - shift

    def _powers(self) -> np.ndarray:
        """P_0, P_1, ..."""
        import numpy as np

        powers = np.zeros(max(m for _, m, _ in self.wcs.pv) + 1)
        for _, m, value in self.wcs.pv:
            powers[m] = value
        return powers

    def _distance(self, radius: np.ndarray) -> np.ndarray:
        """Zeta for given radii, both in radian; NaN beyond the far side of the sky."""
        import numpy as np

        powers = self._powers()
        slopes = np.polynomial.polynomial.polyder(powers)
        zeta = radius / powers[1]
        for _ in range(STEPS):
            excess = np.polynomial.polynomial.polyval(zeta, powers) - radius
            step = excess / np.polynomial.polynomial.polyval(zeta, slopes)
            zeta = zeta - step
            if not np.any(np.abs(step) > 1e-16 + 1e-15 * zeta):
                break
        return np.asarray(np.where(zeta <= np.pi, zeta, np.nan))


class ZenithalNumbers(TangentNumbers):
    """The numbers of a `ZenithalWcs`."""

    __slots__ = ("pv",)
    pv: tuple[Term, ...]
    ctype = ("RA---ZPN", "DEC--ZPN")

    def __init__(self, crpix: Any, crval: Any, cd: Any, radesys: str, terms: Sequence[Term]) -> None:
        super().__init__(crpix, crval, cd, radesys)
        object.__setattr__(self, "pv", tuple((axis, m, float(value)) for axis, m, value in terms))

    def get_pv(self) -> list[Term]:
        """Terms of the projection."""
        return list(self.pv)


def is_convex(terms: Sequence[Term]) -> bool:
    """Whether the radius is a convex function of the distance, so that each radius has a single distance.

    Other polynomials are left to wcslib, which limits their range of validity.
    """
    values = {m: value for _, m, value in terms}
    return values.get(0, 0.0) == 0.0 and values.get(1, 0.0) > 0.0 and all(value >= 0.0 for value in values.values())
