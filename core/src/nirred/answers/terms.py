"""Elementary checks of hooks' answers; whatever fails one is a `WrongAnswer`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import islice
from numbers import Integral, Real
from typing import Any

#: Most items of a sequence, most characters of a text: more than any camera needs.
LONGEST, LONGEST_TEXT = 10_000, 100_000


class WrongAnswer(ValueError):
    """A hook's answer is not of the required kind; the text says what was found."""


def drained(answer: Any, kinds: tuple[type, ...], what: str = "", *, classes: bool = False) -> tuple[Any, ...]:
    """All items of an iterable, () for None; `classes`: subclasses of `kinds` are wanted, not their instances.

    `what` names the part of the answer; '' is the answer itself.

    Raises
    ------
    WrongAnswer
        A text, a mapping, no iterable, an item of another kind, or more than `LONGEST` items.
    """
    has = f"{what} has" if what else "returned"
    if answer is None:
        return ()
    if isinstance(answer, (str, bytes, Mapping)) or not isinstance(answer, Iterable):
        raise WrongAnswer(f"{f'{what} is' if what else has} a {type(answer).__name__}, not a sequence")
    items = tuple(islice(answer, LONGEST + 1))
    if len(items) > LONGEST:
        raise WrongAnswer(f"{has} more than {LONGEST} items")
    for item in items:
        good = isinstance(item, type) and issubclass(item, kinds) if classes else isinstance(item, kinds)
        if not good:
            wanted = " or ".join(k.__name__ for k in kinds)
            raise WrongAnswer(f"{has} a {type(item).__name__}, wanted: {'class of ' if classes else ''}{wanted}")
    return items


def need(condition: object, what: str) -> None:
    """Refuse an answer unless the condition is true; `what` says what was found."""
    if not condition:
        raise WrongAnswer(what)


def number(value: Any, what: str, low: float = -math.inf) -> None:
    """Refuse what is not a finite number of at least `low`."""
    good = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value) and float(value) >= low
    need(good, f"{what} = {value!r}")


def index(value: Any, what: str, low: int = 0) -> None:
    """Refuse what is not a whole number of at least `low`."""
    need(isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= low, f"{what} = {value!r}")


def word(value: Any, what: str) -> None:
    """Refuse what is not a text of reasonable length with more than spaces in it."""
    need(isinstance(value, str) and value.strip() and len(value) <= LONGEST_TEXT, f"{what} = {str(value)[:80]!r}")


def words(value: Any, what: str) -> None:
    """Refuse what is not a frozenset of texts."""
    need(isinstance(value, frozenset) and all(isinstance(t, str) for t in value), f"{what} is no frozenset of words")


def pairs(value: Any, what: str) -> tuple[tuple[Any, Any], ...]:
    """All (name, value) pairs of an iterable, () for None."""
    found = drained(value, (tuple, list), what)
    need(all(len(pair) == 2 and isinstance(pair[0], str) for pair in found), f"{what} is no sequence of (name, value)")
    return found
