"""``nirred cal``: the calibration library, and why a frame gets which calibration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError, DataError
from .common import echo_json, echo_table, registry, safe
from .group import example

if TYPE_CHECKING:
    from ..library import CalibrationLibrary, Entry

_COLUMNS = ("file", "kind", "instrument", "date", "configuration", "QA", "state", "directory")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


@click.group()
def cal() -> None:
    """Keep finished calibrations where later runs find them, and see why one was chosen.

    The library records path, header and checksum of files; it neither moves nor changes them. Runs add the darks, flats
    and masks that they make, unless --no-register. Its location: --library, else NIRRED_LIBRARY, `library` in [run] of
    the user's nirred.toml, else the user's default library (see `nirred config show`).
    """


def _library(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--library", "place", metavar="PATH|URL", help="SQLite file or postgresql:// URL.")(command)


def _open(place: str | None, *, plugins: bool = False) -> CalibrationLibrary:
    """Open the named library, else the configured one.

    Raises
    ------
    ConfigError
        The configured library is "none".
    """
    from ..config import load_config
    from ..library import NONE, CalibrationLibrary

    configured = place if place is not None else load_config().value("library")
    if configured is not None and configured.strip().lower() in ("", NONE):
        raise ConfigError("the library is set to none", "name one with --library PATH")
    return CalibrationLibrary(configured, registry() if plugins else None)


@example("nirred cal init", "nirred cal init --library masters/library.db")
@cal.command()
@_library
@_JSON
def init(place: str | None, as_json: bool) -> None:
    """Make an empty library; an existing one is left alone. `add` and runs make it automatically."""
    library = _open(place)
    library.init()
    if as_json:
        echo_json({"library": library.name})
    else:
        click.echo(f"made {library.name}")


@example("nirred cal add masters/N20160102S0423_dark.fits bpm_20010317.fits", "nirred cal add reduced/")
@cal.command()
@click.argument("files", nargs=-1, required=True)
@_library
@_JSON
@click.pass_context
def add(ctx: click.Context, files: Sequence[str], place: str | None, as_json: bool) -> None:
    """Put FILES, or suitable ones in directories, into the library.

    Accepted are nirred's own products, static bad-pixel masks (valid from the date in their header), and processed
    darks and flats of another program whose header says so (PROCDARK, PROCFLAT), has a date and, for darks, BUNIT =
    'electron'. Exit code 4 if a named file is refused; the others are added all the same.
    """
    library = _open(place, plugins=True)
    entries, refused = _add(library, files)
    if as_json:
        echo_json([e.json() for e in entries])
    for entry in [] if as_json else entries:
        click.echo(safe(f"{entry.path.name}: {entry.kind}, {entry.instrument}, {entry.date}, {entry.setting}"))
    click.echo(f"{len(entries)} added to {library.name}", err=True)
    ctx.exit(DataError.exit_code if refused or not entries else 0)


def _add(library: CalibrationLibrary, files: Sequence[str]) -> tuple[list[Entry], int]:
    """Add the suitable files; return (entries, number of named files that were refused)."""
    from ..inputs import named_files

    entries, refused = [], 0
    for name in files:
        whole, left = Path(name).is_dir(), 0
        try:
            paths = named_files(name)
        except DataError as error:
            paths, refused = [], refused + 1
            click.echo(safe(f"refused: {error}"), err=True)
        for path in paths:
            try:
                entries += library.add(path)
            except DataError as error:
                left += 1
                if not whole:
                    click.echo(safe(f"refused: {error}"), err=True)
        refused += 0 if whole else left
        if whole and left:
            click.echo(f"{name}: {left} of {len(paths)} files are not calibrations", err=True)
    return entries, refused


@example("nirred cal list", "nirred cal list --kind dark --json")
@cal.command(name="list")
@click.option("--kind", metavar="KIND", help="dark, flat, bpm (measured), static_bpm (valid from its date on).")
@click.option("--instrument", metavar="NAME", help="Only calibrations of this camera.")
@_library
@_JSON
def list_entries(kind: str | None, instrument: str | None, place: str | None, as_json: bool) -> None:
    """Show what is in the library, and its state."""
    library = _open(place)
    entries = library.list(kind, instrument)
    if as_json:
        echo_json([e.json() for e in entries])
        return
    if not entries:
        click.echo(f"{library.name}: nothing in it; `nirred cal add FILE`, or a run that makes calibrations, fills it")
        return
    echo_table("", _COLUMNS, map(_row, entries))
    click.echo(f"{len(entries)} in {library.name}")


def _row(entry: Entry) -> tuple[str, ...]:
    place = (entry.path.name, entry.kind, entry.instrument, entry.date, entry.setting, entry.qa_state or "")
    return *place, entry.state, str(entry.path.parent)


@example("nirred cal remove N20160102S0423_dark.fits")
@cal.command()
@click.argument("names", nargs=-1, required=True)
@_library
@_JSON
def remove(names: Sequence[str], place: str | None, as_json: bool) -> None:
    """Take NAMES (file names or paths) out of the library. The files themselves are not touched."""
    library = _open(place)
    entries = library.remove(*names)
    if as_json:
        echo_json([e.json() for e in entries])
    for entry in [] if as_json else entries:
        click.echo(safe(f"removed {entry.path} from the library; the file is kept"))


@example("nirred cal verify")
@cal.command()
@_library
@_JSON
@click.pass_context
def verify(ctx: click.Context, place: str | None, as_json: bool) -> None:
    """Read every file of the library and compare it with its checksum. Exit code 4 if one is changed or missing."""
    library = _open(place)
    entries = library.verify()
    bad = [e for e in entries if e.state != "ok"]
    if as_json:
        echo_json([e.json() for e in entries])
    else:
        if bad:
            echo_table("", _COLUMNS, map(_row, bad))
        states = Counter(e.state for e in entries)
        click.echo(f"{library.name}: " + (", ".join(f"{n} {s}" for s, n in states.items()) or "empty"))
        if bad:
            click.echo("none of these is used; `nirred cal add` a changed file again, or `nirred cal remove` it")
    ctx.exit(DataError.exit_code if bad else 0)


@example("nirred cal explain raw/N20160102S0270.fits", "nirred cal explain raw/N20160102S0270.fits raw/ --json")
@cal.command()
@click.argument("file")
@click.argument("inputs", nargs=-1)
@_library
@click.option("-v", "--verbose", is_flag=True, help="Show every term of the rule for every candidate.")
@_JSON
def explain(file: str, inputs: Sequence[str], place: str | None, verbose: bool, as_json: bool) -> None:
    """Explain which calibrations FILE gets, and why.

    Every candidate in the library and in INPUTS is shown, best first. Levels: 0 as in the calibration plan, 1 good, 2
    probably acceptable, 3 risk. For the one chosen and the nearest miss, every term of the rule is shown,
    with the wanted and the found value.
    """
    from ..config import load_config
    from ..library import open_shelf
    from ..plan.explain import explain as explained
    from ..plan.options import PlanOptions

    plugins = registry()
    kept = open_shelf(place if place is not None else load_config([file, *inputs]).value("library"), plugins)
    found = explained(Path(file), inputs, plugins, PlanOptions(library=kept))
    for remark in kept.remarks if kept is not None else ():
        click.echo(f"warning: {remark}", err=True)
    if as_json:
        echo_json(found)
        return
    if not found:
        click.echo(safe(f"{file}: the rules of its instrument require no calibration for it"))
    for entry in found:
        _show(entry, verbose)


def _show(entry: Mapping[str, Any], verbose: bool) -> None:
    candidates = entry["candidates"]
    chosen = next((c for c in candidates if c["chosen"]), None)
    title = f"{entry['kind']} for {Path(entry['file']).name}: "
    title += f"{chosen['file']} (level {chosen['level']})" if chosen else "none"
    if not candidates:
        click.echo(safe(f"{title}: {entry['reason']}\n"))
        return
    rows = [("*" if c["chosen"] else "", c["file"], c["source"], c["level"], c["why"]) for c in candidates]
    echo_table(title, ("", "candidate", "from", "level", "why"), rows)
    missed = next((c for c in candidates if not all(r["passed"] for r in c["rules"])), None)
    for c in candidates if verbose else [c for c in (chosen, missed) if c is not None]:
        terms = [(r["rule"], r["wanted"], r["found"], "yes" if r["passed"] else "NO") for r in c["rules"]]
        what = "" if verbose else " (chosen)" if c is chosen else " (nearest miss)"
        echo_table(f"{c['file']}{what}", ("rule", "wanted", "found", "passed"), terms)
