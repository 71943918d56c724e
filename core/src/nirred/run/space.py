"""Disk space: check what a plan needs before anything is started."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import ConfigError
from ..plan.model import Plan, Task
from ..plane_memory import scratch_bytes

#: Bytes per pixel of a product: SCI, VAR, DQ, NEXP.
_PRODUCT = 12
#: A stack of dithered frames is larger than a frame.
_UNION = 1.3
#: Records, log, report.
_SMALL = 5_000_000


def check_space(plan: Plan, out: Path, scratch: Path, memory: int, *, width: int, keep: bool) -> None:
    """Refuse a plan whose products and scratch files do not fit on the disks.

    Parameters
    ----------
    plan : Plan
        The plan.
    out, scratch : Path
        Directories; `scratch` need not exist yet.
    memory : int
        Bytes for pixels of all tasks together.
    width : int
        Number of tasks that may run in parallel.
    keep : bool
        Whether intermediate frames are kept.

    Raises
    ------
    ConfigError
        Not enough space; the message gives the directory and the space needed and free.
    """
    products = sum(product_bytes(t) + keep * kept_bytes(t) for t in plan.tasks if not _there(t, out))
    temporary = max((product_bytes(t) for t in plan.tasks if _there(t, out)), default=0)
    largest = sorted((scratch_bytes(t, memory // width) for t in plan.tasks), reverse=True)[:width]
    needs = {out: products + temporary + _SMALL}
    place = next(p for p in (scratch, *scratch.parents) if p.exists())
    same = place.stat().st_dev == out.stat().st_dev
    needs[out if same else place] = needs.get(out if same else place, 0) + sum(largest)
    for folder, need in needs.items():
        free = shutil.disk_usage(folder).free
        if need > free:
            hint = "free space, another -o" + (", --scratch DIR or a larger --memory" if sum(largest) else "")
            raise ConfigError(f"{folder}: about {_text(need)} needed, {_text(free)} free", hint)


def _there(task: Task, out: Path) -> bool:
    return (out / f"{task.id}.fits").exists()


def _text(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _pixels(task: Task) -> int:
    return sum(d.shape[0] * d.shape[1] for d in task.first.detectors)


def product_bytes(task: Task) -> int:
    """Approximate size of a task's product."""
    return int(_pixels(task) * _PRODUCT * (_UNION if task.makes == "image" else 1.0)) if task.makes else 0


def kept_bytes(task: Task) -> int:
    """Approximate size of a task's intermediate frames: SCI, VAR and DQ, and for an image sky-subtracted frames."""
    return _pixels(task) * len(task.frames) * 10 * (2 if task.makes == "image" else 1)
