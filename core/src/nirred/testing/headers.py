"""Headers from text: real header dumps, examples in plugins, cards written by hand in tests."""

from __future__ import annotations

import re

from ..cards import CARD
from ..headers import Header, Headers

_SEPARATOR = re.compile(r"-{2,}.*-{2,}\s*")
_KEYWORD = re.compile(r"(HIERARCH |CONTINUE|COMMENT|HISTORY|[A-Z0-9_-]{1,8} *=)")


def headers_from_text(text: str) -> Headers:
    """Build `Headers` from lines of cards.

    Parameters
    ----------
    text : str
        One card per line, of any length up to 80. A new HDU begins at a line '--- anything ---' or at XTENSION.
        Lines that are not cards (titles, '#' remarks, blanks, END) are skipped.
    """
    hdus: list[list[str]] = [[]]
    for line in text.splitlines():
        card = line.rstrip()
        if (_SEPARATOR.fullmatch(card) or card.startswith("XTENSION")) and hdus[-1]:
            hdus.append([])
        if _KEYWORD.match(card):
            hdus[-1].append(card[:CARD].ljust(CARD))
    found = [Header("".join(cards)) for cards in hdus if cards]
    return Headers(found[0] if found else Header(""), found[1:])
