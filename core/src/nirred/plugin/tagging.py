"""Tag rules as data, which add, remove, block or require tags, and the function that applies them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..headers import Headers


@dataclass(frozen=True)
class TagRule:
    """Tags to set if a header meets a condition.

    Parameters
    ----------
    when : callable
        ``when(headers) -> bool``.
    add : frozenset of str
        Tags to add.
    remove : frozenset of str
        Tags to remove, which no later rule can set.
    blocked_by : frozenset of str
        The rule is not applied if any of these is set.
    blocks : frozenset of str
        Later rules that would add any of these are not applied at all.
    if_present : frozenset of str
        The rule is applied only if all of these are set already.
    """

    when: Callable[[Headers], bool]
    add: frozenset[str] = frozenset()
    remove: frozenset[str] = frozenset()
    blocked_by: frozenset[str] = frozenset()
    blocks: frozenset[str] = frozenset()
    if_present: frozenset[str] = frozenset()


def rule(when: Callable[[Headers], bool], add: str = "", **others: str) -> TagRule:
    """Shorthand for a `TagRule`: tags as text, separated by blanks."""
    return TagRule(when, frozenset(add.split()), **{k: frozenset(v.split()) for k, v in others.items()})


def _order(r: TagRule) -> tuple[int, bool, bool]:
    return -(len(r.remove) + len(r.blocks)), bool(r.blocked_by), bool(r.if_present)


def evaluate(rules: Iterable[TagRule], headers: Headers) -> frozenset[str]:
    """Apply the rules to one file's headers.

    Rules that remove or block the most tags are applied first. Among equals, rules without `blocked_by` come first,
    then rules without `if_present`.
    """
    tags: set[str] = set()
    removed: set[str] = set()
    blocked: set[str] = set()
    for r in sorted(rules, key=_order):
        if r.blocked_by & tags or r.add & blocked or not r.if_present <= tags or not r.when(headers):
            continue
        removed |= r.remove
        tags = (tags | r.add) - removed
        blocked |= r.blocks
    return frozenset(tags)
