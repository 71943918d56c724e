"""The section of the report on a stack: pictures, figures, frames, plots."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..headers import printable_ascii
from ..picture import Levels, Orientation, orientation
from ..run.keepsake import glimpse_path
from .figures import Noise, blank_pixels, measure_noise
from .plots import Plot, Point, plot
from .raster import Picture, Words, picture
from .words import angle, number, span, text

if TYPE_CHECKING:
    from ..run.schema import TaskEntry

_MEASURED = ("xoff", "yoff", "xoff_err", "yoff_err", "sky", "fwhm", "transparency", "weight")


@dataclass(frozen=True)
class FrameRow:
    """One row of FRAMES; `time` is Unix s; NaN: unknown, or not measured before the frame was left out."""

    file: str
    time: float
    xoff: float
    yoff: float
    xoff_err: float
    yoff_err: float
    sky: float
    fwhm: float
    transparency: float
    weight: float
    state: str
    reason: str

    @property
    def used(self) -> bool:
        """Whether it, or its sky, is in the stack."""
        return self.state in ("used", "sky")


@dataclass(frozen=True)
class Stack:
    """A stack for the page; `frames` are those on target."""

    facts: tuple[tuple[str, str], ...]
    pictures: tuple[Picture, ...]
    frames: tuple[FrameRow, ...]
    plots: tuple[Plot, ...]
    unit: str
    reference: str = ""
    remarks: tuple[str, ...] = ()


def read_stack(hdus: Any, out: Path, task: TaskEntry) -> Stack:
    """Measure and draw a stack.

    Parameters
    ----------
    hdus : astropy HDUList
        Of an ``_image`` product.
    out, task : Path, TaskEntry
        Output directory and the task, which locate its keepsake.
    """
    glimpse = load_glimpse(out, task.id)
    rows = _frames(hdus, glimpse)
    of_sky = {printable_ascii(Path(i["file"]).name) for i in task.inputs if i.get("role") == "sky"}
    frames, skies = (tuple(f for f in rows if (f.file in of_sky) is sky) for sky in (False, True))
    versions = [h.ver for h in hdus if h.name == "SCI"]
    pictures: list[Picture | None] = []
    unit = _unit(hdus)
    facts = _head_facts(hdus, frames)
    remarks: list[str] = []
    for version in versions:
        sky = orientation(hdus["SCI", version].header)
        which = f", detector {version}" if len(versions) > 1 else ""
        pictures += [_sci_picture(hdus, version, sky, which), _nexp_picture(hdus, version, sky, which)]
        noise = _noise(hdus, version, alone=len(versions) == 1)
        facts += [(f"{k}{which}", v) for k, v in _plane_facts(hdus, version, sky, noise)]
        remarks += _doubts(noise, which)
    pictures += _glimpses(glimpse, unit)
    facts += _source_facts(hdus, frames)
    facts += _corrections(hdus[0].header)
    plots = tuple(p for p in _plots(frames, skies, unit) if p is not None)
    reference = text(hdus[0].header.get("REFFRAME", ""))
    shown = tuple(p for p in pictures if p is not None)
    return Stack(tuple(facts), shown, frames, plots, unit, reference, tuple(remarks))


def load_glimpse(out: Path, task: str) -> dict[str, np.ndarray]:
    """The keepsake of a task; empty if there is none or it is damaged."""
    import zipfile
    import zlib

    try:
        with np.load(glimpse_path(out, task)) as found:
            return {k: found[k] for k in found.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return {}


def _frames(hdus: Any, glimpse: dict[str, np.ndarray]) -> tuple[FrameRow, ...]:
    if "FRAMES" not in hdus:
        return ()
    names, times = glimpse.get("names", np.array([])), glimpse.get("times", np.array([]))
    when = dict(zip(map(str, names), map(float, times)))
    rows = []
    for row in hdus["FRAMES"].data:
        name = text(row["file"])
        values: dict[str, Any] = {k: float(row[k]) for k in _MEASURED}
        values |= {k: text(row[k]) for k in ("state", "reason")}
        frame = FrameRow(name, when.get(name, math.nan), **values)
        rows.append(frame if frame.used else _as_measured(frame))
    return tuple(rows)


def _as_measured(out: FrameRow) -> FrameRow:
    """A frame that was left out, without the values that stand in FRAMES for those not measured by then."""
    placed = math.isfinite(out.xoff_err)
    return replace(
        out,
        xoff=out.xoff if placed else math.nan,
        yoff=out.yoff if placed else math.nan,
        transparency=out.transparency if out.transparency != 1.0 else math.nan,
    )


def _sci_picture(hdus: Any, version: int, sky: Orientation | None, which: str) -> Picture | None:
    data = np.array(hdus["SCI", version].data, np.float32)
    if ("NEXP", version) in hdus:
        data[hdus["NEXP", version].data == 0] = np.nan
    ny, nx = data.shape
    alt = f"Stack{which}: {nx} x {ny} pixels of {text(hdus[0].header.get('OBJECT', ''))}"
    return picture(data, Words(alt, f"Stack{which}, asinh stretch", _unit(hdus)), side=720, sky=sky)


def _nexp_picture(hdus: Any, version: int, sky: Orientation | None, which: str) -> Picture | None:
    if ("NEXP", version) not in hdus:
        return None
    nexp = hdus["NEXP", version].data.astype(np.float32)
    most = float(nexp.max())
    nexp[nexp == 0] = np.nan
    alt = f"Coverage{which}: exposures behind each pixel, 0 to {most:.0f}"
    words = Words(alt, f"Coverage{which}: exposures behind each pixel", "exposures")
    drawn = picture(nexp, words, levels=Levels(0, max(most, 1)), side=360, sky=sky)
    whole = tuple(t for t in drawn.ticks if float(t[1]).is_integer()) if drawn is not None else ()
    return None if drawn is None else replace(drawn, ticks=whole)


def _unit(hdus: Any) -> str:
    """Of the pixels."""
    return text(hdus["SCI"].header.get("BUNIT", "electron"))


def _glimpses(glimpse: dict[str, np.ndarray], unit: str) -> list[Picture | None]:
    frame = str(glimpse.get("frame", ""))
    found = []
    for k in sorted(k for k in glimpse if k.startswith("sub_")):
        caption = f"One frame after sky subtraction: {frame}" + ("" if k == "sub_1" else f", detector {k[4:]}")
        if glimpse[k].ndim == 2 and glimpse[k].size:
            found.append(picture(glimpse[k], Words(caption, caption, unit), side=512))
    return found


def _noise(hdus: Any, version: int, *, alone: bool) -> Noise | None:
    if any((name, version) not in hdus for name in ("SCI", "VAR", "DQ", "NEXP")):
        return None
    sci, var, dq, nexp = (hdus[name, version].data for name in ("SCI", "VAR", "DQ", "NEXP"))
    none = np.zeros(0)
    x, y, radius = _sources(hdus) if alone else (none, none, none)
    blank = blank_pixels(np.asarray(dq, np.uint16), nexp, x, y, radius)
    factor = float(hdus[0].header.get("CORRFAC", 1.0))
    cov = hdus["NOISECOV"].data if "NOISECOV" in hdus else np.array([[factor**2]])
    box = max(3, round(_fwhm(hdus) or 4.0))
    return measure_noise(np.asarray(sci, np.float32), np.asarray(var, np.float32), blank, np.asarray(cov), box)


def _sources(hdus: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if "OBJCAT" not in hdus or not len(hdus["OBJCAT"].data):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    table = hdus["OBJCAT"].data
    radius = np.clip(4 * np.maximum(table["A_IMAGE"], (_fwhm(hdus) or 4.0) / 2), 4, 300)
    return table["X_IMAGE"] - 1, table["Y_IMAGE"] - 1, radius


def _fwhm(hdus: Any) -> float | None:
    """FWHM of the stack's stars in pixels; None without stars."""
    value = hdus[0].header.get("FWHM")
    return float(value) if isinstance(value, (int, float)) else None


def _head_facts(hdus: Any, frames: tuple[FrameRow, ...]) -> list[tuple[str, str]]:
    head = hdus[0].header
    used = sum(f.used for f in frames)
    exposure, total = head.get("EXPTIME"), head.get("TEXPTIME")
    facts = [("Object", text(head.get("OBJECT", ""))), ("Filter", text(head.get("FILTER", "")))]
    if frames:
        facts.append(("Frames", f"{used} of {len(frames)} on target"))
    if isinstance(exposure, (int, float)) and isinstance(total, (int, float)):
        facts.append(("Exposure", f"{total:.6g} s; SCI stands for {exposure:.6g} s"))
    return facts


def _plane_facts(hdus: Any, version: int, sky: Orientation | None, noise: Noise | None) -> list[tuple[str, str]]:
    head = hdus["SCI", version].header
    ny, nx = hdus["SCI", version].shape
    size = f"{nx} x {ny} px"
    facts = []
    if sky is not None:
        size += f", {nx * sky.scale / 60:.2f}' x {ny * sky.scale / 60:.2f}', {sky.scale:.4f}\" per pixel"
        facts.append(("Centre", angle(*sky.centre)))
    facts.insert(0, ("Size", size))
    level_error = head.get("LEVELERR")
    if noise is None:
        return [*facts, ("Noise", "too few blank pixels to measure it")]
    unit = _unit(hdus)
    error = f", zero level known to ±{level_error:.3g}" if isinstance(level_error, (int, float)) else ""
    facts += [
        ("Background", f"median of blank pixels {noise.level:+.3g} {unit}{error}"),
        ("Noise per pixel", f"{noise.pixel:.4g} {unit} predicted; measured is {_ratio(noise.ratio)} of that"),
    ]
    if noise.box_ratio is not None:
        facts.append((f"Noise in {noise.box} x {noise.box} px", f"measured is {_ratio(noise.box_ratio)} of predicted"))
    return facts + _depth(hdus, noise, sky)


def _ratio(m: Any) -> str:
    return f"{m.value:.3f} ± {m.error:.3f}"


def _depth(hdus: Any, noise: Noise, sky: Orientation | None) -> list[tuple[str, str]]:
    radius = hdus["OBJCAT"].header.get("APRADIUS") if "OBJCAT" in hdus else None
    exposure = hdus[0].header.get("EXPTIME")
    if not isinstance(radius, (int, float)) or not radius > 0:
        return []
    limit = noise.limit(radius)
    unit = _unit(hdus)
    rate = f", {limit / exposure:.3g} {unit}/s" if isinstance(exposure, (int, float)) and exposure > 0 else ""
    wide = f' ({radius * sky.scale:.2f}")' if sky is not None else ""
    return [("Depth", f"5 sigma at {limit:.4g} {unit}{rate} in an aperture of radius {radius:.2f} px{wide}")]


def _doubts(noise: Noise | None, which: str) -> list[str]:
    if noise is None or noise.box_ratio is None:
        return []
    ratio = noise.box_ratio
    if ratio.value < 1.15 or ratio.value < 1 + 3 * ratio.error:
        return []
    return [
        f"noise in {noise.box} x {noise.box} pixels{which} is {_ratio(ratio)} of what VAR predicts: "
        "faint or extended sources, or poor sky subtraction"
    ]


def _source_facts(hdus: Any, frames: tuple[FrameRow, ...]) -> list[tuple[str, str]]:
    facts = []
    fwhm, scale = _fwhm(hdus), hdus["SCI"].header.get("PIXSCALE")
    arcsec = float(scale) if isinstance(scale, (int, float)) else math.nan
    if fwhm is not None:
        facts.append(("FWHM", f"{fwhm:.2f} px" + (f' = {fwhm * arcsec:.2f}"' if math.isfinite(arcsec) else "")))
    if "OBJCAT" in hdus:
        snr = hdus["OBJCAT"].data["SNR"]
        facts.append(("Sources", f"{len(snr)}, of them {int((snr > 10).sum())} above S/N 10"))
    if sky := span(f.sky for f in frames):
        facts.append(("Sky", f"{sky} {_unit(hdus)}"))
    if _dimmed(frames):
        facts.append(("Transparency", span(f.transparency for f in frames if f.used)))
    elif frames:
        facts.append(("Transparency", "taken as 1 in all frames"))
    return facts


def _dimmed(frames: tuple[FrameRow, ...]) -> bool:
    """Whether frames were found to differ in transparency."""
    return any(f.transparency != 1.0 for f in frames if f.used)


def _corrections(head: Any) -> list[tuple[str, str]]:
    names = {"DARKCOR": "Dark", "FLATCOR": "Flat", "LINCORR": "Linearity", "WCSSTAT": "World coordinates"}
    return [(name, text(head[key])) for key, name in names.items() if key in head] + [
        (name, number(head[key])) for key, name in (("AIRMASS", "Airmass"),) if key in head
    ]


def _plots(frames: tuple[FrameRow, ...], skies: tuple[FrameRow, ...], unit: str) -> list[Plot | None]:
    clock = any(math.isfinite(f.time) for f in frames)

    def points(name: str, error: str = "", rows: tuple[FrameRow, ...] = frames) -> list[Point]:
        return [
            Point(f.time if clock else k, getattr(f, name), getattr(f, error) if error else 0.0, f.used, f.file)
            for k, f in enumerate(rows, 1)
        ]

    offsets = {"x": points("xoff", "xoff_err"), "y": points("yoff", "yoff_err")}
    levels = {"on target": points("sky")} | ({"sky frames": points("sky", rows=skies)} if skies else {})
    return [
        plot("Sky level", unit, levels, clock=clock),
        plot("Seeing, FWHM", "px", {"fwhm": points("fwhm")}, clock=clock),
        plot("Transparency", "", {"transparency": points("transparency") if _dimmed(frames) else []}, clock=clock),
        plot("Offset", "px", offsets, clock=clock),
    ]
