"""Reproduce a product from its PROVENANCE, and compare."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import ConfigError, DataError, NirredError, PluginError, StepError, Unreadable
from ..group import Context
from ..headers import printable_ascii
from ..inputs import each_once, expand_inputs, place
from ..params import Setting
from ..plan.model import Association, FrameInfo, Missing, Task, file_root
from ..plan.scan import scan
from ..plan.wcscheck import check_wcs
from ..plugin.recipes import Recipe, StepCall
from ..provenance import Record, file_digest, read_table
from ..recipes import step_types
from ..registry import Registry
from .differences import differences
from .layout import own_folder, run_path, scratch_folder, task_folder
from .limits import one_blas_thread, processors, within_limits
from .lock import output_lock
from .schema import read_run
from .task import Job, TaskResult, execute

_NOT_FINITE = {"inf": float("inf"), "-inf": float("-inf"), "nan": float("nan")}


@dataclass(frozen=True)
class Rerun:
    """A reproduced product: the differences (empty: the same bytes), and remarks."""

    path: Path
    differences: tuple[str, ...]
    remarks: tuple[str, ...] = ()


@dataclass
class History:
    """PROVENANCE by item."""

    path: Path
    rows: Mapping[str, list[Record]]

    @classmethod
    def read(cls, path: Path) -> History:
        """Read it from a product; errors as in `read_table`, or `DataError` if it is incomplete."""
        rows: dict[str, list[Record]] = {}
        for row in read_table(path):
            rows.setdefault(row.item, []).append(row)
        if not {"recipe", "call", "input"} <= rows.keys():
            raise DataError(f"{path.name}: its PROVENANCE does not say how it was made", "run its inputs again")
        return cls(path, rows)

    def of(self, item: str) -> list[Record]:
        """Rows of one item, in order."""
        return self.rows.get(item, [])

    @property
    def recipe(self) -> Recipe:
        """The recipe as it ran."""
        calls = []
        for row in self.of("call"):
            step, takes, gives = row.value.split(" ")
            calls.append(StepCall(step, takes, gives, (), "" if row.name == step else row.name))
        head = self.of("recipe")[0]
        return Recipe(head.name, tuple(calls), head.value)

    @property
    def settings(self) -> tuple[Setting, ...]:
        """Every parameter with its origin; those of labelled calls last, to take precedence over the step's."""
        skipped = {r.name for r in self.of("parameter") if r.name.endswith(":skip")}
        found = [Setting(c.name, "skip", False, "default") for c in self.of("call") if f"{c.name}:skip" not in skipped]
        for row in self.of("parameter"):
            step, _, name = row.name.partition(":")
            found.append(Setting(step, name, _value(row.value), row.origin))
        labels = {c.name for c in self.recipe.steps if c.label}
        return tuple(sorted(found, key=lambda s: s.step in labels))


def _value(text: str) -> Any:
    return _NOT_FINITE[text] if text in _NOT_FINITE else ast.literal_eval(text)


def rerun(product: Path, raw: Sequence[str], out: Path, registry: Registry, *, jobs: int = 0) -> Rerun:
    """Reproduce a product with the inputs, calibrations, recipe and parameters in its PROVENANCE.

    Parameters
    ----------
    product : Path
        A product of nirred.
    raw : sequence of str
        Directories and files to search for inputs and calibrations, in addition to the product's directory and the
        files in its run.json. They are identified by SHA-256, whatever their names.
    out : Path
        Directory of the new product.
    registry : Registry
        The plugins.
    jobs : int
        Number of threads; 0: one per processor.

    Raises
    ------
    DataError
        The file is not a product, or an input cannot be found.
    PluginError
        A step is not installed.
    ConfigError
        `out` is the product's own directory or cannot be written.
    NirredError
        The task failed.
    """
    history = History.read(product)
    if place(out) == place(product).parent:
        raise ConfigError(f"{out} holds the product itself", "another -o")
    kept = any((s.step, s.name, s.value) == ("prepare", "bad_wcs", "ignore") for s in history.settings)
    files = FileSearch.of(product, raw, registry, [r.name for r in history.of("file")], mend=not kept)
    _installed(history.recipe.steps, registry)
    task = _task(history, files)
    try:
        task_folder(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out}: {error.strerror}", "another -o") from None
    remarks = _other_software(history, registry)
    with output_lock(own_folder(out), remarks.append):
        threads = jobs or processors()
        context = within_limits(Context(registry, out, scratch_folder(out), threads=threads), remarks.append)
        with one_blas_thread():
            result = execute(Job(task, _with_files(history, files), {}, history.recipe, fresh=True), context)
    new = _remade(result, product)
    return Rerun(new, tuple(differences(product, new)), (*remarks, *result.remarks))


def _remade(result: TaskResult, product: Path) -> Path:
    """The new file of that name among a task's products; raises the error of a task that failed."""
    if not result.good or result.product is None:
        error = NirredError(result.message or "nothing was made", result.hint)
        error.exit_code = result.exit_code or StepError.exit_code
        raise error
    return next((p for p in (result.product, *result.others) if p.name == product.name), result.product)


def _other_software(history: History, registry: Registry) -> list[str]:
    found = [("nirred", r.value, __version__) for r in history.of("nirred")]
    installed = {i.package: i.version for i in registry.found.values()}
    found += [(r.name, r.value, installed.get(r.name, "none")) for r in history.of("plugin")]
    return [f"made with {name} {then}, now {now}" for name, then, now in found if then != now]


# -- files --------------------------------------------------------------------------------------------------------


@dataclass
class FileSearch:
    """Files to search for inputs by content; those with the right name are read first."""

    paths: list[Path]
    frames: dict[Path, list[FrameInfo]]
    digests: dict[Path, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, product: Path, raw: Sequence[str], registry: Registry, named: Sequence[str] = (), *, mend: bool = True
    ) -> FileSearch:
        """Collect all files in the product's run.json, its directory and `raw`; `named`: other files.

        `mend` is that of `check_wcs`.
        """
        given = expand_inputs(raw) if raw else []
        listed, left_out, set_files = _of_run(product)
        beside = [p for p in sorted(product.parent.glob("*.fits")) if p != product]
        paths = each_once([*given, *(p for p in listed if p.is_file()), *beside])
        records = [r for r in scan([p for p in paths if place(p) not in left_out], registry) if r.frames]
        twins = {r.path for r in records if r.verdict == "duplicate"}  # of a frame that is in the check
        # The WCS check compares neighbours, so all frames of the run are checked again.
        checked = check_wcs((f for r in records if r.verdict is None for f in r.frames), mend=mend)
        frames = {r.path: list(r.frames) for r in records if r.verdict is not None}
        for frame in sorted(checked, key=lambda f: f.exposure.index):
            frames.setdefault(frame.path, []).append(frame)
        homes = dict.fromkeys([product.parent, *map(Path, raw), *(p.parent for p in listed)])
        others = [*set_files, *(home / name for home in homes for name in named)]
        kept = [p for p in paths if p not in twins]
        return cls([*kept, *(p for p in others if p.name in named and p.is_file())], frames)

    def find(self, name: str, digest: str) -> Path:
        """The file with that content.

        Raises
        ------
        DataError
            There is none.
        """
        root = file_root(Path(name))
        for path in sorted(self.paths, key=lambda p: file_root(p) != root):
            if digest == "" and file_root(path) == root:
                return path
            if digest and self._digest(path) == digest:
                return path
        hint = "say where with --raw DIR"
        for path in self.paths:
            if file_root(path) == root:
                raise DataError(f"{name} is another file now: {path} is not the one of SHA-256 {digest}", hint)
        raise DataError(f"{name} is not where it was (SHA-256 {digest or 'not known'})", hint)

    def _digest(self, path: Path) -> str:
        if path not in self.digests:
            try:
                self.digests[path] = file_digest(path)
            except Unreadable:
                self.digests[path] = "unreadable"
        return self.digests[path]


def _of_run(product: Path) -> tuple[list[Path], set[Path], list[Path]]:
    """Files named in the run.json next to a product, those of them that were not selected, and values of settings."""
    try:
        run = read_run(run_path(product.parent))
    except DataError:
        return [], set(), []
    homes = dict.fromkeys((Path(run.directory), Path()))  # names are relative to where the run was started

    def places(name: str) -> list[Path]:
        return [home / name for home in homes]

    files = [(p, f.fate) for f in run.files for p in places(f.file)]
    files += [(p, "used") for t in run.earlier for i in t.inputs if "file" in i for p in places(i["file"])]
    named = [c.file for t in (*run.tasks, *run.earlier) for c in t.calibrations]
    used = [p for name in named for p in (product.parent / name, *places(name))]
    texts = [s.value for s in run.settings if isinstance(s.value, str) and "\0" not in s.value]
    values = [p for text in texts for p in places(text)]
    return [p for p, _ in files] + used, {place(p) for p, fate in files if fate == "unselected"}, values


def _task(history: History, files: FileSearch) -> Task:
    head = history.of("recipe")[0]
    frames = [_frame(r, files) for r in (*history.of("input"), *history.of("unreadable"))]
    scales = {r.name: float(r.value) for r in history.of("scale")}
    used = tuple(
        Association(r.value, path=files.find(r.name, r.origin), scale=scales.get(r.value, 1.0), source="user")
        for r in history.of("calibration")
    )
    missing = tuple(Missing(r.name, True, r.value) for r in history.of("missing"))
    own = history.path.stem  # PROVENANCE has it with escapes
    name = own if printable_ascii(own) == head.origin else head.origin
    return Task(name, head.name, head.value, frames[0][0].instrument, tuple(frames), used, missing)


def _frame(row: Record, files: FileSearch) -> tuple[FrameInfo, Any]:
    role, _, number = row.value.partition(" ")
    path = files.find(row.name, row.origin)
    for info in files.frames.get(path, []):
        if info.number == (int(number) if number else None):
            return info, role
    raise DataError(f"{path}: no installed plugin knows this frame now", "install the plugin that PROVENANCE names")


def _with_files(history: History, files: FileSearch) -> tuple[Setting, ...]:
    """The settings, with the current paths of files named by parameters."""
    digests = {r.value: r.origin for r in history.of("file")}
    found = []
    for s in history.settings:
        key = f"{s.step}:{s.name}"
        found.append(replace(s, value=str(files.find(s.value, digests[key]))) if key in digests else s)
    return tuple(found)


def _installed(calls: Iterable[StepCall], registry: Registry) -> None:
    lacking = sorted({c.step for c in calls} - step_types(registry).keys())
    if lacking:
        raise PluginError(f"no step {', '.join(lacking)}", "install the plugin that PROVENANCE names")
