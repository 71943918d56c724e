"""The `meta` of `astropy.nddata.CCDData` for a frame: its header, and metadata that CCDData cannot store."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from astropy.io.fits import Header
from astropy.io.fits.verify import VerifyError

from .algorithms.shared import no_warnings


class FrameHeader(Header):  # type: ignore[misc]  # astropy has no types
    """The `meta` of a frame's CCDData: the original primary header, and in `about` values that do not fit in cards.

    Attributes
    ----------
    about : Mapping
        {name of a field: value} of the frame, and `detector` of the plane. It is copied, but not written to files.
    """

    about: Mapping[str, Any] = MappingProxyType({})

    @classmethod
    def of(cls, header: str, **about: Any) -> FrameHeader:
        """The header whose cards are `header`."""
        made: FrameHeader = cls.fromstring(header)
        made.about = {"header": header, **about}
        return made

    def copy(self, strip: bool = False) -> FrameHeader:
        """A copy with the same `about`."""
        twin: FrameHeader = super().copy(strip)
        twin.about = self.about
        return twin


def known_of(meta: Any) -> dict[str, Any]:
    """{name of a field: value} of a frame from the `meta` of CCDData, and `detector` of its plane.

    If nothing was changed, the header is identical to the original.
    """
    about = dict(getattr(meta, "about", {}))
    if isinstance(meta, Header):
        about["header"] = _cards(meta, about.get("header", ""))
    return about


def _cards(header: Header, original: str) -> str:
    with no_warnings():
        try:
            then, now = (
                h.tostring(sep="", endcard=False, padding=False) for h in (Header.fromstring(original), header)
            )
        except (ValueError, VerifyError):  # a card that FITS does not allow: keep the original text
            return original
    return original if now == then else now
