"""Choose the calibration of each kind for a task, and explain the choice or by how much the candidates fail."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..plugin.rules import CalibrationRule, Match, seconds
from .model import INTERNAL, Association, Candidate, FrameInfo, Missing, RuleResult
from .moments import DAY, exposure, lag, stamp, text
from .scan import PROCESSED, product_of
from .terms import scale_of, scale_term, term

if TYPE_CHECKING:
    from ..registry import Registry

#: Keyword of a lamp flat: how many lamp-off frames were subtracted.
LAMPS_OFF = "NLAMPOFF"
#: Time window of a measured mask, if the rule (for static masks of any age) sets none.
MASK_WITHIN = "180 d"
#: Roles that the header of a master of each kind may have; "other": the header does not say.
ROLES = {"dark": ("dark", "other"), "flat": ("flat", "lamp_on", "lamp_off", "other"), "bpm": ("bpm", "other")}


def served_kind(product: str) -> str:
    """The kind of calibration as which a finished product of that kind serves: a sky flat is a flat."""
    return "flat" if product == "skyflat" else product


@dataclass(frozen=True)
class Source:
    """A calibration that exists already or will be made by a task of this plan.

    Parameters
    ----------
    kind : str
        dark, flat, bpm, ... ; `static_bpm` for a mask that is valid from its date on.
    frame : FrameInfo
        Frame with its header, or the first frame that it is made from.
    count : int
        Number of raw frames in it; 0 if unknown.
    task : str
        Id of the task that makes it, or "".
    path : Path or None
        The file, if it exists.
    origin : str
        "input" or "library".
    level : int
        Best quality level that it can have (2: a flat without lamp-off).
    blocked : str
        Why its task cannot run.
    made_of : frozenset of str
        Names of the raw frames that it is made from; for an existing file only the first.
    checksum : str
        SHA-256 of the decompressed bytes as recorded in the library.
    fault : str
        Why the file cannot be used although it is in the library.
    """

    kind: str
    frame: FrameInfo
    count: int = 0
    task: str = ""
    path: Path | None = None
    origin: str = "input"
    level: int = 0
    blocked: str = ""
    made_of: frozenset[str] = frozenset()
    checksum: str = ""
    fault: str = ""

    @classmethod
    def finished(cls, kind: str, frame: FrameInfo) -> Source:
        """The source for an existing file, with its frames, lamp-off frames and first frame's name from the header."""
        get = frame.headers.get
        count = get("NCOMBINE")
        made = count if isinstance(count, int) and not isinstance(count, bool) else 0
        level = 2 if kind == "flat" and get(LAMPS_OFF) == 0 else 0
        first = get("ORIGNAME")
        made_of = frozenset({first} if isinstance(first, str) else ())
        return cls(kind, frame, made, path=frame.path, level=level, made_of=made_of)

    @property
    def name(self) -> str:
        """File name."""
        return f"{self.task}.fits" if self.task else self.path.name if self.path else self.frame.name


@dataclass(frozen=True)
class Verdict:
    """The result of comparing a source with a rule for one frame; `lag` in s, positive if the calibration is later."""

    source: Source
    rows: tuple[RuleResult, ...]
    lag: float
    level: int
    remark: str = ""

    @property
    def passed(self) -> bool:
        """True when every term holds."""
        return all(r.passed for r in self.rows)

    @property
    def misses(self) -> tuple[RuleResult, ...]:
        """The terms that do not hold."""
        return tuple(r for r in self.rows if not r.passed)


def rules_for(frame: FrameInfo, registry: Registry) -> dict[str, CalibrationRule]:
    """The rule of each kind that applies to a frame: rules of add-on packages, by name, before the owner's."""
    found: dict[str, CalibrationRule] = {}
    for _, rule in registry.rules_for(frame.owner):
        if rule.kind not in found and rule.applies(frame.tags, frame.descriptors):
            found[rule.kind] = rule
    return found


def judge(rule: CalibrationRule, frame: FrameInfo, source: Source) -> Verdict:
    """Compare a calibration with a frame, term by term of the rule."""
    other = source.frame
    rows = [term(m, frame, other) for m in rule.match]
    rows += _detector_term(frame, source) + scale_term(rule, frame, other)
    if rule.candidate_tags:
        missing = sorted(rule.candidate_tags - other.tags)
        wanted = ", ".join(sorted(rule.candidate_tags))
        rows.append(RuleResult("tags", wanted, f"without {', '.join(missing)}" if missing else wanted, not missing))
    if other.descriptors.qa_state is not None:
        state = other.descriptors.qa_state
        rows.append(RuleResult("qa_state", "not Fail", state, state.lower() != "fail"))
    apart = stamp(other) - stamp(frame)
    if rule.before_only and source.kind == "static_bpm":
        rows.append(RuleResult("ut_datetime", "not later", lag(apart), not apart > 0))
    within = window(rule, source.kind)
    if within is not None:
        inside = abs(apart) < seconds(within)  # NaN: unknown, not inside
        rows.append(RuleResult("ut_datetime", f"within {within}", lag(apart), inside))
    if source.blocked:
        rows.append(RuleResult("can be made", "yes", source.blocked, False))
    if source.fault:
        rows.append(RuleResult("file", "as it was added", source.fault, False))
    level, remark = _level(rule, source, abs(apart))
    return Verdict(source, tuple(rows), apart, level, remark)


def window(rule: CalibrationRule, kind: str) -> str | None:
    """Largest difference in time for a source of a kind; a measured mask has a limit even if a static one has none."""
    return MASK_WITHIN if kind == "bpm" and rule.within is None else rule.within


def _detector_term(frame: FrameInfo, source: Source) -> list[RuleResult]:
    """Compare physical detector and size, which must agree; static masks are compared by their rule only."""
    if source.kind == "static_bpm" or not frame.detectors or not source.frame.detectors:
        return []
    mine, its = frame.detectors[0], source.frame.detectors[0]
    wanted, found = ((f"{d.shape[1]}x{d.shape[0]} {d.epoch}".strip()) for d in (mine, its))
    rows = [RuleResult("detector", wanted, found, wanted == found)]
    counts = len(frame.detectors), len(source.frame.detectors)
    if (source.task or source.kind in INTERNAL) and counts[0] != counts[1]:  # raw: products store planes differently
        rows.append(RuleResult("planes", str(counts[0]), str(counts[1]), passed=False))
    return rows


def _level(rule: CalibrationRule, source: Source, apart: float) -> tuple[int, str]:
    if source.count == 1:
        return 3, "of one frame only"
    level, remarks = source.level, ["without lamp-off frames"] if source.level == 2 else []
    if 0 < source.count < rule.minimum:
        level = max(level, 2)
        remarks.append(f"only {source.count} frames, {rule.minimum} are wanted")
    if rule.remark_beyond is not None and not apart <= seconds(rule.remark_beyond):
        level = max(level, 2)
        remarks.append(f"more than {rule.remark_beyond} apart")
    if source.kind != "static_bpm" and not apart <= DAY:
        level = max(level, 1)
    return level, "; ".join(remarks)


@dataclass(frozen=True)
class Wish:
    """A task's request for a calibration.

    Parameters
    ----------
    frame : FrameInfo
        The first frame of the task.
    kind : str
    rule : CalibrationRule
    optional : bool
        The task can run without it: by the rule, unless the user is strict, or by the user's `--allow-missing`.
    prefer : frozenset of str
        Names of raw frames; a calibration made from one of them is preferred to one nearer in time.
    because : str
        Reason for that preference, given for the candidates not chosen.
    """

    frame: FrameInfo
    kind: str
    rule: CalibrationRule
    optional: bool
    prefer: frozenset[str] = field(default=frozenset())
    because: str = "another is made from the flat's own frames"


def choose(wish: Wish, sources: Sequence[Source]) -> Association | Missing:
    """Choose the calibration nearest in time that satisfies every term of the rule; INPUT precedes the library.

    Calibrations of other instruments are never candidates, not even as the nearest miss.
    """
    own = [s for s in sources if s.kind == wish.kind and s.frame.instrument == wish.frame.instrument]
    verdicts = [judge(wish.rule, wish.frame, s) for s in own]
    good = [v for v in verdicts if v.passed]
    if not good:
        return _missing(wish, verdicts)
    best = min(good, key=lambda v: _rank(wish, v))
    scale = scale_of(wish.rule, wish.frame, best.source.frame) or 1.0
    return Association(
        wish.kind,
        task=best.source.task,
        path=best.source.path,
        level=best.level,
        reason=words(best) + _scaled(scale),
        source=best.source.origin,
        scale=scale,
        candidates=tuple(_candidate(wish, v, best) for v in sorted(verdicts, key=lambda v: _rank(wish, v))),
        checksum=best.source.checksum,
        optional=wish.optional,
    )


#: Why a suitable candidate is not the first by `_rank`, term by term.
_LOST = (
    "",
    "",  # both are 0 for suitable ones
    "INPUT comes before the library",
    "",  # given by `Wish.because`
    "another is nearer in time",
    "another agrees in more of the tie-breaking terms",
    "one made in this run comes first",
    "equivalent to the chosen one",
)


def _rank(wish: Wish, v: Verdict) -> tuple[Any, ...]:
    apart = round(abs(v.lag)) if math.isfinite(v.lag) else math.inf
    ties = sum(wish.frame.descriptors.get(n) != v.source.frame.descriptors.get(n) for n in wish.rule.rank)
    shared = bool(wish.prefer & v.source.made_of)
    own = v.source.origin == "input"
    return len(v.misses), _short(wish, v), not own, not shared, apart, ties, not v.source.task, v.source.name


def _short(wish: Wish, v: Verdict) -> float:
    """How far a calibration's numbers, such as its exposure time, are outside the rule's tolerances, relative."""
    missed = {r.rule for r in v.misses}
    return sum(_relative(wish, v, m) for m in wish.rule.match if m.tol is not None and m.descriptor in missed)


def _relative(wish: Wish, v: Verdict, match: Match) -> float:
    """Difference of a descriptor over the larger of the two values, 1 if they are not comparable."""
    wanted, found = (f.descriptors.get(match.descriptor) for f in (wish.frame, v.source.frame))
    try:
        apart = float(abs(wanted - found) / max(abs(wanted), abs(found)))
    except (TypeError, ZeroDivisionError):
        return 1.0
    return apart if math.isfinite(apart) else 1.0


def _scaled(scale: float) -> str:
    return "" if scale == 1.0 else f", scaled by {scale:.6g}"


def _candidate(wish: Wish, v: Verdict, best: Verdict | None) -> Candidate:
    """The record of a verdict. A candidate that fails a rule has level 3 (risk), however good it is otherwise."""
    if not v.passed:
        level, why = 3, "; ".join(f"{r.rule}: wanted {r.wanted}, found {r.found}" for r in v.misses)
    else:
        level, why = v.level, words(v)
        if best is not None and best is not v:
            why = f"{why}; {_lost(wish, v, best)}"
    return Candidate(v.source.name, v is best, level, v.rows, v.source.origin, why, v.source.path)


def _lost(wish: Wish, v: Verdict, best: Verdict) -> str:
    """Why a suitable calibration is not chosen."""
    for mine, its, lost in zip(_rank(wish, v), _rank(wish, best), _LOST, strict=True):
        if mine != its:
            return lost or wish.because
    return _LOST[-1]


def words(v: Verdict) -> str:
    """Summary of a calibration in words: '20.002 s, 10 frames, 6.2 h later'."""
    frame = v.source.frame
    parts = []
    if v.source.kind == "dark" and exposure(frame) is not None:
        parts.append(f"{text(float(exposure(frame) or 0.0))} s")
    if v.source.kind == "flat" and frame.descriptors.get("filter_name") is not None:
        parts.append(text(frame.descriptors.get("filter_name", pretty=True)))
    if v.source.count:
        parts.append(f"{v.source.count} frame{'s' if v.source.count > 1 else ''}")
    parts.append(lag(v.lag))
    if v.remark:
        parts.append(v.remark)
    return ", ".join(parts)


def _missing(wish: Wish, verdicts: Sequence[Verdict]) -> Missing:
    ordered = sorted(verdicts, key=lambda v: _rank(wish, v))
    kind = wish.kind
    if ordered:
        miss = ordered[0]
        told = ", ".join(f"{r.rule}: wanted {r.wanted}, found {r.found}" for r in miss.misses)
        reason = f"no {kind}; nearest is {miss.source.name} ({told})"
    else:
        wanted = ", ".join(f"{r.rule} {r.wanted}" for r in _wanted(wish.rule, wish.frame))
        reason = f"no {kind} at all{f' (wanted: {wanted})' if wanted else ''}"
    return Missing(kind, wish.optional, reason, tuple(_candidate(wish, v, None) for v in ordered))


def _wanted(rule: CalibrationRule, frame: FrameInfo) -> list[RuleResult]:
    """The rule's terms with the values required by this frame."""
    rows = [term(m, frame, frame) for m in rule.match]
    if rule.within is not None:
        rows.append(RuleResult("ut_datetime", f"within {rule.within}", "", True))
    return rows


def forced(kind: str, path: Path, wish: Wish | None, described: FrameInfo | None, by: str | None = None) -> Association:
    """The calibration that the user names, or the observation file `by`: always used; its rule gives remarks only.

    One named in an observation file comes from an observatory and is valid for longer than a few days.
    """
    named = f"named by {'the user' if by is None else by}"
    if wish is None or described is None:
        return Association(kind, path=path, level=1, reason=f"{named}, rules not checked", source="user")
    verdict = judge(wish.rule, wish.frame, Source(kind, described, path=path))
    level = verdict.level if verdict.passed else 3
    scale = scale_of(wish.rule, wish.frame, described) or 1.0
    reason = named + _scaled(scale)
    used = Association(kind, path=path, source="user", scale=scale)
    if by is not None and all(r.rule == "ut_datetime" for r in verdict.misses):
        return replace(used, level=min(level, 1), reason=reason)
    if not verdict.passed:
        reason += " against the rule: " + ", ".join(f"{r.rule} {r.found}, not {r.wanted}" for r in verdict.misses)
    role, finished = described.descriptors.role, product_of(described) or described.tags & PROCESSED
    if not finished and role not in ROLES.get(kind, (role,)):
        level = 3
        reason += f", but its header is that of a raw frame ({role})"
    candidate = Candidate(path.name, True, level, verdict.rows, "user", reason, path)
    return replace(used, level=level, reason=reason, candidates=(candidate,))


def risks(found: Sequence[Association]) -> list[str]:
    """Remarks on calibrations that are a risk."""
    return [f"{a.kind}: {a.reason}" for a in found if a.level >= 2]
