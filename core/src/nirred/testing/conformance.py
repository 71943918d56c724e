"""The tests that every plugin passes: subclass `PluginConformance`, name the plugin, inherit them all.

from nirred.testing.conformance import PluginConformance

class TestNiri(PluginConformance):
    plugin = "niri"
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields
from datetime import datetime
from importlib.metadata import entry_points
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import pytest

from ..errors import PluginError, Unclaimed
from ..fitness import refuse_unfit
from ..headers import Headers
from ..packages import HEAVY, SLOW_IMPORT
from ..plugin.frames import Claim, Descriptors, Detector, Exposure, PlaneWcs, Role
from ..plugin.recipes import Recipe, RecipePatch
from ..plugin.rules import CalibrationRule, MaskInput, seconds
from ..registry import GROUP, Registry
from .headers import headers_from_text

if TYPE_CHECKING:
    from .night import Night
    from .pytest_plugin import ReducedNight

OFFSET_ERROR = 0.1  # px
BAD_FOUND, GOOD_LOST, BLIND = 0.9, 0.005, 0.1  # shares of pixels, of light
#: Tolerances for one night: excess of a figure over its bar, in units of its error; number of left-over objects.
LUCK = 4.0
LEFTOVERS = 2
#: For five frames of 256 x 256 pixels: (figure of `Accuracy`, required value, tolerance).
SMALL_BARS = (("flux_bias", 0.0, 1.0), ("fwhm_ratio", 1.0, 0.05), ("background", 0.0, 0.1))
DAMAGE = ("'?#\"%'", "''", "", "-1", "1E300", "NaN", "T", "'2011-99-99'", "99:99:99", "(1,2)")
_AMOUNTS = ("exposure_time", "gain", "read_noise", "saturation_level", "non_linear_level", "pixel_scale", "airmass")
_RANGES = {"dec": (-90.0, 90.0), "ra": (0.0, 360.0), "coadds": (1, math.inf)}
_RANGES |= dict.fromkeys(_AMOUNTS, (0.0, math.inf))


def ask_all(registry: Registry, plugin: str, headers: Headers) -> dict[str, Any]:
    """Ask a plugin every question about a header; {hook: answer}.

    Raises
    ------
    PluginError
        A hook raised.
    """
    hooks = ("tags", "describe", "detectors", "wcs", "exposures", "footprint")
    answers = {h: registry.ask(plugin, f"nirred_{h}", headers=headers) for h in ("claim", *hooks)}
    given = {"tags": answers["tags"] or frozenset(), "descriptors": answers["describe"]}
    answers["defaults"] = registry.ask(plugin, "nirred_step_defaults", step="associate_sky", **given)
    return answers


def damaged(example: str) -> Iterator[tuple[str, str]]:
    """(description, text) of an example header with one card at a time dropped, garbled or emptied."""
    lines = example.splitlines()
    for k, line in enumerate(lines):
        if "=" not in line[:10]:
            continue
        before, after = lines[:k], lines[k + 1 :]
        yield f"without {line[:8]}", "\n".join([*before, *after])
        for value in DAMAGE:
            yield f"{line[:8]}= {value}", "\n".join([*before, f"{line[:8]}= {value}", *after])
    yield "first card alone", lines[0] if lines else ""


class PluginConformance:
    """Tests of one plugin; a subclass names it in `plugin`, as in the entry-point group `nirred.plugins`."""

    plugin: ClassVar[str] = ""

    def owner(self, registry: Registry) -> str:
        """The plugin that owns the frames: this one, or for an add-on package the camera's own."""
        return next((n for n in (self.plugin, *registry.names) if registry.found[n].instruments), self.plugin)

    def need_instrument(self, registry: Registry) -> None:
        """Skip a test that an add-on package for somebody else's camera cannot fail."""
        if self.owner(registry) != self.plugin:
            pytest.skip(f"an add-on package for {self.owner(registry)}")

    def headers(self, registry: Registry) -> list[Headers]:
        """The example headers of the plugin, or of the camera that it adds to."""
        return [headers_from_text(text) for _, instrument in registry.instruments() for text in instrument.examples]

    def night_headers(self, night: Night) -> list[Headers]:
        """Headers of one raw frame of each kind."""
        return [Headers.read(night.raw_dir / name) for name in {f.kind: n for n, f in night.frames.items()}.values()]

    # -- the package ----------------------------------------------------------------------------------------------
    def test_import_is_light(self) -> None:
        """The plugin is imported at every start of every command: soon, and numpy, astropy and the like later."""
        module = next(point.module for point in entry_points(group=GROUP) if point.name == self.plugin)
        code = (
            "import sys, time, importlib, nirred.registry; before = set(sys.modules); start = time.process_time();"
            f"importlib.import_module({module!r}); print(time.process_time() - start,"
            f"*[m for m in {HEAVY!r} if m in sys.modules and m not in before])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr.strip().split("\n")[-1]
        seconds, *heavy = done.stdout.split("\n")[-2].split()
        assert not heavy, f"imports {', '.join(heavy)}: do it in the functions that need them"
        assert float(seconds) <= SLOW_IMPORT, f"takes {float(seconds):.1f} s of CPU to import"

    def test_is_accepted(self, nirred_registry: Registry) -> None:
        """API version, hooks, instruments, steps, recipes, masks and executors fit this nirred."""
        found = nirred_registry.found
        assert self.plugin in found, f"no entry point {self.plugin!r} in the group {GROUP}"
        refuse_unfit(nirred_registry)
        assert found[self.plugin].error == "", found[self.plugin].error
        lacking = (
            "it brings no instrument, nor names one of an installed plugin in for_tags: implement nirred_instruments"
        )
        assert found[self.owner(nirred_registry)].instruments, lacking
        assert nirred_registry.faults == {}, nirred_registry.complaints()[0]

    def test_hooks_are_documented(self, nirred_registry: Registry) -> None:
        """Each hook that the plugin implements says in a docstring what it does here."""
        plugin = nirred_registry.manager.get_plugin(self.plugin)
        hooks = [n for n in dir(plugin) if n.startswith("nirred_") and hasattr(getattr(plugin, n), "nirred_impl")]
        silent = [name for name in hooks if not (getattr(plugin, name).__doc__ or "").strip()]
        assert hooks, "it implements no hook"
        assert not silent, f"no docstring: {', '.join(silent)}"

    # -- claims ---------------------------------------------------------------------------------------------------
    def test_claims_its_examples_alone(self, nirred_registry: Registry) -> None:
        """Each example is claimed by this plugin, for an instrument of its own, and by no other installed one."""
        self.need_instrument(nirred_registry)
        everyone = Registry.discover()
        names = nirred_registry.found[self.plugin].instruments
        examples = self.headers(nirred_registry)
        assert examples, "an instrument without examples cannot be checked"
        for headers in examples:
            owner, claim = everyone.claim(headers)
            assert owner == self.plugin, f"an example is claimed by {owner}"
            assert claim.instrument in names, f"claimed for {claim.instrument!r}, which it does not bring"
            others = [n for n in everyone.names if n != self.plugin]
            too = [n for n in others if everyone.ask(n, "nirred_claim", headers=headers) is not None]
            assert not too, f"an example is claimed by {', '.join(too)}, too"

    def test_claims_nothing_else(self, nirred_registry: Registry) -> None:
        """Neither other plugins' examples nor an empty header."""
        self.need_instrument(nirred_registry)
        others = [i for name, i in Registry.discover().instruments() if name != self.plugin]
        strange = [headers_from_text(text) for i in others for text in i.examples]
        for headers in [*strange, headers_from_text(""), headers_from_text("SIMPLE  = T")]:
            try:
                nirred_registry.claim(headers)
            except Unclaimed:
                continue
            raise AssertionError(f"claims a frame of {headers.get('INSTRUME') or 'nobody'}")

    # -- what it says of frames -----------------------------------------------------------------------------------
    def test_damaged_headers_raise_nothing(self, nirred_registry: Registry) -> None:
        """Every card of every example dropped, garbled or emptied: the answers stay of the right kind."""
        for _, instrument in nirred_registry.instruments():
            for example in (*instrument.examples, ""):
                for what, text in damaged(example):
                    try:
                        answers = ask_all(nirred_registry, self.owner(nirred_registry), headers_from_text(text))
                    except PluginError as error:
                        raise AssertionError(f"{what}: {error.message}") from error
                    self.check_answers(answers, what)

    def check_answers(self, answers: dict[str, Any], what: str) -> None:
        """Types and ranges of a plugin's answers."""
        assert answers["claim"] is None or isinstance(answers["claim"], Claim), what
        assert isinstance(answers["describe"], Descriptors), what
        check_descriptors(answers["describe"], what)
        assert all(isinstance(d, Detector) for d in answers["detectors"]), what
        assert all(isinstance(w, PlaneWcs) for w in answers["wcs"] or ()), what
        assert all(isinstance(e, Exposure) for e in answers["exposures"] or ()), what
        assert all(t == t.upper() for t in answers["tags"]), what

    def test_tags(self, nirred_registry: Registry, nirred_night: Night) -> None:
        """Upper case, and the instrument's name is among them."""
        for headers in [*self.headers(nirred_registry), *self.night_headers(nirred_night)]:
            answers = ask_all(nirred_registry, self.owner(nirred_registry), headers)
            assert answers["claim"].instrument.upper() in answers["tags"], "the instrument is not among the tags"
            assert all(isinstance(t, str) and t == t.upper() and t.strip() for t in answers["tags"])

    def test_raw_frames_are_described(self, nirred_registry: Registry, nirred_night: Night) -> None:
        """Raw frames have a time, an exposure and a role; detectors are complete and say what the descriptors say."""
        for headers in self.night_headers(nirred_night):
            answers = ask_all(nirred_registry, self.owner(nirred_registry), headers)
            told = answers["describe"]
            self.check_answers(answers, str(headers.path))
            name = str(headers.path and headers.path.name)
            assert told.role != "other", f"{name}: role other"
            for field in ("ut_datetime", "exposure_time", "instrument", "configuration"):
                assert getattr(told, field) not in (None, "", ()), f"{name}: no {field}"
            count = len(nirred_night.detectors)
            assert len(answers["detectors"]) == count, f"{name}: {len(answers['detectors'])} detectors, {count} planes"
            for detector in answers["detectors"]:
                assert detector.shape == headers.image.shape[-2:], f"{name}: shape {detector.shape}"  # type: ignore[union-attr]
                for field in ("gain", "read_noise", "saturation"):
                    assert getattr(detector, field), f"{name}: a detector without {field}"
                assert detector.coadds == told.coadds, f"{name}: coadds of detector and descriptors differ"

    def test_wcs(self, nirred_registry: Registry, nirred_night: Night) -> None:
        """Science frames of the night: one valid WCS per plane, of the scale that the descriptors give."""
        for name in nirred_night.groups["dither"].objects:
            headers = Headers.read(nirred_night.raw_dir / name)
            planes = registry_wcs(nirred_registry, self.owner(nirred_registry), headers)
            scale = nirred_registry.ask(self.owner(nirred_registry), "nirred_describe", headers=headers).pixel_scale
            assert len(planes) == len(nirred_night.detectors), f"{name}: {len(planes)} WCS"
            for plane in planes:
                assert plane.sigma_arcsec > 0, f"{name}: sigma_arcsec = {plane.sigma_arcsec}"
                assert plane.origin in ("header", "pointing", "rebuilt"), f"{name}: origin {plane.origin!r}"
                (ra, dec), (ra1, dec1) = plane.wcs.wcs_pix2world([[10, 10], [10, 11]], 0)
                step = math.hypot((ra1 - ra) * math.cos(math.radians(dec)), dec1 - dec) * 3600
                assert step == pytest.approx(scale, rel=0.02), f"{name}: {step} arcsec per pixel, pixel_scale {scale}"

    # -- recipes, rules, masks, parameters ------------------------------------------------------------------------
    def test_recipes_resolve(self, nirred_registry: Registry, nirred_night: Night) -> None:
        """Every recipe is made of known steps, every patch fits, for the tags of every raw frame."""
        from ..recipes import all_recipes, recipe_for, step_types

        steps = step_types(nirred_registry)
        for headers in [*self.headers(nirred_registry), *self.night_headers(nirred_night)]:
            tags = nirred_registry.ask(self.owner(nirred_registry), "nirred_tags", headers=headers)
            for name in all_recipes(nirred_registry):
                assert {call.step for call in recipe_for(name, nirred_registry, tags).steps} <= set(steps)
        bases = {r.base for _, r in nirred_registry.recipes() if isinstance(r, RecipePatch)}
        assert bases <= set(all_recipes(nirred_registry))

    def test_rules_name_descriptors(self, nirred_registry: Registry, nirred_night: Night) -> None:
        """Rules compare descriptors that this plugin gives, within times that can be read."""
        every = [*self.headers(nirred_registry), *self.night_headers(nirred_night)]
        told = [nirred_registry.ask(self.owner(nirred_registry), "nirred_describe", headers=h) for h in every]
        known = {name for d in told for name in d.names()}
        for _, rule in nirred_registry.rules():
            named = {m.descriptor for m in rule.match} | set(rule.rank) | ({rule.scale_by} - {""})
            assert named <= known, f"rule {rule.kind}: no descriptor {', '.join(sorted(named - known))}"
            assert rule.for_tags, f"rule {rule.kind}: for frames of every camera; name the instrument in for_tags"
            assert all(seconds(t) > 0 for t in (rule.within, rule.remark_beyond) if t is not None)
            assert all(tag == tag.upper() for tag in rule.for_tags | rule.not_tags | rule.candidate_tags)

    def test_rules_can_be_satisfied(self, nirred_reduced: ReducedNight) -> None:
        """In its own night the plugin's rules find dark, flat and mask, and pair the lamps."""
        for task in nirred_reduced.result.record["tasks"]:
            given = {entry["kind"] for entry in task["calibrations"]}
            missing = [entry["reason"] for entry in task.get("missing", ())]
            assert not missing, f"{task['id']}: {missing[0]}"
            if task["id"] == nirred_reduced.night.groups["dither"].product.removesuffix(".fits"):
                assert {"flat"} <= given, f"{task['id']}: no rule asks for a flat"

    def test_masks_compute(self, nirred_registry: Registry, nirred_night: Night) -> None:
        """Every mask computes a boolean plane of the detector's shape."""
        import numpy as np

        headers = Headers.read(nirred_night.raw_dir / nirred_night.groups["dither"].objects[0])
        answers = ask_all(nirred_registry, self.owner(nirred_registry), headers)
        shape = answers["detectors"][0].shape
        images = tuple(np.full(shape, 100.0, np.float32) for _ in range(3))
        for _, spec in nirred_registry.masks():
            shown = images if spec.scope != "detector" else ()
            bad = tuple(np.zeros(shape, np.uint8) for _ in shown)
            given = MaskInput(shape, answers["describe"], answers["tags"], shown, bad=bad)
            mask = spec.compute(given, spec.parameters)
            assert mask.shape == shape, spec.name
            assert mask.dtype == np.bool_, spec.name
            assert 0 < spec.bit < 1 << 16

    def test_step_defaults_validate(self, nirred_registry: Registry, nirred_night: Night) -> None:
        """Parameters that the plugin changes exist and are in range."""
        from ..params import Setting, resolve
        from ..recipes import step_types

        for headers in self.night_headers(nirred_night):
            answers = ask_all(nirred_registry, self.owner(nirred_registry), headers)
            given = {"tags": answers["tags"], "descriptors": answers["describe"]}
            for name, step in step_types(nirred_registry).items():
                values = (
                    nirred_registry.ask(self.owner(nirred_registry), "nirred_step_defaults", step=name, **given) or {}
                )
                settings = [Setting(name, key, value, self.plugin) for key, value in values.items()]
                resolve(name, step.Params, settings)

    def test_contract_objects_pickle(self, nirred_registry: Registry, nirred_night: Night) -> None:
        """What goes to worker processes arrives: a lambda in a rule or mask would not."""
        things: list[Any] = [i for _, i in nirred_registry.instruments()]
        things += [r for _, r in nirred_registry.recipes() if isinstance(r, (Recipe, RecipePatch))]
        things += [r for _, r in nirred_registry.rules() if isinstance(r, CalibrationRule)]
        things += [m for _, m in nirred_registry.masks()]
        for headers in self.night_headers(nirred_night):
            answers = ask_all(nirred_registry, self.owner(nirred_registry), headers)
            things += [answers[k] for k in ("claim", "tags", "describe", "detectors", "wcs", "exposures")]
        for thing in things:
            again = ForkingPickler.loads(ForkingPickler.dumps(thing))
            assert type(again) is type(thing)

    # -- a whole night --------------------------------------------------------------------------------------------
    def test_night_is_reduced(self, nirred_reduced: ReducedNight) -> None:
        """All groups done, the expected products made, every file with a fate and every target frame used."""
        night, result = nirred_reduced.night, nirred_reduced.result
        unused = (f"{e['file']}: {e['fate']}, {e['reason']}" for e in result.record["files"] if e["fate"] != "used")
        assert result.exit_code == 0, "; ".join(result.messages) or next(unused, f"exit code {result.exit_code}")
        wanted = {night.groups["dither"].product, *night.products.values()}
        lacking = sorted(wanted - set(result.output_filenames))
        assert not lacking, f"not made: {', '.join(lacking)}"
        assert all((nirred_reduced.out / name).is_file() for name in wanted)
        fates = {entry["file"].rsplit("/", 1)[-1]: entry["fate"] for entry in result.record["files"]}
        assert set(fates) == set(night.frames)
        idle = [f"{name} {fates[name]}" for name in night.groups["dither"].objects if fates[name] != "used"]
        assert not idle, f"not used: {', '.join(idle)}"

    def test_bad_pixels_are_found(self, nirred_reduced: ReducedNight) -> None:
        """The night's mask holds the pixels that are all but blind or very hot in truth, and few that are good."""
        from ..fitsio import read_mask
        from .detector_sim import load_truth

        night = nirred_reduced.night
        if "bpm" not in night.products:
            pytest.skip("its night has no lamp frames to make a mask of")
        masks = read_mask(nirred_reduced.out / night.products["bpm"])
        for k, mask in enumerate(masks):
            truth, flagged = load_truth(night.truth_dir / f"detector{k}.npz"), mask != 0
            blind, hot = truth.flat < BLIND, truth.flat > 1 - BLIND  # a bad pixel that has its light is a hot one
            useless = truth.bad & (truth.noisy == 0) & (truth.flat > 0) & (blind | hot)
            found, false = flagged[useless].mean(), flagged[~truth.bad].mean()
            assert found >= BAD_FOUND, f"plane {k}: {found:.0%} of its bad pixels found; check make_bpm's thresholds"
            assert false <= GOOD_LOST, f"plane {k}: {false:.1%} of its good pixels flagged; check make_bpm's thresholds"

    def test_offsets_are_true(self, nirred_reduced: ReducedNight) -> None:
        """Reported offsets agree with the truth to a tenth of a pixel."""
        from astropy.io import fits

        night = nirred_reduced.night
        with fits.open(nirred_reduced.out / night.groups["dither"].product) as hdus:
            rows = [(r["file"].strip(), float(r["xoff"]), float(r["yoff"])) for r in hdus["FRAMES"].data]
            reference = str(hdus["FRAMES"].header["REFFRAME"]).strip()
        assert len(rows) == len(night.groups["dither"].objects)
        for name, x, y in rows:
            true = night.offset(name, reference)
            wrong = math.hypot(x - true[0], y - true[1])
            assert wrong < OFFSET_ERROR, f"{name}: {wrong:.2f} pixels off; check the WCS and the pixel scale"

    def test_small_night_is_accurate(self, nirred_reduced: ReducedNight) -> None:
        """Fluxes, width of stars and background of the small stack agree with those of the night's oracle stack."""
        from .accuracy import measure

        night = nirred_reduced.night
        found = measure(nirred_reduced.out / night.groups["dither"].product, night, "dither")
        for name, wanted, room in SMALL_BARS:
            figure = getattr(found, name)
            if math.isfinite(figure.value) and math.isfinite(figure.error):
                far = abs(figure.value - wanted)
                assert far <= room + LUCK * figure.error, f"{name} = {figure.value:.4g}, wanted {wanted} +- {room}"

    @pytest.mark.slow
    def test_night_meets_the_bars(self, nirred_full: ReducedNight) -> None:
        """Nine dithered frames of full size: every figure of `nirred demo`'s table within its bar."""
        from .accuracy import measure
        from .bars import missed

        product = nirred_full.out / nirred_full.night.groups["dither"].product
        assert product.is_file(), f"{product.name} was not made: {'; '.join(nirred_full.result.messages)}"
        worst = missed(measure(product, nirred_full.night, "dither"), LUCK, LEFTOVERS)
        assert not worst, "; ".join(worst)


def registry_wcs(registry: Registry, plugin: str, headers: Headers) -> tuple[PlaneWcs, ...]:
    """The plugin's WCS of a frame, () where it has none."""
    return tuple(registry.ask(plugin, "nirred_wcs", headers=headers) or ())


def check_descriptors(told: Descriptors, what: str) -> None:
    """Types as declared, numbers finite, each in the range that it can have."""
    for f in fields(Descriptors):
        value: Any = getattr(told, f.name)
        if f.name in ("extra", "pretty", "configuration"):
            continue
        kinds = _kinds(str(f.type), optional=f.default is None or f.default is MISSING)
        assert isinstance(value, kinds), f"{what}: {f.name} = {value!r}"
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            low, high = _RANGES.get(f.name, (-math.inf, math.inf))
            assert math.isfinite(value), f"{what}: {f.name} = {value!r}"
            assert low <= value <= high, f"{what}: {f.name} = {value!r}"
    assert told.role in get_args(Role), what


def _kinds(annotation: str, *, optional: bool) -> tuple[type, ...]:
    """Classes that a field of Descriptors may have, by its annotation."""
    named = {"str": str, "Role": str, "float": float, "int": int, "bool": bool, "datetime": datetime}
    found = [named[part.strip()] for part in annotation.split("|") if part.strip() in named]
    return (*found, *((int,) if float in found else ()), *((type(None),) if optional else ()))
