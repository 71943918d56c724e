"""Input files as the installed plugins describe them; data are read only when they are accessed."""

from __future__ import annotations

from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from .registry import Registry

if TYPE_CHECKING:
    from .frame import Frame
    from .headers import Headers
    from .plugin.frames import Claim, Descriptors


@cache
def installed_plugins() -> Registry:
    """The plugins of this process, discovered once."""
    found = Registry.discover()
    if found.brings("nirred_steps", "nirred_recipes"):  # else there is nothing that might not fit, and no import
        from .fitness import refuse_unfit

        refuse_unfit(found)
    return found


class File:
    """One input file as described by its plugin; data are read only when they are accessed.

    Parameters
    ----------
    path : str or Path
    registry : Registry, optional
        The plugins; default all that are installed.

    Notes
    -----
    Every property may raise `Unreadable`, `Unclaimed`, `Ambiguous` or `PluginError`.
    """

    def __init__(self, path: str | Path, registry: Registry | None = None) -> None:
        self.path = Path(path)
        self.registry = registry if registry is not None else installed_plugins()

    def __repr__(self) -> str:
        return f"nirred.open({str(self.path)!r})"

    @cached_property
    def headers(self) -> Headers:
        """The headers, without pixels."""
        from .headers import Headers

        return Headers.read(self.path)

    @cached_property
    def _claim(self) -> tuple[str, Claim]:
        return self.registry.claim(self.headers)

    @property
    def owner(self) -> str:
        """Name of the plugin that owns the frame."""
        return self._claim[0]

    @property
    def instrument(self) -> str:
        """Registered name of the camera."""
        return self._claim[1].instrument

    @property
    def unsupported(self) -> str:
        """Why the frame would not be reduced ('spectrum'), or ''."""
        return self._claim[1].unsupported

    @cached_property
    def tags(self) -> frozenset[str]:
        """Upper-case tags."""
        return frozenset(self.registry.ask(self.owner, "nirred_tags", headers=self.headers) or ())

    @cached_property
    def descriptors(self) -> Descriptors:
        """Metadata under nirred's common names: ``nirred.open(f).descriptors.exposure_time``."""
        from .errors import PluginError
        from .plugin.frames import Descriptors

        found = self.registry.ask(self.owner, "nirred_describe", headers=self.headers)
        if not isinstance(found, Descriptors):
            raise PluginError(f"{self.owner}: nirred_describe gave no descriptors", "report it to the plugin's authors")
        return found

    @cached_property
    def frames(self) -> tuple[Frame, ...]:
        """All exposures of the file: data, variance, mask and world coordinates of every plane."""
        from .opening import open_frames

        return open_frames(self.path, self.registry)

    @property
    def frame(self) -> Frame:
        """The file's only exposure; a `DataError` if it has several."""
        from .errors import DataError

        if len(self.frames) > 1:
            raise DataError(f"{self.path.name}: it has {len(self.frames)} exposures", "see `frames`")
        return self.frames[0]
