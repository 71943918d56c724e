"""Make the plan: scan, check WCS, group, associate, and keep the tasks that are needed, in executable order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import merged
from ..errors import NirredError, PluginError
from ..fitness import refuse_unfit
from ..inputs import each_once, expand_inputs, place
from ..recipes import BoundCall, bind, demanded_kinds, lacking, own_recipe, recipe_for, recipe_of, unused_kinds
from .associate import Source, risks, served_kind
from .drafts import (
    Bench,
    Draft,
    bpm_drafts,
    dark_drafts,
    distinct,
    flat_drafts,
    for_recipe,
    science_draft,
    stack_drafts,
)
from .fates import record_roles, why_unneeded
from .grouping import calibration_groups, relit, science_groups
from .model import SCIENCE, FileRecord, FrameInfo, Plan, Refusal, Task
from .moments import order, undated
from .options import PlanOptions, unused_masters, with_recipe
from .overwriting import refuse_overwriting
from .positions import check_positions, refuse_misfit
from .requests import Order, refusal, request_draft, take_orders
from .scan import names_file, scan, unselect
from .settings import refuse_unused
from .supply import Supply
from .wcscheck import check_wcs, stopping

if TYPE_CHECKING:
    from ..registry import Registry

__all__ = ["PlanOptions", "make_plan"]

#: Kinds of product used as calibrations; each has its own groups of frames.
CALIBRATIONS = ("dark", "bpm", "flat")


def make_plan(inputs: Iterable[str | Path], registry: Registry, options: PlanOptions | None = None) -> Plan:
    """Plan the reduction of a set of files from their headers.

    Parameters
    ----------
    inputs : iterable of str or Path
        Directories, files and ``@lists``.
    registry : Registry
        The plugins.
    options : PlanOptions, optional
        The user's options.

    Returns
    -------
    Plan
        The same for any order of the inputs. Tasks follow those whose products they use.

    Raises
    ------
    DataError
        An input does not exist.
    ConfigError
        `user_cal` names an unknown kind or a file that does not exist; no such recipe; a parameter out of range, or
        of a step that no task has; a product would be written over an input.
    """
    options = with_recipe(options or PlanOptions(), registry)
    planner = Planner(registry, options)
    plan = planner.plan(inputs)
    refuse_unused(options.settings, (recipe_of(t.recipe, planner.own, registry, t.first.tags) for t in plan.tasks))
    if options.out is not None:
        refuse_overwriting(plan, options.out)
    return plan


class Planner:
    """The steps of `make_plan`; afterwards `supply` chooses the calibrations of any frame."""

    def __init__(self, registry: Registry, options: PlanOptions) -> None:
        self.registry, self.options = registry, options
        refuse_unfit(registry)
        self.supply = Supply(registry, options)
        self.own = own_recipe(options.recipe, registry)  # of the user's file
        self.asked = self.own or (recipe_for(options.recipe, registry) if options.recipe else None)
        self.bench = Bench(registry, objects=options.objects, skies=options.skies, frac_fov=options.frac_fov)
        self.tasks: dict[str, Task] = {}

    def plan(self, inputs: Iterable[str | Path]) -> Plan:
        """Make the plan for a set of inputs; call it once per planner."""
        asked, inputs = self.options.requests, list(inputs)
        orders, refused = take_orders(asked) if asked is not None else ([], [])
        paths = expand_inputs(inputs, out=self.options.out) if inputs or asked is None else []
        records = scan(each_once([*(f for o in orders for f in o.files), *paths]), self.registry)
        named = self._take_named(records)
        remarks = unselect([r for r in records if r.path not in named], self.options.exclude, self.options.only)
        frames = self._settle(records, named)
        remarks += self._doubts(frames)
        remarks += self.registry.complaints()
        goals = self._goals(records) if asked is None else self._requested(orders, records, refused)
        tasks = check_positions(self._needed(goals), self._bound)
        record_roles(records, tasks)
        remarks += unused_masters(self.supply.user_cal, self.options.user_bpm, tasks)
        self._explain_rest(records, [o for o in orders if o.request.id in {r.id for r in refused}])
        kept = self.options.library.remarks if self.options.library is not None else []
        said = asked.remarks if asked is not None else ()
        return Plan(records, tasks, [*said, *remarks, *self.bench.remarks, *kept], asked, refused)

    # -- files ----------------------------------------------------------------------------------------------------
    def _take_named(self, records: Sequence[FileRecord]) -> set[Path]:
        """Treat files that the user names as calibrations only as such, even if they are in INPUT."""
        named = {place(p): f"--user-cal {k}" for k, p in self.supply.user_cal.items()}
        if self.options.user_bpm is not None:
            named[place(self.options.user_bpm)] = "--user-bpm"
        taken = set()
        for record in records:
            if place(record.path) in named:
                record.verdict, record.reason = None, f"named by {named[place(record.path)]}"
                taken.add(record.path)
        return taken

    def _settle(self, records: Sequence[FileRecord], named: set[Path]) -> list[FrameInfo]:
        """Return the frames to use, with their WCS checked; sort them by role and collect finished products."""
        live = [r for r in records if r.path not in named and r.verdict is None]
        self._refuse_failed(live)
        mend = self.options.bad_wcs != "ignore"
        placed = check_wcs((f for r in live if r.verdict is None for f in r.frames), mend=mend)
        if self.options.bad_wcs == "exit":
            placed = [stopping(f) if f.descriptors.role in SCIENCE else f for f in placed]
        frames = relit(placed, self.bench.rules("flat", "lampoff_flat"))
        by_file: dict[Path, list[FrameInfo]] = {}
        for frame in frames:
            by_file.setdefault(frame.path, []).append(frame)
            self.bench.pools.setdefault(frame.descriptors.role, []).append(frame)
        for record in live:
            record.frames = tuple(by_file.get(record.path, record.frames))
        for record in records:
            if record.verdict == "product" and record.path not in named and record.frames:
                self.supply.offer(Source.finished(served_kind(record.product), record.frames[0]))
        for frame in self.bench.pool("bpm"):
            self.supply.offer(Source("static_bpm", frame, path=frame.path))
        return frames

    def _refuse_failed(self, records: Sequence[FileRecord]) -> None:
        """Leave out calibration frames with the quality state Fail; they stay candidates, which lose for that."""
        failed: dict[str, list[FrameInfo]] = {}
        for record in records:
            known = record.frames[0].descriptors
            if known.role not in SCIENCE and (known.qa_state or "").lower() == "fail":
                record.verdict, record.reason = "unselected", "qa_state Fail: not used as a calibration"
                failed.setdefault(known.role, []).extend(record.frames)
        for role, kind in (("dark", "dark"), ("lamp_on", "flat"), ("flat", "flat")):
            for group in calibration_groups(failed.get(role, ()), self.bench.rules(kind)):
                self.supply.offer(Source(kind, group[0], len(group), path=group[0].path))

    def _doubts(self, frames: Sequence[FrameInfo]) -> list[str]:
        seen = Counter((f.name, f.instrument, f.descriptors.ut_datetime) for f in frames)
        twins = sorted({name for (name, *_), n in seen.items() if n > 1})
        remarks = [f"{name}: several files of this name and time with different content are all used" for name in twins]
        options = (("--objects", self.options.objects), ("--skies", self.options.skies))
        return [*remarks, *undated(frames)] + [
            f"{option} {name}: matches no frame"
            for option, names in options
            for name in names
            if not any(names_file(name, f.path) for f in frames)
        ]

    # -- tasks ----------------------------------------------------------------------------------------------------
    def _goals(self, records: Sequence[FileRecord]) -> list[str]:
        """Turn all drafts into tasks, calibrations first; return the ids of those wanted as results."""
        calibrations = self._calibrations()
        wanted = self.asked.makes if self.asked is not None else "image"
        if self.asked is not None and wanted in CALIBRATIONS:
            calibrations = [for_recipe(d, self.asked) if d.makes == wanted else d for d in calibrations]
        calibrations = self._offer(calibrations)
        if wanted in CALIBRATIONS:
            return [d.id for d in calibrations if d.makes == wanted]
        science = self._science(records)
        if not science and not wanted and self.asked is not None:
            science = [for_recipe(replace(d, makes=""), self.asked) for d in calibrations if d.makes != "bpm"]
        science = distinct(science, self.tasks)
        for draft in science:
            self._task(draft)
        busy = {d.first.instrument for d in science}
        alone = [d.id for d in calibrations if d.first.instrument not in busy] if self.asked is None else []
        return [*alone, *(d.id for d in science)]

    def _calibrations(self) -> list[Draft]:
        darks = dark_drafts(self.bench)
        flats = flat_drafts(self.bench)
        return [*darks, *bpm_drafts(self.bench, flats, darks), *flats]

    def _offer(self, drafts: Sequence[Draft]) -> list[Draft]:
        """Make tasks for calibrations, which later tasks may use."""
        drafts = distinct(drafts)
        for draft in drafts:
            task = self._task(draft)
            self.supply.offer(draft.source(task.blocked))
        return drafts

    def _requested(self, orders: Sequence[Order], records: Sequence[FileRecord], refused: list[Refusal]) -> list[str]:
        """As `_goals`, for the requests of a foreign file; other frames are used as calibrations."""
        by_path = {r.path: r for r in records}
        named = {f for o in orders for f in o.files}
        self.bench.pools = {role: [f for f in pool if f.path not in named] for role, pool in self.bench.pools.items()}
        drafts = []
        for asked in orders:
            try:
                draft = request_draft(asked, by_path, self.bench)
                refuse_misfit(self._bound(draft), draft.frames)
            except NirredError as error:
                refused.append(refusal(asked.request, error))
            else:
                drafts.append(draft)
        made = [d for d in drafts if d.makes in CALIBRATIONS]
        offered = self._offer([*self._calibrations(), *made])
        rest = distinct([d for d in drafts if d.makes not in CALIBRATIONS], self.tasks)
        for draft in rest:
            self._task(draft)
        return [d.id for d in (*offered, *rest) if d.request is not None]

    def _science(self, records: Sequence[FileRecord]) -> list[Draft]:
        asked = self.asked
        if asked is not None and any(call.step == "read_pieces" for call in asked.steps):
            return [for_recipe(d, asked) for d in stack_drafts(records)]
        groups, _ = science_groups(self.bench.pool(*SCIENCE))
        drafts = [science_draft(self.bench, g, "reduce", asked.makes if asked else "image") for g in groups]
        return [for_recipe(d, asked) for d in drafts] if asked is not None else drafts

    def _task(self, draft: Draft) -> Task:
        """Make the task of a draft by choosing its calibrations."""
        found, missing = self.supply.serve(draft, *self._kinds(draft))
        blocked = "; ".join(m.demand for m in missing if not m.optional)
        task = Task(
            draft.id,
            draft.recipe,
            draft.makes,
            draft.first.instrument,
            draft.frames,
            calibrations=tuple(found),
            missing=tuple(missing),
            remarks=(
                *draft.remarks,
                *lacking(self.own, draft.recipe, self.registry, draft.first.tags),
                *risks(found),
            ),
            blocked=blocked,
            title=draft.title,
            settings=draft.settings,
            request=draft.request.id if draft.request is not None else "",
        )
        self.tasks[draft.id] = task
        return task

    def _kinds(self, draft: Draft) -> tuple[frozenset[str], frozenset[str]]:
        """Kinds that the draft's recipe does not use on these frames, and those it cannot do without."""
        try:
            calls = self._bound(draft)
        except PluginError:  # it fails its group when that runs, and says so there
            return frozenset(), frozenset()
        return unused_kinds(calls), demanded_kinds(calls)

    def _bound(self, draft: Draft | Task) -> tuple[BoundCall, ...]:
        recipe = recipe_of(draft.recipe, self.own, self.registry, draft.first.tags)
        return bind(recipe, draft.first, merged(self.options.settings, draft.settings), self.registry)

    def _needed(self, goals: Sequence[str]) -> list[Task]:
        """The tasks of these ids and all whose products they use, each after those that it needs."""
        keep: set[str] = set()
        todo = list(goals)
        while todo:
            name = todo.pop()
            if name not in keep:
                keep.add(name)
                todo += self.tasks[name].needs
        rank = {"dark": 0, "bpm": 1, "flat": 2}
        chosen = [t for t in self.tasks.values() if t.id in keep]
        return sorted(chosen, key=lambda t: (rank.get(t.makes, 3), order(t.first), t.id))

    # -- what is left over ------------------------------------------------------------------------------------------
    def _explain_rest(self, records: Sequence[FileRecord], refused: Sequence[Order]) -> None:
        asked_by = {path: order_.request.origin for order_ in refused for path in order_.files}
        for record in records:
            if record.verdict is None and not record.roles and not record.reason and record.frames:
                whose, usual = asked_by.get(record.path), why_unneeded(record.frames[0], self.asked)
                record.reason = f"{whose} cannot be carried out" if whose else usual
