import math
from datetime import datetime

import numpy as np
import pytest
from astropy.io import fits

from nirred.errors import ConfigError
from nirred.plugin.simulation import SimulatedDetector, Simulation
from nirred.testing.detector_sim import calibrate
from nirred.testing.schedule import Knobs, science
from nirred.testing.simulate import load_night, simulate_night
from nirred_niri.simulation import simulation

FEW = {"darks": 2, "short_darks": 2, "lamps_on": 2, "lamps_off": 2}


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    directory = tmp_path_factory.mktemp("night")
    return simulate_night(simulation(), directory, scenario=("offset", "standard"), size=256, seed=3, **FEW)


def test_files_and_truth(night):
    assert len(list(night.raw_dir.glob("*.fits"))) == 10 + 5 + 8 == len(night.frames)
    assert load_night(night.directory) == night
    assert night.groups["offset"].product == "N20260115S0001_image.fits"
    assert night.products == {
        "flat": "N20260115S0018_flat.fits",
        "bpm": "N20260115S0018_bpm.fits",
        "dark": "N20260115S0020_dark.fits",
    }


def test_frames_that_were_not_simulated_are_left_alone(tmp_path):
    (tmp_path / "raw").mkdir()
    observed = tmp_path / "raw" / "N20260115S0001.fits"
    observed.write_bytes(b"photons")
    with pytest.raises(ConfigError, match="raw holds files that were not simulated"):
        simulate_night(simulation(), tmp_path, size=64, **FEW)
    assert observed.read_bytes() == b"photons" and not (tmp_path / "truth").exists()
    observed.unlink()
    for seed in (1, 2):
        assert simulate_night(simulation(), tmp_path, size=64, frames=2, seed=seed, **FEW).seed == seed


def test_another_night_in_the_same_directory_replaces_the_first(tmp_path):
    simulate_night(simulation(), tmp_path, size=64, frames=4, seed=1, **FEW)
    note = tmp_path / "raw" / "note.txt"
    note.write_text("mine")
    night = simulate_night(simulation(), tmp_path, size=64, frames=2, seed=2, **FEW)
    assert {file.name for file in night.raw_dir.iterdir()} == {*night.frames, "note.txt"}
    night.truth_file.write_text("{}")
    with pytest.raises(ConfigError, match=r"truth.json: cannot be read"):
        simulate_night(simulation(), tmp_path, size=64, frames=2, **FEW)


def test_headers_are_niri_s(night):
    with fits.open(night.raw_dir / "N20260115S0002.fits") as hdus:
        primary, extension = hdus[0].header, hdus[1].header
        assert hdus[0].data is None and hdus[1].data.dtype == ">i4"
    assert primary["INSTRUME"] == "NIRI" and primary["OBSTYPE"] == "OBJECT"
    assert primary["A_VDDUC"] - primary["A_VDET"] == pytest.approx(-0.60, abs=0.05)
    assert (extension["LOWROW"], extension["HIROW"]) == (384, 639)
    # the WCS and the pointing keywords agree on the centre
    east = (extension["CRVAL1"] - primary["RA"]) * 3600 * math.cos(math.radians(primary["DEC"]))
    assert east == pytest.approx(primary["RAOFFSET"], abs=0.01)
    assert (extension["CRVAL2"] - primary["DEC"]) * 3600 == pytest.approx(primary["DECOFFSE"], abs=0.01)
    assert primary["POFFSET"] == pytest.approx(primary["RAOFFSET"])


def test_header_offsets_move_sources_as_the_rules_say(night):
    """NIRI, port 3: sources move by +p/s in x and -q/s in y."""
    first, second = night.groups["offset"].objects[:2]
    headers = [fits.getheader(night.raw_dir / name) for name in (first, second)]
    dp = headers[1]["POFFSET"] - headers[0]["POFFSET"]
    dq = headers[1]["QOFFSET"] - headers[0]["QOFFSET"]
    dx, dy = night.offset(second, first)
    pointing = 5 * 0.12 * math.sqrt(2) / night.pixel_scale
    assert dx == pytest.approx(dp / night.pixel_scale, abs=pointing)
    assert dy == pytest.approx(-dq / night.pixel_scale, abs=pointing)


def test_the_telescope_stands_still_between_exposures_of_a_position():
    rng, start = np.random.default_rng(1), datetime(2026, 1, 15, 5, 30)
    planned = science(simulation(), "offset", (5, 4), Knobs(repeats=2), (1, 1, start), rng)
    places = [(item.wcs[0].crval, item.exposure.offset_east) for item in planned]
    assert places[0] == places[1] and places[2] == places[3] and places[5] == places[6] and places[7] == places[8]
    assert len(set(places)) == 5
    assert [item.exposure.repeat for item in planned] == [1, 2, 1, 2, 1, 1, 2, 1, 2]
    assert len({item.conditions.sky for item in planned}) == 9
    assert {item.exposure.repeats for item in planned} == {2}


def test_calibrated_raw_equals_the_truth(night):
    truth = night.detector_truth()
    file = night.groups["offset"].objects[0]
    frame = night.frames[file]
    data = calibrate(night.raw(file), truth, night.detectors[0], frame.timing)
    good = ~truth.bad
    good.reshape(-1)[night.cosmics(file).index] = False
    good &= night.raw(file) < night.detectors[0].non_linear
    expected = night.scene(file) * frame.conditions.transparency + night.sky(file)
    sigma = np.sqrt(np.maximum(expected, 0) * truth.flat + truth.dark * 20 + 35**2 + 12.3**2 / 12) / truth.flat
    pull = ((data - expected) / sigma)[good]
    assert pull.mean() == pytest.approx(0.0, abs=4 / math.sqrt(pull.size))
    assert pull.std() == pytest.approx(1.0, abs=0.02)


def test_pointing_error_is_not_in_the_header(night):
    file = night.groups["offset"].objects[0]
    stated = fits.getheader(night.raw_dir / file, 1)
    east, north = night.frames[file].conditions.pointing_error
    true = night.frames[file].wcs[0].crval
    assert (true[1] - stated["CRVAL2"]) * 3600 == pytest.approx(north, abs=1e-6)
    assert (true[0] - stated["CRVAL1"]) * 3600 * math.cos(math.radians(true[1])) == pytest.approx(east, abs=1e-5)


def test_same_seed_same_pixels(tmp_path):
    options = dict(scenario="dither", frames=2, size=256, darks=1, short_darks=0, lamps_on=1, lamps_off=0)
    one = simulate_night(simulation(), tmp_path / "a", seed=5, **options)
    two = simulate_night(simulation(), tmp_path / "b", seed=5, **options)
    other = simulate_night(simulation(), tmp_path / "c", seed=6, **options)
    file = one.groups["dither"].objects[1]
    np.testing.assert_array_equal(one.raw(file), two.raw(file))
    assert (one.raw(file) != other.raw(file)).any()


def test_filling_target_leaves_no_blank_sky_and_alternates(tmp_path):
    night = simulate_night(simulation(), tmp_path, scenario="filling", frames=(2, 2), size=256, **FEW)
    group = night.groups["filling"]
    assert [night.frames[name].kind for name in night.frames][:4] == ["object", "sky", "object", "sky"]
    level = night.frames[group.objects[0]].conditions.sky
    assert night.scene(group.objects[0]).min() > 0.02 * level
    assert np.median(night.scene(group.skies[0])) < 1e-3 * level


def test_persistence_follows_saturated_stars(tmp_path):
    options = dict(scenario="dither", frames=2, size=256, density=2000.0, cosmic_rate=0.0, **FEW)
    clean = simulate_night(simulation(), tmp_path / "a", seed=2, **options)
    sticky = simulate_night(simulation(), tmp_path / "b", seed=2, persistence=0.01, **options)
    first, second = clean.groups["dither"].objects
    full = clean.raw(first) >= clean.detectors[0].saturation
    assert full.sum() > 3
    np.testing.assert_array_equal(clean.raw(first), sticky.raw(first))
    excess = (sticky.raw(second) - clean.raw(second))[full & ~clean.detector_truth().bad]
    assert np.median(excess) > 50


def test_a_four_detector_camera_with_pixels_in_several_extensions(tmp_path):
    niri = simulation(256)
    plane = SimulatedDetector((128, 96), 2.0, 10.0, flat=niri.detectors[0].flat, linearity=((1.0,), (1.0, 1e-7)))
    places = [(-7.0, -7.0), (7.0, -7.0), (-7.0, 7.0), (7.0, 7.0)]
    from dataclasses import replace

    camera = Simulation(
        "mosaic",
        tuple(replace(plane, sky_position=place) for place in places),
        0.1,
        niri.settings,
        headers=lambda e: [{"INSTRUME": "MOSAIC"}, *[{"CRVAL1": wcs.crval[0]} for wcs in e.wcs]],
        file_name=lambda e: f"m{e.number:03d}.fits",
        bitpix=16,
        third_axis=True,
        lamp_off_kind="dark",
        lamp_rate=2000.0,
    )
    night = simulate_night(camera, tmp_path, scenario="dither", frames=2, seed=1, **FEW)
    with fits.open(night.raw_dir / "m001.fits") as hdus:
        assert len(hdus) == 5 and hdus[4].shape == (1, 128, 96) and hdus[1].header["BITPIX"] == 16
    assert load_night(tmp_path) == night
    x0, x1 = night.positions("m001.fits", 0)[0], night.positions("m001.fits", 1)[0]
    np.testing.assert_allclose(x0 - x1, 140.0, atol=1e-6)
    assert [frame.kind for frame in night.frames.values()].count("dark") == 4


def test_a_camera_that_averages_its_coadds(tmp_path):
    """The same light as in one that sums them, divided by their number in the file."""
    from dataclasses import replace

    camera = simulation(64)
    camera = replace(camera, bitpix=-32, settings={k: replace(s, coadds=4) for k, s in camera.settings.items()})
    summed = simulate_night(camera, tmp_path / "sum", frames=2, seed=1, **FEW)
    mean = simulate_night(replace(camera, averaged=True), tmp_path / "mean", frames=2, seed=1, **FEW)
    assert load_night(tmp_path / "mean") == mean
    file = mean.groups["offset"].objects[0]
    np.testing.assert_allclose(mean.raw(file), summed.raw(file), rtol=1e-6)
    with fits.open(summed.raw_dir / file) as one, fits.open(mean.raw_dir / file) as other:
        np.testing.assert_array_equal(one[1].data, other[1].data * 4)


def test_wrong_words_are_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown scenario 'nod'"):
        simulate_night(simulation(), tmp_path, scenario="nod")
    with pytest.raises(TypeError, match="driftt"):
        simulate_night(simulation(), tmp_path, driftt=0.1)


def test_a_number_of_frames_is_shared_between_target_and_sky(tmp_path):
    night = simulate_night(simulation(), tmp_path, scenario="offset", frames=3, size=256, **FEW)
    assert (len(night.groups["offset"].objects), len(night.groups["offset"].skies)) == (2, 1)
