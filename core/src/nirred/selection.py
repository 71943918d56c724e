"""Selecting files by tags and by an expression over their descriptors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from .errors import DataError, NirredError
from .expressions import compile_expression

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
) -> list[str]:
    """Names of the files that have all `tags`, none of `xtags`, and for which `expression` holds.

    Parameters
    ----------
    inputs : path or sequence of paths
        Files, wildcards, directories, ``@list`` files; the order is kept.
    tags, xtags : iterable of str, or str
        Names, or one text with commas between.
    expression : str
        See `compile_expression`.
    strict : bool
        Exact values instead of the tolerances.
    registry : Registry, optional
        The plugins; default all that are installed.
    on_skip : callable, optional
        Told of every file that cannot be used, with the reason; without it the log is.

    Raises
    ------
    ConfigError
        A fault in the expression, a misspelt descriptor.
    DataError
        A named file does not exist, or none of the files can be used.
    """
    from .api import named_files
    from .api import open as open_file

    wanted, unwanted = _tag_set(tags), _tag_set(xtags)
    predicate = compile_expression(expression, strict)
    chosen: list[str] = []
    known: set[str] = set()
    readable = 0
    names = named_files(inputs)
    for name in names:
        try:
            frame = open_file(name, registry=registry)
            descriptors = frame.descriptors
        except NirredError as error:
            _tell(name, error, on_skip)
            continue
        readable += 1
        known.update(descriptors.names())
        if wanted <= frame.tags and not unwanted & frame.tags and predicate(descriptors):
            chosen.append(name)
    if names and not readable:
        raise DataError(f"none of the {len(names)} files can be used", "`nirred tags FILES` says why")
    predicate.check_names(known)
    return chosen


def _tag_set(tags: Iterable[str]) -> frozenset[str]:
    words = tags.split(",") if isinstance(tags, str) else tags
    return frozenset(word.strip().upper() for word in words if word.strip())


def _tell(name: str, error: NirredError, on_skip: Callable[[str, NirredError], None] | None) -> None:
    if on_skip is not None:
        on_skip(name, error)
        return
    import logging

    logging.getLogger("nirred").warning("%s is left out: %s", name, error)
