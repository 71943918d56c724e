"""Plugins: discovery that isolates broken plugins, ownership of frames, and conflicts reported with both packages."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

import pluggy

from . import hookspecs
from .answers import WrongAnswer, checked
from .cameras import answering
from .errors import Ambiguous, PluginError, Unclaimed, Unreadable
from .headers import Header, Headers
from .packages import import_cost, wanted_plugins, why_unclaimed
from .plugin.frames import Claim
from .plugin.instrument import Instrument
from .plugin.markers import API_VERSION
from .plugin.recipes import Recipe, RecipePatch
from .plugin.rules import CalibrationRule, MaskSpec

if TYPE_CHECKING:
    from .plugin.frames import Descriptors
    from .plugin.instrument import ExecutorSpec
    from .plugin.simulation import Simulation

GROUP = "nirred.plugins"
#: Exceptions caught from plugins: `sys.exit` in a plugin must not end this program.
FAULTS = (Exception, SystemExit)
#: Headers of no known camera: a plugin that claims one of them would claim the frames of every camera.
STRANGERS = {
    "an empty header": "",
    "a header of no camera": "INSTRUME= 'NIRRED-NOBODY'".ljust(80) + "OBJECT  = 'nothing '".ljust(80),
}


@dataclass(frozen=True)
class PluginInfo:
    """A plugin that was found: loaded, or refused with the reason."""

    name: str
    package: str
    version: str
    error: str = ""
    remarks: tuple[str, ...] = ()
    instruments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fault:
    """What a loaded plugin did wrong, for messages, and the hook in which it did; '' outside of hooks."""

    text: str
    hook: str = ""


@dataclass
class Registry:
    """All plugins of this process. Use `Registry.discover()`; tests may add plugins directly."""

    manager: pluggy.PluginManager = field(default_factory=lambda: _manager())
    found: dict[str, PluginInfo] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)
    _given: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    _barred: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def discover(cls, only: Iterable[str] | None = None) -> Registry:
        """Load every plugin of the entry-point group; the failure of one does not affect the others.

        Parameters
        ----------
        only : iterable of str, optional
            Names to load; default all, or those of the environment variable NIRRED_PLUGINS (comma-separated).

        Raises
        ------
        ConfigError
            NIRRED_PLUGINS names one that is not installed.
        """
        registry = cls()
        points = sorted(entry_points(group=GROUP), key=lambda p: (p.name, p.value))
        names = [p.name for p in points]
        wanted = set(wanted_plugins(names) if only is None else only)
        for point in points:
            if point.name in wanted:
                registry._load(point, duplicate=names.count(point.name) > 1)
        return registry

    def _load(self, point: EntryPoint, *, duplicate: bool) -> None:
        package = point.dist.name if point.dist else point.value
        version = point.dist.version if point.dist else ""
        key = f"{point.name} ({package})" if duplicate else point.name
        if duplicate:
            self.found[key] = PluginInfo(point.name, package, version, f"two packages register the name {point.name!r}")
            return
        before, start = set(sys.modules), time.perf_counter()
        try:
            module = point.load()
        except FAULTS as error:
            self.found[key] = PluginInfo(point.name, package, version, f"cannot be imported: {_told(error)}")
            return
        info = self.add(module, point.name, package, version)
        remark = import_cost(set(sys.modules) - before, time.perf_counter() - start)
        if remark and not info.error:
            self.found[point.name] = replace(info, remarks=(remark,))

    def add(self, plugin: object, name: str, package: str = "", version: str = "") -> PluginInfo:
        """Register one plugin object; a refused one is kept in `found` with the reason."""
        self.found[name] = PluginInfo(name, package or name, version)
        error = _api_fault(plugin) or self._register(plugin, name)
        if error:
            self.found[name] = replace(self.found[name], error=error)
            return self.found[name]
        cameras = tuple(i.name for i in self._once("nirred_instruments", name))
        fault = self.faults.pop(name, None)
        error = fault.text if fault is not None else self._conflicts(name, cameras) or self._greed(name)
        if error:
            self.refuse(name, error)
        else:
            self.found[name] = replace(self.found[name], instruments=cameras)
        return self.found[name]

    def refuse(self, name: str, error: str) -> None:
        """Remove a plugin completely: part of one would reduce frames differently from what its author intended."""
        if self.manager.get_plugin(name) is not None:
            self.manager.unregister(name=name)
        self.found[name] = replace(self.found[name], error=error, instruments=())
        self._given = {key: items for key, items in self._given.items() if key[0] != name}

    def _register(self, plugin: object, name: str) -> str:
        try:
            self.manager.register(plugin, name)
            self.manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            if self.manager.get_plugin(name) is not None:
                self.manager.unregister(name=name)
            said, unknown, _ = str(error).partition(" in plugin ")
            if unknown:  # a hook that does not exist
                from .params import nearest

                said = "; ".join(filter(None, (said, nearest(said.split()[-1], vars(hookspecs)))))
            return f"hooks do not fit the contract: {said}"
        return ""

    def _conflicts(self, name: str, cameras: Sequence[str]) -> str:
        for other, info in self.found.items():
            both = set(cameras) & set(info.instruments)
            if both and other != name:
                return f"instrument {sorted(both)[0]!r} is already brought by {info.package}"
        return ""

    def _greed(self, name: str) -> str:
        """Why a plugin would claim the frames of any camera, or ''. Allowed with a weight below 0 (a fallback)."""
        claim = getattr(self.manager.get_plugin(name), "nirred_claim", None)
        for what, cards in STRANGERS.items() if claim is not None else ():
            try:
                found = claim(headers=Headers(Header(cards), []))  # type: ignore[misc]
            except FAULTS:  # reported when a real frame raises it
                continue
            if isinstance(found, Claim) and found.weight >= 0:
                return f"claims everything, {what} too"
        return ""

    # -- called once, results collected -------------------------------------------------------------------------
    def _once(self, hook: str, name: str) -> list[Any]:
        """Call a hook of one plugin, drain and check the answer inside the guard: a generator may raise late."""
        if (name, hook) not in self._given:
            if getattr(self.manager.get_plugin(name), hook, None) is None:
                return []
            try:
                self._given[name, hook] = list(checked(hook, self._owner(name, hook)()))
            except FAULTS as error:
                self.faults[name] = Fault(_failure(hook, error), hook)
                self._given[name, hook] = []
        return self._given[name, hook]

    def brings(self, *hooks: str) -> bool:
        """Whether any plugin implements one of these hooks."""
        return any(getattr(p, hook, None) is not None for _, p in self.manager.list_name_plugin() for hook in hooks)

    def fault(self, name: str, text: str, hook: str = "") -> None:
        """Record a plugin's fault; only the first of each plugin is reported, once."""
        self.faults.setdefault(name, Fault(text, hook))

    def _owner(self, name: str, hook: str) -> Any:
        others = [p for n, p in self.manager.list_name_plugin() if n != name and p is not None]
        caller = self.manager.subset_hook_caller(hook, others)

        def call(**arguments: Any) -> Any:
            results = caller(**arguments)
            return results[0] if results else None

        return call

    @property
    def names(self) -> list[str]:
        """Names of the loaded plugins, sorted."""
        return sorted(n for n, p in self.manager.list_name_plugin() if p is not None)

    def _collect(self, hook: str) -> list[tuple[str, Any]]:
        return [(name, item) for name in self.names for item in self._once(hook, name)]

    def instruments(self) -> list[tuple[str, Instrument]]:
        """(plugin, instrument) of all plugins."""
        return self._collect("nirred_instruments")

    def recipes(self) -> list[tuple[str, Recipe | RecipePatch]]:
        """(plugin, recipe or patch) of all plugins, in order of the plugins' names."""
        return self._collect("nirred_recipes")

    def rules_for(self, owner: str) -> list[tuple[str, CalibrationRule]]:
        """(plugin, rule) for frames of an owner: rules of add-on packages, by name, before the owner's own."""
        found = [(n, r) for n, r in self.rules() if (n, owner) not in self._barred]
        return sorted(found, key=lambda pair: pair[0] == owner)

    def rules(self) -> list[tuple[str, CalibrationRule]]:
        """(plugin, calibration rule) of all plugins."""
        return self._collect("nirred_calibration_rules")

    def masks(self) -> list[tuple[str, MaskSpec]]:
        """(plugin, mask) of all plugins."""
        return self._collect("nirred_masks")

    def steps(self) -> list[tuple[str, type]]:
        """(plugin, step class) of all plugins."""
        return self._collect("nirred_steps")

    def executors(self) -> list[tuple[str, ExecutorSpec]]:
        """(plugin, executor) of all plugins."""
        return self._collect("nirred_executors")

    def simulations(self) -> dict[str, Simulation]:
        """Simulated cameras by instrument name; a plugin whose simulation fails is reported and omitted."""
        found = {}
        for name in self.names:
            if getattr(self.manager.get_plugin(name), "nirred_simulation", None) is not None:
                try:
                    simulation = self.ask(name, "nirred_simulation")
                except PluginError as error:
                    self.fault(name, error.message, "nirred_simulation")
                    continue
                if simulation is not None:
                    found[simulation.instrument.lower()] = answering(simulation, self.found[name].package)
        return found

    def try_rules(self, owner: str, tags: frozenset[str], descriptors: Descriptors) -> None:
        """Ask every rule whether it applies to a frame, before anything depends on it.

        If a rule of another package raises, that package's rules are not used for this owner's frames, which is
        reported; the owner's rules remain in use.

        Raises
        ------
        PluginError
            A rule of the owner raised: without it the frame would not be calibrated as its plugin requires.
        """
        for name, rule in self.rules():
            try:
                rule.applies(tags, descriptors)
            except FAULTS as error:
                what = f"rule {rule.kind!r} failed: {_told(error)}"
                if name == owner:
                    raise self.misbehaved(owner, what) from error
                self.fault(name, what)
                self._barred.add((name, owner))

    # -- asked for every file -----------------------------------------------------------------------------------
    def claim(self, headers: Headers) -> tuple[str, Claim]:
        """Ask every plugin; return the owner's name and its claim.

        Raises
        ------
        Unclaimed
            No plugin claims the frame; the message names the package to install, if known.
        Ambiguous
            Two plugins claim it with equal weight.
        """
        claims: list[tuple[str, Claim]] = []
        for name in self.names:
            plugin = self.manager.get_plugin(name)
            if getattr(plugin, "nirred_claim", None) is None:
                continue
            try:
                claim = checked("nirred_claim", plugin.nirred_claim(headers=headers))  # type: ignore[union-attr]
            except Unreadable:  # damage found by the plugin is a fault of the file
                raise
            except FAULTS as error:
                self.fault(name, _failure("nirred_claim", error), "nirred_claim")
                continue
            if claim is not None:
                claims.append((name, claim))
        if not claims:
            broken = {i.name: f"{i.package} {i.error}" for i in self.found.values() if i.error}
            known = [camera.recognises for _, camera in self.instruments() if camera.recognises]
            raise Unclaimed(*why_unclaimed(headers, broken, known))
        best = max(c.weight for _, c in claims)
        winners = [(n, c) for n, c in claims if c.weight == best]
        if len(winners) > 1:
            packages = " and ".join(self.found[n].package for n, _ in winners)
            raise Ambiguous(
                f"claimed by {packages} with equal weight",
                "uninstall one, or leave the file out with --exclude",
            )
        return winners[0]

    def ask(self, owner: str, hook: str, **arguments: Any) -> Any:
        """Call one hook of the owning plugin only; see `answers.checked` for valid answers.

        Raises
        ------
        PluginError
            The plugin raised or gave an invalid answer; the message names package and hook.
        Unreadable
            The file is damaged in a part that the plugin read.
        """
        if not self.implements(owner, hook):
            return None
        try:
            return checked(hook, self._owner(owner, hook)(**arguments))
        except Unreadable:
            raise
        except FAULTS as error:
            raise self.misbehaved(owner, _failure(hook, error)) from error

    def package(self, name: str) -> str:
        """Package of the plugin of that name; '' if there is none."""
        return self.found[name].package if name in self.found else ""

    def origin(self, thing: MaskSpec | type) -> str:
        """Package that registered a mask or the class of a step; '' for the core's own."""
        return next((self.package(n) for n, own in (*self.masks(), *self.steps()) if own is thing), "")

    def implements(self, owner: str, hook: str) -> bool:
        """Whether a plugin has a hook of its own."""
        return getattr(self.manager.get_plugin(owner), hook, None) is not None

    def misbehaved(self, owner: str, what: str) -> PluginError:
        """The error that names a plugin's package and what it did wrong."""
        return PluginError(f"{self.package(owner) or owner}: {what}", "report it to the plugin's authors")

    def complaints(self) -> list[str]:
        """One sentence for each plugin that was refused or misbehaved."""
        refused = [f"{i.package} is not used: {i.error}" for i in in_order(self.found.values()) if i.error]
        return refused + [self.misbehaved(n, self.faults[n].text).message for n in sorted(self.faults)]

    def notify(self, event: object) -> str:
        """Call all observers; one that raises is not called again. Returns any new message about them, or ''."""
        said = []
        for name in self.names:
            observer = getattr(self.manager.get_plugin(name), "nirred_event", None)
            known = self.faults.get(name)
            if observer is None or (known is not None and known.hook == "nirred_event"):
                continue
            try:
                observer(event=event)
            except FAULTS as error:
                fault = self.faults[name] = Fault(_failure("nirred_event", error), "nirred_event")
                said.append(self.misbehaved(name, fault.text).message)
        return "; ".join(said)


def _told(error: BaseException) -> str:
    """An error in one line of bearable length."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"


def _failure(hook: str, error: BaseException) -> str:
    return f"{hook}: {error}" if isinstance(error, WrongAnswer) else f"{hook} failed: {_told(error)}"


def _manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager("nirred")
    manager.add_hookspecs(hookspecs)
    return manager


def _api_fault(plugin: object) -> str:
    version = getattr(plugin, "NIRRED_API", None)
    if not (isinstance(version, tuple) and len(version) == 2 and all(isinstance(v, int) for v in version)):
        return "says no NIRRED_API = (major, minor)"
    if version[0] != API_VERSION[0] or version[1] > API_VERSION[1]:
        return f"is written for API {version[0]}.{version[1]}; this nirred has {API_VERSION[0]}.{API_VERSION[1]}"
    return ""


def in_order(infos: Iterable[PluginInfo]) -> list[PluginInfo]:
    """Loaded plugins first, then refused ones, each by name."""
    return sorted(infos, key=lambda i: (bool(i.error), i.name))
