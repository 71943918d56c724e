"""Data of a task for the report that are not in its products: a small picture of a sky-subtracted frame, and times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..files import replacing
from ..group import Group
from ..headers import printable_ascii
from ..picture import binned
from ..plan.moments import stamp
from ..states import PlaneState
from .layout import task_folder

#: Largest number of pixels along an axis.
SIDE = 512


def glimpse_path(out: Path, task: str) -> Path:
    """Path of a task's keepsake file: ``frame`` (name), ``sub_1``... (electron), ``names``, ``times`` (Unix, s)."""
    return task_folder(out) / f"{task}.npz"


def take_glimpse(group: Group) -> None:
    """Make the pictures while the group has its frames; none if no sky was subtracted."""
    if group.planes and group.planes[0].subtracted is not None and group.targets:
        i = group.reference
        pictures: dict[str, Any] = {f"sub_{p}": _picture(state, i) for p, state in enumerate(group.planes, 1)}
        group.record.glimpse = {"frame": group.frames[i].info.name, **pictures}


def keep_glimpse(group: Group) -> None:
    """Write the keepsake of a task that subtracted a sky, so that the report does not need the raw frames.

    Raises
    ------
    DataError
        It cannot be written.
    """
    pictures = group.record.glimpse
    if pictures is None:
        return
    times = np.array([stamp(f.info) for f in group.frames])
    names = np.array([printable_ascii(f.info.name) for f in group.frames])  # as FRAMES has them
    with replacing(glimpse_path(group.context.out, group.task.id)) as stream:
        np.savez_compressed(stream, names=names, times=times, **pictures)


def _picture(state: PlaneState, i: int) -> np.ndarray:
    """float32 picture of sky-subtracted frame i: means of the good pixels in square cells, NaN if there are none."""
    data = (state.sci if state.subtracted is None else state.subtracted).frame(i)
    good = (state.bad(i) == 0) & np.isfinite(data)
    return binned(np.where(good, data, np.float32(np.nan)), -(-max(state.shape) // SIDE)).astype(np.float32)
