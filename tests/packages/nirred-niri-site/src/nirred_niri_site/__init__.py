"""One site's additions to NIRI: a mask, a rule for darks and a step. Nothing of NIRI's own plugin is changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import nirred.plugin as api
from nirred.plugin import S, hookimpl

if TYPE_CHECKING:
    import numpy as np

NIRRED_API = (1, 0)
NIRI = frozenset({"NIRI", "IMAGE"})
SPOILT_ROWS = 2  # at the top of the array, by this site's controller


@hookimpl
def nirred_masks() -> Iterable[api.MaskSpec]:
    """The rows that the controller spoils are bad pixels."""
    return (api.MaskSpec("niri_site_rows", 1, "detector", NIRI, spoilt_rows),)


def spoilt_rows(given: api.MaskInput, parameters: Mapping[str, Any]) -> np.ndarray:
    """True in the uppermost rows."""
    import numpy as np

    mask = np.zeros(given.shape, bool)
    mask[-SPOILT_ROWS:] = True
    return mask


@hookimpl
def nirred_calibration_rules() -> Iterable[api.CalibrationRule]:
    """Gemini accepts darks of any age; here they must be from the last 30 days. Precedes the camera's own rule."""
    alike = tuple(api.Match(name) for name in ("data_section", "read_mode", "coadds"))
    exposure = api.Match("exposure_time", tol=0.01)
    made = frozenset({"FLAT", "PROCESSED"})
    return (api.CalibrationRule("dark", NIRI, (*alike, exposure), "30 d", 3, optional=True, not_tags=made),)


@hookimpl
def nirred_recipes() -> Iterable[api.RecipePatch]:
    """One step more in the recipe of science frames."""
    return (api.RecipePatch("reduce", NIRI, insert=(("level_stack", S("sign_site")),)),)


@hookimpl
def nirred_steps() -> Iterable[type[api.Step]]:
    """The step. Its module is imported only when needed, so that no command waits for it."""
    from .steps import SignSite

    return (SignSite,)
