"""Classify a file as a calibration of some kind, or say why it is not one; pack and unpack its headers."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

from ..errors import DataError, Unreadable
from ..headers import Header, Headers
from ..plan.associate import served_kind
from ..plan.model import FrameInfo
from ..plan.moments import exposure, text
from ..plan.options import calibration_kinds
from ..plan.scan import scan_file
from ..registry import Registry

#: Kind of a static mask, which is valid from its date on; a measured one is valid for some months.
STATIC = "static_bpm"
_ELECTRONS = ("electron", "electrons", "e-", "e")


def examine(path: Path, registry: Registry) -> tuple[str, FrameInfo]:
    """Kind and frame of a finished calibration.

    Accepted are nirred's own darks, flats and masks, static masks (BPM by their header, with a date), and darks and
    flats of another program that are marked as processed in the header (Gemini: PROCDARK, PROCFLAT), with a date and,
    for darks, in electrons.

    Raises
    ------
    DataError
        The file is not a calibration; the message says why.
    """
    record = scan_file(path, registry)
    if record.verdict in ("unreadable", "unclaimed", "ambiguous"):
        raise DataError(record.reason, "only calibrations of installed instruments can be kept")
    if not record.frames:
        raise DataError(f"{path.name}: {record.reason}, not a calibration for imaging", "name a dark, flat or mask")
    frame = record.frames[0]
    kind = _own_kind(path, record.product, registry) if record.verdict == "product" else _foreign_kind(path, frame)
    if frame.descriptors.ut_datetime is None:
        raise DataError(f"{path.name}: its header has no date, so that its age is unknown", "add DATE-OBS and UT")
    return kind, frame


def _own_kind(path: Path, product: str, registry: Registry) -> str:
    kind = served_kind(product)
    known = calibration_kinds(registry)
    if kind not in known:
        raise DataError(f"{path.name}: a reduced {product}, not a calibration", f"kinds: {', '.join(sorted(known))}")
    return kind


def _foreign_kind(path: Path, frame: FrameInfo) -> str:
    """Kind of a calibration that was not made by nirred."""
    role = frame.descriptors.role
    if role == "bpm":
        return STATIC
    if "PROCESSED" not in frame.tags:
        if role in ("dark", "flat", "lamp_on", "lamp_off"):
            what = role.replace("_", "-")
            raise DataError(f"{path.name}: a raw {what}, not a finished calibration", "`nirred run` makes one from it")
        raise DataError(f"{path.name}: a {role} frame, not a calibration", "name a dark, flat or mask")
    if role not in ("dark", "flat"):
        raise DataError(f"{path.name}: processed, but no dark, flat or mask", "name one with --user-cal where it fits")
    if role == "dark":
        unit = str(frame.headers.get("BUNIT", "") or "none").strip()
        if unit.lower() not in _ELECTRONS:
            raise DataError(
                f"{path.name}: a dark of another program in unit {unit}; BUNIT = 'electron' is needed",
                "convert it, or name it with --user-cal",
            )
    return role


def pack(headers: Headers) -> bytes:
    """Header text of all HDUs, compressed."""
    return zlib.compress(json.dumps([h.text for h in (headers.primary, *headers.hdus)]).encode("ascii"))


def unpack(packed: bytes, path: Path, registry: Registry) -> FrameInfo | None:
    """The frame of the stored headers as described by its plugin now; None if no plugin claims it."""
    try:
        primary, *others = (Header(t) for t in json.loads(zlib.decompress(packed)))
        record = scan_file(path, registry, Headers(primary, others))
    except (zlib.error, ValueError, TypeError, Unreadable):  # or the row is damaged
        return None
    return record.frames[0] if record.frames else None


def setting(kind: str, frame: FrameInfo) -> str:
    """The configuration in a few words: '20.002 s, 1 coadd, Low Background, Shallow'."""
    d = frame.descriptors
    names = {"dark": ("read_mode", "well_depth_setting"), "flat": ("filter_name", "camera", "well_depth_setting")}
    parts = [d.get(n, pretty=True) for n in names.get(kind, ("camera",))]
    if kind == "dark" and exposure(frame) is not None:
        coadds = f", {d.coadds} coadds" if d.coadds != 1 else ""
        parts.insert(0, f"{text(float(exposure(frame) or 0.0))} s{coadds}")
    if frame.detectors:
        shape = frame.detectors[0].shape
        parts.append(f"{shape[1]}x{shape[0]}")
    return ", ".join(text(p) for p in parts if p is not None)
