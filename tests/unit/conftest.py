"""A camera of 16 x 16 pixels with a complete, simple header, and nights taken with it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nirred.headers import Headers
from nirred.plugin import (
    CalibrationRule,
    Claim,
    Descriptors,
    Detector,
    Exposure,
    Instrument,
    Match,
    PlaneWcs,
    hookimpl,
    wcs_from_header,
)
from nirred.registry import Registry

START = datetime(2026, 1, 15, 8)
SIZE = 16
SCALE = 1.0  # arcsec per pixel


def card(name: str, value: Any) -> str:
    text = (
        f"'{value}'" if isinstance(value, str) else ("T" if value else "F") if isinstance(value, bool) else repr(value)
    )
    return f"{name:<8}= {text:>20}".ljust(80)


def fits_bytes(cards: dict[str, Any]) -> bytes:
    base = {"SIMPLE": True, "BITPIX": 16, "NAXIS": 2, "NAXIS1": SIZE, "NAXIS2": SIZE}
    header = "".join(card(k, v) for k, v in {**base, **cards}.items()) + "END".ljust(80)
    header = header.ljust(-(-len(header) // 2880) * 2880)
    return header.encode() + bytes(2880)


class Camera:
    """The plugin, as an object."""

    NIRRED_API = (1, 0)

    @hookimpl
    def nirred_instruments(self) -> list[Instrument]:
        return [Instrument("cam", "A camera")]

    @hookimpl
    def nirred_claim(self, headers: Headers) -> Claim | None:
        if headers.get("INSTRUME") != "CAM":
            return None
        return Claim("cam", unsupported="spectrum" if headers.get("GRISM") else "")

    @hookimpl
    def nirred_tags(self, headers: Headers) -> frozenset[str]:
        return frozenset({"CAM", str(headers.get("TAG", "RAW"))})

    @hookimpl
    def nirred_describe(self, headers: Headers) -> Descriptors:
        if headers.get("RAISE"):
            raise RuntimeError("no idea")
        get = headers.get
        begin = get("UT")
        start = datetime.fromisoformat(begin) if begin else None
        return Descriptors(
            instrument="cam",
            role=get("ROLE"),
            object=get("OBJECT"),
            observation_type=get("ROLE"),
            sequence_id=get("SEQ"),
            ut_datetime=start,
            ut_end=None,
            exposure_time=None if isinstance(get("EXPTIME"), str) else get("EXPTIME"),
            coadds=get("COADDS", 1),
            filter_name=get("FILTER"),
            read_mode=None if get("MODE") == "absent" else get("MODE", "slow"),
            target_ra=get("TRA"),
            target_dec=get("TDEC"),
            pixel_scale=get("SCALE"),
            position_angle=get("PA", 0.0),
            detector_x_offset=get("DX"),
            detector_y_offset=get("DY"),
            guiding=get("GUIDED"),
            qa_state=get("QA"),
            configuration=(("filter_name", get("FILTER")), ("read_mode", get("MODE", "slow"))),
            extra={
                "expected_ra": get("ERA"),
                "expected_dec": get("EDEC"),
                "wcs_flipped": get("FLIP"),
                "lamp": get("LAMP"),
            },
        )

    @hookimpl
    def nirred_detectors(self, headers: Headers) -> list[Detector]:
        gain = None if headers.get("MODE") == "odd" else 5.0
        return [Detector((SIZE, SIZE), gain, 10.0, epoch=str(headers.get("EPOCH", "")))]

    @hookimpl
    def nirred_exposures(self, headers: Headers) -> list[Exposure] | None:
        count = headers.get("NCUBE")
        return [Exposure(i, (0,), i) for i in range(count)] if count else None

    @hookimpl
    def nirred_wcs(self, headers: Headers) -> list[PlaneWcs] | None:
        wcs = wcs_from_header(headers.primary)
        return None if wcs is None else [PlaneWcs(wcs)]

    @hookimpl
    def nirred_calibration_rules(self) -> list[CalibrationRule]:
        cam = frozenset({"CAM"})

        def asks(*roles: str) -> Callable[[Any, Any], bool]:
            return lambda tags, d: d.role in roles

        dark = (Match("read_mode"), Match("coadds"), Match("exposure_time", tol=0.01))
        on = asks("science", "standard", "sky")
        filters, lamp_on = (Match("filter_name"),), asks("lamp_on")
        return [
            CalibrationRule("dark", cam, dark, "180 d", 3, optional=True, when=on),
            CalibrationRule("flat", cam, filters, "180 d", when=on),
            CalibrationRule(
                "lampoff_flat",
                cam,
                (Match("filter_name"),),
                "7 d",
                optional=True,
                remark_beyond="1 d",
                when=asks("lamp_on"),
            ),
            CalibrationRule("bpm", cam, (), optional=True, before_only=True),
            CalibrationRule("bpm_dark", cam, (Match("read_mode"),), "180 d", 3, optional=True, when=lamp_on),
        ]


class NightBuilder:
    """Writes frames one after the other; every method returns the paths it wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0
        self.clock = START
        self.registry = Registry()
        self.registry.add(Camera(), "cam", "nirred-cam")
        folder.mkdir(exist_ok=True)

    def frame(self, role: str, name: str = "", **cards: Any) -> Path:
        self.number += 1
        path = self.folder / (name or f"c{self.number:03d}.fits")
        values = {"INSTRUME": "CAM", "ROLE": role, "UT": self.clock.isoformat(), "EXPTIME": 20.0, "FILTER": "J"}
        values = {k: v for k, v in {**values, **cards}.items() if v is not None}
        path.write_bytes(fits_bytes(values))
        self.clock += timedelta(seconds=values.get("EXPTIME", 20.0) + 10)
        return path

    def sky(self, east: float, north: float, role: str = "science", *, stated: bool = True, **cards: Any) -> Path:
        """A frame that points `east`, `north` arcsec from the target; `stated` False: without target coordinates."""
        ra, dec = cards.pop("at", (150.0, 0.0))
        here = (ra + east / 3600, dec + north / 3600)
        stale = cards.pop("stale", (0.0, 0.0))
        wcs = {
            "CTYPE1": "RA---TAN",
            "CTYPE2": "DEC--TAN",
            "CRPIX1": 8.5,
            "CRPIX2": 8.5,
            "CRVAL1": here[0] + stale[0] / 3600,
            "CRVAL2": here[1] + stale[1] / 3600,
            "CD1_1": -SCALE / 3600,
            "CD1_2": 0.0,
            "CD2_1": 0.0,
            "CD2_2": SCALE / 3600,
        }
        offsets = {"DX": east / SCALE, "DY": -north / SCALE, "OBJECT": "M1", "SEQ": "s1", "GUIDED": True}
        known = {"TRA": ra, "TDEC": dec, "ERA": here[0], "EDEC": here[1]} if stated else {}
        return self.frame(role, **{**wcs, **offsets, **known, **cards})

    def dither(self, n: int = 5, step: float = 2.0, **cards: Any) -> list[Path]:
        return [self.sky(step * (i % 3), step * (i // 3), **cards) for i in range(n)]

    def darks(self, n: int = 5, seconds: float = 20.0, **cards: Any) -> list[Path]:
        return [self.frame("dark", EXPTIME=seconds, FILTER="blank", **cards) for _ in range(n)]

    def lamps(self, on: int = 4, off: int = 4, **cards: Any) -> list[Path]:
        offs = [self.frame("lamp_off", **{"EXPTIME": 7.0, **cards}) for _ in range(off)]
        return offs + [self.frame("lamp_on", **{"EXPTIME": 7.0, **cards}) for _ in range(on)]

    def wait(self, hours: float) -> None:
        self.clock += timedelta(hours=hours)

    def plan(self, *inputs: Any, **options: Any) -> Any:
        from nirred.plan.planner import PlanOptions, make_plan

        return make_plan(list(inputs) or [self.folder], self.registry, PlanOptions(**options))


@pytest.fixture
def night(tmp_path: Path) -> NightBuilder:
    return NightBuilder(tmp_path / "raw")


class Rival:
    """Claims the same frames as `Camera`."""

    NIRRED_API = (1, 0)

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken

    @hookimpl
    def nirred_claim(self, headers: Headers) -> Claim | None:
        if self.broken:
            raise RuntimeError("boom")
        return Claim("rival") if headers.get("INSTRUME") == "CAM" else None


@pytest.fixture
def rival() -> type[Rival]:
    return Rival
