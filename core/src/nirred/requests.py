"""Foreign observation files among the inputs: recognised by suffix and read by a plugin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ConfigError, NirredError, PluginError
from .plugin.instrument import RequestContext, RequestSet

if TYPE_CHECKING:
    from .registry import Registry

#: Suffixes of observation files, which are not FITS.
FOREIGN = (".yaml", ".yml")
#: Options that affect how requests are read; they do not apply to other inputs.
OPTIONS = ("basedir", "datadir", "enable", "strict_requests", "placing")


def is_foreign(name: str | Path) -> bool:
    """Whether a name has the suffix of a request or control file."""
    return str(name).lower().endswith(FOREIGN)


def take_requests(
    inputs: Sequence[str | Path], control: str | Path | None, options: Mapping[str, Any], registry: Registry
) -> tuple[list[str | Path], RequestSet | None, Path]:
    """Read the foreign files among the inputs.

    Parameters
    ----------
    inputs : sequence
        Directories, FITS files, ``@list`` files, observation files.
    control : path or None
        A control file that goes with them.
    options : mapping
        As named in `OPTIONS`; None for what was not given.
    registry : Registry
        The plugins.

    Returns
    -------
    list
        The other inputs.
    RequestSet or None
        None: there is no foreign file.
    Path
        Directory of the results.

    Raises
    ------
    ConfigError, PluginError
        An option or control file without observation file, a file that does not exist, or no plugin for such files.
    """
    files = [Path(i) for i in inputs if is_foreign(i)]
    given = {k: v for k in OPTIONS if (v := options.get(k)) not in (None, ())}
    base = Path(given.get("basedir", "."))
    if not files:
        if control is not None:
            raise ConfigError(
                f"-r {control}: a control file goes with an observation file (.yaml)", "name one as INPUT"
            )
        if given:
            name = next(iter(given))
            raise ConfigError(f"{name} goes with an observation file (.yaml)", "name one as INPUT, or leave it out")
        return list(inputs), None, base
    for path in (*files, *([Path(control)] if control is not None else [])):
        if not path.is_file():
            raise ConfigError(f"no file {path}", "check the path")
    data = given.get("datadir")
    context = RequestContext(
        base,
        None if data is None else Path(data),
        None if control is None else Path(control),
        bool(given.get("strict_requests", True)),
        tuple(map(str, given.get("enable", ()))),
        "placing" in given,
    )
    read = _read(files, context, registry)
    if read is None:
        names = ", ".join(p.name for p in files)
        hint = "pip install nirred-emir for EMIR's, or name directories, FITS files or @lists"
        raise PluginError(f"{names}: no installed plugin reads it", hint)
    return [i for i in inputs if not is_foreign(i)], read, base


def _read(files: Sequence[Path], context: RequestContext, registry: Registry) -> RequestSet | None:
    """Ask every plugin; None if no plugin reads the files.

    Raises
    ------
    PluginError
        Two plugins read them, or one failed.
    NirredError
        The plugin's error on the files.
    """
    found: dict[str, RequestSet] = {}
    for name in registry.names:
        try:
            read = registry.ask(name, "nirred_read_request", paths=files, context=context)
        except PluginError as error:
            if isinstance(error.__cause__, NirredError):
                raise error.__cause__ from None
            raise
        if read is not None:
            found[name] = read
    if len(found) > 1:
        packages = " and ".join(registry.found[name].package for name in found)
        raise PluginError(f"{', '.join(p.name for p in files)}: read by {packages}", "uninstall one")
    return next(iter(found.values()), None)
