"""Dataclasses of the plugin interface for instruments, foreign requests, executors and events."""

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
    """A camera that a plugin supports.

    Parameters
    ----------
    name : str
        Lower case, unique among all plugins ("niri").
    title : str
        Display name ("Gemini NIRI").
    recognises : str
        Which frames it claims, in words ("INSTRUME = NIRI"); shown in messages about unclaimed frames.
    examples : tuple of str
        Example headers as text (cards of the primary, a line '--- extension ---', cards of the extension) that only
        this plugin claims; used by the conformance kit.
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
        Value of ``--executor`` that selects it.
    make : callable
        ``make(jobs)`` returns a `concurrent.futures.Executor`.
    """

    name: str
    make: Callable[[int], Executor]


@dataclass(frozen=True)
class RequestContext:
    """Command-line options that affect how foreign requests are read.

    Parameters
    ----------
    base_dir : Path
        Directory of earlier results, and of new ones unless the user gives another.
    data_dir : Path or None
        Directory of the files that the request names; None: the plugin's usual place below `base_dir`.
    control : Path or None
        A control file (``-r CONTROL.yaml``).
    strict : bool
        False: unknown entries give a remark instead of an error.
    enabled : tuple of str
        Requests to carry out although the file disables them.
    placing : bool
        True if the user chose how inputs are placed: by links or copies.
    """

    base_dir: Path = field(default_factory=Path)
    data_dir: Path | None = None
    control: Path | None = None
    strict: bool = True
    enabled: tuple[str, ...] = ()
    placing: bool = False


@dataclass(frozen=True)
class Request:
    """One request of a foreign file: apply a recipe to frames, or to the frames of other requests.

    Parameters
    ----------
    id : str
        Unique within its set.
    recipe : str
        Name of a nirred recipe.
    frames : tuple of Path
        Raw frames, or empty.
    children : tuple of str
        Ids of requests whose frames are added, whether those requests are enabled or not. Their frames are reduced
        from raw, so that pixels are resampled once. Calibrations that a child names apply here too.
    enabled : bool
        False: not carried out on its own.
    params : Mapping
        {"step:parameter": value}.
    calibrations : Mapping
        {kind: path}.
    origin : str
        "file.yaml, block 3, line 41" for messages.
    fault, hint : str
        If not empty: why the request cannot be carried out, and what to do. Other requests are not affected.
    details : Mapping
        Data that the plugin needs again when it arranges the results.
    named_by : Mapping
        {kind: name of the file that names the calibration}, if that is not the request's own file.
    finished : bool
        True: `frames` are calibrated images of earlier runs, which the plugin opens as it does raw frames.
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
    """The result of a request.

    Parameters
    ----------
    request : Request
        The request as read.
    product : Path or None
        The main product.
    outcome : str
        done, reused, blocked or failed.
    message : str
        Reason if blocked or failed.
    task : Mapping
        The task's entry in run.json; empty if there was none.
    log : tuple of (datetime, str)
        Messages about the request, with their times in UTC.
    """

    request: Request
    product: Path | None
    outcome: str
    message: str = ""
    task: Mapping[str, Any] = field(default_factory=dict)
    log: tuple[tuple[datetime, str], ...] = ()


@dataclass(frozen=True)
class RequestSet:
    """All requests of a foreign input, remarks on them, and how to arrange the results.

    Parameters
    ----------
    requests : tuple of Request
        In the order of the file.
    remarks : tuple of str
        Shown to the user.
    results : callable or None
        RequestOutcome -> {name below the output directory: content, or file to link there, or None}. None removes what
        an earlier run left. A name that ends in / is a directory. Files are written completely or not at all.
    """

    requests: tuple[Request, ...]
    remarks: tuple[str, ...] = ()
    results: Callable[[RequestOutcome], Mapping[str, bytes | Path | None]] | None = None


@dataclass(frozen=True)
class Event:
    """An event during a run.

    Parameters
    ----------
    kind : {"started", "progress", "finished", "failed", "product", "message"}
        Type of event: started, progress, finished (done or reused), failed (or blocked), product or message.
    task : str
        Id of the task; '' for the run as a whole.
    message : str
        Text for the user; for a product its file name.
    data : mapping
        `number` and `of` for a task that started, `outcome` and `hint` for one that ended.
    """

    kind: str
    task: str = ""
    message: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
