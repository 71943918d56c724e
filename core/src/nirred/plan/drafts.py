"""Draft tasks: groups of frames with their roles, before it is known whether their products are needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..inputs import place
from ..params import Setting
from ..plugin.coordinates import separation
from ..plugin.rules import CalibrationRule
from .arrangement import doubts
from .associate import Source, Wish, choose, judge, rules_for
from .grouping import SAME_TARGET, ScienceGroup, calibration_groups
from .model import SCIENCE, Association, FileRecord, FrameInfo, FrameRole, Missing
from .moments import SAME_EXPOSURE, exposure, order, text
from .pointing import FRACTION, separate, target
from .scan import PROCESSED

if TYPE_CHECKING:
    from ..plugin.frames import Polygon
    from ..plugin.instrument import Request
    from ..plugin.recipes import Recipe
    from ..registry import Registry

MAX_FOLDER = 60  # characters of a directory's name in a product's
FOREIGN_CHARACTERS = re.compile(r"[^\w.+-]", re.ASCII)
LONG_FOR_MASK = 10.0  # s; darks of longer exposure show glow and warm pixels that a mask should not take


@dataclass(frozen=True)
class Draft:
    """A task without its calibrations; `settings` and `masters` come from its `request`, if any.

    `named_by` gives the source that names the master of each kind.
    """

    id: str
    recipe: str
    makes: str
    frames: tuple[tuple[FrameInfo, FrameRole], ...]
    title: str = ""
    remarks: tuple[str, ...] = ()
    missing: tuple[Missing, ...] = ()
    settings: tuple[Setting, ...] = ()
    masters: Mapping[str, Path] = field(default_factory=dict)
    named_by: Mapping[str, str] = field(default_factory=dict)
    request: Request | None = None

    @property
    def first(self) -> FrameInfo:
        """The frame that gives the product its name and for which calibrations are chosen."""
        return self.frames[0][0]

    def source(self, blocked: str = "") -> Source:
        """The calibration that this task would make."""
        main = [f for f, role in self.frames if role not in ("lamp_off", "bpm_dark")]
        made_of = frozenset(f.name for f in main)
        level = 2 if any(m.kind == "lampoff_flat" for m in self.missing) else 0
        return Source(self.makes, self.first, len(main), self.id, level=level, blocked=blocked, made_of=made_of)


@dataclass
class Bench:
    """Input for drafts: the plugins, and the frames by role."""

    registry: Registry
    pools: dict[str, list[FrameInfo]] = field(default_factory=dict)
    objects: tuple[str, ...] = ()
    skies: tuple[str, ...] = ()
    frac_fov: float = FRACTION
    remarks: list[str] = field(default_factory=list)

    def pool(self, *roles: str) -> list[FrameInfo]:
        """Frames of these roles in time order."""
        return sorted((f for r in roles for f in self.pools.get(r, [])), key=order)

    def rules(self, *kinds: str) -> Callable[[FrameInfo], list[CalibrationRule]]:
        """A function that returns a frame's rules of these kinds: its plugin's, and others that name its camera."""

        def rules(frame: FrameInfo) -> list[CalibrationRule]:
            known = [(n, r) for n, r in self.registry.rules_for(frame.owner) if r.kind in kinds]
            return [r for n, r in known if n == frame.owner or frame.instrument.upper() in r.for_tags]

        return rules


def dark_drafts(bench: Bench) -> list[Draft]:
    """One draft per group of darks."""
    groups = calibration_groups(bench.pool("dark"), bench.rules("dark", "bpm_dark"))
    return [
        Draft(
            f"{g[0].root}_dark", "make_processed_dark", "dark", tuple((f, "dark") for f in g), f"dark {_setting(g[0])}"
        )
        for g in groups
    ]


def flat_drafts(bench: Bench) -> list[Draft]:
    """One draft per group of lamp-on frames with their lamp-off frames, and per group of flats that need none."""
    rules = bench.rules("flat", "lampoff_flat")
    offs = calibration_groups(bench.pool("lamp_off"), rules)
    drafts = []
    for group in calibration_groups(bench.pool("lamp_on"), rules):
        drafts.append(_lamp_draft(group, offs, bench.registry))
    for group in calibration_groups(bench.pool("flat"), rules):
        drafts.append(_flat(group, tuple((f, "flat") for f in group)))
    return drafts


def _flat(group: Sequence[FrameInfo], frames: tuple[tuple[FrameInfo, FrameRole], ...]) -> Draft:
    return Draft(f"{group[0].root}_flat", "make_processed_flat", "flat", frames, f"flat {_setting(group[0])}")


def _lamp_draft(ons: Sequence[FrameInfo], offs: Sequence[list[FrameInfo]], registry: Registry) -> Draft:
    first = ons[0]
    lamp_on: tuple[tuple[FrameInfo, FrameRole], ...] = tuple((f, "lamp_on") for f in ons)
    draft = _flat(ons, lamp_on)
    rule = rules_for(first, registry).get("lampoff_flat")
    if rule is None:
        return draft
    best = choose(*lamp_off_wish(first, rule, offs))
    if isinstance(best, Missing):
        return replace(draft, missing=(best,))
    lamp_off = next(g for g in offs if g[0].path == best.path)
    remarks = _lamp_remarks(ons, lamp_off, best)
    off: tuple[tuple[FrameInfo, FrameRole], ...] = tuple((f, "lamp_off") for f in lamp_off)
    return replace(draft, frames=lamp_on + off, remarks=remarks)


def lamp_off_wish(
    frame: FrameInfo, rule: CalibrationRule, offs: Sequence[Sequence[FrameInfo]]
) -> tuple[Wish, list[Source]]:
    """Request of a lamp-on frame for a group of lamp-off frames: equal exposure time first, then nearest in time."""
    alike = frozenset(g[0].name for g in offs if _equal_exposure(frame, g[0]))
    sources = [Source("lampoff_flat", g[0], len(g), path=g[0].path, made_of=frozenset({g[0].name})) for g in offs]
    return Wish(frame, "lampoff_flat", rule, True, alike, "another has the lamp-on frames' exposure time"), sources


def _lamp_remarks(ons: Sequence[FrameInfo], offs: Sequence[FrameInfo], best: Association) -> tuple[str, ...]:
    remarks = []
    if best.level >= 2:
        remarks.append(f"lamp-off frames from {offs[0].name}: {best.reason}")
    if not _equal_exposure(ons[0], offs[0]):
        pair = " and ".join(f"{text(exposure(g[0]))} s" for g in (ons, offs))
        remarks.append(f"lamp-on and lamp-off exposure times differ: {pair}")
    return tuple(remarks)


def _equal_exposure(one: FrameInfo, other: FrameInfo) -> bool:
    a, b = exposure(one), exposure(other)
    return a == b or (a is not None and b is not None and abs(a - b) < SAME_EXPOSURE)


def bpm_drafts(bench: Bench, flats: Sequence[Draft], darks: Sequence[Draft]) -> list[Draft]:
    """One draft per flat with matching short darks: those of the shortest exposure that the rule allows."""
    drafts = []
    darks = distinct(darks)  # looked up by name below; names may repeat between nights or cameras
    for flat in flats:
        rule = rules_for(flat.first, bench.registry).get("bpm_dark")
        chosen = _mask_darks(rule, flat.first, darks) if rule else None
        if rule is None or chosen is None:
            continue
        remarks = []
        if (exposure(chosen[0]) or 0.0) > LONG_FOR_MASK:
            which = f"{len(chosen)} darks of {text(exposure(chosen[0]))} s, {chosen[0].name} to {chosen[-1].name}"
            remarks.append(f"no short darks: the mask is made with {which}")
        if len(chosen) < rule.minimum:
            remarks.append(f"only {len(chosen)} short darks, {rule.minimum} are wanted")
        role: FrameRole = "bpm_dark"
        frames = flat.frames + tuple((f, role) for f in chosen)
        draft = Draft(
            f"{flat.first.root}_bpm", "make_processed_bpm", "bpm", frames, f"bad pixels {_setting(flat.first)}"
        )
        drafts.append(replace(draft, remarks=(*flat.remarks, *remarks)))
    return drafts


def _mask_darks(rule: CalibrationRule, frame: FrameInfo, darks: Sequence[Draft]) -> list[FrameInfo] | None:
    wish, sources = mask_dark_wish(frame, rule, darks)
    best = choose(wish, sources) if wish.prefer else None
    if not isinstance(best, Association):
        return None
    return next([f for f, _ in d.frames] for d in darks if d.id == best.task)


def mask_dark_wish(frame: FrameInfo, rule: CalibrationRule, darks: Sequence[Draft]) -> tuple[Wish, list[Source]]:
    """Request of a flat's mask for a group of darks: the shortest exposure that the rule allows."""
    own = [d for d in darks if d.first.instrument == frame.instrument]
    sources = [replace(d.source(), kind="bpm_dark") for d in own]
    fitting = [(s, t) for s in sources if judge(rule, frame, s).passed and (t := exposure(s.frame)) is not None]
    least = min((t for _, t in fitting), default=0.0)
    short = [s.made_of for s, t in fitting if t - least < SAME_EXPOSURE]
    return Wish(frame, "bpm_dark", rule, True, frozenset().union(*short), "another has a shorter exposure"), sources


def science_draft(bench: Bench, group: ScienceGroup, recipe: str, makes: str) -> Draft:
    """Draft of one science group with its object and sky frames."""
    frames = group.all
    known_sky = {(f.path, f.exposure.index) for f in group.sky}
    forced = frozenset(i for i, f in enumerate(frames) if (f.path, f.exposure.index) in known_sky)
    found = separate(
        frames,
        forced_sky=forced,
        objects=bench.objects,
        skies=bench.skies,
        footprint=footprints(bench),
        fraction=bench.frac_fov,
    )
    pairs = [(f, role) for f, role in zip(frames, found.roles) if role is not None]
    pairs.sort(key=lambda p: (p[1] == "sky", order(p[0])))
    remarks = [*found.remarks, *(f"{f.name}: {f.wcs_note}" for f in frames if f.wcs_note), *doubts(frames)]
    first = pairs[0][0]
    name = first.descriptors.object or "unnamed"
    title = f"{'standard ' if group.standard else ''}{name} {_setting(first)}"
    return Draft(f"{first.root}_{makes}", recipe, makes, tuple(pairs), title, tuple(remarks))


def stack_drafts(records: Sequence[FileRecord]) -> list[Draft]:
    """Drafts that combine existing stacks, from nirred or other programs: one per target and filter."""
    groups: list[list[FrameInfo]] = []
    for record in records:
        if not _is_stack(record):
            continue
        frame = record.frames[0]
        if record.verdict == "unsupported":
            record.verdict, record.reason = None, ""
        home = next((g for g in groups if _belongs(frame, g[0])), None)
        groups.append([frame]) if home is None else home.append(frame)
    drafts = []
    for group in groups:
        frames = sorted(group, key=order)
        root = frames[0].root.removesuffix("_image").removesuffix("_stack")
        title = f"{frames[0].descriptors.object or 'unnamed'} stacks {_setting(frames[0])}"
        drafts.append(Draft(f"{root}_stack", "align_and_stack", "image", tuple((f, "input") for f in frames), title))
    return drafts


def _is_stack(record: FileRecord) -> bool:
    if not record.frames or record.verdict not in ("product", "unsupported"):
        return False
    if record.verdict == "product":
        return record.product == "image"
    first = record.frames[0]
    return first.descriptors.role in SCIENCE and bool(first.tags & PROCESSED)


def _belongs(frame: FrameInfo, first: FrameInfo) -> bool:
    """Whether target and optics agree; stacks of one target differ in size and may differ in exposure time."""
    optics = ("filter_name", "camera", "disperser", "binning")
    alike = all(frame.descriptors.get(n) == first.descriptors.get(n) for n in optics)
    if not alike or frame.owner != first.owner or frame.instrument != first.instrument:
        return False
    a, b = target(frame), target(first)
    if a is not None and b is not None:
        return separation(a, b) <= SAME_TARGET
    return frame.descriptors.object == first.descriptors.object


def for_recipe(draft: Draft, recipe: Recipe) -> Draft:
    """A draft for another recipe; if that has no kind of product, the task is named after the recipe."""
    named = not draft.makes or recipe.steps[-1].step == "write_frames"
    return replace(draft, recipe=recipe.name, id=f"{draft.first.root}_{recipe.name}" if named else draft.id)


def distinct(drafts: Sequence[Draft], taken: Iterable[str] = ()) -> list[Draft]:
    """Make the product names of drafts unique, and different from those in `taken`, on any file system.

    File numbers may repeat if each night has its own directory: the later product's name then gets the directory name
    of its first frame, and a number if this is not enough.
    """
    names = {t.lower() for t in taken}
    out = []
    for draft in drafts:
        own, number = draft.id, 1
        while own.lower() in names:
            own = _with_directory(draft, number)
            number += 1
        names.add(own.lower())
        if own != draft.id:
            remark = f"named after the directory of {draft.first.path}: another product is called {draft.id}.fits"
            draft = replace(draft, id=own, remarks=(*draft.remarks, remark))
        out.append(draft)
    return out


def _with_directory(draft: Draft, number: int) -> str:
    path = draft.first.path
    folder = FOREIGN_CHARACTERS.sub("_", place(path).parent.name)[:MAX_FOLDER]
    aside = f"-{folder}" + (f"-{number}" if number > 1 else "")
    root = draft.first.root if draft.id.startswith(draft.first.root) else draft.id.rpartition("_")[0]
    return root + aside + draft.id.removeprefix(root)


def footprints(bench: Bench) -> Callable[[FrameInfo], Sequence[Polygon] | None]:
    """Ask the owner of a frame for its outline; if the plugin fails, add a remark and use the full planes."""
    from ..errors import PluginError

    def ask(frame: FrameInfo) -> Sequence[Polygon] | None:
        try:
            found: Sequence[Polygon] | None = bench.registry.ask(frame.owner, "nirred_footprint", headers=frame.headers)
        except PluginError as error:
            if str(error) not in bench.remarks:
                bench.remarks.append(str(error))
            return None
        return found

    return ask


def _setting(frame: FrameInfo) -> str:
    parts = [] if frame.descriptors.role == "dark" else [frame.descriptors.get("filter_name", pretty=True)]
    t = exposure(frame)
    parts.append(None if t is None else f"{text(float(t))} s")
    return " ".join(str(p) for p in parts if p is not None)
