"""The data model: one exposure is a `Frame` of one or more `Plane`s (detectors)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .dq import NOT_SIGNAL
from .plugin.coordinates import AnyWcs, as_astropy
from .plugin.frames import Descriptors, Detector

if TYPE_CHECKING:
    from astropy.nddata import CCDData

#: Fields of a frame that cannot be stored in a header.
_TOLD = ("name", "instrument", "tags", "descriptors")


@dataclass(frozen=True, slots=True)
class Plane:
    """Pixels of one detector.

    Parameters
    ----------
    data : float32 (ny, nx)
        Signal in the frame's unit.
    dq : uint16 (ny, nx)
        Bits of `nirred.dq.DQ`.
    var : float32 (ny, nx), optional
        Variance, unit squared.
    wcs : astropy.wcs.WCS or TangentWcs, optional
        World coordinates.
    detector : Detector, optional
        Detector that recorded it.
    """

    data: np.ndarray
    dq: np.ndarray
    var: np.ndarray | None = None
    wcs: AnyWcs | None = None
    detector: Detector | None = None

    def __post_init__(self) -> None:
        shapes = {a.shape for a in (self.data, self.dq, self.var) if a is not None}
        if len(shapes) != 1 or self.data.ndim != 2:
            raise ValueError(f"planes need 2-D data, dq and var of one shape, not {sorted(shapes)}")
        if self.dq.dtype != np.uint16:
            raise ValueError(f"dq must be uint16, not {self.dq.dtype}")

    @property
    def bad(self) -> np.ndarray:
        """Bool (ny, nx): True where the pixel has no signal (saturated and non-linear pixels have signal)."""
        return np.asarray((self.dq & np.uint16(NOT_SIGNAL)) != 0)


@dataclass(frozen=True, slots=True)
class Frame:
    """One exposure: its planes and its metadata.

    Parameters
    ----------
    planes : tuple of Plane
        One per detector; do not assume that there is only one.
    name : str
        File name without directory and compression.
    unit : {"adu", "electron"}
        Unit of the planes' data.
    header : str
        The original cards of the primary header.
    instrument : str
        Name of the camera as registered.
    tags : frozenset of str
        As returned by `nirred_tags`.
    descriptors : Descriptors
        As returned by `nirred_describe`.
    """

    planes: tuple[Plane, ...]
    name: str = ""
    unit: str = "adu"
    header: str = ""
    instrument: str = ""
    tags: frozenset[str] = frozenset()
    descriptors: Descriptors = field(default_factory=Descriptors)

    def with_planes(self, *planes: Plane) -> Frame:
        """A copy with other planes."""
        return replace(self, planes=planes)

    def to_ccddata(self, plane: int = 0) -> CCDData:
        """One plane as `astropy.nddata.CCDData`: mask = not signal, flags = dq, uncertainty = VAR, meta = the header.

        Values that cannot be stored in a header are in `meta.about`: name, tags, descriptors, detector.
        """
        from astropy import units
        from astropy.nddata import CCDData, VarianceUncertainty

        from .ccd import FrameHeader

        p = self.planes[plane]
        wcs = None if p.wcs is None else as_astropy(p.wcs)
        about = {name: getattr(self, name) for name in _TOLD}
        meta = FrameHeader.of(self.header, detector=p.detector, **about)
        ccd = CCDData(p.data, unit=getattr(units, self.unit), mask=p.bad, wcs=wcs, meta=meta)
        ccd.flags = p.dq
        if p.var is not None:
            ccd.uncertainty = VarianceUncertainty(p.var)
        return ccd

    @classmethod
    def from_ccddata(cls, *images: CCDData, **fields: Any) -> Frame:
        """Make a frame from CCDData, one for each plane; `flags` become dq, else a mask becomes bit 1.

        `fields` override the values in the meta of the first one.
        """
        from astropy.nddata import VarianceUncertainty

        from .ccd import known_of

        planes = []
        told = [known_of(image.meta) for image in images]
        for image, about in zip(images, told, strict=True):
            flags = image.flags if image.flags is not None else image.mask
            dq = np.zeros(image.data.shape, np.uint16) if flags is None else np.asarray(flags).astype(np.uint16)
            spread = image.uncertainty
            var = None if spread is None else spread.represent_as(VarianceUncertainty).array.astype(np.float32)
            planes.append(Plane(np.asarray(image.data, np.float32), dq, var, image.wcs, about.get("detector")))
        known = {name: told[0][name] for name in ("header", *_TOLD) if name in told[0]}
        return cls(tuple(planes), **{"unit": str(images[0].unit), **known, **fields})


@dataclass(frozen=True, slots=True)
class Ramp:
    """Non-destructive reads of one exposure of one detector, before a slope is fitted.

    Parameters
    ----------
    reads : float32 (n, ny, nx)
        ADU.
    times : float64 (n,)
        Seconds since the reset.
    name : str
        File name without directory and compression.
    header : str
        The original primary header's cards.
    """

    reads: np.ndarray
    times: np.ndarray
    name: str = ""
    header: str = ""
