"""Cards of FITS headers."""

from __future__ import annotations

import re

#: Characters of a card.
CARD = 80
#: The end of a card whose text continues in the next card.
_TO_GO_ON = re.compile(r"&' *(/.*)?$")


def whole_cards(text: str) -> list[str]:
    """Split text into cards, each with its CONTINUE cards; a CONTINUE that continues nothing is dropped."""
    cards: list[str] = []
    for start in range(0, len(text), CARD):
        card = text[start : start + CARD]
        if not card.startswith("CONTINUE"):
            cards.append(card)
        elif cards and _TO_GO_ON.search(cards[-1][-CARD:]) and card[8:].lstrip().startswith("'"):
            cards[-1] += card
    return cards
