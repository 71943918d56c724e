"""Functions shared by several commands: plugins, names from stdin, JSON, tables."""

from __future__ import annotations

import contextlib
import json
import math
import re
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import NirredError, PluginError

if TYPE_CHECKING:
    from ..registry import Registry

_SURROGATE = re.compile("[\ud800-\udfff]")


def registry(*, needed: bool = True) -> Registry:
    """The installed plugins.

    Raises
    ------
    PluginError
        No plugin provides an instrument, and one is `needed`.
    """
    from ..described import installed_plugins

    found = installed_plugins()
    if needed and not found.instruments():
        refused = [f"{i.package}: {i.error}" for i in found.found.values() if i.error]
        if refused:
            raise PluginError("no instrument is installed; refused: " + "; ".join(refused), "see `nirred plugins`")
        raise PluginError("no instrument is installed", no_instrument_hint())
    return found


def no_instrument_hint() -> str:
    """Hint that names the packages that provide an instrument."""
    from ..packages import KNOWN_PACKAGES

    return f"pip install one or more of {', '.join(dict.fromkeys(KNOWN_PACKAGES.values()))}"


@contextlib.contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM, which `kill` and batch systems send, end a run as Ctrl-C does."""
    try:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:  # not the main thread, which alone gets signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def names_with_stdin(files: Sequence[str]) -> list[str]:
    """Return the names; names piped in, one per line, replace ``-`` or an empty list.

    Raises
    ------
    click.UsageError
        No name at all.
    """
    names = list(files) or ["-"]
    if "-" in names and not sys.stdin.isatty():
        piped = [line.strip() for line in sys.stdin if line.strip() and not line.lstrip().startswith("#")]
        at = names.index("-")
        names[at : at + 1] = piped
    names = [n for n in names if n != "-"]
    if not names:
        raise click.UsageError("no files; name them, or pipe names in")
    return names


def plain(value: Any) -> Any:
    """Convert a value to JSON types: dates to ISO text, sets to sorted lists, NaN and infinity to None."""
    found: Any
    match value:
        case None | str() | bool() | int():
            found = value
        case float():
            found = value if math.isfinite(value) else None
        case datetime() | date() | time():
            found = value.isoformat()
        case dict():
            found = {str(k): plain(v) for k, v in value.items()}
        case set() | frozenset():
            found = sorted((plain(v) for v in value), key=str)
        case list() | tuple():
            found = [plain(v) for v in value]
        case _:  # a numpy scalar becomes a number, anything else text
            found = plain(value.item()) if hasattr(value, "item") else str(value)
    return found


def echo_json(value: Any) -> None:
    """Print one JSON document on stdout; undecodable bytes, as in some file names, become escapes."""
    text = json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False)
    click.echo(_SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def warn(name: str, error: NirredError) -> None:
    """Print on stderr why a file is skipped; most errors begin with its name already."""
    why = str(error).removeprefix(f"{Path(name).name}: ")
    click.echo(f"warning: {safe(name)}: {safe(why)}", err=True)


def remark(text: str) -> None:
    """Print on stderr a remark on a possible mistake."""
    click.echo(f"remark: {safe(text)}", err=True)


def echo_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table: fitted to the terminal, or at full width if the output is a file or pipe."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    lines: StringIO | None = None if console.is_terminal else StringIO()
    if lines is not None:
        console = Console(file=lines, highlight=False, width=1000, color_system=None)
    table = Table(
        title=escape(title) or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(safe(cell)) for cell in row))
    console.print(table)
    if lines is not None:
        click.echo("\n".join(line.rstrip() for line in lines.getvalue().splitlines()))


def safe(value: Any) -> str:
    """Text of a value without control characters: header text must not drive the terminal."""
    text = "" if value is None else str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() or c in "\n" else "?" for c in text)
