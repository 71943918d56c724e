from __future__ import annotations

import bz2
import gzip
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from nirred.plan.associate import Source, judge
from nirred.plan.fates import summary
from nirred.plan.scan import names_file, scan, scan_file
from nirred.plugin import Claim, hookimpl
from nirred.provenance import content_digest
from nirred.registry import Registry


class Copied:
    """A plugin that claims the frames of another for an instrument that it has not registered."""

    NIRRED_API = (1, 0)

    def __init__(self, camera: Any, claim: Claim) -> None:
        self.camera, self.claim = camera, claim

    @hookimpl
    def nirred_claim(self, headers: Any) -> Claim | None:
        return self.claim if headers.get("INSTRUME") == "CAM" else None

    @hookimpl
    def nirred_describe(self, headers: Any) -> Any:
        return self.camera.nirred_describe(headers)


def verdicts(night: Any) -> dict[str, tuple[Any, str]]:
    records = scan(sorted(night.folder.iterdir()), night.registry)
    return {r.path.name: (r.verdict, r.reason) for r in records}


def test_each_kind_of_trouble_has_its_verdict(night: Any) -> None:
    night.frame("science", "good.fits")
    night.frame("science", "spec.fits", GRISM=True)
    night.frame("acquisition", "acq.fits")
    night.frame("other", "arc.fits")
    night.frame("science", "odd.fits", MODE="odd")
    night.frame("science", "timeless.fits", EXPTIME=None)
    fits.setval(night.frame("science", "quoted.fits"), "EXPTIME", value="20.0")
    night.frame("science", "done.fits", TAG="PROCESSED")
    night.frame("science", "foreign.fits", INSTRUME="HAL")
    night.frame("science", "raises.fits", RAISE=True)
    (night.folder / "empty.fits").write_bytes(b"")
    (night.folder / "text.fits").write_text("not FITS at all")
    (night.folder / "cut.fits").write_bytes((night.folder / "good.fits").read_bytes()[:3000])
    found = verdicts(night)
    assert found["good.fits"] == (None, "")
    assert found["spec.fits"] == ("unsupported", "spectrum")
    assert found["acq.fits"] == ("unsupported", "acquisition")
    assert found["arc.fits"] == ("unsupported", "not a kind of frame that is reduced (other)")
    assert found["odd.fits"] == ("unsupported", "read mode odd: gain not known")
    said = "its header states no exposure time, or an impossible one"
    assert found["timeless.fits"] == ("unsupported", said)
    assert found["quoted.fits"] == ("unsupported", "its header states an impossible exposure time: EXPTIME = '20.0'")
    assert found["done.fits"][0] == "unsupported" and "--user-cal" in found["done.fits"][1]
    assert found["foreign.fits"][0] == "unclaimed" and "HAL" in found["foreign.fits"][1]
    assert found["raises.fits"][0] == "unreadable"
    assert "nirred-cam" in found["raises.fits"][1] and "nirred_describe" in found["raises.fits"][1]
    assert [found[n][0] for n in ("empty.fits", "text.fits", "cut.fits")] == ["unreadable"] * 3


def test_images_that_are_no_planes_of_a_detector_are_refused_by_the_plan(night: Any) -> None:
    """A plugin that has not thought of cubes: said before any pixel is read."""
    shapes = {"plain.fits": (16, 16), "third.fits": (1, 16, 16), "cube.fits": (3, 16, 16), "wide.fits": (16, 32)}
    for name, shape in shapes.items():
        fits.update(night.frame("science", name), np.zeros(shape, np.int16), fits.getheader(night.folder / name))
    for name, count in (("burst.fits", 3), ("beyond.fits", 4)):
        header = fits.getheader(night.frame("science", name, NCUBE=count))
        fits.update(night.folder / name, np.zeros((3, 16, 16), np.int16), header)
    found = verdicts(night)
    assert [found[n][0] for n in ("plain.fits", "third.fits", "burst.fits")] == [None] * 3
    wanted = "its detector 16 x 16 (nirred_detectors)"
    cube = f"HDU 0 has 16 x 16 x 3 pixels, {wanted}; the exposures of a cube are named by nirred_exposures"
    assert found["cube.fits"] == ("unsupported", cube)
    assert found["wide.fits"] == ("unsupported", f"HDU 0 has 32 x 16 pixels, {wanted}")
    few = "HDU 0 has 16 x 16 x 3 pixels, too few for exposure 4 of the file (nirred_exposures)"
    assert found["beyond.fits"] == ("unsupported", few)


def test_a_claim_for_an_instrument_that_nobody_brings_is_refused(night: Any) -> None:
    """A misspelt name would keep its frames apart from their calibrations."""
    cam = night.registry.manager.get_plugin("cam")
    night.registry.add(Copied(cam, Claim("kam", weight=1)), "copied", "nirred-copied")
    night.frame("science", "a.fits")
    verdict, reason = verdicts(night)["a.fits"]
    assert verdict == "unreadable"
    assert "nirred-copied: nirred_claim names the instrument 'kam', which nirred_instruments does not bring" in reason


def test_an_exposure_time_is_called_impossible_only_if_it_is(night: Any) -> None:
    """A plugin may read it from another keyword than EXPTIME."""
    night.frame("science", "negative.fits", EXPTIME=-2.0)
    found = verdicts(night)
    assert found["negative.fits"] == ("unsupported", "its header states an impossible exposure time: -2 s")


def test_two_claims_are_ambiguous_and_name_both(night: Any, rival: Any) -> None:
    night.registry.add(rival(), "rival", "nirred-rival")
    night.frame("science", "a.fits")
    verdict, reason = verdicts(night)["a.fits"]
    assert verdict == "ambiguous" and "nirred-cam" in reason and "nirred-rival" in reason


@pytest.mark.parametrize("suffix, squeeze", [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_compressed_twin_is_the_duplicate(night: Any, suffix: str, squeeze: Any) -> None:
    path = night.frame("science", "a.fits")
    (night.folder / f"a.fits{suffix}").write_bytes(squeeze(path.read_bytes()))
    shutil.copy(path, night.folder / "z.fits")
    found = verdicts(night)
    assert found["a.fits"][0] is None
    assert found[f"a.fits{suffix}"] == ("duplicate", "same content as a.fits")
    assert found["z.fits"] == ("duplicate", "same content as a.fits")


def test_equal_headers_with_other_pixels_are_no_duplicates(night: Any) -> None:
    path = night.frame("science", "a.fits")
    data = bytearray(path.read_bytes())
    data[-2800] = 7
    (night.folder / "b.fits").write_bytes(data)
    assert {v for v, _ in verdicts(night).values()} == {None}


def test_a_copy_with_a_corrected_header_is_the_duplicate(night: Any) -> None:
    path = night.frame("science", "a.fits")
    shutil.copy(path, night.folder / "b.fits")
    fits.setval(night.folder / "b.fits", "AIRMASS", value=1.5)
    found = verdicts(night)
    assert found["a.fits"][0] is None
    reason = "the pixels of a.fits with another header; leave one out of INPUT to choose"
    assert found["b.fits"] == ("duplicate", reason)


def test_tile_compressed_twin_is_the_duplicate(night: Any) -> None:
    night.frame("science", "a.fits")
    from datetime import timedelta

    night.clock -= timedelta(seconds=30)
    night.frame("science", "a.fits.fz", ZIMAGE=True, ZNAXIS=2, ZNAXIS1=16, ZNAXIS2=16)
    assert verdicts(night)["a.fits.fz"] == ("duplicate", "tile-compressed copy of a.fits")


def test_damaged_twin_is_unreadable(night: Any) -> None:
    path = night.frame("science", "a.fits")
    (night.folder / "a.fits.gz").write_bytes(gzip.compress(path.read_bytes())[:-30])
    assert verdicts(night)["a.fits.gz"][0] == "unreadable"
    assert verdicts(night)["a.fits"][0] is None


@pytest.mark.parametrize("kind", ["dark", "image"])
def test_own_product_keeps_its_kind_and_frame(night: Any, kind: str) -> None:
    night.frame("dark", f"x_{kind}.fits", NIRRED="0.1.0", NIRKIND=kind, TAG="PROCESSED")
    (record,) = scan(list(night.folder.iterdir()), night.registry)
    assert (record.verdict, record.product, len(record.frames)) == ("product", kind, 1)
    assert summary(record) == ("product", f"{kind} made by nirred")


def test_digest_ignores_compression_and_names_match_parts_and_patterns(night: Any) -> None:
    path = night.frame("science", "N1.fits")
    squeezed = night.folder / "N1.fits.gz"
    squeezed.write_bytes(gzip.compress(path.read_bytes()))
    assert content_digest(path) == content_digest(squeezed)
    assert names_file("N1.fits", squeezed) and names_file("N*", path) and names_file("1", path)
    assert not names_file("N2", path) and not names_file("", path)


def test_images_are_counted_where_that_is_cheap(night: Any) -> None:
    for name in ("two.fits", "packed.fits", "mask.fits"):
        path = night.frame("bpm" if name == "mask.fits" else "science", name)
        fits.append(path, np.zeros((16, 16), np.int16))
    night.frame("dark", "none.fits", NAXIS=0)
    night.frame("science", "cube.fits", NCUBE=2, NAXIS=3, NAXIS3=2)
    packed = night.folder / "packed.fits"
    packed.with_suffix(".fits.gz").write_bytes(gzip.compress(packed.read_bytes()))
    packed.unlink()
    found = verdicts(night)
    assert found["two.fits"] == ("unsupported", "2 images, 1 expected")
    assert found["none.fits"] == ("unsupported", "no image in it")
    assert [found[n] for n in ("packed.fits.gz", "mask.fits", "cube.fits")] == [(None, "")] * 3


def test_a_file_cut_behind_its_first_image(night: Any) -> None:
    """Plain: the second image is shorter than declared. Compressed: the hook that asks for it is not to blame."""
    path = night.frame("science", "two.fits")
    fits.append(path, np.zeros((16, 16), np.int16))
    whole = path.read_bytes()
    path.write_bytes(whole[:-2700])

    class Greedy(type(night.registry.manager.get_plugin("cam"))):  # type: ignore[misc]
        @hookimpl
        def nirred_detectors(self, headers: Any) -> Any:
            return super().nirred_detectors(headers) * len(headers.images)

    registry = Registry()
    registry.add(Greedy(), "cam", "nirred-cam")
    packed = night.folder / "packed.fits.gz"
    packed.write_bytes(gzip.compress(whole)[:-20])
    found = {r.path.name: (r.verdict, r.reason) for r in scan([path, packed], registry)}
    assert found["two.fits"][0] == "unreadable" and "truncated" in found["two.fits"][1]
    assert found["packed.fits.gz"][0] == "unreadable" and "damaged compression" in found["packed.fits.gz"][1]
    assert "nirred-cam" not in found["packed.fits.gz"][1] and registry.complaints() == []


def test_lamps_of_another_number_of_planes_are_no_candidates(night: Any) -> None:

    rule = next(r for _, r in night.registry.rules() if r.kind == "lampoff_flat")
    on = scan_file(night.frame("lamp_on", "on.fits"), night.registry).frames[0]
    off = scan_file(night.frame("lamp_off", "off.fits"), night.registry).frames[0]
    assert judge(rule, on, Source("lampoff_flat", off, path=off.path)).passed
    more = replace(off, detectors=off.detectors * 4)
    missed = judge(rule, on, Source("lampoff_flat", more, path=off.path)).misses
    assert [(m.rule, m.wanted, m.found) for m in missed] == [("planes", "1", "4")]
