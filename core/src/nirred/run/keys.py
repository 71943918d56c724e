"""The key of a task: a SHA-256 of everything that its products depend on."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..algorithms.threads import both, run_blocks, short_turns
from ..errors import Unreadable
from ..provenance import file_digest
from .addons import addons

if TYPE_CHECKING:
    from ..plan.model import Association, FrameInfo, Task
    from ..plugin.frames import PlaneWcs
    from ..recipes import BoundCall
    from ..registry import Registry

#: Libraries of which another version may change the last bit of a pixel or the layout of a file.
LIBRARIES = ("numpy", "numba", "scipy", "astropy", "photutils", "reproject")
#: First word of what stands for the digest of a file that cannot be read.
_UNREADABLE = "unreadable"


def task_key(
    task: Task,
    calls: Sequence[BoundCall],
    made: Mapping[str, Path],
    registry: Registry,
    *,
    keep: bool = False,
    threads: int = 1,
) -> tuple[str, dict[Path, str]]:
    """Key of a task, and the digest of each raw frame's file that can be read.

    Two tasks with the same key give the same bytes. The key covers the contents and names of inputs and calibrations,
    the WCS of each frame after the plan's check, the steps with their parameters and origins, and the code: versions
    *and* sources of nirred and the plugins concerned, because an edit in place does not change a version.

    Parameters
    ----------
    task : Task
        From the plan.
    calls : sequence of BoundCall
        Its recipe, bound to parameters.
    made : mapping
        {task id: product} of the tasks that it needs.
    registry : Registry
        The plugins.
    keep : bool
        Whether intermediate frames are written, too.
    threads : int
        Number of files read in parallel.
    """
    paths = list(dict.fromkeys(info.path for info, _ in task.frames))
    with short_turns():  # the former needs the interpreter
        code, digests = both(
            lambda: software(task, calls, registry),
            lambda: run_blocks(lambda k, _: _digest(paths[k]), len(paths), threads, 1),
            threads,
        )
    contents = dict(zip(paths, digests, strict=True))
    what = {
        "software": code,
        "task": [task.id, task.recipe, task.makes, task.instrument, keep],
        "steps": [_call(b) for b in calls],
        "frames": [_frame(info, role, contents[info.path]) for info, role in task.frames],
        "calibrations": [_calibration(a, made) for a in task.calibrations],
        "missing": [[m.kind, m.reason] for m in task.missing],
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=repr).encode()).hexdigest(), {
        path: digest for path, digest in contents.items() if not digest.startswith(_UNREADABLE)
    }


def _call(bound: BoundCall) -> list[Any]:
    values = {k: getattr(bound.params, k) for k in type(bound.params).model_fields}
    files = {k: _digest(Path(v)) for k, v in values.items() if _names_file(v)}
    shown = {k: [repr(v.name if isinstance(v, Path) else v), bound.origins.get(k, "")] for k, v in values.items()}
    call = bound.call
    return [call.step, call.name, call.takes, call.gives, bound.step.version, shown, files]


def _names_file(value: Any) -> bool:
    return isinstance(value, str | Path) and "\0" not in str(value) and Path(value).is_file()


def _frame(info: FrameInfo, role: str, content: str) -> list[Any]:
    wcs = [_coordinates(w) for w in info.wcs]
    return [info.name, role, info.exposure.index, content, info.wcs_state, info.wcs_note, wcs]


def _coordinates(plane: PlaneWcs) -> list[Any]:
    inner = plane.wcs.wcs
    numbers = [inner.crpix, inner.crval, inner.get_pc(), inner.get_cdelt()]
    return [[[float(v) for v in n.ravel()] for n in numbers], list(inner.ctype), inner.get_pv(), plane.sigma_arcsec]


def _calibration(a: Association, made: Mapping[str, Path]) -> list[Any]:
    path = made[a.task] if a.task else a.path
    assert path is not None
    return [a.kind, a.scale, path.name, _digest(path)]


def _digest(path: Path) -> str:
    """Digest of a file's content, or the error message if it cannot be read."""
    try:
        return file_digest(path)
    except Unreadable as error:
        return f"{_UNREADABLE}: {error.message}"


# -- code ---------------------------------------------------------------------------------------------------------


def software(task: Task, calls: Iterable[BoundCall], registry: Registry) -> list[list[str]]:
    """(name, version, digest of the sources) of nirred, the libraries, and the plugins that affect the task.

    A plugin affects it if it owns a frame, or provides a recipe patch, a step, a rule or a mask for these frames.
    """
    concerned = {info.owner for info, _ in task.frames} | addons(task, calls, registry).keys()
    found = [["nirred", __version__, _sources("nirred")]]
    found += [[name, _version(name), ""] for name in LIBRARIES]
    for name in sorted(concerned):
        info, plugin = registry.found.get(name), registry.manager.get_plugin(name)
        found.append([name, info.version if info else "", _sources(_package(getattr(plugin, "__name__", "")))])
    return found


def _package(module: str) -> str:
    """The outermost package that contains a module's files; namespace packages shared by distributions do not count."""
    parts = module.split(".")
    names = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
    return next((n for n in names if getattr(sys.modules.get(n), "__file__", None)), "")


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


@cache
def _sources(package: str) -> str:
    """SHA-256 of all files of an imported package, sources and data; '' if it is not a package."""
    file = getattr(sys.modules.get(package), "__file__", None)
    if file is None:
        return ""
    home = Path(file)
    paths = sorted(_files(home.parent)) if home.name == "__init__.py" else [home]
    digest = hashlib.sha256()
    for path in paths:
        digest.update(str(path.relative_to(home.parent)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _files(package: Path) -> Iterator[Path]:
    """Files that an author put into a package, without compiled or hidden ones."""
    for folder, below, names in os.walk(package):
        below[:] = [name for name in below if name != "__pycache__" and not name.startswith(".")]
        yield from (Path(folder, name) for name in names if not name.startswith("."))
