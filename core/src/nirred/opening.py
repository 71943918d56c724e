"""Pixels of one exposure, from its plugin's reader or from the core's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DataError, Unreadable
from .fitsio import ramp_plane, read_calibration, read_planes
from .frame import Frame, Plane, Ramp
from .headers import Headers
from .plan.model import FrameInfo
from .plugin.frames import Exposure

if TYPE_CHECKING:
    from .registry import Registry

RawPlane = tuple[np.ndarray, np.ndarray | None]
"""Pixels (ny, nx) and their flags, uint16 (ny, nx), if the plugin's reader set any."""

#: Number that no pixel exceeds, ADU; the share of greater ones from which data are damaged; rows that are looked at.
MOST, DAMAGED, ROWS = 1e9, 0.01, 32


def raw_planes(registry: Registry, info: FrameInfo, *, counts: bool = True) -> list[RawPlane]:
    """Planes of one exposure with the flags of its plugin's reader.

    Parameters
    ----------
    registry : Registry
        The plugins.
    info : FrameInfo
        The exposure.
    counts : bool
        In ADU, whatever the unit of the plugin's frame; False: in its own unit.

    Raises
    ------
    NirredError
        They cannot be read, or the plugin's reader does not return one plane per detector.
    """
    if not info.headers.current():
        raise Unreadable(f"{info.path.name}: replaced since its header was read", "run again")
    opened = registry.ask(info.owner, "nirred_open", path=info.path, exposure=info.exposure, headers=info.headers)
    if opened is None:
        pixels = read_planes(info.path, info.headers, info.exposure, info.detectors)
        planes: list[RawPlane] = [(data, None) for data in pixels]
    else:
        planes = _answered(registry, info, opened, counts=counts)
    for data, _ in planes:
        _check_numbers(data, info.path)
    return planes


def _check_numbers(data: np.ndarray, path: Path) -> None:
    """Refuse numbers that no detector gives: bytes that were lost or added shift all that follow."""
    some = data[:: max(1, data.shape[0] // ROWS)]
    share = float(np.mean(np.abs(some) > MOST))
    if share > DAMAGED:
        raise Unreadable(f"{path.name}: {share:.0%} of its pixels exceed {MOST:.0e} ADU", "fetch the file again")


def _answered(registry: Registry, info: FrameInfo, opened: Any, *, counts: bool) -> list[RawPlane]:
    """Planes of what a plugin's reader returned."""
    found, name = 1 if isinstance(opened, Ramp) else len(opened.planes), info.path.name
    if found != len(info.detectors):
        advice = "; where each has its ramp, nirred_open must fit them and return a Frame" * isinstance(opened, Ramp)
        what = f"nirred_open returned {found} plane{'s' * (found != 1)}, nirred_detectors {len(info.detectors)}"
        raise registry.misbehaved(info.owner, f"{what}{advice}")
    if isinstance(opened, Ramp):
        return [(ramp_plane(opened, info.detectors[0], name), None)]
    planes = []
    for plane, detector in zip(opened.planes, info.detectors, strict=True):
        data = plane.data
        if counts and opened.unit == "electron":
            if detector.gain is None:
                raise DataError(f"{name}: gain of this mode is not known", "leave it out with --exclude")
            data = data / np.float32(detector.gain)
        planes.append((data, plane.dq if plane.dq.any() else None))
    return planes


def open_frames(path: Path, registry: Registry) -> tuple[Frame, ...]:
    """Read a raw file (ADU) or a product of nirred (electron): one `Frame` per exposure."""
    headers = Headers.read(path)
    owner, claim = registry.claim(headers)

    def ask(hook: str) -> Any:
        return registry.ask(owner, hook, headers=headers)

    tags, described = ask("nirred_tags"), ask("nirred_describe")
    fields: dict[str, Any] = {
        "name": path.name,
        "header": headers.primary.text,
        "instrument": claim.instrument,
        "tags": tags,
        "descriptors": described,
    }
    if "NIRRED" in headers.primary:
        return (Frame(tuple(read_calibration(path)), unit="electron", **fields),)
    detectors, wcs = tuple(ask("nirred_detectors") or ()), ask("nirred_wcs")
    frames = []
    for exposure in ask("nirred_exposures") or (Exposure(),):
        info = FrameInfo(path, exposure, owner, claim.instrument, tags, described, detectors, headers)
        raws = raw_planes(registry, info)
        planes = (
            Plane(data, np.zeros(data.shape, np.uint16) if dq is None else dq, None, world, detector)
            for (data, dq), detector, world in zip(raws, detectors, _each(wcs, len(raws)), strict=True)
        )
        frames.append(Frame(tuple(planes), **fields))
    return tuple(frames)


def _each(wcs: Any, number: int) -> list[Any]:
    """World coordinates of every plane; None without any."""
    return [w.wcs for w in wcs] if wcs else [None] * number
