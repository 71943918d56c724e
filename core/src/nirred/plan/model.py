"""The elements of a plan: files with fates, frames, tasks with inputs and calibrations, each with its reason."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import StepError

if TYPE_CHECKING:
    from ..headers import Headers
    from ..params import Setting
    from ..plugin.frames import Descriptors, Detector, Exposure, PlaneWcs, Role
    from ..plugin.instrument import RequestSet

Fate = Literal[
    "unreadable",
    "unclaimed",
    "ambiguous",
    "duplicate",
    "product",
    "unsupported",
    "unselected",
    "used",
    "failed",
    "rejected",
    "unneeded",
]
#: In this order: the first that holds is a file's summary fate.
FATES: tuple[Fate, ...] = Fate.__args__  # type: ignore[attr-defined]

#: Kinds used to make other calibrations; the planner pairs them itself.
INTERNAL = frozenset({"lampoff_flat", "bpm_dark"})

FrameRole = Literal["dark", "lamp_on", "lamp_off", "flat", "bpm_dark", "object", "sky", "both", "input"]
"""Role of a frame in one task. `both`: target and sky at once (dither on target)."""
ON_TARGET: tuple[FrameRole, ...] = ("object", "both", "input")
#: Roles that tables show in other words.
ROLE_WORDS: dict[str, str] = {"both": "object and sky"}

#: Roles that headers give to frames of the sky, with a target or without; see `Descriptors.role`.
SCIENCE: tuple[Role, ...] = ("science", "standard", "sky")

#: Kinds of product that are made without sky subtraction.
SKYLESS = ("dark", "bias", "flat", "bpm", "skyflat")

WcsState = Literal["ok", "stale", "rebuilt", "pointing", "none"]
"""`stale`: the header's WCS contradicts the pointing and could not be corrected; `rebuilt`: it was corrected."""


@dataclass(frozen=True)
class FrameInfo:
    """One exposure of one file, described by its headers.

    Parameters
    ----------
    path : Path
        The file.
    exposure : Exposure
        The exposure in the file.
    owner : str
        Name of the owning plugin.
    wcs : tuple of PlaneWcs
        One per plane, after the WCS check; empty without one.
    exposures : int
        Number of exposures in the file.
    """

    path: Path
    exposure: Exposure
    owner: str
    instrument: str
    tags: frozenset[str]
    descriptors: Descriptors
    detectors: tuple[Detector, ...]
    headers: Headers = field(repr=False, compare=False)
    wcs: tuple[PlaneWcs, ...] = ()
    wcs_state: WcsState = "none"
    wcs_note: str = ""
    exposures: int = 1

    @property
    def number(self) -> int | None:
        """The exposure's number in its file, from 0; None if the file has only this one."""
        return self.exposure.index if self.exposures > 1 else None

    @property
    def root(self) -> str:
        """Name of the file without directory and suffixes, with the exposure's number in a burst."""
        return file_root(self.path) + ("" if self.number is None else f"-{self.number + 1}")

    @property
    def name(self) -> str:
        """`root` with .fits: the frame's name in records, whatever its compression."""
        return self.root + ".fits"

    def gain(self, p: int) -> float:
        """Electrons per ADU of detector `p`; StepError where they are not known."""
        gain = self.detectors[p].gain
        if gain is None:
            raise StepError(f"{self.name}: gain of this mode is not known", "leave the frame out with --exclude")
        return float(gain)


def file_root(path: Path) -> str:
    """File name without directory, compression and FITS suffix."""
    name = path.name
    for suffix in (".gz", ".bz2", ".fz", ".fits", ".fit"):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
    return name


@dataclass(frozen=True)
class FileRole:
    """What a file is in one task (`FrameRole`, or a kind of calibration), and its end there; '' before the run."""

    task: str
    role: str
    outcome: str = ""
    reason: str = ""


@dataclass
class FileRecord:
    """One input file and its fate.

    `verdict` is set by the scan (unreadable, unclaimed, ambiguous, duplicate, product, unsupported, unselected) with
    `reason`; `roles` are added by tasks.
    """

    path: Path
    verdict: Fate | None = None
    reason: str = ""
    frames: tuple[FrameInfo, ...] = ()
    product: str = ""
    roles: list[FileRole] = field(default_factory=list)


@dataclass(frozen=True)
class RuleResult:
    """One term of a rule, with the required value and the value found."""

    rule: str
    wanted: str
    found: str
    passed: bool


@dataclass(frozen=True)
class Candidate:
    """One calibration that was considered; `why` explains why it was chosen or not."""

    name: str
    chosen: bool
    level: int
    rules: tuple[RuleResult, ...]
    source: str = "input"
    why: str = ""
    path: Path | None = None


@dataclass(frozen=True)
class Association:
    """The calibration of one kind for one task.

    Parameters
    ----------
    kind : str
        dark, flat, bpm, ...
    task : str
        Id of the task of this run that makes it, or "".
    path : Path or None
        The file, if it exists already.
    level : int
        0 as in the calibration plan; 1 good; 2 probably acceptable; 3 risk.
    reason : str
        Why this one, in words ("20.002 s, 10 frames, 6.2 h later").
    source : str
        "user", "input" or "library".
    candidates : tuple of Candidate
        All calibrations considered, in order of preference.
    checksum : str
        SHA-256 that the file's decompressed bytes must have; "" if unknown.
    optional : bool
        The task can run without it, with a degraded result, if it is not made.
    """

    kind: str
    task: str = ""
    path: Path | None = None
    level: int = 0
    reason: str = ""
    source: str = "input"
    scale: float = 1.0
    candidates: tuple[Candidate, ...] = ()
    checksum: str = ""
    optional: bool = False


@dataclass(frozen=True)
class Missing:
    """A calibration that was not found, or not made; the first of `candidates` came closest."""

    kind: str
    optional: bool
    reason: str
    candidates: tuple[Candidate, ...] = ()

    @property
    def demand(self) -> str:
        """Why the task needs it, and what the user can do."""
        give = "add raw ones to INPUT" if self.kind in INTERNAL else f"name one with --user-cal {self.kind}:FILE"
        return f"{self.reason}: {give}, or continue without it by --allow-missing {self.kind}"


@dataclass(frozen=True)
class Task:
    """One run of a recipe on a group of frames.

    `id` is the name of the main product without .fits (``N20160102S0423_dark``). `blocked` is the reason why it
    cannot run (a required calibration is missing); `remarks` are shown to the user. `settings` come from the foreign
    request that the task carries out, whose id is `request`.
    """

    id: str
    recipe: str
    makes: str
    instrument: str
    frames: tuple[tuple[FrameInfo, FrameRole], ...]
    calibrations: tuple[Association, ...] = ()
    missing: tuple[Missing, ...] = ()
    remarks: tuple[str, ...] = ()
    blocked: str = ""
    title: str = ""
    settings: tuple[Setting, ...] = ()
    request: str = ""

    @property
    def degraded(self) -> bool:
        """True if an optional calibration is missing."""
        return bool(self.missing)

    def given(self, made: Container[str]) -> Task:
        """The task if, of the tasks it needs, only `made` have a product; the other calibrations become missing.

        It is blocked if a required one is missing. One bad-pixel mask of two is enough.
        """
        lost = [a for a in self.calibrations if a.task and a.task not in made]
        kept = tuple(a for a in self.calibrations if not a.task or a.task in made)
        spared = [a for a in lost if a.kind == "bpm" and any(k.kind in ("bpm", "user_bpm") for k in kept)]
        missing = [Missing(a.kind, a.optional, f"no {a.kind}: {a.task} was not made") for a in lost if a not in spared]
        return replace(
            self,
            calibrations=kept,
            missing=(*self.missing, *missing),
            remarks=(*self.remarks, *(f"{a.task} was not made: the other mask serves alone" for a in spared)),
            blocked=self.blocked or "; ".join(m.demand for m in missing if not m.optional),
        )

    @property
    def first(self) -> FrameInfo:
        """The frame that gives the product its name and header."""
        return self.frames[0][0]

    @property
    def needs(self) -> tuple[str, ...]:
        """Ids of the tasks whose products this one uses."""
        return tuple(a.task for a in self.calibrations if a.task)


@dataclass(frozen=True)
class Refusal:
    """A request of a foreign file that cannot be carried out."""

    id: str
    origin: str
    reason: str
    hint: str = ""


@dataclass
class Plan:
    """All tasks for a set of inputs, in an order in which they can be carried out."""

    files: list[FileRecord]
    tasks: list[Task]
    remarks: list[str] = field(default_factory=list)
    requests: RequestSet | None = None
    refused: list[Refusal] = field(default_factory=list)

    def task(self, task_id: str) -> Task:
        """The task with that id."""
        return next(t for t in self.tasks if t.id == task_id)
