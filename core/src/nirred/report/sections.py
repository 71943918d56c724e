"""Read the products of a run one by one for the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..algorithms.shared import no_warnings
from .calibration import Master, read_master
from .stack import Stack, read_stack
from .words import text

if TYPE_CHECKING:
    from ..run.schema import RunFile, TaskEntry

KINDS = {"dark": "Dark", "flat": "Flat", "bpm": "Bad-pixel mask", "skyflat": "Sky flat", "image": "Stack"}
#: Origin of a parameter that is not set anywhere.
_DEFAULT = "default"


@dataclass(frozen=True)
class Parameter:
    """A parameter that differs from the step's default."""

    name: str
    value: str
    origin: str


@dataclass(frozen=True)
class Product:
    """One product of a task and its contents; `fault` says why it could not be read."""

    task: TaskEntry
    file: str
    kind: str = ""
    fault: str = ""
    stack: Stack | None = None
    master: Master | None = None
    skipped: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    versions: tuple[tuple[str, str], ...] = field(default=())

    @property
    def title(self) -> str:
        """Kind in words."""
        return KINDS.get(self.kind, "Product")


def read_products(out: Path, run: RunFile) -> list[Product]:
    """All products of finished tasks, including missing or damaged ones with their `fault`."""
    good = [t for t in run.tasks if t.outcome in ("done", "reused")]
    return [read_product(out, task, Path(name).name) for task in good for name in task.products]


def read_product(out: Path, task: TaskEntry, name: str) -> Product:
    """One product; only a file directly in `out` is opened."""
    from astropy.io import fits

    path = out / name
    if not path.is_file():
        return Product(task, name, fault="it is not there any more")
    try:
        with no_warnings():
            with fits.open(path, memmap=False) as hdus:
                return _product(hdus, out, task, name)
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, fits.VerifyError) as error:
        return Product(task, name, fault=f"it cannot be read: {error}")


def _product(hdus: Any, out: Path, task: TaskEntry, name: str) -> Product:
    head = hdus[0].header
    kind = text(head.get("NIRKIND", ""))
    skipped = tuple(f"{k} {text(head[k])}" for k in _CORRECTIONS if text(head.get(k, "")).startswith("SKIPPED"))
    rows = [] if "PROVENANCE" not in hdus else [tuple(map(text, row)) for row in hdus["PROVENANCE"].data]
    return Product(
        task,
        name,
        kind,
        stack=read_stack(hdus, out, task) if kind == "image" else None,
        master=read_master(hdus, kind) if kind in ("dark", "flat", "skyflat", "bpm") else None,
        skipped=skipped,
        parameters=tuple(Parameter(r[1], r[2], r[3]) for r in rows if r[0] == "parameter" and r[3] != _DEFAULT),
        versions=tuple((r[1], r[2]) for r in rows if r[0] in ("nirred", "plugin")),
    )


_CORRECTIONS = ("DARKCOR", "FLATCOR", "LINCORR")
