"""Which of the planes of a task's frames stay in memory, and which go to scratch files."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from .plan.model import Task

#: What is made without subtracting a sky.
SKYLESS = ("dark", "bias", "flat", "bpm", "skyflat")
#: Bytes of a frame's pixel: sky-subtracted, flags, calibrated; the first are looked at most often.
BYTES = {"sub": 4, "dq": 2, "sci": 4}
#: Planes may take this part of the memory; less where some are in scratch files: what is looked at is in memory, too.
PLANES_PART, BESIDE_FILES = 0.6, 0.5


def frame_bytes(task: Task) -> dict[str, int]:
    """Bytes that the planes of a task's frames take, of each kind."""
    pixels = sum(d.shape[0] * d.shape[1] for d in task.first.detectors) * len(task.frames)
    return {kind: pixels * size for kind, size in BYTES.items() if kind != "sub" or task.makes not in SKYLESS}


def in_memory(sizes: Mapping[str, int], memory: int) -> frozenset[str]:
    """The kinds of planes that stay in so many bytes of memory: those that fit and take most of it together."""
    if sum(sizes.values()) <= PLANES_PART * memory:
        return frozenset(sizes)
    sets = (kinds for n in range(len(sizes) - 1, -1, -1) for kinds in combinations(sizes, n))
    fitting = [kinds for kinds in sets if sum(sizes[k] for k in kinds) <= BESIDE_FILES * memory]
    return frozenset(max(fitting, key=lambda kinds: sum(sizes[k] for k in kinds)))


def scratch_bytes(task: Task, memory: int) -> int:
    """Size of a task's scratch files, with so many bytes of memory: nothing where all of its planes fit."""
    sizes = frame_bytes(task)
    kept = in_memory(sizes, memory)
    return sum(size for kind, size in sizes.items() if kind not in kept)
