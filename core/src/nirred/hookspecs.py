"""Every hook that a plugin may implement. An implementation takes only the arguments it needs.

Four kinds of hook: asked of *all* plugins for every file (`nirred_claim`); *registered once* at start; asked only of
the plugin that *owns* a frame; *observers*, whose results are ignored. Only `nirred_open` and
`nirred_read_calibration` may read pixels.
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
    """Asked of all, for every file: does this plugin handle it?

    Must be fast and use the header only. Return None for any other header, however damaged; never raise. The plugin
    with the highest `Claim.weight` owns the frame. If two weights are equal the frame is ambiguous: it is reported
    with the names of both packages and left out.
    """


@hookspec
def nirred_instruments() -> Iterable[Instrument]:
    """Registered once: the cameras of this plugin. A name that another plugin also uses is an error naming both."""


@hookspec
def nirred_steps() -> Iterable[type[Step]]:
    """Registered once: the step classes of this plugin; their names must be unique."""


@hookspec
def nirred_recipes() -> Iterable[Recipe | RecipePatch]:
    """Registered once: new recipes, or patches to existing ones. Patches are applied in order of plugin name."""


@hookspec
def nirred_calibration_rules() -> Iterable[CalibrationRule]:
    """Registered once: rules that match calibrations to frames.

    For each kind the first rule that applies is used. Rules of add-on packages, in order of name, come before those of
    the frame's owner.
    """


@hookspec
def nirred_masks() -> Iterable[MaskSpec]:
    """Registered once: masks per detector, group or frame (the F2 disc, the GNIRS keyhole, a site's own mask)."""


@hookspec
def nirred_executors() -> Iterable[ExecutorSpec]:
    """Registered once: named implementations of `concurrent.futures.Executor`, chosen with --executor."""


@hookspec
def nirred_exposures(headers: Headers) -> Sequence[Exposure] | None:
    """Asked of the owner: the exposures in a cube or burst. None: all images of the file form one exposure.

    Tags, descriptors, detectors and coordinates are those of the file: its exposures share them.
    """


@hookspec
def nirred_tags(headers: Headers) -> frozenset[str]:
    """Asked of the owner: the frame's tags in upper case, including the instrument's name."""


@hookspec
def nirred_describe(headers: Headers) -> Descriptors:
    """Asked of the owner: the frame's metadata under nirred's common names; None for what the header does not give."""


@hookspec
def nirred_detectors(headers: Headers) -> Sequence[Detector]:
    """Asked of the owner: one `Detector` per plane, in plane order."""


@hookspec
def nirred_wcs(headers: Headers) -> Sequence[PlaneWcs] | None:
    """Asked of the owner: the world coordinates of each plane. None: the frame has none (a dark, a damaged header).

    One per detector: if one of them has no usable coordinates, return None for the frame.
    """


@hookspec
def nirred_footprint(headers: Headers) -> Sequence[Polygon] | None:
    """Asked of the owner: the outline of the illuminated area on the sky, for the planner's overlap test.

    None: the planner uses the outlines of the planes, projected with their WCS.
    """


@hookspec
def nirred_open(path: Path, exposure: Exposure, headers: Headers) -> Frame | Ramp | None:
    """Asked of the owner: read an exposure's pixels. None: use the core reader (images in HDU order).

    Of a `Frame` the core takes data, dq and unit of each plane, one for each detector; of a `Ramp`, for a camera with
    one detector, the counts. If the file has more images than the camera detectors (reads of a ramp), give each
    `Detector` its `hdu`.
    """


@hookspec
def nirred_read_calibration(path: Path, kind: str, headers: Headers, descriptors: Descriptors) -> Frame | None:
    """Asked of the owner of the frames: read a master made by the observatory's own software (dark, flat, bpm, ...).

    `descriptors` belong to a frame that the master will calibrate. A dark must be returned for that frame's exposure
    time. `Frame.unit` says whether pixels are in ADU or electrons; `dq` of each plane flags bad pixels. None: use the
    core reader.
    """


@hookspec
def nirred_step_defaults(step: str, tags: frozenset[str], descriptors: Descriptors) -> Mapping[str, Any]:
    """Asked of the owner: values of a step's parameters that replace its defaults for this frame."""


@hookspec
def nirred_simulation() -> Simulation | None:
    """Registered once: a camera to simulate, for `nirred simulate` and the conformance kit."""


@hookspec
def nirred_read_request(paths: Sequence[Path], context: RequestContext) -> RequestSet | None:
    """Asked of all, for inputs that are not FITS: read another program's observation files. None: not this plugin's.

    Return a request that cannot be carried out with its `fault` set; the other requests are then still carried out.
    Raise `ConfigError` or `DataError` only if none can be.
    """


@hookspec
def nirred_event(event: Event) -> None:
    """Observer: called for every event of a run. Its result is ignored; an exception is reported once."""
