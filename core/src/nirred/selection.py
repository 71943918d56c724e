"""Select files by tags and by an expression over their descriptors."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from .described import File
from .errors import DataError, NirredError
from .expressions import COMMON_NAMES, Predicate, compile_expression
from .inputs import named_files

if TYPE_CHECKING:
    from pathlib import Path

    from .registry import Registry


def select(
    inputs: str | Path | Sequence[str | Path],
    tags: Iterable[str] = (),
    xtags: Iterable[str] = (),
    expression: str = "",
    strict: bool = False,
    *,
    registry: Registry | None = None,
    on_skip: Callable[[str, NirredError], None] | None = None,
    on_remark: Callable[[str], None] | None = None,
) -> list[str]:
    """Names of the files that have all `tags`, none of `xtags`, and for which `expression` holds.

    Parameters
    ----------
    inputs : path or sequence of paths
        Files, wildcards, directories, ``@list`` files; the order is kept.
    tags, xtags : iterable of str, or str
        Names, or one comma-separated text.
    expression : str
        Condition on descriptors, as for ``nirred select --expr``: comparisons, and, or, not, in.
    strict : bool
        Exact values: no tolerance of 1 % on exposure times, names with component ids.
    registry : Registry, optional
        The plugins; default: all installed ones.
    on_skip : callable, optional
        Called with the name of every unusable file and the reason; default: a warning in the log.
    on_remark : callable, optional
        Called with a message on every tag that no file has; default: a warning in the log.

    Raises
    ------
    ConfigError, DataError
        An error in the expression, a misspelt descriptor; a named file does not exist, or no file can be used.
    """
    wanted, unwanted = _tag_set(tags), _tag_set(xtags)
    predicate = compile_expression(expression, strict)
    chosen: list[str] = []
    known: set[str] = set()
    seen: set[str] = set()
    readable = 0
    names = named_files(inputs)
    for name in names:
        try:
            frame = File(name, registry)
            descriptors = frame.descriptors
        except NirredError as error:
            _tell(name, error, on_skip)
            continue
        readable += 1
        known.update(descriptors.names())
        seen |= frame.tags
        if wanted <= frame.tags and not unwanted & frame.tags and predicate(descriptors):
            chosen.append(name)
    if names and not readable:
        raise DataError(f"none of the {len(names)} files can be used", "`nirred tags FILES` says why")
    predicate.check_names(known)
    for tag in sorted(wanted - seen):
        (on_remark or _log)(f"no file has the tag {tag!r} {_perhaps(tag, seen)}".rstrip())
    return chosen


def check_only(only: Callable[..., bool] | None, inputs: Sequence[str], registry: Registry) -> None:
    """Refuse a misspelt descriptor in ``--only``; headers are read only as far as needed.

    Raises
    ------
    ConfigError
        No header has a descriptor of that name.
    """
    if not isinstance(only, Predicate):
        return
    known: set[str] = set()
    for name in [] if only.names <= COMMON_NAMES else named_files(inputs):
        try:
            known.update(File(name, registry).descriptors.names())
        except NirredError:
            continue
        if only.names <= known:
            break
    only.check_names(known)


def _perhaps(tag: str, seen: Iterable[str]) -> str:
    close = difflib.get_close_matches(tag, sorted(seen), n=1, cutoff=0.5)
    return f"(did you mean {close[0]!r}?)" if close else ""


def _tag_set(tags: Iterable[str]) -> frozenset[str]:
    words = tags.split(",") if isinstance(tags, str) else tags
    return frozenset(word.strip().upper() for word in words if word.strip())


def _tell(name: str, error: NirredError, on_skip: Callable[[str, NirredError], None] | None) -> None:
    if on_skip is not None:
        on_skip(name, error)
    else:
        _log(f"{name} is left out: {error}")


def _log(text: str) -> None:
    import logging

    logging.getLogger("nirred").warning("%s", text)
