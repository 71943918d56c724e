"""FLAMINGOS-2's detector: one 2048 x 2048 Hawaii-2 array; its read pairs are summed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nirred.plugin import Detector, Linearity, Section, gemini

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nirred.plugin import Headers

SIZE = 2048
GAIN = 4.44  # e-/ADU of one pair of reads
SATURATION = 35_000  # ADU per pair of reads
NON_LINEAR = 25_200  # ADU per pair of reads
READ_NOISE = {1: 11.7, 4: 6.0, 6: 5.3, 8: 5.0}  # e- by number of read pairs; other numbers were never measured
LINEARITY = Linearity(((0.9999107, -4.2854848e-08, 1.0096585e-12),))  # for any number of reads


def read_pairs(headers: Headers) -> int | None:
    """Number of non-destructive read pairs, LNRS."""
    return gemini.integer(headers, "LNRS")


def unknown_mode(headers: Headers) -> str:
    """Why a frame cannot be converted to electrons; empty if its number of read pairs is a measured one."""
    pairs = read_pairs(headers)
    if pairs in READ_NOISE:
        return ""
    known = ", ".join(map(str, READ_NOISE))
    found = "no number of read pairs (LNRS)" if pairs is None else f"{pairs} read pairs (LNRS)"
    return f"{found}: gain and noise are known for {known}"


def section(headers: Headers) -> Section | None:
    """Section of the array covered by the frame: all of it; for a smaller image that of DETSEC, else centred."""
    image = headers.image
    if image is None:
        return None
    ny, nx = image.shape[-2:]
    stated = gemini.section(headers.get("DETSEC"))
    if stated is not None:
        place = Section(*stated)
        if place.shape == (ny, nx) and place.x2 <= SIZE and place.y2 <= SIZE:
            return place
    x, y = (SIZE - nx) // 2, (SIZE - ny) // 2
    return Section(x, x + nx, y, y + ny) if min(x, y) >= 0 else None


def detectors(headers: Headers, tags: frozenset[str]) -> Sequence[Detector]:
    """The one plane of a frame; empty for a file without an image. The gain is None for unknown numbers of reads."""
    image = headers.image
    if image is None:
        return ()
    pairs = read_pairs(headers)
    ny, nx = image.shape[-2:]
    shape, place = (ny, nx), section(headers)
    if pairs not in READ_NOISE:
        plane = Detector(shape, None, None, coadds=gemini.coadds(headers), name="hawaii2", section=place)
        return (gemini.as_stated(plane, headers, tags),)
    n = gemini.coadds(headers)
    plane = Detector(
        shape,
        gain=GAIN / pairs,
        read_noise=READ_NOISE[pairs] * math.sqrt(n),
        saturation=float(SATURATION * pairs * n),
        non_linear=float(NON_LINEAR * pairs * n),
        coadds=n,
        name="hawaii2",
        section=place,
        linearity=LINEARITY,
    )
    return (gemini.as_stated(plane, headers, tags),)
