"""EMIR's two detectors and their properties: a HAWAII-2 until March 2023, an H2RG since July 2023."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from nirred.plugin import Amplifier, Detector, Section, gemini

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nirred.plugin import Headers

SIZE = 2048
PIXEL_SCALE = 0.1944  # arcsec
GAIN = 5.0  # e-/ADU, the value of the instrument's software for both detectors
READ_NOISE = 5.69 * GAIN  # e-, stated in ADU
SATURATION = 55000.0  # ADU
CHANNEL = 64  # columns of one of the H2RG's 32 channels


@dataclass(frozen=True)
class Profile:
    """A detector: its name, the observatory's identifier (INSCONF), and when it was in use (UT)."""

    name: str
    uuid: str
    since: datetime
    until: datetime

    def holds(self, when: datetime | None) -> bool:
        """True if the detector was mounted at that time, or if the time is unknown."""
        return when is None or self.since <= when < self.until


HAWAII2 = Profile(
    "HAWAII-2", "225fcaf2-7f6f-49cc-972a-70fd0aee8e96", datetime(2016, 6, 1, 12), datetime(2023, 3, 10, 12)
)
H2RG = Profile("H2RG", "443fc0d1-e09a-48cc-a0fd-02be6f399da2", datetime(2023, 7, 1, 12), datetime.max)
PROFILES = (HAWAII2, H2RG)


def started(headers: Headers) -> datetime | None:
    """Start of the exposure, UT: DATE-OBS, else the Unix time TSUTC1.

    DATE, the time when the file was written, is used only if there is no other.
    """
    when = gemini.ut_datetime(headers, days=("DATE-OBS",))
    seconds = gemini.number(headers, "TSUTC1", 0.0, 4e9)
    if when is None and seconds is not None:
        when = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
    return when or gemini.ut_datetime(headers)


def profile(headers: Headers) -> Profile | str:
    """The detector of a frame, from INSCONF and date; if none fits, a text that says why."""
    when, uuid = started(headers), (gemini.text(headers, "INSCONF") or "").lower()
    named = [p for p in PROFILES if p.uuid == uuid]
    if named and named[0].holds(when):
        return named[0]
    if named:
        return f"INSCONF names the {named[0].name}, which was not mounted on {when:%Y-%m-%d}"
    if when is None:
        return "no DATE-OBS: which detector is not known"
    fitting = [p for p in PROFILES if p.holds(when)]
    if fitting:
        return fitting[0]
    if when < HAWAII2.since:
        return f"no detector before {HAWAII2.since:%Y-%m-%d}"
    return f"no detector between {HAWAII2.until:%Y-%m-%d} and {H2RG.since:%Y-%m-%d}"


def epoch(headers: Headers) -> str:
    """Name of the detector; '' if none fits."""
    found = profile(headers)
    return found.name if isinstance(found, Profile) else ""


def section(shape: tuple[int, int]) -> Section:
    """Section of the array covered by a readout of that size: its centre."""
    y, x = ((SIZE - n) // 2 for n in shape)
    return Section(x, x + shape[1], y, y + shape[0])


def _channels() -> dict[str, Section]:
    return {f"{j + 1}": Section(CHANNEL * j, CHANNEL * (j + 1), 0, SIZE) for j in range(SIZE // CHANNEL)}


def _quadrants() -> dict[str, Section]:
    h = SIZE // 2
    return {f"Q{2 * j + i + 1}": Section(h * i, h * (i + 1), h * j, h * (j + 1)) for j in (0, 1) for i in (0, 1)}


def amplifiers(name: str, shape: tuple[int, int]) -> tuple[Amplifier, ...]:
    """Parts whose levels drift independently, in pixels of the readout: 32 channels of the H2RG, else quadrants."""
    place, found = section(shape), []
    for label, box in (_channels() if name == H2RG.name else _quadrants()).items():
        x1, x2 = max(box.x1, place.x1) - place.x1, min(box.x2, place.x2) - place.x1
        y1, y2 = max(box.y1, place.y1) - place.y1, min(box.y2, place.y2) - place.y1
        if x1 < x2 and y1 < y2:
            found.append(Amplifier(label, Section(x1, x2, y1, y2)))
    return tuple(found)


def _reduced(headers: Headers, shape: tuple[int, int]) -> Detector:
    """Detector of an image made by nirred; amplifier positions neglect the distortion of 15 pixels."""
    gain, frames = 1.0, gemini.number(headers, "NCOMBINE", 0.0) or 1.0
    if gemini.text(headers, "BUNIT") == "adu":  # GAIN is that of all its frames together
        gain = (gemini.number(headers, "GAIN", 0.0) or GAIN * frames) / frames
    noise, name = gemini.number(headers, "RDNOISE", 0.0, 1e4), epoch(headers)
    parts = amplifiers(name, shape) if max(shape) <= SIZE else ()
    return Detector(shape=shape, gain=gain, read_noise=noise, name=name, epoch=name, amplifiers=parts)


def detectors(headers: Headers) -> Sequence[Detector]:
    """The one plane of an EMIR frame; empty for a file without an image. No response curve is published."""
    image = headers.image
    if image is None:
        return ()
    if "NIRRED" in headers.primary:
        return (_reduced(headers, (image.shape[-2], image.shape[-1])),)
    name, shape = epoch(headers), (image.shape[-2], image.shape[-1])
    known = bool(name)
    return (
        Detector(
            shape=shape,
            gain=GAIN if known else None,
            read_noise=READ_NOISE if known else None,
            saturation=SATURATION if known else None,
            name=name,
            hdu=0 if image is headers.primary else None,
            section=section(shape),
            epoch=name,
            amplifiers=amplifiers(name, shape),
        ),
    )
