"""Groups of frames in memory, and on disk for the fused pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from nirred.group import Context, Group
from nirred.headers import Header, Headers
from nirred.plan.model import FrameInfo, Task
from nirred.plugin import Descriptors, Detector, Exposure, PlaneWcs, make_wcs
from nirred.registry import Registry
from nirred.states import FrameState, PlaneState
from nirred.store import PlaneStack

START = datetime(2026, 1, 15, 8)
#: Two minutes before 2 h, UT, in the night in which London clocks went from 1 h to 2 h: local times that do not exist.
SPRING = datetime(2016, 3, 27, 1, 58)


def make_info(path: Path, shape: tuple[int, int], k: int = 0, **fields: Any) -> FrameInfo:
    """Frame k of a sequence, one a minute; `at` (arcsec east, north) and every field of its records can be set."""
    detector: dict[str, Any] = {"gain": 2.0, "read_noise": 10.0} | fields.pop("detector", {})
    planes = fields.pop("planes", 1)
    east, north = fields.pop("at", (0.0, 0.0))
    scale = 0.2 / 3600
    centre = ((shape[1] + 1) / 2, (shape[0] + 1) / 2)
    wcs = make_wcs(centre, (150 + east / 3600, north / 3600), ((-scale, 0.0), (0.0, scale)))
    described = {"exposure_time": 20.0, "ut_datetime": START + timedelta(minutes=k), "pixel_scale": 0.2}
    described |= fields.pop("descriptors", {})
    headers = Headers.read(path) if path.exists() else Headers(Header(fields.pop("cards", "")))
    defaults: dict[str, Any] = {
        "exposure": Exposure(),
        "owner": "none",
        "instrument": "cam",
        "tags": frozenset(),
        "descriptors": Descriptors(**described),
        "detectors": tuple(
            Detector(shape, **{"hdu": p + 1 if path.exists() else None, **detector}) for p in range(planes)
        ),
        "headers": headers,
        "wcs": (PlaneWcs(wcs),) * planes,
        "wcs_state": "ok",
    }
    return FrameInfo(path, **(defaults | fields))


@pytest.fixture
def in_london(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Sequence[FrameInfo]], list[FrameInfo]]]:
    """The computer uses London time; returns frames, one a minute, at the time of the clock change."""

    def moved(infos: Sequence[FrameInfo]) -> list[FrameInfo]:
        def at(k: int) -> Descriptors:
            return replace(infos[k].descriptors, ut_datetime=SPRING + timedelta(minutes=k))

        return [replace(info, descriptors=at(k)) for k, info in enumerate(infos)]

    monkeypatch.setenv("TZ", "GMT0BST,M3.5.0/1,M10.5.0")
    time.tzset()
    yield moved
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def make_group(tmp_path: Path) -> Callable[..., Group]:
    """Group of frames of given roles; with `data` (and `dq`) its planes are calibrated already.

    `step` is the dither to the east, arcsec.
    """
    registry = Registry()

    class Silent:
        NIRRED_API = (1, 0)

    registry.add(Silent(), "none", "none")

    def build(
        roles: Sequence[str],
        data: Sequence[np.ndarray] | None = None,
        dq: Sequence[np.ndarray] | None = None,
        makes: str = "image",
        infos: Sequence[FrameInfo] | None = None,
        step: float = 0.0,
        **fields: Any,
    ) -> Group:
        shape = data[0].shape if data is not None else (8, 8)
        paths = [tmp_path / f"f{k}.fits" for k in range(len(roles))]
        found = infos or [make_info(p, shape, k, at=(step * k, 0.0), **fields) for k, p in enumerate(paths)]
        task = Task("f0_" + makes, "reduce", makes, "cam", tuple(zip(found, roles, strict=True)))  # type: ignore[arg-type]
        context = Context(registry, tmp_path, tmp_path / "scratch")
        group = Group(task, context, [FrameState(i, r) for i, r in zip(found, roles, strict=True)])
        if data is not None:
            state = PlaneState(*(PlaneStack((len(roles), *shape), t) for t in (np.float32, np.uint16)))
            state.sub = PlaneStack((len(roles), *shape), np.float32)
            for k, image in enumerate(data):
                state.sci.put(k, image)
                state.sub.put(k, image)
                if dq is not None:
                    state.dq.put(k, dq[k])
            group.planes = [state]
        return group

    return build


@pytest.fixture
def write_raw(tmp_path: Path) -> Callable[..., list[FrameInfo]]:
    """Write raw frames of one or more planes (ADU) and return their FrameInfo as from the plan."""

    def write(images: Sequence[Sequence[np.ndarray]], **fields: Any) -> list[FrameInfo]:
        infos = []
        for k, planes in enumerate(images):
            path = tmp_path / f"f{k}.fits"
            hdus = [fits.ImageHDU(np.asarray(p, np.float32)) for p in planes]
            fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path, overwrite=True)
            infos.append(make_info(path, planes[0].shape, k, **{"planes": len(planes), **fields}))
        return infos

    return write


def registered(group, shifts, sky=2500.0):
    """The group with known offsets, a sky level and photon noise alone."""
    for frame, (dx, dy) in zip(group.frames, shifts, strict=True):
        frame.dx, frame.dy, frame.sky, frame.dx_err = dx, dy, sky, 0.01
    group.planes[0].constant, group.planes[0].per_electron = 0.0, 1.0
    return group
