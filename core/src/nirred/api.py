"""The Python interface: `nirred.open`, `nirred.select`, `nirred.run`. Importing it reads and prints nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .registry import Registry
from .selection import check_only, select

if TYPE_CHECKING:
    from .arguments import Params
    from .frame import Frame
    from .headers import Headers
    from .plugin.frames import Claim, Descriptors
    from .run.api import RunResult

__all__ = ["File", "installed_plugins", "named_files", "open", "run", "select"]


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


def open(path: str | Path, registry: Registry | None = None) -> File:
    """Open one file; pixels are read only when `.frame` is accessed."""
    return File(path, registry)


def named_files(inputs: str | Path | Sequence[str | Path]) -> list[str]:
    """Expand files, wildcards, directories and ``@list`` files to file names, in the order given, each once.

    Raises
    ------
    DataError
        A name does not exist.
    """
    import glob

    from .inputs import expand_inputs

    found: dict[str, None] = {}
    for item in [inputs] if isinstance(inputs, (str, Path)) else inputs:
        text = str(item)
        if os.path.isfile(text):
            found[text] = None
            continue
        matches = sorted(glob.glob(text)) if glob.has_magic(text) and not os.path.exists(text) else []
        found.update(dict.fromkeys(str(p) for p in expand_inputs(matches or [text])))
    return list(found)


def run(
    inputs: str | Path | Sequence[str | Path],
    recipe: str | None = None,
    params: Params = (),
    user_cal: Mapping[str, str | Path] | None = None,
    out: str | Path | None = None,
    **options: Any,
) -> RunResult:
    """Plan and reduce, as ``nirred run`` does.

    Parameters
    ----------
    inputs : path or sequence of paths
        Directories, FITS files, ``@list`` files, observation files (.yaml).
    recipe : str, optional
        Name or TOML file; default: the recipe that each group of frames needs. With an observation file: its control
        file.
    params : mapping or sequence of pairs
        {"step:parameter": value} or [("step:parameter", value), ...].
    user_cal : mapping, optional
        {kind: path}, with or without ``processed_`` before the kind.
    out : path
        Directory of the products; default reduced/, with an observation file its `basedir`.
    **options
        `user_bpm`, `objects`, `skies`, `exclude`, `allow_missing`, `only`, `strict`, `offsets`, `crop`, `jobs`,
        `memory` (bytes or "2GB"), `scratch`, `executor`, `fresh`, `keep_intermediates`, `log_file`, `on_event`,
        `library` (path or URL; "none": without), `register` (False: calibrations that are made are not added to the
        library), `report` (False: none is written). With an observation file: `basedir`, `datadir`, `enable` (ids),
        `strict_requests` (False: what is not known is ignored).

    Returns
    -------
    RunResult
        `.products`, `.outcomes`, `.exit_code`, `.record`.

    Raises
    ------
    ConfigError
        A wrong option, parameter or recipe; a misspelt descriptor in `only`.
    DataError
        No input.
    """
    from .arguments import Given, run_options, with_requests
    from .config import load_config
    from .errors import ConfigError
    from .run.api import run as execute

    if user_cal is not None and not isinstance(user_cal, Mapping):
        raise ConfigError(f"user_cal is a {type(user_cal).__name__}, not a mapping", 'write user_cal={"dark": FILE}')
    listed = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    registry = installed_plugins()
    others, given, usual = with_requests(listed, Given(recipe, params, user_cal or {}, options), registry)
    place = usual if out is None else out
    asked = run_options(place, given, load_config(listed), registry)
    check_only(asked.plan.only, others, registry)
    return execute(others, Path(place), asked, registry)
