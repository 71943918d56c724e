"""Findings for the observer: failures, then degraded results, then remarks; each with a remedy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..plan.model import INTERNAL
from .sections import Product
from .words import LEVELS

if TYPE_CHECKING:
    from ..run.schema import FileEntry, RunFile, TaskEntry

Grade = Literal["failed", "degraded", "warning", "note"]
GRADES: tuple[Grade, ...] = ("failed", "degraded", "warning", "note")
#: Fates of files that the observer may not be aware of.
SPOILED = ("unreadable", "unclaimed", "ambiguous", "duplicate", "unsupported", "failed")
#: Outcomes of frames that a task left out.
ENDINGS = ("rejected", "failed", "unreadable")
#: Correction keywords of the kinds of calibration.
_KEYS = {"dark": "DARKCOR", "flat": "FLATCOR"}
#: How the remark on a product's name begins that stands for itself.
_RENAMED = "named after the directory of"


@dataclass(frozen=True)
class Finding:
    """One finding: the groups or files concerned, the problem, and what to do."""

    grade: Grade
    about: str
    text: str
    remedy: str = ""
    where: tuple[str, ...] = ()


def findings(run: RunFile, products: Sequence[Product]) -> list[Finding]:
    """All findings, most severe first; identical findings of several groups are merged."""
    lost = _left_out(run)
    found = [
        *(f for t in run.tasks for f in _of_task(t, lost.get(t.id, {}))),
        *(f for p in products for f in _of_product(p)),
        *_of_files(run.files, {e.message for t in run.tasks if (e := t.error) is not None}),
        *(Finding("note", "Run", r) for r in run.remarks),
        *_of_wcs(run),
    ]
    joined: dict[tuple[str, str, str, str], list[str]] = {}
    for f in found:
        joined.setdefault((f.grade, f.about, f.text, f.remedy), []).extend(f.where)
    unique = [
        Finding(grade, about, text, remedy, tuple(dict.fromkeys(where)))  # type: ignore[arg-type]
        for (grade, about, text, remedy), where in joined.items()
    ]
    return sorted(unique, key=lambda f: GRADES.index(f.grade))


def _left_out(run: RunFile) -> dict[str, dict[str, list[str]]]:
    """{task: {reason: frames left out}}; what happened to a whole group is its error."""
    errors = {t.id: t.error.message for t in run.tasks if t.error is not None}
    found: dict[str, dict[str, list[str]]] = {}
    for f in run.files:
        for r in f.roles:
            if r.outcome in ENDINGS and r.reason != errors.get(r.task):
                found.setdefault(r.task, {}).setdefault(r.reason or r.outcome, []).append(Path(f.file).name)
    return found


def _of_task(task: TaskEntry, lost: dict[str, list[str]]) -> Iterator[Finding]:
    """Its end, its calibrations, its frames left out by reason, and its remarks but those that say the same."""
    where = (task.id,)
    if task.outcome not in ("done", "reused"):
        message = task.error.message if task.error else "no reason is recorded: see nirred.log"
        hint = task.error.hint if task.error else ""
        about = f"{task.title or task.id} {task.outcome}"
        yield Finding("failed", about, message.removeprefix(f"{task.id}: "), hint, where)
    else:
        for m in task.missing:
            yield Finding("degraded", "Calibration missing", m.reason, remedy(m.kind), where)
        for c in task.calibrations:
            if c.level >= 2:
                text = f"{Path(c.file).name}: {c.reason}: {LEVELS[min(c.level, 3)]} (level {c.level})"
                yield Finding("warning" if c.level > 2 else "note", f"Doubtful {c.kind}", text, "", where)
    if lost:
        reasons = "; ".join(f"{', '.join(dict.fromkeys(names))}: {reason}" for reason, names in lost.items())
        share = f"{sum(map(len, lost.values()))} of {len(task.inputs)}"
        yield Finding("warning", "Frames left out", f"{share}: {reasons}", "", where)
    doubts = {f"{c.kind}: {c.reason}" for c in task.calibrations if c.level >= 2}
    for remark in (r.removeprefix(f"{task.id}: ") for r in task.remarks):
        if remark.startswith(_RENAMED):
            yield Finding(
                "note",
                "Names",
                "product names include the directory, because another product has the same name",
                "",
                where,
            )
        elif remark not in doubts and remark.partition(" left out: ")[2] not in lost:
            yield Finding("note", "Remark", remark, "", where)


def remedy(kind: str) -> str:
    """What to do about a missing calibration of that kind."""
    if kind in INTERNAL:
        return f"Add raw frames for a {kind} to the inputs, and run again."
    return f"Add a {kind} to the inputs or the library, or name one with --user-cal {kind}:FILE, and run again."


def _of_product(product: Product) -> Iterator[Finding]:
    where = (product.task.id,)
    if product.fault:
        yield Finding("failed", "Product lost", f"{product.file}: {product.fault}", "Run again.", where)
    said = {_KEYS.get(m.kind, "") for m in product.task.missing}
    for skipped in product.skipped:
        if skipped.split()[0] not in said:
            yield Finding("note", "Not done", skipped, "", where)
    if product.stack is None:
        return
    for remark in product.stack.remarks:
        yield Finding("note", "Noise", remark, "", where)


def _of_files(files: Iterable[FileEntry], told: set[str]) -> Iterator[Finding]:
    """Files of one fate and reason together, but those that a task left out or that failed with their group."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for f in files:
        name = Path(f.file).name
        if f.fate in SPOILED and f.reason not in told and not any(r.outcome in ENDINGS for r in f.roles):
            by_reason.setdefault((f.fate, f.reason.removeprefix(f"{name}: ")), []).append(name)
    for (fate, reason), names in by_reason.items():
        grade: Grade = "warning" if fate in ("unreadable", "failed") else "note"
        number = "1 file" if len(names) == 1 else f"{len(names)} files"
        yield Finding(grade, f"{number} {fate}", reason or "no reason is recorded", "", tuple(names))


def _of_wcs(run: RunFile) -> Iterator[Finding]:
    by_note: dict[str, list[str]] = {}
    for w in run.wcs:
        by_note.setdefault(w.note or w.state, []).append(w.frame)
    for note, frames in by_note.items():
        yield Finding("note", "World coordinates", note, "", tuple(frames))
