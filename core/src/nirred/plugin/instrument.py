"""Instruments, foreign requests, executors and events: the rest of the contract's dataclasses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import Executor


@dataclass(frozen=True)
class Instrument:
    """A camera that a plugin brings.

    Parameters
    ----------
    name : str
        Lower case, unique among all plugins ("niri").
    title : str
        For people ("Gemini NIRI").
    recognises : str
        In words, which frames it claims ("INSTRUME = NIRI"): for messages about unclaimed frames.
    examples : tuple of str
        Example headers as text (cards of the primary, a line '--- extension ---', cards of the extension), claimed
        by this plugin and by no other: used by the conformance kit.
    """

    name: str
    title: str
    recognises: str = ""
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExecutorSpec:
    """A way to run tasks.

    Parameters
    ----------
    name : str
        As ``--executor`` takes it.
    make : callable
        ``make(jobs)`` returns a `concurrent.futures.Executor`.
    """

    name: str
    make: Callable[[int], Executor]


@dataclass(frozen=True)
class RequestContext:
    """What a foreign request is read with: the options of the command line.

    Parameters
    ----------
    base_dir : Path
        Where earlier results lie, and new ones go unless the user says otherwise.
    data_dir : Path or None
        Where the names in the file are sought; None: where the plugin's users expect it, below `base_dir`.
    control : Path or None
        A control file (``-r CONTROL.yaml``).
    strict : bool
        False: what is not known is remarked on, not refused.
    enabled : tuple of str
        Requests to carry out although the file disables them.
    placing : bool
        The user said where inputs lie: by links or copies.
    """

    base_dir: Path = field(default_factory=Path)
    data_dir: Path | None = None
    control: Path | None = None
    strict: bool = True
    enabled: tuple[str, ...] = ()
    placing: bool = False


@dataclass(frozen=True)
class Request:
    """One wish of a foreign file: a recipe on frames, or on the frames of other requests.

    Parameters
    ----------
    id : str
        Unique in its set.
    recipe : str
        Name of a nirred recipe.
    frames : tuple of Path
        Raw frames, or empty.
    children : tuple of str
        Ids of requests whose frames are taken too, whether these are enabled or not. They are reduced from raw, so
        that pixels are resampled once; where a child names calibrations, they hold here too.
    enabled : bool
        False: not carried out for itself.
    params : Mapping
        {"step:parameter": value}.
    calibrations : Mapping
        {kind: path}.
    origin : str
        "file.yaml, block 3, line 41" for messages.
    fault, hint : str
        Not empty: why it cannot be carried out, and what to do; nothing else is lost.
    details : Mapping
        What the plugin wants to know again when results are laid out.
    named_by : Mapping
        {kind: name of the file that names the calibration}, where that is not the request's own.
    finished : bool
        `frames` are images of earlier runs, calibrated, which the plugin opens as it does raw ones.
    """

    id: str
    recipe: str = ""
    frames: tuple[Path, ...] = ()
    children: tuple[str, ...] = ()
    enabled: bool = True
    params: Mapping[str, Any] = field(default_factory=dict)
    calibrations: Mapping[str, Path] = field(default_factory=dict)
    origin: str = ""
    fault: str = ""
    hint: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    named_by: Mapping[str, str] = field(default_factory=dict)
    finished: bool = False


@dataclass(frozen=True)
class RequestOutcome:
    """What became of a request.

    Parameters
    ----------
    request : Request
        As it was read.
    product : Path or None
        The main product.
    outcome : str
        done, reused, blocked or failed.
    message : str
        Why not.
    task : Mapping
        The task as run.json has it; empty where there was none.
    log : tuple of (datetime, str)
        What was said of it, UTC.
    """

    request: Request
    product: Path | None
    outcome: str
    message: str = ""
    task: Mapping[str, Any] = field(default_factory=dict)
    log: tuple[tuple[datetime, str], ...] = ()


@dataclass(frozen=True)
class RequestSet:
    """All requests of a foreign input, with remarks, and how its results are to be laid out.

    Parameters
    ----------
    requests : tuple of Request
        In the file's order.
    remarks : tuple of str
        For people.
    results : callable or None
        Outcome -> {name below the output directory: content, or file to link there}; a name that ends in / is a
        directory. Files are written whole or not at all.
    """

    requests: tuple[Request, ...]
    remarks: tuple[str, ...] = ()
    results: Callable[[RequestOutcome], Mapping[str, bytes | Path]] | None = None


@dataclass(frozen=True)
class Event:
    """Something happened in a run.

    Parameters
    ----------
    kind : {"started", "progress", "finished", "failed", "product", "message"}
        What.
    task : str
        Id of the task; '' for the run as a whole.
    message : str
        In words; of a product its file name.
    data : mapping
        `number` and `of` of a task that started, `outcome` and `hint` of one that ended.
    """

    kind: str
    task: str = ""
    message: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
