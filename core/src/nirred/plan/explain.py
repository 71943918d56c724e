"""Explain a frame's calibrations: every candidate of every kind, compared term by term."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from .associate import Wish, choose, rules_for
from .describe import candidates_json
from .drafts import dark_drafts, lamp_off_wish, mask_dark_wish
from .grouping import calibration_groups
from .model import Association, FrameInfo, Missing
from .options import PlanOptions
from .planner import Planner
from .scan import scan_file

if TYPE_CHECKING:
    from ..plugin.rules import CalibrationRule
    from ..registry import Registry


def explain(path: Path, inputs: Iterable[str | Path], registry: Registry, options: PlanOptions) -> list[dict[str, Any]]:
    """All candidates for one frame, as ``nirred cal explain --json`` prints them.

    Parameters
    ----------
    path : Path
        The frame to explain.
    inputs : iterable of str or Path
        Other inputs of a run: calibrations are made from them or found among them.
    registry : Registry
        The plugins.
    options : PlanOptions
        Includes the library.

    Returns
    -------
    list of dict
        One entry for each kind that the instrument's rules require for this frame; empty if none.

    Raises
    ------
    DataError
        The file cannot be reduced; the message says why.
    """
    record = scan_file(path, registry)
    if record.verdict is not None:
        why = record.reason.removeprefix(f"{path.name}: ")
        raise DataError(f"{path.name}: {why}", "name a raw frame that is to be calibrated")
    planner = Planner(registry, options)
    planner.plan([path, *inputs])
    frame = record.frames[0]
    return [_entry(path, answer) for answer in _answers(planner, frame)]


def _answers(planner: Planner, frame: FrameInfo) -> Iterator[Association | Missing]:
    """One answer for each required kind; a static mask and a measured one count as two kinds."""
    bench = planner.bench
    for kind, rule in sorted(rules_for(frame, planner.registry).items()):
        if kind == "lampoff_flat":
            offs = calibration_groups(bench.pool("lamp_off"), bench.rules("flat", "lampoff_flat"))
            yield choose(*lamp_off_wish(frame, rule, offs))
        elif kind == "bpm_dark":
            yield choose(*mask_dark_wish(frame, rule, dark_drafts(bench)))
        else:
            yield from (planner.supply.choose(w, everything=True) for w in _wishes(frame, kind, rule))


def _wishes(frame: FrameInfo, kind: str, rule: CalibrationRule) -> Iterator[Wish]:
    kinds: tuple[str, ...] = (kind,)
    if kind == "bpm":  # measured masks are made from darks: these get a static one alone
        kinds = ("static_bpm",) if frame.descriptors.role == "dark" else ("bpm", "static_bpm")
    for k in kinds:
        yield Wish(frame, k, rule, rule.optional)


def _entry(path: Path, answer: Association | Missing) -> dict[str, Any]:
    candidates = [
        entry | {"path": None if c.path is None else str(c.path)}
        for entry, c in zip(candidates_json(answer.candidates), answer.candidates, strict=True)
    ]
    return {"file": str(path), "kind": answer.kind, "reason": answer.reason, "candidates": candidates}
