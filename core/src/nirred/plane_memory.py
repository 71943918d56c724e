"""Which planes of a task's frames are kept in memory, and which in scratch files."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from .plan.model import SKYLESS, Task

#: Bytes per pixel of a frame: sky-subtracted, flags, calibrated, in order of how often they are accessed.
BYTES = {"sub": 4, "dq": 2, "sci": 4}
#: Fraction of the memory for planes; less if some are in scratch files, whose accessed pages are in memory too.
PLANES_PART, BESIDE_FILES = 0.6, 0.5


def frame_bytes(task: Task) -> dict[str, int]:
    """Bytes of the planes of a task's frames, by kind."""
    pixels = sum(d.shape[0] * d.shape[1] for d in task.first.detectors) * len(task.frames)
    return {kind: pixels * size for kind, size in BYTES.items() if kind != "sub" or task.makes not in SKYLESS}


def in_memory(sizes: Mapping[str, int], memory: int) -> frozenset[str]:
    """The kinds of planes to keep in `memory` bytes: the combination that fits and uses most of it."""
    if sum(sizes.values()) <= PLANES_PART * memory:
        return frozenset(sizes)
    sets = (kinds for n in range(len(sizes) - 1, -1, -1) for kinds in combinations(sizes, n))
    fitting = [kinds for kinds in sets if sum(sizes[k] for k in kinds) <= BESIDE_FILES * memory]
    return frozenset(max(fitting, key=lambda kinds: sum(sizes[k] for k in kinds)))


def scratch_bytes(task: Task, memory: int) -> int:
    """Size of a task's scratch files for `memory` bytes of memory: 0 if all its planes fit."""
    sizes = frame_bytes(task)
    kept = in_memory(sizes, memory)
    return sum(size for kind, size in sizes.items() if kind not in kept)
