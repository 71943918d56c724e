"""The skeleton passes the conformance kit as generated; each check of the kit fails for a plugin with that fault."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from string import Template
from types import ModuleType
from typing import Any

import pytest

from nirred.cli import main
from nirred.errors import ConfigError, PluginError
from nirred.plugin import MaskSpec, hookimpl
from nirred.registry import Registry
from nirred.testing.checks import check_plugin, in_directory
from nirred.testing.conformance import PluginConformance
from nirred.testing.pytest_plugin import ReducedNight, camera_of
from nirred.testing.scaffold import check_name, new_plugin
from nirred.testing.simulate import simulate_night

TEMPLATE = files("nirred.testing") / "skeleton" / "plugin.py.template"
SOURCE = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(name="mycam", NAME="MYCAM")
CODE_LINES = 60


class Kit(PluginConformance):
    plugin = "mycam"


def registry_of(*changes: tuple[str, str]) -> Registry:
    """The skeleton, with some of its text replaced."""
    text = SOURCE
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    module = ModuleType("nirred_mycam")
    exec(compile(text, "mycam", "exec"), vars(module))
    registry = Registry()
    registry.add(module, "mycam", "nirred-mycam", "0.1")
    return registry


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Any:
    camera = registry_of().simulations()["mycam"]
    few = {"darks": 3, "short_darks": 3, "lamps_on": 3, "lamps_off": 3, "density": 3000.0}
    return simulate_night(camera, tmp_path_factory.mktemp("night"), scenario="dither", frames=4, size=256, **few)


def reduced(night: Any, registry: Registry, out: Any) -> ReducedNight:
    from nirred.run.api import RunOptions, run

    return ReducedNight(night, out, run([night.raw_dir], out, RunOptions(jobs=1), registry))


def code_lines(text: str) -> int:
    """Lines that are neither blank, comment nor docstring."""
    lines = [line.strip() for line in text.splitlines()]
    return sum(bool(line) and not line.startswith(("#", '"""')) for line in lines)


def test_the_skeleton_is_small() -> None:
    assert code_lines(SOURCE) <= CODE_LINES


def test_the_skeleton_passes_as_generated(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "nirred-mycam"
    assert main(["plugins", "new", "mycam", "-o", str(home)]) == 0
    assert (home / "src" / "nirred_mycam" / "py.typed").is_file()
    done = subprocess.run(
        [sys.executable, "-m", "nirred", "plugins", "check", str(home), "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('"passed"') >= 18 and '"failed"' not in done.stdout
    assert main(["plugins", "new", "mycam", "-o", str(home)]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err


def test_a_bad_plugin_ends_with_3_and_says_what_is_wrong(tmp_path: Any) -> None:
    home = tmp_path / "nirred-mycam"
    new_plugin("mycam", home, Registry())
    path = home / "src" / "nirred_mycam" / "__init__.py"
    path.write_text("import numpy\n" + path.read_text().replace("NIRRED_API = (1, 0)", "NIRRED_API = (9, 0)"))
    done = subprocess.run(
        [sys.executable, "-m", "nirred", "plugins", "check", str(home)], capture_output=True, text=True
    )
    assert done.returncode == 3
    assert "API 9.0" in done.stdout and "imports numpy" in done.stdout


@pytest.mark.parametrize("name", ["", "1cam", "My", "my-cam", "class", "a" * 40, "../cam", "niri", "emir"])
def test_names_that_cannot_be(name: str, tmp_path: Any) -> None:
    with pytest.raises(ConfigError):
        check_name(name, Registry())
    with pytest.raises(ConfigError):
        new_plugin(name, tmp_path / "new", Registry())
    assert not (tmp_path / "new").exists()


def test_what_cannot_be_checked(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match="no installed plugin"):
        check_plugin("nosuch")
    with pytest.raises(ConfigError, match="no pyproject"):
        check_plugin(str(tmp_path))


@pytest.mark.parametrize(("tag", "camera"), [("NIRI", "niri"), ("NOCAM", "")])
def test_an_add_on_package_is_tried_with_the_camera_that_it_names(tag: str, camera: str) -> None:
    class AddOn:
        """It brings a mask alone."""

        NIRRED_API = (1, 0)

        @hookimpl
        def nirred_masks(self) -> Any:
            """One for somebody else's camera."""
            return [MaskSpec("rows", 1, "detector", frozenset({tag}), print)]

    class AddOnKit(PluginConformance):
        plugin = "addon"

    registry = Registry.discover(only=["niri"])
    registry.add(AddOn(), "addon", "nirred-addon")
    alone = Registry()
    alone.add(AddOn(), "addon", "nirred-addon")
    assert camera_of("addon", alone) == camera
    assert camera_of("niri", registry) == camera_of("nosuch", registry) == ""
    assert AddOnKit().owner(registry) == "niri" and AddOnKit().owner(alone) == "addon"
    AddOnKit().test_is_accepted(registry)
    with pytest.raises(pytest.skip.Exception, match="add-on package for niri"):
        AddOnKit().test_claims_its_examples_alone(registry)
    with pytest.raises(AssertionError, match="nor names one"):
        AddOnKit().test_is_accepted(alone)


#: {check: (text of the skeleton, its replacement)}.
HEADERS = {
    "test_is_accepted": ("NIRRED_API = (1, 0)", "NIRRED_API = (2, 0)"),
    "test_hooks_are_documented": ('"""Words by which rules and recipes choose frames."""', "pass"),
    "test_claims_nothing_else": ('if headers.text("INSTRUME") == "MYCAM"', 'if "SIMPLE" in headers.primary'),
    "test_damaged_headers_raise_nothing": ('headers.number("EXPTIME", 0)', 'float(headers.get("EXPTIME"))'),
}
NIGHT = {
    "test_tags": ('{"MYCAM", "DARK"', '{"DARK"'),
    "test_raw_frames_are_described": ('headers.time("DATE-OBS")', "None"),
    "test_wcs": ("SCALE, POINTING = (1024, 1024), 0.2, 0.3", "SCALE, POINTING = (1024, 1024), 0.3, 0.3"),
    "test_rules_name_descriptors": ('api.Match("filter_name")', 'api.Match("filter_colour")'),
    "test_contract_objects_pickle": ("optional=True, before_only=True)", "when=lambda t, d: True)"),
    "test_recipes_resolve": (
        "def raw(",
        "@hookimpl\ndef nirred_recipes():\n    return [api.RecipePatch('reduec', frozenset({'MYCAM'}))]\n\n\ndef raw(",
    ),
    "test_step_defaults_validate": (
        "def raw(",
        "@hookimpl\ndef nirred_step_defaults(step):\n    return {'tim': 3}\n\n\ndef raw(",
    ),
    "test_masks_compute": (
        "def raw(",
        "@hookimpl\ndef nirred_masks():\n    import numpy as np\n"
        "    return [api.MaskSpec('d', 64, 'detector', frozenset({'MYCAM'}), lambda g, p: np.zeros(3, bool))]\n\n\n"
        "def raw(",
    ),
}
#: Further ways to fail a check.
MORE = (
    ("test_raw_frames_are_described", "Detector((ny, nx), GAIN,", "Detector((ny, nx), None,", "without gain"),
    (
        "test_raw_frames_are_described",
        "GAIN, READ_NOISE, SATURATION, NON_LINEAR)",
        "GAIN, READ_NOISE, None)",
        "without saturation",
    ),
    (
        "test_raw_frames_are_described",
        "for *_, ny, nx in shapes]",
        "for *_, ny, nx in 2 * shapes]",
        "2 detectors, 1 planes",
    ),
    ("test_raw_frames_are_described", "pixel_scale=SCALE", "pixel_scale=float('nan')", "pixel_scale = nan"),
    ("test_raw_frames_are_described", "pixel_scale=SCALE", "pixel_scale=SCALE, airmass=-1.0", "airmass = -1"),
    ("test_raw_frames_are_described", 'headers.text("OBSTYPE"), "other")', '"", "other")', "role other"),
    ("test_wcs", "PlaneWcs(wcs, POINTING)", "PlaneWcs(wcs, 0.0)", "sigma_arcsec = 0"),
    ("test_wcs", "[api.PlaneWcs(wcs, POINTING)]", "2 * [api.PlaneWcs(wcs, POINTING)]", "2 WCS"),
    ("test_rules_name_descriptors", '"bpm", image, optional', '"bpm", frozenset(), optional', "frames of every camera"),
    (
        "test_step_defaults_validate",
        "def raw(",
        "@hookimpl\ndef nirred_step_defaults(step):\n"
        "    return {'flat_lo_thresh': 3} if step == 'make_bpm' else {}\n\n\ndef raw(",
        "flat_lo_thresh",
    ),
    (
        "test_masks_compute",
        "def raw(",
        "@hookimpl\ndef nirred_masks():\n    import numpy as np\n"
        "    return [api.MaskSpec('d', 64, 'detector', frozenset({'MYCAM'}), lambda g, p: np.ones(g.shape))]\n\n\n"
        "def raw(",
        "d",
    ),
)
TIE = (
    "def raw(",
    "@hookimpl\ndef nirred_recipes():\n    return 2 * [api.Recipe('mine', (api.S('prepare'),))]\n\n\ndef raw(",
)
REDUCED = {
    "test_night_is_reduced": ('filters, "180 d", not_tags=flat', 'filters, "1 s", not_tags=flat'),
    "test_rules_can_be_satisfied": (
        '(api.Match("exposure_time", tol=0.01),)',
        '(api.Match("data_label"), api.Match("ut_datetime"))',
    ),
    "test_bad_pixels_are_found": (
        "def raw(",
        "@hookimpl\ndef nirred_step_defaults(step):\n"
        "    return {'dark_hi_thresh': 1e9} if step == 'make_bpm' else {}\n\n\ndef raw(",
    ),
}
#: Checks that fail in `test_fails_on_the_product`.
ON_PRODUCTS = ("test_offsets_are_true", "test_small_night_is_accurate", "test_night_meets_the_bars")


def test_every_check_is_seen_to_fail() -> None:
    checks = {n for n in dir(PluginConformance) if n.startswith("test_")}
    elsewhere = {"test_import_is_light", "test_claims_its_examples_alone"}
    assert checks == {*HEADERS, *NIGHT, *REDUCED, *elsewhere, *ON_PRODUCTS}


@pytest.mark.parametrize("check", HEADERS)
def test_fails_on_headers(check: str) -> None:
    getattr(Kit(), check)(registry_of())
    with pytest.raises(AssertionError) as caught:
        getattr(Kit(), check)(registry_of(HEADERS[check]))
    assert len(str(caught.value)) > 5


@pytest.mark.parametrize("check", NIGHT)
def test_fails_on_a_night(check: str, night: Any) -> None:
    if check != "test_contract_objects_pickle":  # the module of this test cannot be imported again
        getattr(Kit(), check)(registry_of(), night)
    with pytest.raises(Exception) as caught:
        getattr(Kit(), check)(registry_of(NIGHT[check]), night)
    assert not isinstance(caught.value, (TypeError, KeyError)), caught.value
    assert len(str(caught.value)) > 5


@pytest.mark.parametrize(("check", "old", "new", "said"), MORE)
def test_fails_in_other_ways_on_a_night(check: str, old: str, new: str, said: str, night: Any) -> None:
    with pytest.raises((AssertionError, ConfigError, PluginError)) as caught:
        getattr(Kit(), check)(registry_of((old, new)), night)
    assert said in str(caught.value)


def test_fails_where_two_recipes_have_one_name() -> None:
    with pytest.raises(AssertionError, match="'mine' is already brought by"):
        Kit().test_is_accepted(registry_of(TIE))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import numpy", "imports numpy"),
        ("import time\nwhile time.process_time() < 2.5: pass", "s of CPU to import"),
        ("import no_such_module", "no_such_module"),
    ],
)
def test_fails_where_the_import_is_heavy_or_slow(line: str, said: str, tmp_path: Any) -> None:
    home = tmp_path / "nirred-mycam"
    new_plugin("mycam", home, Registry())
    with in_directory(home):
        Kit().test_import_is_light()
        path = home / "src" / "nirred_mycam" / "__init__.py"
        path.write_text(f"{line}\n{path.read_text()}")
        with pytest.raises(AssertionError, match=said):
            Kit().test_import_is_light()


def test_fails_where_an_example_is_claimed_twice(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "nirred-mycam"
    new_plugin("mycam", home, Registry())
    with in_directory(home):
        found = Registry.discover(only=["mycam"])
        Kit().test_claims_its_examples_alone(found)
        both = Registry.discover(only=["mycam"])
        twin = registry_of(('"mycam", "MYCAM"', '"twin", "Twin"'), ('Claim("mycam")', 'Claim("twin", -1)'))
        both.add(twin.manager.get_plugin("mycam"), "twin", "nirred-twin")
        monkeypatch.setattr(Registry, "discover", classmethod(lambda cls, only=None: both))
        with pytest.raises(AssertionError, match="claimed by twin, too"):
            Kit().test_claims_its_examples_alone(found)


@pytest.fixture(scope="module")
def good(night: Any, tmp_path_factory: pytest.TempPathFactory) -> ReducedNight:
    return reduced(night, registry_of(), tmp_path_factory.mktemp("good"))


def test_a_good_night_passes(good: ReducedNight) -> None:
    for check in (*REDUCED, *ON_PRODUCTS[:2]):
        getattr(Kit(), check)(good)


@pytest.mark.parametrize("check", REDUCED)
def test_fails_on_the_reduction(check: str, night: Any, tmp_path: Any) -> None:
    with pytest.raises(AssertionError):
        getattr(Kit(), check)(reduced(night, registry_of(REDUCED[check]), tmp_path))


def test_fails_on_the_product(good: ReducedNight, tmp_path: Any) -> None:
    """The offsets and the pixels of the product falsified."""
    from astropy.io import fits

    name = good.night.groups["dither"].product
    with fits.open(good.out / name) as hdus:
        hdus["FRAMES"].data["xoff"][1] += 0.5
        hdus["SCI"].data *= 1.03
        hdus.writeto(tmp_path / name)
    false = ReducedNight(good.night, tmp_path, good.result)
    with pytest.raises(AssertionError, match="pixels off"):
        Kit().test_offsets_are_true(false)
    with pytest.raises(AssertionError, match="wanted"):
        Kit().test_small_night_is_accurate(false)
    with pytest.raises(AssertionError, match="flux bias"):
        Kit().test_night_meets_the_bars(false)
