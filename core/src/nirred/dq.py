"""Data-quality bits of a pixel (uint16), common to all instruments."""

from enum import IntFlag


class DQ(IntFlag):
    """Flag bits; several may be set in one pixel. Values as used throughout Gemini's near-IR data."""

    GOOD = 0
    BAD_PIXEL = 1
    NON_LINEAR = 2
    SATURATED = 4
    COSMIC_RAY = 8
    NO_DATA = 16
    OVERLAP = 32
    UNILLUMINATED = 64


#: Not signal: never combined where anything better exists. Saturated and non-linear pixels of a star *are* signal.
NOT_SIGNAL = 0xFFFF ^ (DQ.NON_LINEAR | DQ.SATURATED)
