"""Provenance of a product: steps, versions, parameters with their origin, inputs with checksums."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__
from .algorithms.shared import no_warnings
from .errors import DataError, Unreadable, fault_of
from .headers import printable_ascii
from .plan.model import file_root
from .streams import DAMAGE, open_stream

#: Bytes that are hashed at once. In between, a thread may wait for the interpreter: in hashlib's pieces of 256 kB,
#: files take twice as long while libraries are loaded.
PIECE = 1 << 21


@dataclass(frozen=True)
class Record:
    """One row of PROVENANCE.

    `item` is nirred, plugin, recipe (value: kind of product; origin: the task), call (value: step with its input and
    output streams), step, parameter, missing (a calibration), input (value: role, and number in a burst), unreadable
    (an input without readable pixels), file (named by a parameter; value: which one), calibration or scale (of a dark).
    `origin` is the package of a step, the source of a setting, or the SHA-256 of a file's decompressed bytes.
    """

    item: str
    name: str
    value: str = ""
    origin: str = ""


def content_digest(path: Path) -> str:
    """SHA-256 of a file's decompressed bytes, which are read each time; raises one of `headers.DAMAGE`."""
    digest, piece = hashlib.sha256(), memoryview(bytearray(PIECE))
    with open_stream(path) as stream:
        while size := stream.readinto(piece):
            digest.update(piece[:size])
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """The same, read only once for each state of the file (inode, size, time of change).

    Raises
    ------
    Unreadable
        The file vanished or its compression is damaged.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise Unreadable(fault_of(error), "fetch the file again") from error
    return _digest(_State(path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))


@dataclass(frozen=True)
class _State:
    """Identity of a file's content, independent of its name: a product is renamed at the end."""

    path: Path = field(compare=False)
    device: int
    inode: int
    size: int
    changed: int


@lru_cache(maxsize=4096)
def _digest(state: _State) -> str:
    """Digest of a file in this state, cached because several tasks of a run use the same flats."""
    try:
        return content_digest(state.path)
    except DAMAGE as error:
        raise Unreadable(f"{state.path.name}: {error}", "fetch the file again") from error


def input_records(paths: Iterable[tuple[Path, str, str]]) -> list[Record]:
    """Records of inputs given as (path, item, role), with names without directory and compression."""
    return [Record(item, file_root(path) + ".fits", role, file_digest(path)) for path, item, role in paths]


def parameter_records(
    step: str, version: int, values: Mapping[str, Any], origins: Mapping[str, str], code: str = f"nirred {__version__}"
) -> list[Record]:
    """Records of one step and its parameters, in order; `code` is the package that the step comes from."""
    own = [Record("parameter", f"{step}:{k}", repr(v), origins.get(k, "default")) for k, v in values.items()]
    return [Record("step", step, str(version), code), *own]


def read_table(path: Path) -> list[Record]:
    """The PROVENANCE of a product.

    Raises
    ------
    Unreadable
        Not a FITS file.
    DataError
        It has no PROVENANCE written by nirred.
    """
    from astropy.io import fits

    from .headers import Headers

    Headers.read(path)  # raises nirred's own error if this is not a FITS file
    try:
        with no_warnings():  # damaged cards of other extensions
            rows = fits.getdata(path, "PROVENANCE")
        return [Record(*(str(row[k]) for k in ("item", "name", "value", "origin"))) for row in rows]
    except KeyError as error:
        raise DataError(f"{path.name}: it has no PROVENANCE of nirred", "name a product") from error
    except (OSError, TypeError, ValueError, IndexError, fits.VerifyError) as error:
        raise Unreadable(f"{path.name}: {error}", "name a product") from error


def table(records: Iterable[Record]) -> np.ndarray:
    """The PROVENANCE table, with text columns as wide as needed."""
    rows = [(r.item, r.name, r.value, r.origin) for r in records]
    clean = [tuple(printable_ascii(c).encode("ascii") for c in row) for row in rows]
    widths = [max([len(row[k]) for row in clean] + [1]) for k in range(4)]
    names = ("item", "name", "value", "origin")
    return np.array(clean, dtype=[(n, f"S{w}") for n, w in zip(names, widths, strict=True)])
