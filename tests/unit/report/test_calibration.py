"""The report's section on dark, flat and bad-pixel mask."""

from __future__ import annotations

import numpy as np
from astropy.io import fits

from nirred.report.calibration import read_master


def hdus(dq: np.ndarray, **cards: object) -> fits.HDUList:
    primary = fits.PrimaryHDU(header=fits.Header(cards))
    return fits.HDUList(
        [primary, fits.ImageHDU(np.ones(dq.shape, np.float32), name="SCI"), fits.ImageHDU(dq, name="DQ")]
    )


def test_shares_of_flags_are_of_pixels_that_see_light() -> None:
    dq = np.zeros((40, 40), np.uint16)
    dq[10:] = 64
    dq[0, :4], dq[20, 20] = 1, 65
    facts = dict(read_master(hdus(dq, FLATLEV=19997.824), "flat").facts)
    assert facts["Flagged pixels"] == "1.000% bad, 75.000% unilluminated"
    assert facts["Level before normalisation (electron)"] == "19997.8"
    assert dict(read_master(hdus(np.full((8, 8), 64, np.uint16)), "flat").facts)["Flagged pixels"] == (
        "100.000% unilluminated"
    )


def test_a_mask_says_its_own_share_and_no_level() -> None:
    """The illuminated area is not in the mask, but in its header."""
    dq = np.zeros((40, 40), np.uint16)
    dq[0, :4] = 1
    facts = dict(read_master(hdus(dq, FLATLEV=2e4, BADFRAC=0.01), "bpm").facts)
    assert facts == {"Bad pixels": "1.000% of illuminated pixels"}
    assert dict(read_master(hdus(dq), "bpm").facts) == {"Flagged pixels": "0.250% bad"}
