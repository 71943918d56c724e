"""Expand the inputs of the command line (directories, names and @lists) to a sorted list of files."""

from __future__ import annotations

import errno
import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .errors import DataError
from .textfiles import read_text

#: Suffixes of the files searched for in a directory. Compressed files may have any name before the suffix.
SUFFIXES = (".fits", ".fit", ".fz", ".gz", ".bz2")
_NAME = re.compile(r'"([^"]*)"|\'([^\']*)\'|(\S+)')


def expand_inputs(inputs: Iterable[str | Path], *, out: Path | None = None) -> list[Path]:
    """Expand directories and lists of names.

    Parameters
    ----------
    inputs : iterable of str or Path
        Directories (searched recursively; hidden entries are skipped, links to directories followed once), files,
        and ``@list`` files: one or several names per line, ``#`` comments, quotes, nested ``@lists``. Names in a list
        are relative to the current directory, else to the list's. A list given here may name files anywhere; lists
        inside it, and what they name, must lie below its directory.
    out : Path, optional
        Output directory, skipped when it lies inside an input directory.

    Returns
    -------
    list of Path
        Sorted; each file once, even if several paths lead to it.

    Raises
    ------
    DataError
        A name that does not exist (with its list and line), a circular list, a nested list that names files outside
        its directory, or no file at all.
    """
    words = [str(i) for i in inputs]
    walk = _Walk(place(out) if out is not None else None)
    found: list[Path] = []
    for text in words:
        if not text.strip():  # Path makes the current directory of it, and a shell's unset variable must not
            raise DataError("an input has no name", "name directories, FITS files or @lists")
        found += walk.outer_list(Path(text[1:])) if text.startswith("@") else walk.name(Path(text), "")
    unique = each_once(sorted(found, key=_order))
    if not unique:
        if any(place(text) == walk.out for text in words):
            raise DataError(f"no input files: {out} is the output, too, which is not searched", "another -o")
        what = ", ".join(words) if words else "nothing was named"
        raise DataError(f"no input files: {what}", "name directories, FITS files or @lists")
    return sorted(unique, key=_order)


def named_files(inputs: str | Path | Sequence[str | Path]) -> list[str]:
    """Expand files, wildcards, directories and ``@list`` files to file names, in the order given, each once.

    Raises
    ------
    DataError
        A name does not exist.
    """
    found: dict[str, None] = {}
    for item in [inputs] if isinstance(inputs, (str, Path)) else inputs:
        text = str(item)
        if os.path.isfile(text):
            found[text] = None
            continue
        matches = sorted(glob.glob(text)) if glob.has_magic(text) and not os.path.exists(text) else []
        found.update(dict.fromkeys(str(p) for p in expand_inputs(matches or [text])))
    return list(found)


def place(path: str | Path) -> Path:
    """Path of a file with links resolved, used to compare files. A circular link is returned unchanged."""
    return Path(os.path.realpath(path))


def each_once(paths: Iterable[Path]) -> list[Path]:
    """The paths in order, each file once, under the first of its names."""
    unique: dict[Path, Path] = {}
    for path in paths:
        unique.setdefault(place(path), path)
    return list(unique.values())


def quoted(name: str) -> str:
    """A name quoted for use in a list.

    Raises
    ------
    DataError
        The name cannot be written in a list.
    """
    safe = f"./{name}" if name[:1] in tuple("@#'\"") else name
    if not re.search(r"\s", safe):
        return safe
    mark = '"' if '"' not in safe else "'"
    if mark in safe or len(safe.splitlines()) > 1:
        raise DataError(f"{name!r} cannot be written in a list", "rename the file")
    return f"{mark}{safe}{mark}"


def shortened(name: str, longest: int = 200) -> str:
    """A name that fits into a message."""
    return name if len(name) <= longest else f"{name[: longest // 2]}...{name[-longest // 2 :]}"


def _order(path: Path) -> tuple[str, str]:
    return path.name, str(path)


@dataclass
class _Walk:
    """State of one expansion: what to skip, and the directories and lists entered so far."""

    out: Path | None
    entered: set[Path] = field(default_factory=set)

    def name(self, path: Path, where: str) -> Iterator[Path]:
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            absent = isinstance(error, ValueError) or error.errno == errno.ENOENT
            reason = "does not exist" if absent else str(getattr(error, "strerror", error)).lower()
            hint = "check the name and the current directory" + ("; a name with blanks needs quotes" if where else "")
            raise DataError(f"{where}{shortened(str(path))!r} {reason}", hint) from None
        if stat.S_ISDIR(mode):
            yield from self.directory(path)
        elif stat.S_ISREG(mode):
            yield path
        else:
            raise DataError(f"{where}{str(path)!r} is neither a file nor a directory", "name FITS files")

    def directory(self, top: Path, *, named: bool = True) -> Iterator[Path]:
        """Files below a directory, and directories that cannot be listed, which the scan reports."""
        real = place(top)
        if real in self.entered or real == self.out:
            return
        self.entered.add(real)
        try:
            entries = sorted(os.scandir(top), key=lambda e: e.name)
        except OSError as error:
            if named:
                raise DataError(f"{top}: {error.strerror}", "check its permissions") from error
            yield top
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                folder = entry.is_dir()
            except OSError:  # a link to itself
                folder = False
            if folder:
                yield from self.directory(top / entry.name, named=False)
            elif entry.name.lower().endswith(SUFFIXES):  # pipes and links to nothing, too: the scan says what they are
                yield top / entry.name

    def outer_list(self, path: Path) -> list[Path]:
        return list(self.list_file(path, path.parent, (), ""))

    def list_file(self, path: Path, root: Path, parents: tuple[Path, ...], where: str) -> Iterator[Path]:
        """Names in a list; `parents` are the lists that led here, `root` the outermost one's directory."""
        if place(path) in parents:
            raise DataError(f"{where}list {path.name!r} includes itself", "remove the circular reference")
        chain = (*parents, place(path))
        for number, word in _words(path, where):
            here = f"{path.name}, line {number}: "
            nested = word.startswith("@")
            found = _locate(word[1:] if nested else word, path.parent, list_first=bool(parents) or nested)
            if (parents or nested) and not _below(found, root):
                raise DataError(f"{here}{word!r} leaves {str(root)!r}", "name the file or list on the command line")
            if nested:
                yield from self.list_file(found, root, chain, here)
            else:
                yield from self.name(found, here)


def _words(path: Path, where: str) -> Iterator[tuple[int, str]]:
    try:
        text = read_text(path, errors="surrogateescape")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{where}list {shortened(str(path))!r}: {reason}", "check the name after @") from error
    for number, line in enumerate(text.splitlines(), 1):
        for found in _NAME.finditer(line):
            if found[0].startswith("#"):
                break
            word = found[1] or found[2] or found[3]
            if word:
                yield number, word


def _locate(word: str, folder: Path, *, list_first: bool) -> Path:
    """A name of a list: lists written by `nirred select -o` are relative to the current directory."""
    path = Path(word)
    if path.is_absolute():
        return path
    places = (folder / path, path) if list_first else (path, folder / path)
    return next((p for p in places if os.path.lexists(p)), places[0])


def _below(path: Path, root: Path) -> bool:
    # Compare paths without resolving links: links inside the directory are intended.
    top = os.path.abspath(root)
    return os.path.commonpath([top, os.path.abspath(path)]) == top
