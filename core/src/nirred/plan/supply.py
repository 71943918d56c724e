"""The calibrations that a plan can use, and the choice among them for each task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..inputs import place
from .associate import Source, Wish, choose, forced, judge, rules_for, window
from .drafts import Draft
from .model import INTERNAL, Association, Missing
from .options import PlanOptions, described_masters, kind_of, user_calibrations
from .scan import described, names_file

if TYPE_CHECKING:
    from ..registry import Registry

#: Kinds of calibration for the tasks of each product; science tasks get all that the rules require.
_SERVED = {
    "dark": frozenset({"bpm"}),
    "bpm": frozenset({"dark"}),
    "flat": frozenset({"dark", "bias", "bpm"}),
    "skyflat": frozenset({"dark", "bias", "bpm"}),
}


class Supply:
    """Calibrations that the user names, that are in INPUT or the library, and that tasks of the plan will make.

    Attributes
    ----------
    user_cal : dict of str to Path
        The user's file of each kind.

    Raises
    ------
    ConfigError
        The user names an unknown kind, a file that does not exist, or a finished product of another kind.
    """

    def __init__(self, registry: Registry, options: PlanOptions) -> None:
        self.registry, self.options = registry, options
        self.user_cal = user_calibrations(registry, options)
        self._described = described_masters(self.user_cal, options.user_bpm, registry)
        self._allowed = {kind_of(k) for k in options.allow_missing}
        self._offered: list[Source] = []  # of INPUT and of tasks; the library is asked each time
        self._made_of: dict[Path, frozenset[str]] = {}  # raw frames of the files chosen so far

    def offer(self, source: Source) -> None:
        """Add a calibration of INPUT or of a task, for all that is chosen from now on."""
        self._offered.append(source)

    def serve(
        self, draft: Draft, unused: frozenset[str], demanded: frozenset[str]
    ) -> tuple[list[Association], list[Missing]]:
        """Choose the calibrations of a task; return them and what is missing.

        `unused` are kinds that the task's recipe does not use: they are not looked for. `demanded` are kinds that its
        parameters make indispensable.
        """
        found: list[Association] = []
        missing = [replace(m, optional=self._spared(m.kind, m.optional)) for m in draft.missing]
        # Flat before mask: a mask made from the same frames as the flat is preferred.
        for kind, wish in sorted(self._wishes(draft, unused, demanded).items(), key=lambda k: (k[0] == "bpm", k[0])):
            answers = self._answers(draft, kind, wish, found)
            found += [a for a in answers if isinstance(a, Association)]
            missing += [a for a in answers if isinstance(a, Missing)]
        if (path := self._user_bpm(draft)) is not None:
            found.append(Association("user_bpm", path=path, level=0, reason="named by the user", source="user"))
        return found, missing

    def choose(self, wish: Wish, *, everything: bool = False) -> Association | Missing:
        """Choose the calibration of one kind. A file from the library is checked; if it has changed, the next is used.

        `everything`: compare all of the library, not only up to the one that is chosen.
        """
        sources = self._sources(wish, everything=everything)
        while True:
            answer = choose(wish, sources)
            if isinstance(answer, Missing) or answer.path is None:
                return answer
            at = next(i for i, s in enumerate(sources) if s.origin == answer.source and s.path == answer.path)
            library = self.options.library if answer.source == "library" else None
            fault = library.fault(sources[at]) if library is not None else ""
            if not fault:
                self._made_of[answer.path] = sources[at].made_of
                return answer
            sources[at] = replace(sources[at], fault=fault)

    def _wishes(self, draft: Draft, unused: frozenset[str], demanded: frozenset[str]) -> dict[str, Wish | None]:
        """Calibrations of a draft: those that its recipe uses and that rules require or the user gives.

        None for a kind that is given although no rule requires it: for a calibration, only by its own request.
        """
        kinds = _SERVED.get(draft.makes)
        wishes: dict[str, Wish | None] = {}
        for kind, rule in rules_for(draft.first, self.registry).items():
            if kind in INTERNAL or kind in unused or (kinds is not None and kind not in kinds):
                continue
            wishes[kind] = Wish(draft.first, kind, rule, self._spared(kind, rule.optional and kind not in demanded))
        for kind in self._given(draft) - unused:
            if kinds is None or (kind in kinds and (kind in wishes or kind in draft.masters)):
                wishes.setdefault(kind, None)
        return wishes

    def _spared(self, kind: str, optional: bool) -> bool:
        """Whether a task can run without a calibration, given whether its rule calls it `optional`."""
        return kind in self._allowed or (optional and not self.options.strict)

    def _given(self, draft: Draft) -> frozenset[str]:
        """Kinds for which the user or the request names a file, except files of another instrument."""
        known = {k: d for k, d in self._described.items() if d is not None}
        others = {k for k, d in known.items() if d.instrument != draft.first.instrument}
        return frozenset((self.user_cal.keys() - others) | draft.masters.keys())

    def _user_bpm(self, draft: Draft) -> Path | None:
        """The user's mask, unless it is known to be another instrument's."""
        known = self._described.get("user_bpm")
        return None if known is not None and known.instrument != draft.first.instrument else self.options.user_bpm

    def _answers(
        self, draft: Draft, kind: str, wish: Wish | None, found: Sequence[Association]
    ) -> list[Association | Missing]:
        """Calibrations of one kind, or what is missing; `found` are those of other kinds."""
        if kind in self._given(draft):
            return [self._named(draft, kind, wish)]
        if wish is None:
            return []
        return [self.choose(wish)] if kind != "bpm" else self._masks(draft, wish, found)

    def _named(self, draft: Draft, kind: str, wish: Wish | None) -> Association:
        """The calibration named by the user, else the one named by the observation file."""
        if kind in self.user_cal or draft.request is None:
            return forced(kind, self.user_cal[kind], wish, self._described[kind])
        path = draft.masters[kind]
        return forced(kind, path, wish, described(path, self.registry), draft.named_by[kind])

    def _masks(self, draft: Draft, wish: Wish, found: Sequence[Association]) -> list[Association | Missing]:
        """Choose a static mask and a measured one, used together (two of kind bpm); one of them is enough."""
        static = self.choose(replace(wish, kind="static_bpm"))
        answers: list[Association | Missing] = [replace(static, kind="bpm")] if isinstance(static, Association) else []
        if draft.makes == "dark":  # measured masks are made from darks
            return answers
        flat = next((a for a in found if a.kind == "flat"), None)
        fresh = self.choose(replace(wish, prefer=self._frames_of(flat) or frozenset(f.name for f, _ in draft.frames)))
        if isinstance(fresh, Association):
            return [*answers, fresh]
        if answers or self._user_bpm(draft) is not None:
            return answers
        return [replace(fresh, reason=f"{fresh.reason} (one is made from flats and short darks)")]

    def _frames_of(self, flat: Association | None) -> frozenset[str]:
        """Names of the raw frames of a flat, if known."""
        if flat is None:
            return frozenset()
        if flat.task:
            return next(s.made_of for s in self._offered if s.task == flat.task)
        return self._made_of.get(flat.path, frozenset()) if flat.path is not None else frozenset()

    def _sources(self, wish: Wish, *, everything: bool) -> list[Source]:
        """Candidates for a wish; of the library none that is excluded or also in INPUT."""
        own = [s for s in self._offered if s.kind == wish.kind]
        library = self.options.library
        if library is None:
            return own
        here = {place(s.path) for s in own if s.path is not None}
        served = any(judge(wish.rule, wish.frame, s).passed for s in own)

        def wanted(source: Source) -> bool:
            path = source.path
            left_out = path is None or any(names_file(name, path) for name in self.options.exclude)
            return path is not None and not left_out and place(path) not in here

        def enough(source: Source) -> bool:
            """Whether no source farther away in time could be preferred to this one."""
            if everything or served:
                return not everything
            serves = wanted(source) and judge(wish.rule, wish.frame, source).passed and not library.fault(source)
            return serves and (not wish.prefer or bool(wish.prefer & source.made_of))

        kept = library.sources(wish.kind, wish.frame, window(wish.rule, wish.kind), enough)
        return own + [s for s in kept if wanted(s)]
