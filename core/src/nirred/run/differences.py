"""How two products differ: which HDU, which keyword, which pixels and by how much."""

from __future__ import annotations

import filecmp
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from astropy.io import fits

_SUMS = ("CHECKSUM", "DATASUM")


def differences(old: Path, new: Path) -> Iterator[str]:
    """Say in words how two FITS files differ; nothing for files of the same bytes."""
    from astropy.io import fits

    if filecmp.cmp(old, new, shallow=False):
        return
    count = 0
    with fits.open(old, memmap=False) as before, fits.open(new, memmap=False) as after:
        for number, (a, b) in enumerate(zip_longest(before, after)):
            name = f"{(a or b).name or 'HDU'} [{number}]"
            if a is None or b is None:
                texts = ["only in the " + ("new" if a is None else "old") + " file"]
            else:
                texts = [*_cards(a.header, b.header), *_data(a, b)]
            count += len(texts)
            yield from (f"{name}: {text}" for text in texts)
    if count == 0:
        yield "bytes that carry no keyword and no value"


def _cards(old: fits.Header, new: fits.Header) -> Iterator[str]:
    for key in dict.fromkeys([*old, *new]):
        if key in _SUMS:
            continue
        a, b = (_values(h, key) for h in (old, new))
        if a != b:
            yield f"{key} = {_one(a)}, now {_one(b)}"


def _values(header: fits.Header, key: str) -> list[str]:
    return [str(c) for c in header.cards if c.keyword == key]


def _one(cards: list[str]) -> str:
    return "; ".join(c[10:].strip() for c in cards) or "nothing"


def _data(old: Any, new: Any) -> Iterator[str]:
    a, b = old.data, new.data
    if a is None or b is None:
        if a is not b:
            yield "data on one side only"
        return
    if a.shape != b.shape or a.dtype != b.dtype:
        yield f"{a.dtype} {a.shape}, now {b.dtype} {b.shape}"
    elif a.dtype.names:
        changed = [n for n in a.dtype.names if not _same(np.asarray(a[n]), np.asarray(b[n])).all()]
        if changed:
            yield f"columns {', '.join(changed)}"
    else:
        other = ~_same(a, b)
        if other.any():
            with np.errstate(invalid="ignore"):
                most = float(np.nanmax(np.abs(a[other].astype(np.float64) - b[other].astype(np.float64)), initial=0.0))
            yield f"{np.count_nonzero(other)} of {a.size} values, by up to {most:g}"


def _same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    same: np.ndarray = (a == b) | ((a != a) & (b != b))
    return same
