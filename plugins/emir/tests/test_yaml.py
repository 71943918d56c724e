"""Observation-result and control files: what is read, and what is said of those that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nirred.plugin import ConfigError, DataError, RequestContext
from nirred_emir.detector import H2RG, HAWAII2
from nirred_emir.observation import read_control
from nirred_emir.requests import read
from nirred_emir.requirements import MODES, applicable, contradiction, doubts, settings_of, table
from nirred_emir.yamltext import documents

STARE = """id: {id}
instrument: EMIR
mode: STARE_IMAGE
frames:
 - {id}.fits
enabled: True
requirements:
  reprojection_method: interp
"""


def fourteen() -> list[str]:
    return [STARE.format(id=f"_{i:03d}") for i in range(14)]


def read_text(tmp_path: Path, text: str, control: str | None = None, **context: object):
    path = tmp_path / "obs.yaml"
    path.write_text(text)
    if control is not None:
        (tmp_path / "control.yaml").write_text(control)
        context["control"] = tmp_path / "control.yaml"
    found = read([path], RequestContext(base_dir=tmp_path, **context))  # type: ignore[arg-type]
    assert found is not None
    return found


def test_g2_blocks(tmp_path: Path) -> None:
    """Separators between blocks, none after the last, or one; `images` for `frames`; ids as text or number."""
    plain = read_text(tmp_path, "---\n".join(fourteen()))
    ended = read_text(tmp_path, "---\n".join([*fourteen(), ""]))
    assert plain.requests == ended.requests
    assert [r.id for r in plain.requests] == [f"_{i:03d}" for i in range(14)]
    assert not any(r.fault for r in plain.requests)
    assert plain.requests[3].frames == (tmp_path / "data" / "_003.fits",)
    (one,) = read_text(tmp_path, STARE.format(id=7).replace("frames", "images")).requests
    assert (one.id, one.frames[0].name, one.enabled) == ("7", "7.fits", True)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (("mode: STARE_IMAGE", "mode: STARE_IMGE"), ("STARE_IMGE", "STARE_IMAGE'?")),
        (("enabled:", "enable:"), ("'enable'", "'enabled'?")),
        (("enabled: True", "enabled: 'yes please'"), ("enabled", "True or False", "write enabled: False")),
        (("instrument: EMIR", "instrument: MEGARA"), ("MEGARA", "is not EMIR")),
        (("instrument: EMIR\n", ""), ("'instrument' is missing",)),
        (("reprojection_method: interp", "reprojection: interp"), ("reprojection", "reprojection_method'?")),
        (("_method: interp", "_method: bicubic"), ("bicubic", "none, interp, adaptive or exact")),
        ((" - _005.fits", " - /etc/passwd"), ("/etc/passwd", "leaves the data directory")),
        ((" - _005.fits", " - ../_005.fits"), ("leaves the data directory",)),
        ((" - _005.fits", "\t- _005.fits"), ("tab",)),
        (("id: _005", "id: ../x"), ("cannot name a directory",)),
        (("id: _005", "id: ''"), ("cannot name a directory",)),
        (("id: _005", "id: " + "a" * 200), ("cannot name a directory",)),
        (("frames:", "frames: 3\nimages:"), ("frames",)),
        (("frames:", "frames: &a\n - *a\nimages:"), ("anchors",)),
        (("enabled: True", "enabled: !!python/object/apply:os.system ['true']"), ("tag",)),
        (("enabled: True", "labels: " + "[" * 5000), ()),
        (("id: _005", "id: " + "9" * 5000), ()),
        ((" - _005.fits", " - 5"), ("frames.0 is not '5' but a word",)),
        (("requirements:\n  repro", "requirements:\n  - repro"), ("requirements is not", "keys with values")),
    ],
)  # fmt: skip
def test_one_bad_block_of_fourteen(tmp_path: Path, damage: tuple[str, str], words: tuple[str, ...]) -> None:
    """Block, line and key are named; the others stay as they are."""
    blocks = fourteen()
    blocks[5] = blocks[5].replace(*damage)
    found = read_text(tmp_path, "---\n".join(blocks)).requests
    assert len(found) == 14
    assert [r.id for r in found if not r.fault][:5] == [f"_{i:03d}" for i in range(5)]
    (bad,) = [r for r in found if r.fault]
    assert "obs.yaml, block 6" in bad.fault
    line = int(bad.fault.partition("line ")[2].partition(":")[0])
    assert 5 * 9 < line <= 6 * 9
    assert all(word in f"{bad.fault} ({bad.hint})" for word in words), (bad.fault, bad.hint)


@pytest.mark.parametrize(
    ("child", "words"),
    [
        ("_0012", ("line 24", "no block '_0012'", "did you mean '_001'")),
        ("all", ("line 24", "'all' is the block itself")),
        ("_001", ()),
    ],
)
def test_children_that_are_none(tmp_path: Path, child: str, words: tuple[str, ...]) -> None:
    stack = f"id: all\ninstrument: EMIR\nmode: FULL_DITHERED_IMAGE\nchildren:\n - _000\n - {child}\n"
    found = read_text(tmp_path, "---\n".join([*fourteen()[:2], stack])).requests
    assert [bool(r.fault) for r in found] == [False, False, bool(words)]
    assert all(word in f"{found[2].fault} ({found[2].hint})" for word in words)


def test_an_id_that_two_blocks_have(tmp_path: Path) -> None:
    """Both are refused, for nobody knows which is meant."""
    blocks = fourteen()[:4]
    blocks[3] = blocks[3].replace("id: _003", "id: _001")
    found = read_text(tmp_path, "---\n".join(blocks)).requests
    assert [bool(r.fault) for r in found] == [False, True, False, True]
    assert "line 28: the id '_001' again, as in obs.yaml, block 2 (_001), line 10" in found[3].fault


@pytest.mark.parametrize("separator", ["", "--\n", "- - -\n"])
def test_g2_damaged_separators(tmp_path: Path, separator: str) -> None:
    blocks = "---\n".join(fourteen()[:3]) + separator + fourteen()[3] + "---\n" + fourteen()[4]
    found = read_text(tmp_path, blocks).requests
    assert [bool(r.fault) for r in found] == [False, False, True, False]
    assert "'---'" in found[2].hint


def test_whole_files_that_cannot_be_read(tmp_path: Path) -> None:
    for content in (b"", b"# nothing\n", b"\xff\xfe\x00", b"---\n---\n"):
        (tmp_path / "x.yaml").write_bytes(content)
        with pytest.raises(DataError):
            read([tmp_path / "x.yaml"], RequestContext())
    assert read([tmp_path / "x.lis"], RequestContext()) is None


def test_documents_know_their_lines() -> None:
    (one,) = documents("%YAML 1.1\n---\na: 1\n")
    assert (one.value, one.line_of(("a",))) == ({"a": 1}, 3)
    found = documents("# c\n---\na: 1\nb:\n  - x\n---\n\nc: 3\n")
    assert [(d.number, d.line, d.value) for d in found] == [(1, 3, {"a": 1, "b": ["x"]}), (2, 8, {"c": 3})]
    assert (found[0].line_of(("b", 0)), found[0].line_of(("b", 9))) == (5, 4)


# -- control file -------------------------------------------------------------------------------------------------
NEW = f"""version: 1
products:
  EMIR:
    {HAWAII2.uuid}:
    - {{id: 2, type: 'MasterBadPixelMask', tags: {{}}, content: 'old_bpm.fits'}}
    {H2RG.uuid}:
    - {{id: 2, type: 'MasterBadPixelMask', tags: {{}}, content: 'new_bpm.fits'}}
    - {{id: 3, type: 'MasterIntensityFlat', tags: {{filter: J}}, content: 'flat_J.fits'}}
    - {{id: 4, type: 'MasterSpectralFlat', tags: {{grism: J, filter: J}}, content: 'spec.fits'}}
  MEGARA:
    anything: [1, 2]
requirements:
  EMIR:
    {H2RG.uuid}:
      default:
       FULL_DITHERED_IMAGE:
        - {{name: 'x_offsets', tags: {{}}, content: 'ref_object_pos.txt'}}
        - {{name: 'sky_images', tags: {{}}, content: 4}}
"""
OLD = """version: 1
products:
  EMIR:
  - {id: 2, type: 'MasterBadPixelMask', tags: {}, content: 'master_bpm.fits'}
requirements:
  EMIR:
    default:
      FULL_DITHERED_IMAGE:
      - {name: extinction, tags: {}, content: 0.1}
"""


def test_g16_both_layouts(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(NEW)
    new = read_control(path)
    assert {(e.uuid, e.content) for e in new.products} >= {(HAWAII2.uuid, "old_bpm.fits"), (H2RG.uuid, "flat_J.fits")}
    assert [(e.uuid, e.mode, e.name) for e in new.requirements][1] == (H2RG.uuid, "FULL_DITHERED_IMAGE", "sky_images")
    path.write_text(OLD)
    old = read_control(path)
    assert [(e.uuid, e.content) for e in old.products] == [("", "master_bpm.fits")]
    assert [(e.uuid, e.content) for e in old.requirements] == [("", 0.1)]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (("version: 1", "version: 2"), "line 1: version 2"),
        (("type: 'MasterIntensityFlat'", "kind: flat"), "line 8"),
        (("content: 'flat_J.fits'", "content: '/data/flat.fits'"), "leaves the data directory"),
        (("products:", "product:"), "'products'?"),
        (("tags: {filter: J}", "tags: J"), "tags"),
    ],
)
def test_damaged_control_file(tmp_path: Path, damage: tuple[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_text(tmp_path, fourteen()[0], NEW.replace(*damage))
    assert words in str(caught.value)
    assert "control.yaml, line" in str(caught.value)


def test_detectors_of_a_control_file(tmp_path: Path) -> None:
    """Capitals do not matter; what is of no detector of EMIR is named."""
    path = tmp_path / "c.yaml"
    path.write_text(NEW.replace(H2RG.uuid, H2RG.uuid.upper()))
    capitals = read_control(path)
    path.write_text(NEW)
    assert capitals == read_control(path)
    assert capitals.remarks == ()
    path.write_text(NEW.replace(H2RG.uuid, "deadbeef", 1))
    (remark,) = read_control(path).remarks
    assert "'deadbeef' is no detector of EMIR" in remark
    assert H2RG.uuid in remark


CHOICE = """version: 1
requirements:
  EMIR:
    default:
      FULL_DITHERED_IMAGE:
      - {name: sky_images, tags: {filter: H}, content: 3}
      - {name: sky_images, tags: {filter: J}, content: 5}
      - {name: sky_images, tags: {}, content: 4}
    quick:
      FULL_DITHERED_IMAGE:
      - {name: sky_images, tags: {}, content: 9}
"""


@pytest.mark.parametrize(
    ("keys", "skies"), [("labels: {filter: J}", 5), ("labels: {filter: K}", 4), ("", 3), ("pipeline: quick", 9)]
)
def test_the_first_requirement_that_fits_counts(tmp_path: Path, keys: str, skies: int) -> None:
    """Of the block's own pipeline, by its labels; a tag that the block lacks contradicts nothing."""
    stack = f"id: all\ninstrument: EMIR\nmode: FULL_DITHERED_IMAGE\nchildren: [_000]\n{keys}\n"
    found = read_text(tmp_path, "---\n".join([fourteen()[0], stack]), CHOICE)
    assert found.requests[1].params["associate_sky:max_skies"] == skies


def test_g18_spectral_products_are_ignored(tmp_path: Path) -> None:
    found = read_text(tmp_path, fourteen()[0], NEW)
    assert any("MasterSpectralFlat" in r and "spectra" in r for r in found.remarks)


def test_g22_link_files_said_once(tmp_path: Path) -> None:
    found = read_text(tmp_path, "---\n".join(fourteen()), placing=True)
    assert sum("--link-files" in r for r in found.remarks) == 1


def test_enabling_and_strictness(tmp_path: Path) -> None:
    disabled = "---\n".join(fourteen()).replace("enabled: True", "enabled: False")
    found = read_text(tmp_path, disabled, enabled=("_002",))
    assert [r.id for r in found.requests if r.enabled] == ["_002"]
    with pytest.raises(ConfigError, match="did you mean '_002'"):
        read_text(tmp_path, disabled, enabled=("_0002",))
    odd = fourteen()[0].replace("reprojection_method", "reprojecton_method")
    loose = read_text(tmp_path, odd, strict=False)
    assert not loose.requests[0].fault
    assert any("reprojecton_method" in r for r in loose.remarks)


# -- requirements -------------------------------------------------------------------------------------------------
def test_g9_g10_g11_requirements_become_parameters() -> None:
    asked = {
        "iterations": 0,
        "sky_images": 0,
        "refine_offsets": False,
        "method": "mean",
        "extinction": 0.2,
        "sky_images_sep_time": 5.0,
        "method_kwargs": {"low": 3.0, "high": 4.0},
        "fit_doughnut": True,
        "nside_adhoc_sky_correction": 10,
    }
    assert settings_of("FULL_DITHERED_IMAGE", asked) == {
        "sky_correct:mask_objects": False,
        "associate_sky:time": 300.0,
        "flag_outliers:skip": True,
        "adjust_wcs_to_reference:method": "offsets",
        "correct_extinction:extinction": 0.2,
        "flag_outliers:high": 4.0,
        "correct_illumination:fit_doughnut": True,
        "level_amplifiers:nside": 10,
    }
    assert settings_of("FULL_DITHERED_IMAGE", {"iterations": 1, "sky_images": 6, "refine_offsets": True}) == {
        "associate_sky:max_skies": 6,
        "associate_sky:min_skies": 3,
        "adjust_wcs_to_reference:method": "sources",
    }


def test_switches_of_one_detector_act_on_that_alone() -> None:
    """What is written to be off is off; at its default it says nothing about the other detector."""
    off = {"nside_adhoc_sky_correction": 0, "adhoc_sky_correction_h2rg": False}
    for name in ("HAWAII-2", "H2RG"):
        assert settings_of("FULL_DITHERED_IMAGE", applicable(off, name)) == {"level_amplifiers:skip": True}
    assert applicable({"nside_adhoc_sky_correction": 0}, "H2RG") == {}
    assert settings_of("FULL_DITHERED_IMAGE", {"adhoc_sky_correction_h2rg": True}) == {}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"iterations": 0, "sky_images": 6}, "sources left in"),
        ({"iterations": 1, "sky_images": 0}, "sky is made of all frames"),
        ({"iterations": 3}, "three passes"),
        ({"refine_offsets": False}, "offsets are not measured"),
        ({"method": "median"}, "weighted mean"),
        ({"adhoc_sky_correction_h2rg": False}, "channels stay"),
        ({"iterations": 0, "sky_images": 0}, ""),
        ({"iterations": 1, "sky_images": 6, "refine_offsets": True, "method": "sigmaclip"}, ""),
    ],
)
def test_what_is_said_of_requirements(given: dict[str, Any], words: str) -> None:
    """What a block asks for and does not mean, or means otherwise than the observatory's pipeline."""
    said = " ".join(doubts("FULL_DITHERED_IMAGE", given))
    assert (words in said) if words else not said


@pytest.mark.parametrize(("detector", "remedy"), [("H2RG", "leave it out"), ("", "")])
def test_a_requirement_of_the_other_detector_is_to_be_left_out(detector: str, remedy: str) -> None:
    assert contradiction("FULL_DITHERED_IMAGE", {"nside_adhoc_sky_correction": 10}, detector)[1] == remedy


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("iterations: True", "a whole number"),
        ("iterations: -1", "a whole number"),
        ("sky_images: six", "a whole number"),
        ("sky_images_sep_time: 0", "minutes, more than 0"),
        ("refine_offsets: 1", "True or False"),
        ("offsets: [[1, 2], [.nan, 3]]", "one x y per line"),
        ("offsets: []", "one x y per line"),
        ("offsets: ../list.txt", "leaves the data directory"),
        ("offsets: absent.txt", "no file"),
        ("method: mode", "mean, median or sigmaclip"),
        ("method_kwargs: {hi: 3}", "{low: 3.0, high: 3.0}"),
        ("extinction: -0.1", "from 0 to 5"),
        ("fit_doughnut: 'on'", "True or False"),
        ("nside_adhoc_sky_correction: 1.5", "a whole number"),
        ("adhoc_sky_correction_h2rg: 2", "True or False"),
        ("iteration: 1", "did you mean 'iterations'"),
        ("skyimages: 1", "did you mean 'sky_images'"),
        ("refine_offset: True", "did you mean 'refine_offsets'"),
        ("master_flat: /data/flat.fits", "leaves the data directory"),
    ],
)
def test_values_that_cannot_be(tmp_path: Path, written: str, words: str) -> None:
    """Block, line and name of the requirement, and what it takes."""
    stack = "id: all\ninstrument: EMIR\nmode: FULL_DITHERED_IMAGE\nchildren: [_000, _001]\nrequirements:\n"
    found = read_text(tmp_path, "---\n".join([*fourteen()[:2], f"{stack}  {written}\n"])).requests
    assert [bool(r.fault) for r in found] == [False, False, True]
    assert "block 3 (all), line 24" in found[2].fault
    assert written.partition(":")[0] in found[2].fault
    assert words in f"{found[2].fault} ({found[2].hint})"


def test_table_names_every_requirement() -> None:
    """The documented table is the one that is acted on."""
    text = table()
    assert all(f"`{name}`" in text for mode in MODES.values() for name in mode.requirements)
    page = Path(__file__).parents[3] / "docs" / "how-to" / "reduce-emir-with-yaml.md"
    assert text in page.read_text()
