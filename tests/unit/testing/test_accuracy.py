import importlib.util
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nirred.testing.accuracy import measure
from nirred.testing.bars import LARGE, missed, summary, table
from nirred.testing.campaign import ReductionError, accuracies
from nirred.testing.oracle import oracle_stack, write_oracle, write_product
from nirred.testing.photometry import Figure
from nirred.testing.simulate import simulate_night
from nirred_niri.simulation import simulation

FEW = {"darks": 1, "short_darks": 0, "lamps_on": 1, "lamps_off": 0}


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    options = dict(scenario="offset", size=256, seed=2, density=900.0, **FEW)
    return simulate_night(simulation(), tmp_path_factory.mktemp("n"), **options)


@pytest.fixture(scope="module")
def stack(night):
    return oracle_stack(night, "offset")


@pytest.fixture
def measured(night, stack, tmp_path):
    def run(**changes):
        write_product(night, replace(stack, **changes), tmp_path / "p.fits")
        return measure(tmp_path / "p.fits", night, "offset", stack)

    return run


def test_the_oracle_measures_as_perfect(night):
    found = measure(write_oracle(night, "offset"), night, "offset")
    assert found.depth.value == pytest.approx(1.0, abs=1e-6)
    assert abs(found.flux_bias.value) < 1e-3 and found.flux_scatter.value < 1e-3
    assert found.galaxy.value == pytest.approx(1.0, abs=1e-6)
    assert found.fwhm_ratio.value == pytest.approx(1.0, abs=1e-6)
    assert found.offset_rms.value == pytest.approx(0.0, abs=1e-9)
    assert found.leftovers.value == 0
    assert abs(found.background.value) < 1e-6
    assert abs(found.pull_median.value) < 4 * found.pull_median.error
    for figure in found.noise[:3]:
        assert figure.value == pytest.approx(1.0, abs=4 * figure.error + 0.05)


def test_lost_depth_shows(stack, measured):
    rng = np.random.default_rng(0)
    found = measured(sci=stack.sci + np.sqrt(stack.var) * rng.normal(size=stack.sci.shape))
    assert found.depth.value == pytest.approx(np.sqrt(0.5), abs=4 * found.depth.error)
    assert found.depth.error < 0.06
    assert found.noise[1].value == pytest.approx(np.sqrt(2.0), abs=0.12)


def test_wrong_fluxes_show(stack, measured):
    found = measured(sci=stack.sci * 1.02)
    assert found.flux_bias.value == pytest.approx(2.0, abs=0.2)
    assert found.galaxy.value == pytest.approx(1.02, abs=1e-3)
    assert found.depth.value == pytest.approx(1.0, abs=0.02)  # noise grows with the signal


def test_a_pedestal_shows_in_background_and_level_only(stack, measured):
    found = measured(sci=stack.sci + 6.0)
    assert found.level.value == pytest.approx(6.0, abs=1e-3)
    assert found.background.value == pytest.approx(0.1, rel=0.05)
    assert found.depth.value == pytest.approx(1.0, abs=1e-3)


def test_left_over_cosmic_rays_show(stack, measured):
    sci = stack.sci.copy()
    y, x = np.nonzero(stack.n == 5)
    for index in np.linspace(100, len(y) - 100, 7).astype(int):
        sci[y[index], x[index]] += 60 * np.sqrt(stack.var[y[index], x[index]]) + 0.5 * sci[y[index], x[index]]
    assert measured(sci=sci).leftovers.value >= 5


def test_blurring_shows_in_the_width(stack, measured):
    from scipy.ndimage import gaussian_filter

    blurred = np.where(stack.n > 0, gaussian_filter(np.nan_to_num(stack.sci), 0.8), np.nan)
    found = measured(sci=blurred)
    assert found.fwhm_ratio.value == pytest.approx(np.sqrt(1 + (0.8 * 2.355 / 4.7) ** 2), abs=0.04)


def test_wrong_offsets_and_wrong_variance_show(night, stack, measured, tmp_path):
    from astropy.io import fits

    found = measured(var=4 * stack.var)
    assert found.noise[1].value == pytest.approx(0.5, abs=0.06)
    assert found.pull_width.value < 0.75
    with fits.open(tmp_path / "p.fits", mode="update") as hdus:
        hdus["FRAMES"].data["xoff"] += [0.0, 0.1, -0.1, 0.1, -0.1]
    assert measure(tmp_path / "p.fits", night, "offset", stack).offset_rms.value == pytest.approx(0.0707, abs=1e-3)


def test_transparency_scale_is_that_of_the_product_s_weights(night, stack, measured):
    """A product that rests on one frame alone has that frame's scale, and no bias for it."""
    weights = np.array([1.0, 1e-9, 1e-9, 1e-9, 1e-9])
    alone = night.frames[stack.files[0]].conditions.transparency
    found = measured(sci=stack.sci / stack.scale * alone, weights=weights)
    assert abs(found.flux_bias.value) < 0.1


def test_table_and_benchmark_with_a_reducer_of_one_s_own(tmp_path, capsys):
    path = Path(__file__).parents[3] / "benchmarks" / "accuracy.py"
    spec = importlib.util.spec_from_file_location("benchmark_accuracy", path)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)

    def reducer(night, out):
        (group,) = night.groups
        write_oracle(night, group, out / night.groups[group].product)

    options = ["--cameras", "niri", "--seeds", "1", "--size", "256", "--scenarios", "filling"]
    options += ["--json", str(tmp_path / "a.json")]
    benchmark.main([*options, "--directory", str(tmp_path)], reducer)
    text = capsys.readouterr().out
    assert "offsets, rms error" in text and "MISSED" not in "".join(x for x in text.splitlines() if "depth" in x)
    document = json.loads((tmp_path / "a.json").read_text())["niri"]
    assert document["nights"][0]["group"] == "filling"
    figures = {row["figure"] for row in document["summary"]}
    assert figures >= {"depth: S/N of faint stars, over ideal", "background (% of sky)"}


def test_table_marks_what_missed_its_bar(measured, stack):
    found = measured(sci=stack.sci * 1.02)
    rows = {row["figure"]: row["passed"] for row in summary([found, found])}
    assert not rows["flux bias of bright stars (%)"] and rows["offsets, rms error (pixel)"]
    assert "MISSED" in table([found])


def test_the_table_of_one_night_has_no_columns_of_several(measured, stack):
    found = measured(sci=stack.sci)
    one, two = table([found]).splitlines(), table([found, found]).splitlines()
    assert "floor" not in one[0] and "nights" not in one[0] and "floor" in two[0] and "nights" in two[0]
    for lines in (one, two):
        values = [line.index("+-") for line in lines[1:]]
        assert len(set(values)) == 1 and values[0] < lines[0].index("error")


def test_a_lone_bright_star_has_no_error_and_is_judged_by_its_value(measured, stack):
    """An infinite floor allowed no mean at all."""
    found = replace(measured(sci=stack.sci), flux_bias=Figure(0.03, math.inf))
    off = replace(found, flux_bias=Figure(0.3, math.inf))
    judged = [next(r["passed"] for r in summary([n]) if str(r["figure"]).startswith("flux bias")) for n in (found, off)]
    assert judged == [True, False]


def test_the_floor_is_of_the_nights_that_tell_it(measured, stack):
    found = measured(sci=stack.sci)
    lone = replace(found, flux_bias=Figure(0.03, math.inf))
    rows = summary([replace(found, flux_bias=Figure(0.01, 0.02)), lone, lone])
    row = next(r for r in rows if str(r["figure"]).startswith("flux bias"))
    assert row["floor"] == 0.02 and row["nights"] == 3


def test_two_left_over_objects_are_few_in_a_large_frame_alone(measured, stack):
    found = replace(measured(sci=stack.sci), leftovers=Figure(2.0, 0.0))

    def judged(**changes):
        night = replace(found, **changes)
        (row,) = [r for r in summary([night]) if str(r["figure"]).startswith("left-over")]
        said = any(words.startswith("left-over") for words in missed(night))
        assert row["passed"] != said
        return row["passed"]

    assert found.pixels == 256 * 256 and not judged()
    assert judged(pixels=LARGE) and not judged(pixels=LARGE, leftovers=Figure(3.0, 0.0))


def test_a_missing_product_is_named(tmp_path):
    nights = accuracies(simulation(), tmp_path, ["standard"], [1], reducer=lambda night, out: None, size=256, **FEW)
    with pytest.raises(ReductionError, match="S0001_image"):
        next(nights)
