"""Plugins: discovery that isolates a broken one, ownership of frames, and conflicts named with both packages."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

import pluggy

from . import hookspecs
from .errors import Ambiguous, PluginError, Unclaimed
from .plugin.frames import Claim
from .plugin.instrument import ExecutorSpec, Instrument
from .plugin.markers import API_VERSION
from .plugin.recipes import Recipe, RecipePatch
from .plugin.rules import CalibrationRule, MaskSpec

if TYPE_CHECKING:
    from .headers import Headers
    from .plugin.simulation import Simulation

GROUP = "nirred.plugins"
#: Packages that bring an instrument: what to say when nothing claims a frame. Facts about packages, not about data.
KNOWN_PACKAGES = {
    "NIRI": "nirred-niri",
    "F2": "nirred-f2",
    "FLAM": "nirred-f2",
    "GNIRS": "nirred-gnirs",
    "EMIR": "nirred-emir",
}


@dataclass(frozen=True)
class PluginInfo:
    """A plugin as found: loaded, or refused with the reason."""

    name: str
    package: str
    version: str
    error: str = ""
    remarks: tuple[str, ...] = ()
    instruments: tuple[str, ...] = ()


@dataclass
class Registry:
    """All plugins of this process. Use `Registry.discover()`; tests may pass plugins by hand."""

    manager: pluggy.PluginManager = field(default_factory=lambda: _manager())
    found: dict[str, PluginInfo] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)

    @classmethod
    def discover(cls, only: Iterable[str] | None = None) -> Registry:
        """Load every plugin of the entry-point group, each behind its own guard.

        Parameters
        ----------
        only : iterable of str, optional
            Names to load; default all, or those of the environment variable NIRRED_PLUGINS (comma-separated).
        """
        registry = cls()
        listed = os.environ.get("NIRRED_PLUGINS")
        wanted = (
            set(only) if only is not None else (set(filter(None, listed.split(","))) if listed is not None else None)
        )
        points = sorted(entry_points(group=GROUP), key=lambda p: (p.name, p.value))
        names = [p.name for p in points]
        for point in points:
            if wanted is None or point.name in wanted:
                registry._load(point, duplicate=names.count(point.name) > 1)
        return registry

    def _load(self, point: EntryPoint, *, duplicate: bool) -> None:
        package = point.dist.name if point.dist else point.value
        version = point.dist.version if point.dist else ""
        key = f"{point.name} ({package})" if duplicate else point.name
        if duplicate:
            self.found[key] = PluginInfo(point.name, package, version, f"two packages register the name {point.name!r}")
            return
        try:
            module = point.load()
        except Exception as error:  # noqa: BLE001 - the loader's guard: one broken package must not stop the others
            self.found[key] = PluginInfo(
                point.name, package, version, f"cannot be imported: {type(error).__name__}: {error}"
            )
            return
        self.add(module, point.name, package, version)

    def add(self, plugin: object, name: str, package: str = "", version: str = "") -> PluginInfo:
        """Register one plugin object; a refused one is kept in `found` with the reason."""
        info = PluginInfo(name, package or name, version)
        error = _api_fault(plugin)
        if not error:
            error = self._register(plugin, name)
        if not error:
            error = self._conflicts(name)
            if error:
                self.manager.unregister(name=name)
        if error:
            info = PluginInfo(info.name, info.package, info.version, error)
        else:
            info = PluginInfo(
                info.name,
                info.package,
                info.version,
                "",
                (),
                tuple(i.name for i in self._once("nirred_instruments", Instrument, name)),
            )
        self.found[name] = info
        return info

    def _register(self, plugin: object, name: str) -> str:
        try:
            self.manager.register(plugin, name)
            self.manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            if self.manager.get_plugin(name) is not None:
                self.manager.unregister(name=name)
            return f"hooks do not fit the contract: {error}"
        return ""

    def _conflicts(self, name: str) -> str:
        own = {i.name for i in self._once("nirred_instruments", Instrument, name)}
        if name in self.faults:
            return self.faults[name]
        for other, info in self.found.items():
            both = own & set(info.instruments)
            if both and other != name:
                return f"instrument {sorted(both)[0]!r} is already brought by {info.package}"
        return ""

    # -- called once, results collected -------------------------------------------------------------------------
    def _once(self, hook: str, kind: type | tuple[type, ...], name: str) -> list[Any]:
        """Drain and type-check one plugin's iterable inside the guard: a late error must not escape it."""
        plugin = self.manager.get_plugin(name)
        implementation = getattr(plugin, hook, None)
        if plugin is None or implementation is None:
            return []
        try:
            items = list(self._owner(name, hook)() or ())
        except Exception as error:  # noqa: BLE001 - a plugin's fault is reported by name, the rest goes on
            self.faults.setdefault(name, f"{hook} failed: {type(error).__name__}: {error}")
            return []
        wrong = [i for i in items if not isinstance(i, kind) and not (isinstance(i, type) and issubclass(i, kind))]
        if wrong:
            self.faults.setdefault(name, f"{hook} returned a {type(wrong[0]).__name__}")
            return []
        return items

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

    def _collect(self, hook: str, kind: type | tuple[type, ...]) -> list[tuple[str, Any]]:
        return [(name, item) for name in self.names for item in self._once(hook, kind, name)]

    def instruments(self) -> list[tuple[str, Instrument]]:
        """(plugin, instrument) of all plugins."""
        return self._collect("nirred_instruments", Instrument)

    def recipes(self) -> list[tuple[str, Recipe | RecipePatch]]:
        """(plugin, recipe or patch) of all plugins, in order of the plugins' names."""
        return self._collect("nirred_recipes", (Recipe, RecipePatch))

    def rules(self) -> list[tuple[str, CalibrationRule]]:
        """(plugin, calibration rule) of all plugins."""
        return self._collect("nirred_calibration_rules", CalibrationRule)

    def masks(self) -> list[tuple[str, MaskSpec]]:
        """(plugin, mask) of all plugins."""
        return self._collect("nirred_masks", MaskSpec)

    def steps(self) -> list[tuple[str, type]]:
        """(plugin, step class) of all plugins."""
        from .step import Step

        return self._collect("nirred_steps", Step)

    def executors(self) -> list[tuple[str, ExecutorSpec]]:
        """(plugin, way to run tasks) of all plugins."""
        return self._collect("nirred_executors", ExecutorSpec)

    def simulations(self) -> dict[str, Simulation]:
        """Simulated cameras by instrument name."""
        found = {}
        for name in self.names:
            if getattr(self.manager.get_plugin(name), "nirred_simulation", None) is not None:
                simulation = self.ask(name, "nirred_simulation")
                if simulation is not None:
                    found[simulation.instrument.lower()] = simulation
        return found

    # -- asked for every file -----------------------------------------------------------------------------------
    def claim(self, headers: Headers) -> tuple[str, Claim]:
        """Ask every plugin; return the owner's name and its claim.

        Raises
        ------
        Unclaimed
            Nobody knows the frame; the message names the package to install where that is known.
        Ambiguous
            Two plugins claim it with equal weight.
        """
        claims: list[tuple[str, Claim]] = []
        for name in self.names:
            plugin = self.manager.get_plugin(name)
            if getattr(plugin, "nirred_claim", None) is None:
                continue
            try:
                claim = plugin.nirred_claim(headers=headers)  # type: ignore[union-attr]
            except Exception as error:  # noqa: BLE001 - reported once per plugin, counts as "no claim"
                self.faults.setdefault(name, f"nirred_claim failed: {type(error).__name__}: {error}")
                continue
            if isinstance(claim, Claim):
                claims.append((name, claim))
        if not claims:
            raise Unclaimed(*_unclaimed(headers, self))
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
        """Call one hook of the owning plugin only.

        Raises
        ------
        PluginError
            The plugin raised; the message names plugin and hook.
        """
        try:
            return self._owner(owner, hook)(**arguments)
        except Exception as error:
            package = self.found[owner].package if owner in self.found else owner
            raise PluginError(
                f"{package}: {hook} failed: {type(error).__name__}: {error}",
                "report it to the plugin's authors",
            ) from error

    def notify(self, event: object) -> None:
        """Tell all observers; an observer that raises is reported once and not asked again."""
        for name in self.names:
            observer = getattr(self.manager.get_plugin(name), "nirred_event", None)
            if observer is None or name in self.faults:
                continue
            try:
                observer(event=event)
            except Exception as error:  # noqa: BLE001 - observers never stop a reduction
                self.faults[name] = f"nirred_event failed: {type(error).__name__}: {error}"


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


def _unclaimed(headers: Headers, registry: Registry) -> tuple[str, str]:
    says = headers.get("INSTRUME") or headers.get("CURRINST") or ""
    says = str(says).strip()
    broken = [i for i in registry.found.values() if i.error]
    package = KNOWN_PACKAGES.get(says.upper())
    for info in broken:
        if says and says.lower() in info.name.lower():
            return f"INSTRUME = {says!r}: its plugin {info.package} {info.error}", "mend that package"
    if package:
        return f"no installed plugin knows INSTRUME = {says!r}", f"pip install {package}"
    what = f"INSTRUME = {says!r}" if says else "its header (no INSTRUME)"
    return f"no installed plugin knows {what}", "install the plugin of its camera, or leave it out"


def plugins(infos: Sequence[PluginInfo]) -> list[PluginInfo]:
    """Loaded plugins first, then refused ones, each by name."""
    return sorted(infos, key=lambda i: (bool(i.error), i.name))
