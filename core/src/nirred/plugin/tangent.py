"""A gnomonic WCS without distortion, with the attribute names of astropy's WCS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from astropy.wcs import WCS

    from ..algorithms.gnomonic import Tangent

#: Default equinox of frames named without one.
EQUINOX = {"FK4": 1950.0, "FK5": 2000.0}


class TangentWcs:
    """The part of `astropy.wcs.WCS` that nirred uses, for two TAN axes without distortion.

    This suffices for most raw frames and avoids importing astropy.wcs, which loads coordinates, units and tables (0.3 s
    of every run). Positions agree with wcslib's to rounding. Other attributes are taken from the equivalent astropy
    WCS. The projection cannot be changed: setting anything but the numbers raises AttributeError; use `make_wcs` for
    other projections.

    Parameters
    ----------
    crpix : (float, float)
        Reference pixel, one-based.
    crval : (float, float)
        Right ascension (0 to 360) and declination (-90 to below 90) there, degrees.
    cd : 2 x 2
        Degrees per pixel, not singular.
    frame : str
        RADESYS; empty: ICRS.
    """

    __slots__ = ("wcs",)
    #: A gnomonic projection without distortion.
    plain = True
    naxis = 2
    sip = cpdis1 = cpdis2 = det2im1 = det2im2 = None

    def __init__(self, crpix: Any, crval: Any, cd: Any, frame: str = "") -> None:
        self.wcs: TangentNumbers = TangentNumbers(crpix, crval, cd, frame or "ICRS")

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the exact numbers."""
        return TangentWcs, self.wcs.given()

    def __getattr__(self, name: str) -> Any:
        """Look the attribute up in astropy's WCS."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.astropy(), name)

    def astropy(self) -> WCS:
        """The equivalent `astropy.wcs.WCS`."""
        from .coordinates import make_wcs

        crpix, crval, cd, frame = self.wcs.given()
        return make_wcs(crpix, crval, cd, frame=frame)

    def deepcopy(self) -> TangentWcs:
        """A copy that can be changed."""
        return TangentWcs(*self.wcs.given())

    @property
    def pixel_scale_matrix(self) -> np.ndarray:
        """(2, 2), degrees per pixel."""
        return self.wcs.cd

    def wcs_pix2world(self, *args: Any) -> Any:
        """Right ascension and declination (degrees) of pixels: (n x 2, origin) or (x, y, origin), as in astropy."""
        return _answer(self._to_sky, args)

    def wcs_world2pix(self, *args: Any) -> Any:
        """Pixels of sky positions; NaN for those 90 degrees or more away."""
        return _answer(self._to_pixels, args)

    def all_pix2world(self, *args: Any) -> Any:
        """As `wcs_pix2world`: there is no distortion."""
        return self.wcs_pix2world(*args)

    def all_world2pix(self, *args: Any, **_iteration: Any) -> Any:
        """As `wcs_world2pix`: no iteration is needed."""
        return self.wcs_world2pix(*args)

    def _to_sky(self, x: np.ndarray, y: np.ndarray, origin: int) -> tuple[np.ndarray, np.ndarray]:
        import numpy as np

        direction = np.tensordot(self._tangent(origin).matrix, np.stack([x, y, np.ones_like(x)]), 1)
        ra = np.degrees(np.arctan2(direction[1], direction[0])) % 360.0
        return ra, np.degrees(np.arctan2(direction[2], np.hypot(direction[0], direction[1])))

    def _to_pixels(self, ra: np.ndarray, dec: np.ndarray, origin: int) -> tuple[np.ndarray, np.ndarray]:
        import numpy as np

        from ..algorithms.gnomonic import direction_of

        tangent = self._tangent(origin)
        x, y, depth = np.tensordot(np.linalg.inv(tangent.matrix), direction_of(ra, dec), 1)
        depth = np.where(depth > 0, depth, np.nan)
        return x / depth, y / depth

    def _tangent(self, origin: int) -> Tangent:
        from ..algorithms.gnomonic import Tangent

        n, shift = self.wcs, 1.0 - origin
        x, y = (float(v) - shift for v in n.crpix)
        return Tangent(x, y, float(n.crval[0]), float(n.crval[1]), n.cd)


class TangentNumbers:
    """The numbers of a `TangentWcs`, as in astropy's `wcs.wcs`."""

    __slots__ = ("cd", "crpix", "crval", "radesys")
    crpix: np.ndarray
    crval: np.ndarray
    cd: np.ndarray
    radesys: str
    ctype = ("RA---TAN", "DEC--TAN")
    cunit = ("deg", "deg")
    lonpole = 180.0

    def __init__(self, crpix: Any, crval: Any, cd: Any, radesys: str) -> None:
        self.crpix, self.crval, self.cd, self.radesys = crpix, crval, cd, radesys

    def __setattr__(self, name: str, value: Any) -> None:
        """Store numbers as separate arrays."""
        import numpy as np

        if name not in TangentNumbers.__slots__:
            raise AttributeError(f"{name} of a WCS of this projection is fixed; make_wcs takes others")
        object.__setattr__(self, name, str(value) if name == "radesys" else np.array(value, np.float64))

    def given(self) -> tuple[list[float], list[float], list[list[float]], str]:
        """The arguments of the constructor."""
        return self.crpix.tolist(), self.crval.tolist(), self.cd.tolist(), self.radesys

    @property
    def latpole(self) -> float:
        """Native latitude of the celestial pole, degrees."""
        return float(self.crval[1])

    @property
    def equinox(self) -> float:
        """Equinox of the coordinates, years; NaN for ICRS."""
        return EQUINOX.get(self.radesys, float("nan"))

    def has_cd(self) -> bool:
        """Whether there is a CD matrix: always."""
        return True

    def get_pc(self) -> np.ndarray:
        """The matrix."""
        return self.cd

    def get_cdelt(self) -> np.ndarray:
        """Scale factors in addition to the matrix: 1."""
        import numpy as np

        return np.ones(2)

    def get_pv(self) -> list[tuple[int, int, float]]:
        """Terms of the projection: none."""
        return []

    def set(self) -> None:
        """Do nothing: no derived values are stored."""

    def cards(self) -> dict[str, tuple[Any, str]]:
        """{keyword: (value, comment)} except for the matrix."""
        cards: dict[str, tuple[Any, str]] = {}
        for i in (0, 1):
            cards[f"CRPIX{i + 1}"] = (float(self.crpix[i]), "Pixel coordinate of reference point")
        for i in (0, 1):
            cards[f"CUNIT{i + 1}"] = ("deg", "Units of coordinate increment and value")
        for i, axis in enumerate(("Right ascension", "Declination")):
            cards[f"CTYPE{i + 1}"] = (self.ctype[i], f"{axis}, gnomonic projection")
        for i in (0, 1):
            cards[f"CRVAL{i + 1}"] = (float(self.crval[i]), "[deg] Coordinate value at reference point")
        cards["LONPOLE"] = (self.lonpole, "[deg] Native longitude of celestial pole")
        cards["LATPOLE"] = (self.latpole, "[deg] Native latitude of celestial pole")
        cards["RADESYS"] = (self.radesys, "Equatorial coordinate system")
        if self.radesys in EQUINOX:
            cards["EQUINOX"] = (self.equinox, "[yr] Equinox of equatorial coordinates")
        return cards


def _answer(ask: Callable[..., Sequence[np.ndarray]], args: tuple[Any, ...]) -> Any:
    """Return two columns for two coordinates, or n x 2 for an array of points, like the arguments."""
    import numpy as np

    *values, origin = args
    if len(values) == 1:
        points = np.asarray(values[0], np.float64)
        return np.stack(ask(points[:, 0], points[:, 1], origin), 1)
    a, b = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in values))
    return list(ask(a, b, origin))
