"""Common parts of the Gemini near-infrared cameras: keywords, tags, descriptors and pointing.

A plugin defines its own tag rules and an `Own`; `frame_tags`, `describe` and `plane_wcs` do the rest.
"""

from __future__ import annotations

from ..coordinates import separation
from .descriptors import WAVELENGTHS, Own, describe
from .pointing import expected, moved, plane_wcs, target, wcs_center, wcs_header, wcs_pixel_scale
from .states import (
    BANDS,
    as_stated,
    exposure_time,
    gcal_lamp,
    guiding,
    is_ao,
    is_prepared,
    qa_state,
    role,
    wavefront_sensor,
    wavelength_band,
)
from .tags import COMMON, both, either, frame_tags, has, instrument, negation, says, unsupported
from .values import (
    clock,
    coadds,
    integer,
    number,
    percentile,
    planes,
    section,
    stated,
    strip_id,
    text,
    ut_datetime,
    ut_span,
)

__all__ = [
    "BANDS",
    "COMMON",
    "WAVELENGTHS",
    "Own",
    "as_stated",
    "both",
    "clock",
    "coadds",
    "describe",
    "either",
    "expected",
    "exposure_time",
    "frame_tags",
    "gcal_lamp",
    "guiding",
    "has",
    "instrument",
    "integer",
    "is_ao",
    "is_prepared",
    "moved",
    "negation",
    "number",
    "percentile",
    "plane_wcs",
    "planes",
    "qa_state",
    "role",
    "says",
    "section",
    "separation",
    "stated",
    "strip_id",
    "target",
    "text",
    "unsupported",
    "ut_datetime",
    "ut_span",
    "wavefront_sensor",
    "wavelength_band",
    "wcs_center",
    "wcs_header",
    "wcs_pixel_scale",
]
