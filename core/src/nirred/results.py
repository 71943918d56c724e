"""Results that the steps of one task pass on to later steps, besides frames, planes and streams.

Each class says what its fields mean and which step sets them. A field that is None has not been made; a step that
cannot do without it takes it by `require`. Frames and planes are given by their indices in the group; electron stands
for their unit, see `Group.unit`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from .errors import Unmade

if TYPE_CHECKING:
    from pathlib import Path

    from .algorithms.halos import Halo
    from .algorithms.placement import Placement
    from .algorithms.register import Registration
    from .algorithms.resample_kernels import Kernel
    from .algorithms.stars import StarList
    from .coadd import Layout, Reprojection
    from .frame import Plane
    from .geometry import Geometry
    from .steps.moving import MovingLight
    from .steps.staying import Shown
    from .store import PlaneStack

T = TypeVar("T")

#: FWHM of stars, pixel, where none was measured.
USUAL_FWHM = 4.0


def require(result: T | None, name: str) -> T:
    """The result.

    Raises
    ------
    Unmade
        No step has made it: it is None. The message is its `name`.
    """
    if result is None:
        raise Unmade(name)
    return result


class Handed(dict[str, Any]):
    """Results by name; a missing one raises `Unmade`."""

    def __missing__(self, name: str) -> Any:
        raise Unmade(name)


@dataclass(frozen=True)
class Calibration:
    """A master calibration that is not a mask.

    Parameters
    ----------
    planes : list of Plane
        One per detector.
    name : str
        Of its file, for keywords such as DARKCOR.
    scale : float
        Factor on a dark of another exposure time.
    unit : {"electron", "adu"}
    holds_bias : bool
        False: a dark from which the bias has been subtracted.
    """

    planes: list[Plane]
    name: str = "done"
    scale: float = 1.0
    unit: str = "electron"
    holds_bias: bool = True


@dataclass(frozen=True)
class StaticMask:
    """Flags that are known before the frames are read.

    Parameters
    ----------
    name : str
        Of its file, or of the instrument's mask.
    planes : list of uint16 (ny, nx)
        One per detector.
    """

    name: str
    planes: list[np.ndarray]


@dataclass
class RegistrationResults:
    """Stars, and positions of the frames relative to each other; offsets themselves are in `FrameState`.

    Parameters
    ----------
    stars : dict, optional
        {frame: star list of each plane}, in pixels of the planes; by `detect_sources`.
    fwhm : float, optional
        Median FWHM of stars in the frames on target, pixel; by `detect_sources`. None: no star was measured.
    clusters : list of list of int
        Frames of each pointing; by `adjust_wcs_to_reference`.
    first : dict
        {(first frame of the pointing, frame): offset from the first pass}; by `adjust_wcs_to_reference:final=False`.
    reference : int, optional
        Frame from which offsets are measured; by the final `adjust_wcs_to_reference`.
    registered : bool
        Whether any offset was measured rather than taken from headers; by the final `adjust_wcs_to_reference`.
    geometry : Geometry, optional
        Use `nirred.geometry.geometry`, which makes it.
    """

    stars: dict[int, list[StarList]] | None = None
    fwhm: float | None = None
    clusters: list[list[int]] = field(default_factory=list)
    first: dict[tuple[int, int], Registration] = field(default_factory=dict)
    reference: int | None = None
    registered: bool = False
    geometry: Geometry | None = None

    @property
    def star_width(self) -> float:
        """FWHM of stars, pixel: as measured, or `USUAL_FWHM`."""
        return self.fwhm or USUAL_FWHM


@dataclass
class ObjectResults:
    """Objects on the frames, and their light; all by `mask_objects`. The masks themselves are in the planes' flags.

    Parameters
    ----------
    hidden : float
        Share of the detector that objects hide in every frame; 0 if it is too small to matter.
    buried : bool
        Whether they hide so much of the illuminated pixels that the zero level may contain their light.
    enclosed : bool
        Whether the sky behind them is to be made again: objects hide pixels in every frame, or lie in hollows, and are
        not cut by the detector's edge.
    halos : dict
        {(frame, plane): (halos on the stack's pixels, placement of the plane on it)}.
    masked : dict
        {key of the stack: object mask, uint8 (ny, nx) on its grid} from the last pass.
    moving : dict
        {plane: light of wide objects, to be returned to frames that serve each other as sky}.
    shown : dict
        {plane: masked pixels used for the sky nevertheless, for the frames of each pointing}.
    """

    hidden: float = 0.0
    buried: bool = False
    enclosed: bool = False
    halos: dict[tuple[int, int], tuple[list[Halo], Placement]] = field(default_factory=dict)
    masked: dict[tuple[object, ...], np.ndarray] = field(default_factory=dict)
    moving: dict[int, MovingLight] = field(default_factory=dict)
    shown: dict[int, list[Shown]] = field(default_factory=dict)


@dataclass(frozen=True)
class SkyScale:
    """What is known of the frames' skies before their pattern: F_j = zero_j + unit_j * g(x, y), see `sky_rows`.

    Parameters
    ----------
    zero, unit : float64 (frames,)
        Of every frame of the group, electron: (0, sky level) if the pattern scales with the sky, (sky level, 1) if it
        is added to it.
    """

    zero: np.ndarray
    unit: np.ndarray


@dataclass
class SkyResults:
    """The sky's levels and shape; all by `sky_correct`. What is known of single planes is in `PlaneState`.

    Parameters
    ----------
    scales : dict
        {plane: SkyScale}.
    unmasked : dict
        {plane: levels before objects were masked, float64 (frames,), electron}.
    predicted : dict
        {plane: {frame on target: level predicted from the sky frames, electron}}.
    shape_behind : float
        Deviation of the sky's shape from a parabola, rms, electron: its error where objects hide it in every frame.
    """

    scales: dict[int, SkyScale] = field(default_factory=dict)
    unmasked: dict[int, np.ndarray] = field(default_factory=dict)
    predicted: dict[int, dict[int, float]] = field(default_factory=dict)
    shape_behind: float = 0.0


@dataclass
class PieceStacks:
    """VAR and NEXP of all pieces of one plane; `single` holds each piece's variance of one exposure."""

    var: PlaneStack
    nexp: PlaneStack
    single: dict[int, float]


@dataclass
class StackResults:
    """How the frames are stacked, and what is known of the stack besides its planes.

    Parameters
    ----------
    brightness : bool, optional
        Whether pixels hold surface brightness, as shown by stars; by `scale_counts_to_reference`. None: not known.
    layouts : list of Layout, optional
        Grid of each plane of the stack, and the frames' placements; by `resample_to_common_frame`, `stack_pieces`.
    kernel : str, optional
        Interpolant; by `resample_to_common_frame`.
    area_power : {0, 1}
        Power of pixel areas by which values are multiplied: 0 preserves surface brightness, 1 the electrons of
        sources; by `resample_to_common_frame`.
    nexp : list of ndarray, optional
        NEXP of each plane, uint16 (ny, nx); by `stack_frames`, `stack_pieces`, `combine_exposures`.
    noisecov : ndarray, optional
        NOISECOV, float64 (7, 7); by the same, and by `level_stack`.
    pieces : list of PieceStacks, optional
        Of each plane; by `read_pieces`.
    piece_noise : dict, optional
        {piece: its NOISECOV, float64 (7, 7), None if it has none}; by `read_pieces`.
    collected : float, optional
        Exposures behind GAIN, if they are not NCOMBINE; by `store_processed_stack`.
    """

    brightness: bool | None = None
    layouts: list[Layout] | None = None
    kernel: Kernel | Reprojection | None = None
    area_power: Literal[0, 1] = 0
    nexp: list[np.ndarray] | None = None
    noisecov: np.ndarray | None = None
    pieces: list[PieceStacks] | None = None
    piece_noise: dict[int, np.ndarray | None] | None = None
    collected: float | None = None


@dataclass
class GroupRecord:
    """What is recorded of the task: PROVENANCE, its files, and pictures for the report.

    Parameters
    ----------
    provenance : callable, optional
        Makes the table PROVENANCE; by `run_recipe`. None: a step runs by itself, and products are not written.
    contents : mapping
        Digest of each raw frame's file that could be read when the task began.
    calibrations : list of (str, Path)
        Kind and file of the calibrations, masks included, as they were read.
    products : list of Path
        Files written by `write_frames`.
    intermediates : list of Path
        Files written for inspection.
    glimpse : dict, optional
        ``frame``, the name of the reference frame, and ``sub_1``..., float32 pictures of it without sky.
    given_up : bool
        Whether the frames' pixels have been freed.
    """

    provenance: Callable[[], np.ndarray] | None = None
    contents: Mapping[Path, str] = field(default_factory=dict)
    calibrations: list[tuple[str, Path]] = field(default_factory=list)
    products: list[Path] = field(default_factory=list)
    intermediates: list[Path] = field(default_factory=list)
    glimpse: dict[str, Any] | None = None
    given_up: bool = False
