"""``nirred show`` and ``nirred tags``: descriptors, keywords and tags of files, without reading pixels."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from ..errors import ConfigError, DataError, NirredError
from .common import echo_json, names_with_stdin, registry, safe, warn
from .group import example

_SEPARATOR = "   "


@example(
    "nirred show raw/*.fits -d object,exposure_time",
    "nirred select raw/ --tags DARK | nirred show -d exposure_time",
    "nirred show raw/ -k OBSTYPE,DATE-OBS --csv",
)
@click.command()
@click.argument("files", nargs=-1)
@click.option("-d", "--descriptors", default="", metavar="NAMES", help="Descriptors, separated by commas.")
@click.option("-k", "--keywords", default="", metavar="KEYWORDS", help="Raw keywords; no plugin is needed.")
@click.option("--long", "full", is_flag=True, help="Names with component ids instead of the readable form.")
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects with key `file`.")
def show(files: Sequence[str], descriptors: str, keywords: str, full: bool, as_csv: bool, as_json: bool) -> None:
    """Print descriptors or keywords of FILES, one row each; without -d and -k, all descriptors.

    Names are read from standard input if no FILES are given.
    """
    if as_csv and as_json:
        raise click.UsageError("--csv or --json, not both")
    columns, wanted = _words(keywords), _words(descriptors)
    rows = list(_rows(names_with_stdin(files), wanted, columns, full))
    if as_json:
        echo_json(rows)
    elif as_csv:
        click.echo(_csv(_columns(rows), rows), nl=False)
    elif wanted or columns:
        click.echo(_table(_columns(rows), rows))
    else:
        click.echo("\n\n".join(_block(row) for row in rows))


def _words(text: str) -> list[str]:
    return [w.strip() for w in text.split(",") if w.strip()]


def _rows(files: Sequence[str], wanted: list[str], keywords: list[str], full: bool) -> Iterator[dict[str, Any]]:
    """One mapping per readable file: its name, then the requested values."""
    from ..described import File
    from ..expressions import readable
    from ..inputs import named_files

    plugins = registry(needed=not keywords or bool(wanted))
    known: set[str] = set()
    names = named_files(files)
    count = 0
    for name in names:
        frame, row = File(name, plugins), {"file": name}
        try:
            if wanted or not keywords:
                described = frame.descriptors
                known.update(described.names())
                value = described.get if full else partial(readable, described)
                row |= {d: value(d) for d in wanted or described.names()}
            row |= {k: frame.headers.get(k) for k in keywords}
        except NirredError as error:
            warn(name, error)
            continue
        count += 1
        yield row
    if names and not count:
        raise DataError(f"none of the {len(names)} files can be used", "the warnings say why")
    _check_names(wanted, known)


def _check_names(wanted: list[str], known: set[str]) -> None:
    from ..params import nearest

    for name in wanted:
        if name not in known:
            raise ConfigError(f"no descriptor {name!r}", nearest(name, sorted(known)) or "`nirred show FILE` lists all")


def _columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _table(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    """Plain columns: the file left-justified, the others right-justified, with dashes above and below the headings."""
    cells = [["filename", *columns[1:]]] + [[safe(_text(row.get(c))) for c in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    rule = "-" * (sum(widths) + len(_SEPARATOR) * (len(widths) - 1))
    lines = [
        _SEPARATOR.join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))])
        for line in cells
    ]
    return "\n".join([rule, lines[0], rule, *lines[1:]])


def _block(row: dict[str, Any]) -> str:
    values = {k: v for k, v in row.items() if k != "file"}
    width = max((len(k) for k in values), default=0)
    return "\n".join([safe(row["file"]), *(f"  {k.ljust(width)}  {safe(_text(v))}" for k, v in values.items())])


def _csv(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["filename", *columns[1:]])
    writer.writerows([[_text(row.get(c)) for c in columns] for row in rows])
    return out.getvalue()


def _text(value: Any) -> str:
    from datetime import datetime

    if isinstance(value, float):
        return repr(float(f"{value:.10g}"))  # without the rounding errors of computed values
    return value.isoformat(sep=" ") if isinstance(value, datetime) else str(value)


@example("nirred tags raw/", "nirred tags raw/*.fits --json")
@click.command()
@click.argument("files", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects with keys `file` and `tags`.")
def tags(files: Sequence[str], as_json: bool) -> None:
    """Print the tags of FILES; a file that no plugin recognizes is listed with the reason."""
    from ..described import File
    from ..inputs import named_files

    plugins = registry()
    found: list[dict[str, Any]] = []
    for name in named_files(names_with_stdin(files)):
        frame = File(name, plugins)
        try:
            entry: dict[str, Any] = {"file": name, "tags": sorted(frame.tags), "instrument": frame.instrument}
            if frame.unsupported:
                entry["unsupported"] = frame.unsupported
        except NirredError as error:
            entry = {"file": name, "tags": [], "error": str(error).removeprefix(f"{Path(name).name}: ")}
        found.append(entry)
    if as_json:
        echo_json(found)
    else:
        width = max((len(e["file"]) for e in found), default=0) + 2
        for e in found:
            click.echo(f"{(safe(e['file']) + ' ').ljust(width, '.')} {_tag_text(e)}")
    if found and all("error" in e for e in found):
        raise DataError(f"none of the {len(found)} files can be used", "the list says why")


def _tag_text(entry: dict[str, Any]) -> str:
    if "error" in entry:
        return f"[{safe(entry['error'])}]"
    aside = f"  [not reduced: {safe(entry['unsupported'])}]" if "unsupported" in entry else ""
    return " ".join(f"({t})" for t in entry["tags"]) + aside
