from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from nirred.headers import Headers
from nirred.plugin import Claim, Descriptors, Instrument, hookimpl
from nirred.registry import Registry


class Camera:
    """A small camera described by KIND, EXPTIME, FILTER and OBJECT."""

    NIRRED_API = (1, 0)

    @staticmethod
    @hookimpl
    def nirred_instruments() -> Iterable[Instrument]:
        return [Instrument("cam", "Test camera")]

    @staticmethod
    @hookimpl
    def nirred_claim(headers: Headers) -> Claim | None:
        kind = headers.get("KIND")
        if headers.get("INSTRUME") != "CAM":
            return None
        return Claim("cam", unsupported="spectrum" if kind == "SPECT" else "")

    @staticmethod
    @hookimpl
    def nirred_tags(headers: Headers) -> frozenset[str]:
        return frozenset({"CAM", str(headers.get("KIND"))})

    @staticmethod
    @hookimpl
    def nirred_describe(headers: Headers) -> Descriptors:
        return Descriptors(
            instrument="cam",
            role="dark" if headers.get("KIND") == "DARK" else "science",
            object=headers.get("OBJECT"),
            exposure_time=headers.get("EXPTIME"),
            filter_name=headers.get("FILTER"),
            filter_pretty=str(headers.get("FILTER")).partition("_")[0],
            ut_datetime=datetime(2016, 1, 2, 3, 4, 5),
            extra={"seeing": float("nan"), "hint": "\x1b[31mred"},
        )

    @staticmethod
    @hookimpl
    def nirred_step_defaults(step: str, tags: frozenset[str], descriptors: Descriptors) -> Mapping[str, Any]:
        return {"level": 2.5} if step == "shine" else {}


def write_fits(path: Path, **cards: Any) -> Path:
    cards = {"SIMPLE": True, "BITPIX": 16, "NAXIS": 2, "NAXIS1": 4, "NAXIS2": 4} | cards

    def text(value: Any) -> str:
        if isinstance(value, bool):
            return f"{'FT'[value]:>20}"
        return f"'{value:8}'" if isinstance(value, str) else f"{value:>20}"

    head = "".join(f"{k:8}= {text(v)}".ljust(80) for k, v in cards.items()) + "END".ljust(80)
    head += " " * (-len(head) % 2880)
    path.write_bytes(head.encode() + bytes(2880))
    return path


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Registry:
    registry = Registry()
    assert not registry.add(Camera(), "cam", "nirred-cam", "1.0").error
    monkeypatch.setattr("nirred.described.installed_plugins", lambda: registry)
    return registry


@pytest.fixture
def night(tmp_path: Path, plugins: Registry, monkeypatch: pytest.MonkeyPatch) -> Path:
    """raw/ with two darks, two images, a spectrum, a foreign frame and a text file called .fits."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIRRED_CONFIG", os.devnull)
    raw = tmp_path / "raw"
    raw.mkdir()
    write_fits(raw / "d1.fits", INSTRUME="CAM", KIND="DARK", EXPTIME=20.002, OBJECT="Dark", FILTER="blank")
    write_fits(raw / "d2.fits", INSTRUME="CAM", KIND="DARK", EXPTIME=1.001, OBJECT="Dark", FILTER="blank")
    write_fits(raw / "i1.fits", INSTRUME="CAM", KIND="IMAGE", EXPTIME=20.002, OBJECT="FS 17", FILTER="J_G01")
    write_fits(raw / "i2.fits", INSTRUME="CAM", KIND="IMAGE", EXPTIME=20.002, OBJECT="NGC 1", FILTER="J_G01")
    write_fits(raw / "s1.fits", INSTRUME="CAM", KIND="SPECT", EXPTIME=5.0, OBJECT="NGC 1", FILTER="J_G01")
    write_fits(raw / "x1.fits", INSTRUME="OTHER", KIND="IMAGE", EXPTIME=5.0)
    (raw / "x2.fits").write_text("no FITS")
    return raw


@pytest.fixture
def nirred(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run one command in this process: (exit code, stdout, stderr)."""
    from nirred.cli import main

    def call(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([str(w) for w in words])
        out, err = capfd.readouterr()
        return code, out, err

    return call
