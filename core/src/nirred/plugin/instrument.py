"""Instruments, foreign requests, executors and events: the rest of the contract's dataclasses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
    """A way to run tasks: `make(jobs)` returns a `concurrent.futures.Executor`."""

    name: str
    make: Callable[[int], Executor]


@dataclass(frozen=True)
class RequestContext:
    """What a foreign request is read with: the options of the command line."""

    data_dir: Path | None = None
    control: Path | None = None
    strict: bool = True
    enabled: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """One wish of a foreign file: a recipe on frames, or on the products of earlier requests.

    Parameters
    ----------
    id : str
        Unique in its set.
    recipe : str
        Name of a nirred recipe.
    frames : tuple of Path
        Raw frames, or empty.
    children : tuple of str
        Ids whose products are the inputs.
    enabled : bool
        False: only locates earlier results.
    params : Mapping
        {"step:parameter": value}.
    calibrations : Mapping
        {kind: path}.
    origin : str
        "file.yaml, block 3, line 41" for messages.
    """

    id: str
    recipe: str
    frames: tuple[Path, ...] = ()
    children: tuple[str, ...] = ()
    enabled: bool = True
    params: Mapping[str, Any] = field(default_factory=dict)
    calibrations: Mapping[str, Path] = field(default_factory=dict)
    origin: str = ""


@dataclass(frozen=True)
class RequestSet:
    """All requests of a foreign input, with remarks, and how its results are to be laid out."""

    requests: tuple[Request, ...]
    remarks: tuple[str, ...] = ()
    write_results: Callable[[Request, Path, Path], None] | None = None


@dataclass(frozen=True)
class Event:
    """Something happened: `kind` is started, progress, finished, failed, product or message."""

    kind: str
    task: str = ""
    message: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
