"""300 damaged and hostile files together with a good night: each is named with its fate, without crash or bug."""

from __future__ import annotations

import gzip
import os
import random
import re
import shutil
from pathlib import Path

import pytest

from nirred.errors import ConfigError, DataError
from nirred.plan.planner import make_plan
from nirred.registry import Registry
from nirred.run.api import RunOptions, run
from nirred.testing.simulate import simulate_night

CARD, BLOCK = 80, 2880
FEW = {"darks": 3, "short_darks": 3, "lamps_on": 3, "lamps_off": 3}
#: Invalid values of header keywords.
LIES = (
    "1e400", "-1", "0", "99999999999999999999", "T", "'text'", "NaN", "'\xe9t\xe9'", "(1.0, 2.0)", "", "'unclosed",
    "1D+500", "2147483648", "'<script>alert(1)</script>'", "'../../etc/passwd'", "'a\x00b'", "'{0}'", "'%s%n'",
)  # fmt: skip
STRUCTURE = (
    "SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "EXTEND", "PCOUNT", "GCOUNT", "XTENSION", "BZERO", "BSCALE",
)  # fmt: skip
MEANING = (
    "INSTRUME", "OBJECT", "DATE-OBS", "UT", "EXPTIME", "COADDS", "FILTER1", "FILTER3", "CAMERA", "CRVAL1", "CD1_1",
    "CTYPE1", "RA", "DEC", "POFFSET", "OBSTYPE", "OBSCLASS", "DATALAB", "LNRS", "A_VDDUC", "CRPIX1",
)  # fmt: skip


def with_card(content: bytes, key: str, value: str) -> bytes:
    """The file with another value of one card, in whichever HDU it is."""
    at = re.match(rb"(?:.{80})*?" + key.ljust(8).encode() + b"=", content, re.DOTALL)
    if at is None:
        return content
    start = at.end() - 9
    card = f"{key:<8}= {value:>20}".encode("latin-1")[:CARD].ljust(CARD)
    return content[:start] + card + content[start + CARD :]


def lie(rng, content):
    return with_card(content, rng.choice(STRUCTURE), rng.choice(LIES))


def nonsense(rng, content):
    for _ in range(rng.randint(1, 3)):
        content = with_card(content, rng.choice(MEANING), rng.choice(LIES))
    return content


def cut(rng, content):
    return content[: rng.randrange(len(content))]


def noise(rng, content):
    body = bytearray(content)
    for _ in range(rng.randint(1, 200)):
        body[rng.randrange(min(len(body), 5 * BLOCK))] = rng.randrange(256)
    return bytes(body)


def trailing(rng, content):
    return content + rng.randbytes(rng.randint(1, 9000))


def shuffled(rng, content):
    cards = [content[i : i + CARD] for i in range(0, BLOCK, CARD)]
    rng.shuffle(cards)
    return b"".join(cards) + content[BLOCK:]


def doubled(rng, content):
    return content + content[BLOCK:]


def packed(rng, content):
    body = bytearray(gzip.compress(content, 1))
    for _ in range(rng.randint(0, 3)):
        body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
    return bytes(body[: rng.randrange(20, len(body)) if rng.random() < 0.5 else None])


def endless(rng, content):
    return content[:BLOCK].replace(b"END     ", b"COMMENT ") * rng.randint(1, 600)


def other(rng, content):
    return rng.choice((b"", b"\0" * 5760, b"SIMPLE  =", b"\x1f\x8b", b"BZh9", rng.randbytes(4000), b"PK\x03\x04" * 99))


DAMAGES = (lie, lie, nonsense, nonsense, cut, noise, noise, trailing, shuffled, doubled, packed, endless, other)


def hostile(night, folder: Path, count: int, seed: int) -> list[Path]:
    """Files made by one damage each, from all kinds of raw frames."""
    rng = random.Random(seed)
    sources = sorted(night.raw_dir.iterdir())
    made = []
    for number in range(count):
        damage = DAMAGES[number % len(DAMAGES)]
        suffix = ".fits.gz" if damage is packed else ".fits"
        path = folder / f"{damage.__name__}{number:03}{suffix}"
        path.write_bytes(damage(rng, rng.choice(sources).read_bytes()))
        made.append(path)
    return made


@pytest.fixture(scope="module")
def registry():
    return Registry.discover(only=["niri"])


@pytest.fixture(scope="module")
def night(registry, tmp_path_factory):
    camera = registry.simulations()["niri"]
    return simulate_night(
        camera, tmp_path_factory.mktemp("fuzz"), scenario="offset", frames=(3, 3), size=128, seed=3, **FEW
    )


def test_each_of_300_has_a_verdict_or_a_task(night, registry, tmp_path):
    made = hostile(night, tmp_path, 300, 1)
    plan = make_plan([tmp_path], registry)
    assert {r.path for r in plan.files} == set(made)
    for record in plan.files:
        assert record.verdict or record.frames, record.path
        if record.verdict:
            assert record.reason, record.path
            assert "Error" not in record.reason.replace("I/O Error", ""), record.reason  # not a plugin's bug
    unreadable = [r for r in plan.files if r.verdict == "unreadable"]
    assert len(unreadable) > 60
    assert not registry.faults


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_night_among_hostile_files_is_reduced(night, registry, tmp_path, seed):
    among_hostile_files(night, registry, tmp_path, 75, 10 + seed)


@pytest.mark.slow
@pytest.mark.parametrize("camera", ["f2", "gnirs", "emir"])
def test_so_is_that_of_another_camera(tmp_path, camera):
    registry = Registry.discover(only=[camera])
    simulated = registry.simulations()[camera]
    night = simulate_night(simulated, tmp_path / camera, scenario="dither", frames=4, size=256, seed=3, **FEW)
    among_hostile_files(night, registry, tmp_path, 60, 1)


def among_hostile_files(night, registry, tmp_path, count, seed):
    """Damaged pixels and odd headers may fail their own groups, but cause no bug, partial product or lost file."""
    raw = Path(shutil.copytree(night.raw_dir, tmp_path / "raw"))
    hostile(night, raw, count, seed)
    result = run([raw], tmp_path / "out", RunOptions(jobs=1), registry)
    assert len(result.record["files"]) == len(list(raw.iterdir()))
    for task in result.record["tasks"]:
        assert task["outcome"] in ("done", "failed", "blocked")
        assert "a bug" not in (task.get("error") or {}).get("message", ""), task["error"]
    assert not [p for p in (tmp_path / "out").rglob("*.part")]
    assert all(p.exists() for p in result.products.values())
    assert not registry.faults


def test_odd_entries_of_a_directory(night, registry, tmp_path):
    good = sorted(night.raw_dir.iterdir())[0]
    shutil.copy(good, tmp_path / "good.fits")
    (tmp_path / "folder.fits").mkdir()
    shutil.copy(sorted(night.raw_dir.iterdir())[1], tmp_path / "folder.fits" / "inside.fits")
    (tmp_path / "dangling.fits").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle.fits").symlink_to(tmp_path / "circle.fits")
    (tmp_path / "round").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.fits")
    os.mkfifo(tmp_path / "pipe2.fits")
    plan = make_plan([tmp_path], registry)
    assert {r.path.name for r in plan.files} >= {"good.fits", "inside.fits"}
    assert all(r.verdict == "unreadable" for r in plan.files if r.path.name not in ("good.fits", "inside.fits"))


def test_a_pipe_named_on_the_command_line_is_refused(registry, tmp_path):
    os.mkfifo(tmp_path / "pipe.fits")
    try:
        plan = make_plan([tmp_path / "pipe.fits"], registry)
    except (DataError, ConfigError) as error:
        assert "pipe.fits" in str(error)
    else:
        assert [r.verdict for r in plan.files] == ["unreadable"]
