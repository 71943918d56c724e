"""Translate options in the style of other pipelines into the form that click expects.

Several values may follow one ``-p`` or ``--user-cal``; an argument after the first value is a value if it has the form
of one and no file has this name, else it is INPUT. Options may be spelt with underscores.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

#: Commands with the options of a reduction; others (also a plugin's) get their arguments unchanged.
COMMANDS = ("run", "plan")
_SETTING = re.compile(r"[A-Za-z_][\w]*(:[A-Za-z_]\w*)?=.*", re.DOTALL)
_CALIBRATION = re.compile(r"[A-Za-z_]\w*:.+", re.DOTALL)
_SHAPES = {
    "-p": _SETTING,
    "--param": _SETTING,
    "--set": _SETTING,
    "--user-cal": _CALIBRATION,
}


def _is_file(word: str) -> bool:
    try:
        return Path(word).exists()
    except (OSError, ValueError):  # too long for a name
        return False


def normalise(words: Sequence[str], exists: Callable[[str], bool] = _is_file) -> list[str]:
    """Repeat an option that has several values before each of them.

    ``run raw -p a:b=1 c:d=2 x.fits`` becomes ``run raw -p a:b=1 -p c:d=2 x.fits``.

    Parameters
    ----------
    words : sequence of str
        The arguments after the program's name.
    exists : callable
        Whether an argument names a file or directory.
    """
    command = next((w for w in words if not w.startswith("-")), "")
    if command not in COMMANDS:
        return list(words)
    return list(_normalised(iter(words), exists))


def _normalised(words: Iterator[str], exists: Callable[[str], bool]) -> Iterator[str]:
    option = ""  # the option whose values may still follow
    for word in words:
        if word == "--":
            yield word
            yield from words
            return
        if word.startswith("-") and len(word) > 1:
            word = _dashes(word)
            name, attached = _split(word)
            option = name if name in _SHAPES else ""
            yield word
            if option and not attached:
                yield from _first(words)
        elif option and _SHAPES[option].fullmatch(word) and not exists(word):
            yield option
            yield word
        else:
            yield word


def _first(words: Iterator[str]) -> Iterator[str]:
    """The argument right after an option is its value, whatever its form."""
    word = next(words, None)
    if word is not None:
        yield word


def _dashes(word: str) -> str:
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


def _split(word: str) -> tuple[str, bool]:
    """(option, whether a value is attached) of ``--set=v``, ``-pv``, ``-p``."""
    if word.startswith("--"):
        name, equals, _ = word.partition("=")
        return name, bool(equals)
    return (word[:2], len(word) > 2)
