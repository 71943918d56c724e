"""The PROVENANCE rows of a task, sufficient to reproduce the product."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__, provenance
from ..errors import DataError, Unreadable
from ..group import Group
from ..plan.model import file_root
from ..states import FrameState
from .addons import addons

if TYPE_CHECKING:
    from ..plugin.recipes import Recipe
    from ..recipes import BoundCall

#: Parameters that determine which files are written, not their contents.
SILENT = ("skip", "write_outputs")


def records(group: Group, recipe: Recipe, calls: Sequence[BoundCall]) -> list[provenance.Record]:
    """Rows of PROVENANCE, in this order: code, recipe, steps with their parameters, files."""
    task = group.task
    rows = [provenance.Record("nirred", "nirred", __version__)]
    info = group.context.registry.found.get(task.first.owner)
    if info is not None:
        rows.append(provenance.Record("plugin", info.package, info.version, task.first.owner))
    for name, brought in sorted(addons(task, calls, group.context.registry).items()):
        other = group.context.registry.found[name]
        rows.append(provenance.Record("plugin", other.package, other.version, f"{name}: {', '.join(brought)}"))
    rows.append(provenance.Record("recipe", recipe.name, recipe.makes, task.id))
    foreign = {step: group.context.registry.found[name] for name, step in group.context.registry.steps()}
    for b in calls:
        rows.append(provenance.Record("call", b.call.name, f"{b.call.step} {b.call.takes} {b.call.gives}"))
        by = foreign.get(type(b.step))
        code = f"nirred {__version__}" if by is None else f"{by.package} {by.version}".strip()
        rows += provenance.parameter_records(b.call.name, b.step.version, _shown(b), b.origins, code)
    rows += [provenance.Record("missing", m.kind, m.reason) for m in task.missing]
    rows += [_input(f, group.record.contents.get(f.info.path)) for f in group.frames]
    rows += [provenance.Record("file", v.name, name, provenance.file_digest(v)) for name, v in _named(calls)]
    rows += provenance.input_records((path, "calibration", kind) for kind, path in group.record.calibrations)
    rows += [provenance.Record("scale", a.kind, repr(a.scale)) for a in task.calibrations if a.scale != 1.0]
    return rows


def _shown(bound: BoundCall) -> dict[str, Any]:
    """Values to record: file names without directory; a parameter in `SILENT` only if it changes the result."""
    values = {k: getattr(bound.params, k) for k in type(bound.params).model_fields}
    kept = {k: v for k, v in values.items() if k not in SILENT or (k == "skip" and v)}
    return {k: (v.name if isinstance(v, Path) else v) for k, v in kept.items()}


def _named(calls: Sequence[BoundCall]) -> Iterator[tuple[str, Path]]:
    """(step:parameter, file) for the files named by parameters."""
    for b in calls:
        for k in type(b.params).model_fields:
            value = getattr(b.params, k)
            if isinstance(value, Path):
                yield f"{b.call.name}:{k}", value


def _input(frame: FrameState, before: str | None) -> provenance.Record:
    """Record of one exposure of a file; without checksum if the pixels cannot be read.

    Raises
    ------
    DataError
        The frame is used, and the digest of its file is not the one from `before` it was read: its pixels may be of
        either content.
    """
    info, name = frame.info, file_root(frame.info.path) + ".fits"
    value = frame.role if info.number is None else f"{frame.role} {info.number}"
    try:
        digest = provenance.file_digest(info.path)
    except Unreadable:
        return provenance.Record("unreadable", name, value)
    if frame.alive and before not in (None, digest):
        raise DataError(f"{info.name}: changed while it was used", "run again when nothing writes to it")
    return provenance.Record("input", name, value, digest)
