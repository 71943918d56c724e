"""Find the calibration of each kind for a task, and say in words why it was taken or what was missed by how much."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..plugin.rules import CalibrationRule, Match, seconds
from .model import Association, Candidate, FrameInfo, Missing, RuleResult
from .moments import DAY, exposure, lag, stamp, text
from .scan import PROCESSED, product_of

if TYPE_CHECKING:
    from ..registry import Registry

#: Kinds that serve to make other calibrations; the planner pairs them itself.
INTERNAL = frozenset({"lampoff_flat", "bpm_dark"})
#: Keyword of a lamp flat: how many lamp-off frames were subtracted.
LAMPS_OFF = "NLAMPOFF"
#: Window of a mask that was measured, where the rule for static masks (any age) sets none.
MASK_WITHIN = "180 d"
#: What plugins call a setting that their tables do not list.
UNKNOWN = ("Unknown", "Invalid")
#: Settings of the read-out that change dark and response: not stated is not the same as equal.
SETTINGS = frozenset({"read_mode", "well_depth_setting"})
#: Roles of raw frames that may stand for a master of each kind; "other": the header does not say.
ROLES = {"dark": ("dark", "other"), "flat": ("flat", "lamp_on", "lamp_off", "other"), "bpm": ("bpm", "other")}


@dataclass(frozen=True)
class Source:
    """A calibration that exists already or that a task of this plan makes.

    Parameters
    ----------
    kind : str
        dark, flat, bpm, ... ; `static_bpm` for a mask that is valid from its date on.
    frame : FrameInfo
        Its header, or the first frame that it is made from.
    count : int
        Raw frames in it; 0 when unknown.
    task : str
        Id of the task that makes it, or "".
    path : Path or None
        The file, where it exists.
    origin : str
        "input" or "library".
    level : int
        Best level that it can have (2: a flat without lamp-off).
    blocked : str
        Why its task cannot run.
    made_of : frozenset of str
        Names of the raw frames that it is made from; of a finished file the first one's alone.
    checksum : str
        SHA-256 of the decompressed bytes that the library vouches for.
    fault : str
        Why the file cannot be used although the library knows it.
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
        """A file, with what its header says of how it was made: frames, lamp-off frames, the first frame's name."""
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
    """A source judged by a rule for one frame; `lag` in s, positive when the calibration is the later one."""

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
    """The rule of each kind that applies to a frame: an add-on package's, by name, before the owner's own."""
    found: dict[str, CalibrationRule] = {}
    for _, rule in registry.rules_for(frame.owner):
        if rule.kind not in found and rule.applies(frame.tags, frame.descriptors):
            found[rule.kind] = rule
    return found


def judge(rule: CalibrationRule, frame: FrameInfo, source: Source) -> Verdict:
    """Compare a calibration with what a frame wants, term by term."""
    other = source.frame
    rows = [_term(m, frame, other) for m in rule.match]
    rows += _detector_term(frame, source)
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
    """Largest difference in time for a source of a kind: a measured mask ages even where a static one does not."""
    return MASK_WITHIN if kind == "bpm" and rule.within is None else rule.within


def _term(match: Match, frame: FrameInfo, other: FrameInfo) -> RuleResult:
    name, tol = match.descriptor, match.tol
    wanted, found = frame.descriptors.get(name), other.descriptors.get(name)
    if match.or_unstated and found is None:
        return RuleResult(name, f"{text(wanted)} or not stated", "not stated", True)
    if tol is None:
        if _unknown(name, wanted):
            return RuleResult(name, f"{text(wanted)} (matches nothing)", text(found), False)
        passed = (wanted is None and found is None) or (wanted is not None and bool(wanted == found))
        return RuleResult(name, text(wanted), text(found), passed)
    if wanted is None:
        return RuleResult(name, "any", text(found), True)
    try:
        passed = found is not None and abs(float(wanted) - float(found)) < tol
    except (TypeError, ValueError):
        passed = bool(wanted == found)
    return RuleResult(name, f"{text(wanted)} within {text(float(tol))}", text(found), passed)


def _unknown(name: str, value: Any) -> bool:
    """A value that says nothing: two frames that both have it need not be alike."""
    return (isinstance(value, str) and value in UNKNOWN) or (value is None and name in SETTINGS)


def _detector_term(frame: FrameInfo, source: Source) -> list[RuleResult]:
    """Another physical detector or another size never matches; static masks are left to their rule."""
    if source.kind == "static_bpm" or not frame.detectors or not source.frame.detectors:
        return []
    mine, its = frame.detectors[0], source.frame.detectors[0]
    wanted, found = ((f"{d.shape[1]}x{d.shape[0]} {d.epoch}".strip()) for d in (mine, its))
    rows = [RuleResult("detector", wanted, found, wanted == found)]
    counts = len(frame.detectors), len(source.frame.detectors)
    if (source.task or source.kind in INTERNAL) and counts[0] != counts[1]:  # raw: a product says it in its own way
        rows.append(RuleResult("planes", str(counts[0]), str(counts[1]), passed=False))
    return rows


def _level(rule: CalibrationRule, source: Source, apart: float) -> tuple[int, str]:
    if source.count == 1:
        return 3, "of one frame only"
    level, remarks = source.level, []
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
    """What a task asks for.

    Parameters
    ----------
    frame : FrameInfo
        The frame that asks: the first one of the task.
    kind : str
    rule : CalibrationRule
    optional : bool
        The task can go on without: by the rule, unless the user is strict, or by the user's `--allow-missing`.
    prefer : frozenset of str
        Names of raw frames: a calibration made from one of them comes before a nearer one.
    because : str
        Why those are preferred, as it is said of the others.
    """

    frame: FrameInfo
    kind: str
    rule: CalibrationRule
    optional: bool
    prefer: frozenset[str] = field(default=frozenset())
    because: str = "another is made from the flat's own frames"


def choose(wish: Wish, sources: Sequence[Source]) -> Association | Missing:
    """Take the nearest calibration in time that satisfies every term of the rule; INPUT comes before the library.

    Another instrument's calibrations are no candidates, not even as the nearest miss.
    """
    own = [s for s in sources if s.kind == wish.kind and s.frame.instrument == wish.frame.instrument]
    verdicts = [judge(wish.rule, wish.frame, s) for s in own]
    good = [v for v in verdicts if v.passed]
    if not good:
        return _missing(wish, verdicts)
    best = min(good, key=lambda v: _rank(wish, v))
    return Association(
        wish.kind,
        best.source.task,
        best.source.path,
        best.level,
        words(best),
        best.source.origin,
        scale_of(wish.rule, wish.frame, best.source.frame),
        tuple(_candidate(wish, v, best) for v in sorted(verdicts, key=lambda v: _rank(wish, v))),
        best.source.checksum,
        wish.optional,
    )


#: Why one that would serve is not the first by `_rank`, term by term.
_LOST = (
    "",
    "INPUT comes before the library",
    "",  # the wish says it
    "another is nearer in time",
    "another agrees in more of the tie-breaking terms",
    "one made in this run comes first",
    "equivalent to the chosen one",
)


def _rank(wish: Wish, v: Verdict) -> tuple[Any, ...]:
    apart = round(abs(v.lag)) if math.isfinite(v.lag) else math.inf
    ties = sum(wish.frame.descriptors.get(n) != v.source.frame.descriptors.get(n) for n in wish.rule.rank)
    shared = bool(wish.prefer & v.source.made_of)
    return len(v.misses), v.source.origin != "input", not shared, apart, ties, not v.source.task, v.source.name


def scale_of(rule: CalibrationRule, frame: FrameInfo, calibration: FrameInfo) -> float:
    """Factor for the calibration by the rule's `scale_by`; 1 without one."""
    if not rule.scale_by:
        return 1.0
    mine, its = frame.descriptors.get(rule.scale_by), calibration.descriptors.get(rule.scale_by)
    return float(mine) / float(its) if mine and its else 1.0


def _candidate(wish: Wish, v: Verdict, best: Verdict | None) -> Candidate:
    """A verdict for the record. What a rule speaks against is a risk (level 3), however good it is by itself."""
    if not v.passed:
        level, why = 3, "; ".join(f"{r.rule}: wanted {r.wanted}, found {r.found}" for r in v.misses)
    else:
        level, why = v.level, words(v)
        if best is not None and best is not v:
            why = f"{why}; {_lost(wish, v, best)}"
    return Candidate(v.source.name, v is best, level, v.rows, v.source.origin, why, v.source.path)


def _lost(wish: Wish, v: Verdict, best: Verdict) -> str:
    """Why a calibration that would serve is not taken."""
    for mine, its, lost in zip(_rank(wish, v), _rank(wish, best), _LOST, strict=True):
        if mine != its:
            return lost or wish.because
    return _LOST[-1]


def words(v: Verdict) -> str:
    """Why this calibration, in words: '20.002 s, 10 frames, 6.2 h later'."""
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
    """The rule's terms with the values that this frame wants."""
    rows = [_term(m, frame, frame) for m in rule.match]
    if rule.within is not None:
        rows.append(RuleResult("ut_datetime", f"within {rule.within}", "", True))
    return rows


def forced(kind: str, path: Path, wish: Wish | None, described: FrameInfo | None, by: str = "the user") -> Association:
    """The user's calibration: always taken, its rule compared only to say so.

    One that an observation file names is an observatory's, which is meant for more than the days round its making.
    """
    if wish is None or described is None:
        return Association(kind, path=path, level=1, reason=f"named by {by}, rules not checked", source="user")
    verdict = judge(wish.rule, wish.frame, Source(kind, described, path=path))
    level = verdict.level if verdict.passed else 3
    reason = f"named by {by}"
    if by != "the user" and all(r.rule == "ut_datetime" for r in verdict.misses):
        return Association(kind, "", path, min(level, 1), reason, "user", scale_of(wish.rule, wish.frame, described))
    if not verdict.passed:
        reason += " against the rule: " + ", ".join(f"{r.rule} {r.found}, not {r.wanted}" for r in verdict.misses)
    role, finished = described.descriptors.role, product_of(described) or described.tags & PROCESSED
    if not finished and role not in ROLES.get(kind, (role,)):
        level = 3
        reason += f", but its header is that of a raw frame ({role})"
    candidate = (Candidate(path.name, True, level, verdict.rows, "user", reason, path),)
    scale = scale_of(wish.rule, wish.frame, described)
    return Association(kind, "", path, level, reason, "user", scale, candidate)


def risks(found: Sequence[Association]) -> list[str]:
    """What is to be said of calibrations that are a risk."""
    return [f"{a.kind}: {a.reason}" for a in found if a.level >= 2]
