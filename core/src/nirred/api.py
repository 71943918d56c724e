"""The Python interface: `nirred.open`, `nirred.select`, `nirred.run`. Importing it reads and prints nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .described import File, installed_plugins
from .inputs import named_files
from .selection import check_only, select

if TYPE_CHECKING:
    from .arguments import Params
    from .registry import Registry
    from .run.api import RunResult

__all__ = ["File", "installed_plugins", "named_files", "open", "run", "select"]


def open(path: str | Path, registry: Registry | None = None) -> File:
    """Open one file; pixels are read only when `.frame` is accessed."""
    return File(path, registry)


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
