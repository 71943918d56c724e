"""FITS headers without pixels: read once, cards parsed when asked, damage tolerated and reported."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from .cards import CARD, whole_cards
from .errors import Unreadable
from .streams import is_compressed, open_input, read_bytes, skip_bytes

BLOCK = 2880
MAX_HEADER_BLOCKS = 512  # 18,432 cards: a larger header must be damaged
MAX_AXES = 999  # FITS standard
MAX_COUNT = 1e15

# Name, then a printable string, T or F, or a decimal number, then a comment if any.
_PLAIN = re.compile(
    r"[A-Z0-9_-]{1,8} *= +(?:'((?:[\x20-\x26\x28-\x7e]|'')*)'|([TF])|([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?))"
    r" *(?:/[\x20-\x7e]*)?"
)

#: Keywords of the table in which a tile-compressed image is stored, and those of the image.
_OF_TABLE = re.compile(r"XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|TFIELDS|T(TYPE|FORM)\d+|CHECKSUM|DATASUM")
_OF_IMAGE = re.compile(r"Z(TENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|HECKSUM|DATASUM)")
_RENAMED = {"ZTENSION": "XTENSION", "ZHECKSUM": "CHECKSUM"}
#: Marks a keyword that has not been looked up yet.
_UNSEEN = object()


class Header(Mapping[str, Any]):
    """One HDU's cards. The first card of a name counts; an unparsable value reads as missing.

    A tile-compressed image has the structure, and the name, that it had before the compression.

    Parameters
    ----------
    text : str
        Consecutive 80-character cards, without END.
    offset : int
        Byte offset of the HDU's data in the (decompressed) file.
    """

    def __init__(self, text: str, offset: int = 0) -> None:
        self.text = text
        self.data_offset = offset
        self._values: dict[str, Any] = {}

    @cached_property
    def _stored(self) -> dict[str, str]:
        cards: dict[str, str] = {}
        for card in whole_cards(self.text):
            name = card[:8].rstrip().upper()
            if name == "HIERARCH" and "=" in card:
                name = card[9 : card.index("=")].strip().upper()
            if card[8:10] == "= " or card.startswith("HIERARCH"):
                cards.setdefault(name, card)
        return cards

    @cached_property
    def _cards(self) -> dict[str, str]:
        stored = self._stored
        if "ZIMAGE" not in stored or _parse(stored["ZIMAGE"]) is not True:
            return stored
        cards = {name: card for name, card in stored.items() if not _OF_TABLE.fullmatch(name)}
        if "EXTNAME" in cards and _parse(cards["EXTNAME"]) == "COMPRESSED_IMAGE":  # given to images without a name
            del cards["EXTNAME"]
        own = filter(_OF_IMAGE.fullmatch, stored)
        return cards | {_RENAMED.get(name, name[1:]): stored[name] for name in own}

    def __getitem__(self, name: str) -> Any:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """Value of a keyword; the default if it is missing or cannot be parsed.

        That of ``HIERARCH ESO DET DIT = 10.0`` is ``ESO DET DIT``, with or without ``HIERARCH`` before it.
        """
        # Called for hundreds of keywords per file, most of them missing: avoids raising exceptions.
        value = self._values.get(name, _UNSEEN)
        if value is _UNSEEN:
            card = self._cards.get(_bare(name))
            value = self._values[name] = None if card is None else _parse(card)
        return default if value is None else value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _bare(name) in self._cards

    def __iter__(self) -> Iterator[str]:
        return iter(self._cards)

    def __len__(self) -> int:
        return len(self._cards)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image in numpy order; () without one."""
        naxis = min(_int(self.get("NAXIS")), MAX_AXES)
        return tuple(_int(self.get(f"NAXIS{i}")) for i in range(naxis, 0, -1))

    @property
    def is_image(self) -> bool:
        """True for an image with at least two axes (length-1 axes count); False for a table."""
        table = self.get("XTENSION", "IMAGE") not in ("IMAGE", "IUEIMAGE")
        shape = self.shape
        return not table and len(shape) >= 2 and all(n > 0 for n in shape)

    @property
    def data_bytes(self) -> int:
        """Bytes of data that this header declares, without padding."""
        naxis = min(self._count("NAXIS"), MAX_AXES)
        if naxis <= 0:
            return 0
        pixels = math.prod(self._count(f"NAXIS{i}") for i in range(1, naxis + 1))
        per = abs(self._count("BITPIX")) // 8
        return max(per * max(self._count("GCOUNT", 1), 1) * (self._count("PCOUNT") + pixels), 0)

    def _count(self, name: str, default: int = 0) -> int:
        """A keyword of the HDU as it is stored."""
        card = self._stored.get(name)
        return default if card is None else _int(_parse(card))


def _bare(name: str) -> str:
    """Name of a keyword as cards are filed: upper case, without HIERARCH."""
    return name.upper().removeprefix("HIERARCH ")


def _int(value: Any) -> int:
    """A count; 0 for any other value (text, NaN, infinity, absurdly large)."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return int(value) if number and abs(value) < MAX_COUNT else 0


def _parse(card: str) -> Any:
    """Value of a card. The common forms are read here, ten times as fast as by astropy, which reads the others."""
    plain = _PLAIN.fullmatch(card) if len(card) == CARD else None
    if plain is None:
        return _parse_slowly(card)
    string, logical, number = plain.groups()
    if string is not None:
        return string.replace("''", "'").rstrip()
    if logical is not None:
        return logical == "T"
    return float(number) if any(c in number for c in ".Ee") else int(number)


def _parse_slowly(card: str) -> Any:
    from astropy.io.fits import Card
    from astropy.io.fits.verify import VerifyError

    try:
        value = Card.fromstring(card.encode("ascii", "replace")).value
    except (VerifyError, ValueError, IndexError):
        return None
    if isinstance(value, str):
        return value.rstrip()
    return value if isinstance(value, (bool, int, float)) else None


class Headers:
    """All headers of one file, without pixels.

    Parameters
    ----------
    primary : Header
        The primary header.
    hdus : sequence of Header
        The extensions' headers, in order.
    path : Path, optional
        Where they came from.

    Notes
    -----
    `read` parses only the primary and the first image header. Headers after the pixels of the first image are read
    when `hdus` is first used, so that a compressed file need not be decompressed to be classified.

    Attributes
    ----------
    derived : dict
        Cache of values derived from these headers, by name.
    """

    def __init__(self, primary: Header, hdus: Sequence[Header] = (), path: Path | None = None) -> None:
        self.primary = primary
        self.path = path
        self._hdus: tuple[Header, ...] | None = tuple(hdus)
        self._first: Header | None = None
        self.derived: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """State for another process, without the derived values, which are computed again there."""
        return self.__dict__ | {"derived": {}}

    @classmethod
    def read(cls, path: str | Path) -> Headers:
        """Read a file's headers.

        Raises
        ------
        Unreadable
            The file is missing, empty, not FITS, truncated or corrupt; the message says which.
        """
        path = Path(path)
        with open_input(path) as stream:
            primary, declared = _next_header(stream, 0, path, first=True)
            headers = cls(primary, (), path)
            headers._hdus = None
            if not primary.is_image:
                try:
                    skip_bytes(stream, declared - primary.data_offset, path)
                    headers._first = _next_header(stream, declared, path, first=False)[0]
                except EOFError:
                    headers._hdus = ()
        headers.check_size()
        return headers

    def current(self) -> bool:
        """Whether the file still begins with these headers; True if they are of no file.

        Raises
        ------
        Unreadable
            The file is not readable any more.
        """
        if self.path is None:
            return True
        now = Headers.read(self.path)
        return [h and h.text for h in (now.primary, now._first)] == [h and h.text for h in (self.primary, self._first)]

    def check_size(self) -> None:
        """Refuse an uncompressed file that is shorter than the headers read so far require.

        Raises
        ------
        Unreadable
            It is truncated.
        """
        if self.path is None or self.compressed:
            return
        size = self.path.stat().st_size
        for header in (self.primary, *([self._first] if self._first else []), *(self._hdus or ())):
            need = header.data_offset + header.data_bytes
            if size < need:
                raise Unreadable(
                    f"{self.path.name}: truncated: {size} bytes, its header declares {need}",
                    "fetch the file again",
                )

    def text(self, key: str) -> str:
        """A keyword as text without surrounding blanks; '' if the header does not give it."""
        value = self.get(key)
        return "" if value is None else str(value).strip()

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float | None:
        """A keyword as a finite number from `low` to `high`; None if it is not."""
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return None
        return float(value) if low <= value <= high else None

    def time(self, key: str) -> datetime | None:
        """A keyword as an ISO date and time (UT); None if it is not."""
        try:
            return datetime.fromisoformat(self.text(key)).replace(tzinfo=None)
        except ValueError:
            return None

    @cached_property
    def compressed(self) -> bool:
        """True if HDUs after the first image can only be reached by decompressing its pixels."""
        return self.path is not None and is_compressed(self.path)

    @property
    def hdus(self) -> tuple[Header, ...]:
        """Headers of the extensions, in order."""
        if self._hdus is None:
            known = (self._first,) if self._first else ()
            self._hdus = known if self.path is None else known + _extensions(self.path)[len(known) :]
        return self._hdus

    @cached_property
    def image(self) -> Header | None:
        """The first header that has an image: the primary or the first such extension."""
        if self.primary.is_image:
            return self.primary
        if self._first is not None and self._first.is_image:
            return self._first
        return next((h for h in self.hdus if h.is_image), None)

    @property
    def images(self) -> tuple[tuple[int, Header], ...]:
        """(HDU index, header) of every image in the file; index 0 is the primary."""
        return tuple((i, h) for i, h in enumerate((self.primary, *self.hdus)) if h.is_image)

    def get(self, key: str, default: Any = None, hdu: int | None = None) -> Any:
        """Value of a keyword: the primary's, else the first image HDU's; or of one HDU (0 = primary)."""
        if hdu is not None:
            headers = (self.primary, *self.hdus)
            return headers[hdu].get(key, default) if 0 <= hdu < len(headers) else default
        value = self.primary.get(key)
        if value is None and self.image is not None:
            value = self.image.get(key)
        return default if value is None else value

    def __contains__(self, key: object) -> bool:
        return key in self.primary or (self.image is not None and key in self.image)


def printable_ascii(text: str) -> str:
    r"""Text as printable ASCII for FITS headers and tables, with other characters as Python escapes (``\xf1``)."""
    return "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode("ascii") for c in text)


def _next_header(stream: io.BufferedIOBase, start: int, path: Path, *, first: bool) -> tuple[Header, int]:
    """Read one header; return it and the offset of the next HDU. EOFError: there is none."""
    text = ""
    for number in range(1, MAX_HEADER_BLOCKS + 1):
        block = read_bytes(stream, BLOCK, path)
        if first and number == 1 and not block.startswith(b"SIMPLE  ="):
            raise Unreadable(f"{path.name}: not a FITS file", "leave it out or convert it")
        if not first and number == 1 and not block.startswith(b"XTENSION"):
            raise EOFError
        if len(block) < BLOCK and b"END" not in block:
            raise Unreadable(f"{path.name}: truncated in a header (no END card)", "fetch the file again")
        cards = block.decode("latin-1")
        end = _end_card(cards)
        if end is not None:
            header = Header(text + cards[:end], start + number * BLOCK)
            return header, _behind(header)
        text += cards
    raise Unreadable(f"{path.name}: no END card within {MAX_HEADER_BLOCKS} blocks", "fetch the file again")


def _end_card(cards: str) -> int | None:
    """Position of the END card in a block, if it has one."""
    at = cards.find("END")
    while at >= 0:
        if at % CARD == 0 and (cards[at : at + 8] == "END     " or cards[at : at + CARD].rstrip(" \0") == "END"):
            return at
        at = cards.find("END", at + 1)
    return None


def _behind(header: Header) -> int:
    """Byte offset of the end of an HDU."""
    return header.data_offset + -(-header.data_bytes // BLOCK) * BLOCK


def _extensions(path: Path) -> tuple[Header, ...]:
    with open_input(path) as stream:
        return tuple(walk(stream, path))[1:]


def walk(stream: io.BufferedIOBase, path: Path) -> Iterator[Header]:
    """Headers of all HDUs of a file in order; invalid bytes after the last one are ignored.

    When a header is yielded, `stream` is at the start of its pixels, and the caller may read them: a compressed file is
    then decompressed only once.
    """
    position = 0
    try:
        while True:
            skip_bytes(stream, position - stream.tell(), path)
            header, position = _next_header(stream, position, path, first=position == 0)
            yield header
    except EOFError:
        return
