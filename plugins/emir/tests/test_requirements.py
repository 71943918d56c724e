"""Every requirement of FULL_DITHERED_IMAGE does to a stack what the documented table says of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import gaussian_filter

import nirred
from nirred.run.api import RunResult
from nirred.testing.night import Night
from nirred.testing.simulate import simulate_night
from nirred_emir.commands import dithered
from nirred_emir.detector import H2RG, HAWAII2
from nirred_emir.simulation import simulation

FRAMES, SIZE = 6, 128
USUAL: dict[str, Any] = {"iterations": 1, "sky_images": 4, "refine_offsets": True}
Stacked = Callable[..., RunResult]


def night_of(profile: Any, home: Any) -> Night:
    few: dict[str, Any] = {"darks": 1, "lamps_on": 1}
    return simulate_night(
        simulation(profile, SIZE), home, scenario="dither", frames=FRAMES, seed=5, density=2000.0, **few
    )


def runner(night: Night) -> Stacked:
    """Runs of the combined block with other requirements beside the usual ones; one without a value is left out."""
    text = (night.directory / "dithered_v0.yaml").read_text().rpartition("\n---\n")[0]
    children = [f"_{name[:10]}" for name in night.groups["dither"].objects]

    def run(**others: Any) -> RunResult:
        wanted = {k: v for k, v in (USUAL | others).items() if v is not None}
        name = "_".join(f"{k}-{v}" for k, v in others.items())[:60].translate(str.maketrans("{}[]:', /.", "_" * 10))
        path = night.directory / f"{name or 'usual'}.yaml"
        path.write_text(f"{text}\n---\n{dithered('all', children, wanted)}\n")
        out, control = night.directory / path.stem, str(night.directory / "control.yaml")
        result = nirred.run(
            [path], out=out, recipe=control, basedir=night.directory, library=None, jobs=1, report=False
        )
        assert result.outcomes == {"all_image": "done"}, result.messages
        return result

    return run


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    return night_of(H2RG, tmp_path_factory.mktemp("wishes"))


@pytest.fixture(scope="module")
def stack(night: Night) -> Stacked:
    return runner(night)


@pytest.fixture(scope="module")
def usual(stack: Stacked) -> RunResult:
    return stack()


def image(result: RunResult, name: str = "SCI") -> np.ndarray:
    return np.asarray(fits.getdata(result.products["all_image"], name))


def card(result: RunResult, key: str) -> Any:
    return fits.getval(result.products["all_image"], key)


def parameter(result: RunResult, name: str) -> tuple[str, str]:
    """(value, origin) of a step's parameter as the product records it."""
    table = fits.getdata(result.products["all_image"], "PROVENANCE")
    return next((r["value"], r["origin"]) for r in table if r["item"] == "parameter" and r["name"] == name)


def test_iterations(stack: Stacked, usual: RunResult) -> None:
    """0: sources stay in the sky, and dig holes where other frames have them; 2: a third pass."""
    plain, deep = stack(iterations=0), stack(iterations=2)
    noise = np.sqrt(np.nanmedian(image(usual, "VAR")))
    holes = [int(np.sum(gaussian_filter(np.nan_to_num(image(r)), 1.5) < -1.5 * noise)) for r in (plain, usual)]
    assert holes[0] > 20 > 2 > holes[1], holes
    assert any("sources left in" in text for text in plain.record["remarks"])
    assert [r.record["tasks"][0]["recipe"] for r in (usual, deep)] == ["reduce", "ultradeep"]


def test_sky_images_and_their_time(stack: Stacked, usual: RunResult) -> None:
    """As many frames as named, of those that are near enough; 0: all."""
    assert parameter(usual, "associate_sky:max_skies")[0] == "4"
    assert "block 7 (all)" in parameter(usual, "associate_sky:max_skies")[1]
    near = stack(sky_images_sep_time=0.9)
    assert parameter(near, "associate_sky:time")[0] == "54.0"
    assert any("fewer than 3 sky frames within 54 s" in m for m in near.messages)
    every = stack(sky_images=0)
    assert parameter(every, "associate_sky:max_skies")[0] == "None"
    assert float(parameter(every, "associate_sky:time")[0]) > 86400
    quiet = [float(np.nanstd(image(r)[40:-40, 40:-40])) for r in (every, stack(sky_images=1))]
    assert quiet[0] < quiet[1]


def test_refine_offsets_and_offsets(night: Night, stack: Stacked, usual: RunResult) -> None:
    """False: the headers', or those of the list, as they are; True: measured."""

    def errors(result: RunResult) -> np.ndarray:
        table, reference = fits.getdata(result.products["all_image"], "FRAMES"), card(result, "REFFRAME")
        found = [np.subtract((r["xoff"], r["yoff"]), night.offset(r["file"], reference)) for r in table]
        return np.asarray(found) - np.median(found, axis=0)

    lines = [line.split() for line in (night.directory / "data" / "user_offsets.txt").read_text().splitlines()]
    positions = [[float(x), float(y)] for x, y in lines]
    headers, listed = stack(refine_offsets=False), stack(refine_offsets=False, offsets=positions)
    named = stack(refine_offsets=False, offsets="user_offsets.txt")
    measured = [float(np.sqrt(np.mean(errors(r) ** 2))) for r in (usual, listed, headers)]
    assert measured[0] < 0.03 < measured[1] < 0.1 < measured[2], measured
    assert [card(r, "WCSSTAT") for r in (usual, listed, headers)] == ["registered", "ok", "ok"]
    table = fits.getdata(listed.products["all_image"], "FRAMES")
    wanted = np.array(positions) - positions[0]
    np.testing.assert_allclose(table["xoff"] - table["xoff"][0], wanted[:, 0], atol=0.02)
    np.testing.assert_array_equal(image(listed), image(named))
    far = stack(offsets=[[x + 2.0, y - 1.0] for x, y in positions[:1]] + positions[1:])
    assert np.abs(errors(far)).max() < 0.1, "two pixels off in one place of the list are found again"


def test_method_and_its_limits(stack: Stacked, usual: RunResult) -> None:
    """The mean keeps cosmic rays; sigmaclip and median take them out, at the limit that is asked for."""
    mean, tight = stack(method="mean"), stack(method_kwargs="{low: 2.0, high: 2.5}")
    noise = np.sqrt(image(usual, "VAR"))
    strays = [(image(r) - image(usual)) / noise for r in (mean, stack(method="median"))]
    left = [int(np.sum(stray > 8)) for stray in strays]
    assert left[0] > 0 == left[1]
    assert np.nanmin(strays[0]) > -8, "known bad pixels do not ring into good ones"
    assert parameter(tight, "flag_outliers:high")[0] == "2.5"
    used = [int(image(r, "NEXP").astype(int).sum()) for r in (tight, usual, mean)]
    assert used[0] < used[1] < used[2], used


def test_extinction(stack: Stacked, usual: RunResult) -> None:
    """Magnitudes per airmass, above the atmosphere."""
    lifted = stack(extinction=0.5)
    ratio = np.median(fits.getdata(lifted.products["all_image"], "OBJCAT")["FLUX_AUTO"][:5]) / np.median(
        fits.getdata(usual.products["all_image"], "OBJCAT")["FLUX_AUTO"][:5]
    )
    assert ratio == pytest.approx(10 ** (0.2 * card(usual, "AIRMASS")), rel=0.01)


def test_channels_of_the_h2rg(stack: Stacked, usual: RunResult) -> None:
    """Levels are taken off whether asked for or not; a written False leaves them in, and is said."""
    asked, off = stack(adhoc_sky_correction_h2rg=True), stack(adhoc_sky_correction_h2rg=False)
    np.testing.assert_array_equal(image(usual), image(asked))
    assert "AMPLEVEL" in fits.getheader(asked.products["all_image"])
    assert "AMPLEVEL" not in fits.getheader(off.products["all_image"])
    assert any("levels of channels stay" in text for text in off.record["remarks"])
    assert not np.array_equal(image(usual), image(off))


def test_boxes_of_the_hawaii_2(tmp_path: Any) -> None:
    """Boxes take off what is smooth beside sources; a written 0 leaves even the quadrants' levels in."""
    other = runner(night_of(HAWAII2, tmp_path))
    boxes, none = other(nside_adhoc_sky_correction=4), other(nside_adhoc_sky_correction=0)
    assert parameter(boxes, "level_amplifiers:nside")[0] == "4"
    assert "AMPLEVEL" in fits.getheader(boxes.products["all_image"])
    assert "AMPLEVEL" not in fits.getheader(none.products["all_image"])
    level = [broad(image(r)) for r in (boxes, other())]
    assert level[0] < 0.98 * level[1], "boxes of 16 pixels eat what is broader"


def broad(stack: np.ndarray) -> float:
    """Scatter of areas of 24 pixels of a stack, less what few of them stray by, as those of bright stars do."""
    ny, nx = (n // 24 for n in stack.shape)
    cells = np.nanmedian(stack[: 24 * ny, : 24 * nx].reshape(ny, 24, nx, 24), axis=(1, 3))[1:-1, 1:-1]
    return float(np.nanmedian(np.abs(cells - np.nanmedian(cells))))
