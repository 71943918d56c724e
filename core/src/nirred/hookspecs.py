"""Every hook that a plugin may implement. An implementation names only the arguments it wants.

Four kinds: asked of *all* plugins for every file (`nirred_claim`); *registered once* at start; asked of the *owner*
of a frame only; *observers*, whose results are ignored. None of them may touch pixels except `nirred_open` and
`nirred_read_calibration`.
"""

# mypy: disable-error-code="empty-body"

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from .frame import Frame, Ramp
    from .headers import Headers
    from .plugin.frames import Claim, Descriptors, Detector, Exposure, PlaneWcs, Polygon
    from .plugin.instrument import Event, ExecutorSpec, Instrument, RequestContext, RequestSet
    from .plugin.recipes import Recipe, RecipePatch
    from .plugin.rules import CalibrationRule, MaskSpec
    from .plugin.simulation import Simulation
    from .step import Step

hookspec = pluggy.HookspecMarker("nirred")


@hookspec
def nirred_claim(headers: Headers) -> Claim | None:
    """Asked of all, for every file: is it yours?

    Cheap, header only. Return None for any header that is not yours, however damaged; never raise. The highest
    `Claim.weight` owns the frame; equal weights make it ambiguous, named with both packages, and the night goes on.
    """


@hookspec
def nirred_instruments() -> Iterable[Instrument]:
    """Registered once: the cameras this plugin brings. A name that another plugin has is an error that lists both."""


@hookspec
def nirred_steps() -> Iterable[type[Step]]:
    """Registered once: step classes of this plugin, by unique name."""


@hookspec
def nirred_recipes() -> Iterable[Recipe | RecipePatch]:
    """Registered once: new recipes, or patches of existing ones; patches apply in order of the plugins' names."""


@hookspec
def nirred_calibration_rules() -> Iterable[CalibrationRule]:
    """Registered once: which calibration serves which frames.

    Of the rules of a kind the first that applies is used: those of add-on packages, by name, before the owner's own.
    """


@hookspec
def nirred_masks() -> Iterable[MaskSpec]:
    """Registered once: masks of detector, group or frame scope (F2 disc, GNIRS keyhole, a site's own)."""


@hookspec
def nirred_executors() -> Iterable[ExecutorSpec]:
    """Registered once: ways to run tasks behind `concurrent.futures.Executor`, by name for --executor."""


@hookspec
def nirred_exposures(headers: Headers) -> Sequence[Exposure] | None:
    """Asked of the owner: the exposures in a cube or burst. None: the file is one exposure of all its images."""


@hookspec
def nirred_tags(headers: Headers) -> frozenset[str]:
    """Asked of the owner: upper-case tags of the frame, the instrument's name among them."""


@hookspec
def nirred_describe(headers: Headers) -> Descriptors:
    """Asked of the owner: the header in the field's terms. What the header does not say is None."""


@hookspec
def nirred_detectors(headers: Headers) -> Sequence[Detector]:
    """Asked of the owner: one `Detector` per plane, in the order of the planes."""


@hookspec
def nirred_wcs(headers: Headers) -> Sequence[PlaneWcs] | None:
    """Asked of the owner: world coordinates per plane. None: there are none (darks, a broken header)."""


@hookspec
def nirred_footprint(headers: Headers) -> Sequence[Polygon] | None:
    """Asked of the owner: the illuminated outline on the sky, for the planner's overlap test.

    None: the outline of the planes through their WCS.
    """


@hookspec
def nirred_open(path: Path, exposure: Exposure, headers: Headers) -> Frame | Ramp | None:
    """Asked of the owner: read an exposure's pixels. None: the core reader (images in HDU order) is right."""


@hookspec
def nirred_read_calibration(path: Path, kind: str, headers: Headers, descriptors: Descriptors) -> Frame | None:
    """Asked of the owner of the frames: read a master of the observatory's own software (dark, flat, bpm, ...).

    `descriptors` are those of a frame that it is to calibrate. A dark is that of this frame's exposure; `Frame.unit`
    says whether it is in ADU or electrons; the planes' dq holds what is bad. None: the core reader is right.
    """


@hookspec
def nirred_step_defaults(step: str, tags: frozenset[str], descriptors: Descriptors) -> Mapping[str, Any]:
    """Asked of the owner: parameters of a step that differ from its defaults for this frame."""


@hookspec
def nirred_simulation() -> Simulation | None:
    """Registered once: a camera to simulate, for `nirred simulate` and the conformance kit."""


@hookspec
def nirred_read_request(paths: Sequence[Path], context: RequestContext) -> RequestSet | None:
    """Asked of all, for inputs that are not FITS: read foreign observation files. None: not mine.

    A request that cannot be carried out is returned with its `fault`, so that the others are. `ConfigError` and
    `DataError` are for what spoils the whole.
    """


@hookspec
def nirred_event(event: Event) -> None:
    """Observer: something happened. Results are ignored; an exception is reported once."""
