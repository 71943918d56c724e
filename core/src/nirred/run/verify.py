"""Check an output directory against its records."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..algorithms.shared import no_warnings
from ..errors import ConfigError, NirredError
from ..files import PART
from ..provenance import file_digest, read_table
from .layout import run_path
from .records import TaskRecord, load_record, recorded_tasks, sha256
from .schema import TaskEntry, read_run


@dataclass(frozen=True)
class Finding:
    """One file and the result of its check: ok, wrong, or a note that is not an error."""

    file: str
    state: Literal["ok", "wrong", "note"]
    text: str = ""


def verify(out: Path) -> list[Finding]:
    """Check an output directory.

    Parameters
    ----------
    out : Path
        As given to ``nirred run -o``.

    Returns
    -------
    list of Finding
        run.json, every product and intermediate frame of the last and earlier runs, then files in no record. A product
        is wrong if it is missing, differs from its record (size, SHA-256), fails its own checksums, or was made with a
        calibration that has since changed.

    Raises
    ------
    ConfigError
        No such directory.
    """
    if not out.is_dir():
        raise ConfigError(f"{out}: no such directory", "name the output of a run")
    entries: list[TaskEntry] = []
    try:
        run = read_run(run_path(out))
        entries = [*run.tasks, *run.earlier]
        found = [Finding("run.json", "ok", f"{len(run.files)} files, {len(run.tasks)} tasks")]
    except NirredError as error:
        found = [Finding("run.json", "wrong", str(error))]
    for entry in entries:
        found += _task(out, entry)
    told = {entry.id for entry in entries}
    records = [r for t in sorted(recorded_tasks(out) - told) if (r := load_record(out, t)) is not None]
    for record in records:
        found += _forgotten(out, record)
    known = {name for t in entries for name in t.products} | {f"{t}.fits" for t in told}
    known |= {p.name for r in records for p in r.products}
    return found + list(_strangers(out, known))


def _task(out: Path, entry: TaskEntry) -> Iterator[Finding]:
    if entry.outcome not in ("done", "reused"):
        left = out / f"{entry.id}.fits"
        text = f"{entry.outcome}: {entry.error.message if entry.error else ''}"
        if left.exists():
            yield Finding(left.name, "wrong", f"of an earlier run; in the last one {text}")
        else:
            yield Finding(left.name, "note", text)
        return
    record = load_record(out, entry.id)
    for name in (*entry.products, *entry.intermediates):
        faults = list(_faults(out, name, record))
        yield Finding(name, "wrong" if faults else "ok", "; ".join(faults))


def _forgotten(out: Path, record: TaskRecord) -> Iterator[Finding]:
    """Products of a task that is not in run.json: the file was lost, or the task's group has changed."""
    for written in record.products:
        if not (out / written.name).exists():
            continue
        faults = list(_faults(out, written.name, record))
        yield Finding(written.name, "wrong" if faults else "ok", "; ".join(faults) or "of an earlier run")


def _faults(out: Path, name: str, record: TaskRecord | None) -> Iterator[str]:
    path = out / name
    if not path.is_file():
        yield "missing"
        return
    written = next((p for p in record.products if p.name == name), None) if record is not None else None
    if written is None:
        yield "no record of how it was made"
    elif path.stat().st_size != written.size:
        yield f"{path.stat().st_size} bytes, written: {written.size}"
    elif sha256(path) != written.sha256:
        yield "not the bytes that were written"
    try:
        yield from _checksums(path)
        yield from _calibrations(out, path)
    except NirredError as error:
        yield error.message
    except (OSError, ValueError, TypeError) as error:  # raised by astropy for a damaged file
        yield f"unreadable: {error}"


def _checksums(path: Path) -> Iterator[str]:
    from astropy.io import fits

    with no_warnings():
        with fits.open(path, do_not_scale_image_data=True, memmap=False) as hdus:
            for number, hdu in enumerate(hdus):
                name = hdu.name or f"HDU {number}"
                for what, state in (("DATASUM", hdu.verify_datasum()), ("CHECKSUM", hdu.verify_checksum())):
                    if state != 1:
                        yield f"{what} of {name} " + ("is wrong" if state == 0 else "is missing")


def _calibrations(out: Path, path: Path) -> Iterator[str]:
    for row in read_table(path):
        used = out / row.name
        if row.item == "calibration" and used.is_file() and file_digest(used) != row.origin:
            yield f"made with another {row.name}"


def _strangers(out: Path, known: Container[str]) -> Iterator[Finding]:
    for path in sorted(out.iterdir()):
        if PART.fullmatch(path.name):
            yield Finding(path.name, "note", "left by a killed run; the next one removes it")
        elif path.suffix == ".fits" and path.name not in known:
            yield Finding(path.name, "note", "not made by a run that is recorded here")
