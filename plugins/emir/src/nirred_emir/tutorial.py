"""Files that accompany a simulated night: the observatory's YAML, v0 to v6, its control file, masters and offsets."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .commands import dithered, observation
from .detector import GAIN, H2RG, HAWAII2, Profile

if TYPE_CHECKING:
    import numpy as np

#: (iterations, sky_images) of the variants of the example's combined block.
_NONE, _ITERATED = (0, 0), (1, 6)
SMOOTH = 11  # pixels
NAMED = {"offsets": "user_offsets.txt"}
LEVELS: Mapping[Profile, dict[str, Any]] = {
    HAWAII2: {"nside_adhoc_sky_correction": 10},
    H2RG: {"adhoc_sky_correction_h2rg": True},
}


def variants(profile: Profile) -> dict[str, dict[str, Any]]:
    """Requirements of the combined block in each variant."""

    def wanted(counts: tuple[int, int], refine: bool, **others: Any) -> dict[str, Any]:
        return {"iterations": counts[0], "sky_images": counts[1], "refine_offsets": refine, **others}

    levels = LEVELS[profile]
    return {
        "v0": wanted(_NONE, False),
        "v1": wanted(_NONE, True),
        "v2": wanted(_NONE, False, **NAMED),
        "v3": wanted(_NONE, True, **NAMED),
        "v4": wanted(_ITERATED, True),
        "v5": wanted(_ITERATED, True, **levels),
        "v6": wanted(_ITERATED, True, **levels, fit_doughnut=True),
    }


def control(profile: Profile, flat: str = "flat") -> str:
    """A control file with the masters of one detector."""
    kinds = {"bpm": "MasterBadPixelMask", "dark": "MasterDark", flat: "MasterIntensityFlat"}
    lines = ["version: 1", "products:", "  EMIR:", f"    {profile.uuid}:"]
    lines += [
        f"    - {{id: {i}, type: '{kind}', tags: {{}}, content: 'master_{name}.fits'}}"
        for i, (name, kind) in enumerate(kinds.items(), 1)
    ]
    return "\n".join(lines) + "\n"


def extras(night: Any, profile: Profile) -> dict[str, bytes | Path]:
    """Names below the night's directory and contents: frames and masters in data/, YAML next to it."""
    group = next(iter(night.groups.values()))
    files: dict[str, bytes | Path] = {f"data/{name}": night.raw_dir / name for name in group.objects}
    truth = night.detector_truth()
    seconds = night.frames[group.objects[0]].exposure_time
    masters = {"bpm": truth.bad, "flat": truth.flat, "dark": (truth.dark + truth.pattern / seconds) / GAIN}
    masters["flat_pixels"] = _pixels(truth.flat, truth.bad)
    # of two flats, a run on the directory takes the nearer in time, which is the one with large scales
    farther = "07-02" if profile is H2RG else "11-01"
    days = {kind: farther if kind == "flat_pixels" else "09-01" for kind in masters}
    files |= {f"data/master_{kind}.fits": _master(data, profile, days[kind]) for kind, data in masters.items()}
    files["data/user_offsets.txt"] = _positions(night, group)
    names = list(group.objects)
    files["list.txt"] = "".join(f"{n}\n" for n in names).encode()
    files["control.yaml"] = control(profile).encode()
    files["control_pixels.yaml"] = control(profile, "flat_pixels").encode()
    files["dithered_ini.yaml"] = observation(names, step=0).encode()
    located = observation(names, step=1).rpartition("\n---\n")[0]
    children = [f"_{n[:10]}" for n in names]
    for version, wanted in variants(profile).items():
        files[f"dithered_{version}.yaml"] = f"{located}\n---\n{dithered('_combined', children, wanted)}\n".encode()
    return files


def _pixels(flat: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """A flat without large scales, like the observatory's: divided by the mean of 11 x 11 pixels."""
    import numpy as np
    from scipy.ndimage import uniform_filter

    good = (~bad & (flat > 0)).astype(np.float64)
    count = uniform_filter(good, SMOOTH, mode="nearest")
    smooth = uniform_filter(np.where(good > 0, flat, 0.0), SMOOTH, mode="nearest") / np.maximum(count, 1e-6)
    return np.asarray(flat / np.where(smooth > 0, smooth, 1.0))


def _master(data: np.ndarray, profile: Profile, day: str) -> bytes:
    """A master in the form of the observatory's pipeline: a bare image, in ADU per second if it has a unit."""
    import numpy as np
    from astropy.io import fits

    date = f"{max(profile.since.year, 2018)}-{day}T12:00:00"
    cards = {"INSTRUME": "EMIR", "INSCONF": profile.uuid, "DATE-OBS": date}
    stream = BytesIO()
    fits.PrimaryHDU(data.astype(np.uint8 if data.dtype == bool else np.float32), fits.Header(cards)).writeto(stream)
    return stream.getvalue()


def _positions(night: Any, group: Any) -> bytes:
    """Position where a user would click in each frame, without distortion: the star nearest the centre, to 0.1 px."""
    import numpy as np

    stars = tuple(s for s in group.sources if s.kind == "star") or group.sources
    found = np.array([night.flat_positions(name, 0, stars) for name in group.objects])
    ny, nx = night.detectors[0].shape
    away = np.abs(found - np.array([nx / 2, ny / 2])[:, None]).max(axis=(0, 1))
    flux = np.array([s.flux for s in stars])
    best = int(np.argmax(np.where(away < 0.4 * nx, flux, 0.0)))
    return "".join(f"{x + 1:.1f} {y + 1:.1f}\n" for x, y in found[:, :, best]).encode()
