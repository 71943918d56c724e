"""What turns the counts of one detector into electrons: its response and calibrations, and the noise that follows.

`calibrate` applies this to pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.threads import run_blocks

Float32 = NDArray[np.float32]
UInt16 = NDArray[np.uint16]


@dataclass(frozen=True)
class LinearityCurve:
    """Detector response: corrected = sum_k c[k] x**(k+1) with x in electrons per coadd.

    Attributes
    ----------
    coefficients : ndarray of float64
        Shape (n_sets, n_terms): row r of the detector uses set ``r % n_sets`` (GNIRS: even and odd
        rows). Shape (n_terms, ny, nx): one polynomial per pixel.
    time_delta : tuple of float
        Seconds, per row set or one for all: the exposure is longer by this much than commanded, so the
        corrected charge is scaled by ``t / (t + time_delta)``, t the exposure per coadd.
    valid_to : float
        Electrons per coadd; above it the polynomial is continued along its tangent and the pixel flagged.
    """

    coefficients: NDArray[np.float64]
    time_delta: tuple[float, ...] = (0.0,)
    valid_to: float = np.inf

    @property
    def per_pixel(self) -> bool:
        """Whether every pixel has its own polynomial."""
        return np.ndim(self.coefficients) == 3


@dataclass(frozen=True)
class CalibrationInputs:
    """Everything that turns the raw counts of one plane into calibrated electrons.

    Attributes
    ----------
    gain : float
        Electrons per ADU; 1: the result stays in ADU, as curve and dark are then.
    coadds : int
        Exposures summed by the controller.
    exposure_per_coadd : float
        Seconds; used with a linearity curve only.
    linearity : LinearityCurve or None
        None: the detector is linear.
    saturation, non_linear : float or None
        Raw levels in ADU of the coadded frame.
    dark : (ny, nx) float32 or None
        Electrons. Subtracted `dark_scale` times.
    dark_variance : (ny, nx) float32 or None
        Variance of `dark` (electrons squared); for `noise_planes` only.
    flat_reciprocal : (ny, nx) float32 or None
        1 / flat; 0 where the flat has no value: such a pixel becomes 0.
    static_dq : (ny, nx) uint16 or None
        Flags of the static masks and of the dark and flat, already merged.
    dark_scale : float
    electrons : float
        Per unit of the result: 1, or the gain where that stays in ADU; for `noise_planes` only.
    """

    gain: float = 1.0
    coadds: int = 1
    exposure_per_coadd: float = 0.0
    linearity: LinearityCurve | None = None
    saturation: float | None = None
    non_linear: float | None = None
    dark: Float32 | None = None
    dark_variance: Float32 | None = None
    flat_reciprocal: Float32 | None = None
    static_dq: UInt16 | None = None
    dark_scale: float = 1.0
    electrons: float = 1.0


def time_factors(inputs: CalibrationInputs) -> NDArray[np.float64]:
    """Scale of the charge, t / (t + time_delta): one for each row set, or one for all.

    Raises
    ------
    ValueError
        If t or t + time_delta is not positive.
    """
    deltas = np.array(inputs.linearity.time_delta if inputs.linearity else (0.0,), dtype=np.float64)
    if not deltas.any():
        return np.ones(1)
    exposure = inputs.exposure_per_coadd
    if exposure <= 0 or np.any(exposure + deltas <= 0):
        raise ValueError(f"exposure per coadd {exposure} s cannot be corrected by {deltas.tolist()} s")
    return exposure / (exposure + deltas)


def linear_level(level_adu: float, inputs: CalibrationInputs) -> float:
    """Raw level (ADU, of the coadded frame) in units of the result, before dark and flat.

    For the mean curve and the mean scaling of the row sets (or pixels) that have their own.
    """
    x = level_adu * inputs.gain / inputs.coadds
    k = float(np.mean(time_factors(inputs)))
    if inputs.linearity is None:
        return x * inputs.coadds * k
    curve = inputs.linearity
    axes = (1, 2) if curve.per_pixel else (0,)
    terms = np.mean(curve.coefficients, axis=axes)
    inside = min(max(x, 0.0), curve.valid_to)
    powers = np.arange(1, terms.size + 1)
    slope = terms[0] if x < 0 else float(np.sum(powers * terms * inside ** (powers - 1)))
    return float((np.sum(terms * inside**powers) + slope * (x - inside)) * inputs.coadds * k)


def noise_planes(inputs: CalibrationInputs, read_noise: float, threads: int = 1) -> tuple[Float32, Float32]:
    """Noise model of a calibrated pixel: ``VAR = constant + s * per_electron`` for a smooth signal s.

    With k = t/(t + time_delta), the charge is scaled by k *after* its Poisson noise was drawn: n electrons
    collected appear as k n, with variance k**2 n = k (k n). Hence, with r = 1/flat, D = dark_scale dark::

        constant     = ((read_noise k)**2 + k max(D, 0) + dark_scale**2 dark_variance) r**2
        per_electron = k r

    In units of g electrons these are read_noise / g, k max(D, 0) / g and k r / g.

    Parameters
    ----------
    inputs : CalibrationInputs
        As given to `calibrate.calibrate`.
    read_noise : float
        Electrons, of the coadded frame.
    threads : int
        Number of threads.

    Returns
    -------
    constant : electrons squared, per_electron : electrons
        float32 arrays (ny, nx); (ny, 1) or of no dimensions if nothing varies along a row or at all.

    Raises
    ------
    ValueError
        If a time_delta per row set comes without any plane, or as in `time_factors`.
    """
    rows = _n_rows(inputs)
    constant, per_electron = (  # by blocks of rows: whole planes between would take memory that nothing else needs
        np.empty((rows, *sample.shape[1:]), np.float32) if sample.ndim else sample
        for sample in _noise_rows(inputs, read_noise, 0, 1)
    )

    def block(start: int, stop: int) -> None:
        for plane, part in zip((constant, per_electron), _noise_rows(inputs, read_noise, start, stop), strict=True):
            if plane.ndim:
                plane[start:stop] = part

    run_blocks(block, rows, threads)
    return constant, per_electron


def _noise_rows(inputs: CalibrationInputs, read_noise: float, start: int, stop: int) -> tuple[Float32, Float32]:
    """Rows [start, stop) of the noise model; no dimensions if nothing varies from pixel to pixel."""
    dark, reciprocal = np.zeros((), np.float32), np.ones((), np.float32)
    if inputs.dark is not None:
        dark = np.maximum(inputs.dark_scale * inputs.dark[start:stop], np.float32(0))
    if inputs.flat_reciprocal is not None:
        reciprocal = inputs.flat_reciprocal[start:stop]
    k = time_factors(inputs).astype(np.float32)
    scale = k[np.arange(start, stop) % k.size][:, None] if k.size > 1 else k[0]
    per_photon = scale / np.float32(inputs.electrons)
    constant = np.float32(read_noise / inputs.electrons) ** 2 * scale**2 + per_photon * dark
    if inputs.dark_variance is not None:
        constant = constant + np.float32(inputs.dark_scale) ** 2 * inputs.dark_variance[start:stop]
    planes = constant * reciprocal**2, per_photon * reciprocal
    return np.asarray(planes[0], np.float32), np.asarray(planes[1], np.float32)


def _n_rows(inputs: CalibrationInputs) -> int:
    """Number of rows of the given planes, 1 if there is none; a row-dependent factor needs the planes' height."""
    for plane in (inputs.dark, inputs.flat_reciprocal, inputs.static_dq, inputs.dark_variance):
        if plane is not None:
            return int(plane.shape[0])
    if time_factors(inputs).size > 1:
        raise ValueError("a time_delta per row set needs a dark, flat or mask to know the number of rows")
    return 1
