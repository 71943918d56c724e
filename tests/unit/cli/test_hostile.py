"""Malicious arguments, lists, TOML files and values: one clear error, nothing executed, nothing written elsewhere."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., tuple[int, str, str]]
SYSTEM = "__import__('os').system('touch executed')"


@pytest.fixture(autouse=True)
def watched(night: Path) -> Iterator[None]:
    """No file appears outside the input and OUT, and nothing hangs."""

    def late(*_: Any) -> None:
        raise TimeoutError("still at work after 20 s")

    before = {p.name for p in night.parent.iterdir()}
    old = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, old)
    made = {p.name for p in night.parent.iterdir()} - before
    assert made <= {"out", "given"}, f"written elsewhere: {made}"


def refused(answer: tuple[int, str, str], code: int | tuple[int, ...], *words: str) -> None:
    """One error message with these words, without traceback and control characters."""
    found, out, err = answer
    assert "Traceback" not in err and "bug in nirred" not in err, err
    assert found in ((code,) if isinstance(code, int) else code), (found, err)
    assert out == ""
    assert err.count("rror:") == 1, err
    assert all(c.isprintable() or c in "\n" for c in err), repr(err)
    assert len(err) < 3000, len(err)
    for word in words:
        assert word in err, err


EXPRESSIONS = [
    SYSTEM,
    f"{SYSTEM} == 0",
    f"exposure_time == {SYSTEM}",
    "().__class__.__bases__[0].__subclasses__() == 1",
    "object.__class__ == 1",
    "object.__init__.__globals__ == 1",
    "object.format(exposure_time) == 'x'",
    "'{0.__class__}'.format(object) == 'x'",
    "'%s' % object == 'x'",
    "f'{object}' == 'x'",
    "[x for x in (1, 2)] == 1",
    "{x: 1 for x in (1, 2)} == 1",
    "(x for x in (1, 2)) == 1",
    "(exposure_time := 3) == 3",
    "(lambda: 0)() == 0",
    "(1 if object else 2) == 1",
    "9 ** 9 ** 9 ** 9 == 1",
    "1 << 99999999999 == 1",
    "exposure_time // 2 == 1",
    "exposure_time % 2 == 1",
    "~coadds == 1",
    "coadds @ coadds == 1",
    "'a' * 10 == 'b'[0]",
    "object[0] == 'F'",
    "object[::2] == 'F'",
    "{1: 2} == 1",
    "*object == 1",
    "await object == 1",
    "(yield) == 1",
    "exec == open('executed', 'w')",
    "import os",
    "exposure_time == 1; import os",
    "exposure_time == 1\nimport os",
    "print(1) or exposure_time == 1",
    "lambda: exposure_time == 1",
    "... == exposure_time",
    "b'20' == exposure_time",
    "1j == exposure_time",
    "(" * 1000 + "1" + ")" * 1000 + " == coadds",
    "not " * 3000 + "True",
    "-" * 5000 + "1 == coadds",
    "coadds == " + "+".join(["1"] * 4000),
    "9" * 9000 + " == coadds",
    "(" * 9999,
    "x" * 20_000,
    "coadds == 1 \0",
    "exposure_time == '\ud800'",
    "exposure_time = 20",
    "exposure_time == 20 &&& 1",
    "‐coadds == 1",
    "\u202ecoadds ==",
    "coadds == \x1b[31m1",
    "ехposure_time == 20",
    "exposure_time == 'unfinished",
    '"""',
    "coadds == 1_",
    "coadds == 0777",
    "coadds in coadds in",
    "None.real == 1",
    "True.__class__ == 1",
    "__builtins__ == 1",
    "__debug__.real == 1",
    "extra == 1",
]


@pytest.mark.parametrize("text", EXPRESSIONS, ids=lambda t: ascii(t)[:30])
def test_expressions(text: str, night: Path, nirred: Call) -> None:
    answer = nirred("select", night, "--expr", text)
    refused(answer, 2)
    assert "^" in answer[2] or "nested" in answer[2] or "characters" in answer[2] or "cannot be read" in answer[2]


@pytest.mark.parametrize(
    "text",
    [
        "exposure_time == 1" + "0" * 400,
        "exposure_time < 1e999",
        "-1e999 < exposure_time",
        "exposure_time / 0 == 1",
        "exposure_time * 1e308 * 1e308 > 1",
        "exposure_time * 1" + "0" * 400 + " > 1",
        "'\\d' == object",
        "1 is None",
        "seeing == seeing",
        "object == '" + "x" * 5000 + "'",
        "'{object}' == object and '%n%n%s' == object",
        "ｏｂｊｅｃｔ == 'FS 17'",
    ],
    ids=lambda t: t[:30],
)
def test_expressions_that_are_odd_but_harmless(text: str, night: Path, nirred: Call) -> None:
    code, _, err = nirred("select", night / "i1.fits", "--expr", text)
    assert (code, err) == (0, "")


LISTS: dict[str, tuple[str | bytes, str]] = {
    "itself": ("@given", "itself"),
    "itself by a longer way": ("@../work/given", "given"),
    "nested list elsewhere": ("@/etc/passwd", "leaves"),
    "nested list above": ("@../../../../etc/passwd", "leaves"),
    "device": ("@/dev/zero", "leaves"),
    "name that is no file": ("raw/i1.fits\n/absent/x.fits", "line 2"),
    "binary": (bytes(range(256)) * 40, "given"),
    "FITS file as list": (b"SIMPLE  =                    T".ljust(2880), "given"),
    "nul": ("raw/i1.fits\nraw/\0.fits", "line 2"),
    "one huge line": ("x" * 300_000, "line 1"),
    "huge": ("#" * 20_000_000, "given"),
    "control characters": ("\x1b]0;title\x07.fits", "line 1"),
    "unfinished quote": ('"raw/i1.fits', "line 1"),
    "empty": ("", "no input files"),
    "comments only": ("# nothing\n   # here\n", "no input files"),
    "long name": ("/".join(["y" * 250] * 40), "line 1"),
    "shell": ("$(touch executed) `touch executed`", "line 1"),
    "home": ("~/../../etc/passwd.fits", "line 1"),
    "device as frame": ("/dev/zero", "line 1"),
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("command", ["plan", "select"])
def test_lists(name: str, command: str, night: Path, nirred: Call) -> None:
    content, word = LISTS[name]
    given = night.parent / "given"
    given.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(nirred(command, "@given"), 4, word)


@pytest.mark.parametrize(
    "word",
    ["", "@/dev/zero", "@raw", "@", "@@", "@absent", "/dev/zero", "x" * 5000, "raw/\0", "@" + "y" * 300, "given"],
)
def test_inputs_that_are_no_files(word: str, night: Path, nirred: Call) -> None:
    os.mkfifo(night.parent / "given")
    for command in ("plan", "select", "show", "tags"):
        refused(nirred(command, word), 4)
    refused(nirred("run", word, "-o", "out"), 4)
    refused(nirred("plan", "@given"), 4, "given")


RECIPES = {
    "no TOML": ("name = ", "given.toml"),
    "not text": (b"\xff\xfe\x00", "given.toml"),
    "nothing": ("", "steps"),
    "steps that are a number": ("steps = 3", "steps"),
    "step that is a number": ("steps = [3]", "step 1"),
    "step without name": ("[[steps]]\nlabel = 'a'", "step 1"),
    "step of a wrong type": ("[[steps]]\nstep = 3", "step 1"),
    "unknown step": ("[[steps]]\nstep = 'sky_corect'", "sky_correct"),
    "unknown key": ("[[steps]]\nstep = 'prepare'\nparam = 1", "params"),
    "unknown key at the top": ("step = 1", "steps"),
    "params that are a list": ("[[steps]]\nstep = 'prepare'\nparams = [1]", "step 1"),
    "nested params": ("[[steps]]\nstep = 'prepare'\nparams = {bad_wcs = {a = {b = 1}}}", "bad_wcs"),
    "unknown parameter": ("[[steps]]\nstep = 'prepare'\nparams = {bad_wc = 'fix'}", "bad_wcs"),
    "date for a number": ("[[steps]]\nstep = 'associate_sky'\nparams = {time = 2016-01-02}", "time"),
    "infinity": ("[[steps]]\nstep = 'associate_sky'\nparams = {time = inf}", "time"),
    "not a number": ("[[steps]]\nstep = 'associate_sky'\nparams = {time = nan}", "time"),
    "name that is a path": ("name = '../../evil'\n[[steps]]\nstep = 'prepare'", "evil"),
    "name that is a table": ("name = {a = 1}\n[[steps]]\nstep = 'prepare'", "name"),
    "label that is a path": ("[[steps]]\nstep = 'prepare'\nlabel = '../x'", "label"),
    "stream that is code": (f'[[steps]]\nstep = "prepare"\ntakes = "{SYSTEM}"', "takes"),
    "suffix that is a path": ("[[steps]]\nstep = 'write_frames'\nparams = {suffix = '../../evil'}", "suffix"),
    "makes an unknown thing": ("makes = 'imag'\n[[steps]]\nstep = 'prepare'", "image"),
    "makes a list": ("makes = ['image']\n[[steps]]\nstep = 'prepare'", "makes"),
    "doc that drives the terminal": ("doc = \"\\u001b[2J\"\nname = 3\n[[steps]]\nstep = 'prepare'", "name"),
    "deep nesting": ("steps = " + "[" * 5000 + "]" * 5000, "given.toml"),
    "deep keys": (".".join(["a"] * 3000) + " = 1", "given.toml"),
    "called twice": ("[[steps]]\nstep = 'prepare'\n[[steps]]\nstep = 'prepare'", "twice"),
    "huge": ("#" * 20_000_000, "given.toml"),
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_files(name: str, night: Path, nirred: Call) -> None:
    content, word = RECIPES[name]
    path = night / "given.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(nirred("plan", night, "-r", path), 2, word)
    refused(nirred("run", night, "-o", "out", "-r", path), 2, word)


CONFIGURATIONS = {
    "no TOML": ("[run", "nirred.toml"),
    "not text": (b"\xff\xfe", "nirred.toml"),
    "unknown table": ("[runs]\njobs = 1", "run"),
    "unknown key": ("[run]\njob = 1", "jobs"),
    "code as number": (f'[run]\njobs = "{SYSTEM}"', "jobs"),
    "huge number": ("[run]\njobs = 1" + "0" * 5000, "nirred.toml"),
    "no jobs": ("[run]\njobs = -1", "jobs"),
    "memory of nothing": ("[run]\nmemory = '0GB'", "memory"),
    "unicode digits": ("[run]\nmemory = '٢GB'", "memory"),
    "list of tables": ("[run]\nexclude = [{a = 1}]", "exclude"),
    "table for a switch": ("[run]\nstrict = {a = 1}", "strict"),
    "log elsewhere": ("[run]\nlog_file = '../../stolen.log'", "log_file"),
    "scratch elsewhere": ("[run]\nscratch = '/tmp/stolen'", "scratch"),
    "library elsewhere": ("[run]\nlibrary = 'sqlite:////tmp/stolen.db'", "library"),
    "calibrations that are a list": ("[run]\nuser_cal = ['dark.fits']", "user_cal"),
    "calibration that is no file": ("[run.user_cal]\ndark = '/dev/zero'", "dark"),
    "calibration of no kind": ("[run.user_cal]\n'../dark' = 'raw/d1.fits'", "../dark"),
    "number for a table": ("steps = 3", "write a table [steps]"),
    "step that is a list": ("[steps]\nsky_correct = [1]", "steps"),
    "unknown step": ("[steps.sky_corect]\nscale_sky = true", "sky_correct"),
    "unknown parameter": ("[steps.sky_correct]\nscale_skies = true", "scale_sky"),
    "step that is a path": ("[steps.'../x']\na = 1", "../x"),
    "step that drives the terminal": ('[steps."\\u001b[31m"]\na = 1', "step"),
    "value of a wrong type": ("[steps.sky_correct]\nscale_sky = [[[1]]]", "scale_sky"),
    "deep nesting": ("run = " + "[" * 5000 + "]" * 5000, "nirred.toml"),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_configurations(name: str, night: Path, nirred: Call) -> None:
    content, word = CONFIGURATIONS[name]
    (night / "nirred.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(nirred("run", night, "-o", "out"), 2, word)
    if not name.startswith("calibration "):  # files are looked for when they are needed
        refused(nirred("config", "show", night), 2, word)


SETTINGS = [
    ("associate_sky:time=nan", "time"),
    ("associate_sky:time=inf", "time"),
    ("associate_sky:time=1e999", "time"),
    ("associate_sky:time=-1e999", "time"),
    ("associate_sky:time=", "time"),
    ("associate_sky:time= ", "time"),
    ("associate_sky:time=900 parsec", "time"),
    ("associate_sky:time=9" + "9" * 5000, "time"),
    ("associate_sky:time=" + "[" * 3000 + "]" * 3000, "time"),
    ("associate_sky:time=\x1b[31m", "time"),
    ("associate_sky:time=1\n2", "time"),
    ("associate_sky:time=٩٠٠x", "time"),
    ("associate_sky:time=0x10", "time"),
    ("associate_sky:time=1_000_", "time"),
    (f"associate_sky:time={SYSTEM}", "time"),
    ("associate_sky:time={'a': 1}", "time"),
    ("associate_sky:__class__=1", "parameter"),
    ("associate_sky:model_config=1", "parameter"),
    ("associate_sky:skip=2", "skip"),
    ("__init__:time=1", "step"),
    ("../x:time=1", "step"),
    ("a:b:c=1", "step"),
    (":=", "setting|names no parameter"),
    ("=", "names no parameter"),
    ("", "no setting"),
    ("write_frames:suffix=../../evil", "suffix"),
    ("write_frames:suffix=a/b", "suffix"),
    ("write_frames:suffix=", "suffix"),
    ("write_frames:suffix=x\n", "suffix"),
]


@pytest.mark.parametrize(("text", "words"), SETTINGS, ids=lambda t: ascii(t)[:40])
def test_settings(text: str, words: str, night: Path, nirred: Call) -> None:
    answer = nirred("run", night, "-o", "out", f"-p{text}" if text else "--set=")
    refused(answer, 2)
    assert any(w in answer[2] for w in words.split("|")), answer[2]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["-o", ""], 2),
        (["-o", "/dev/null"], 2),
        (["-o", "/dev/null/x"], 2),
        (["-o", "/proc/x"], 2),
        (["-o", "raw/i1.fits"], 2),
        (["-o", "x" * 300], 2),
        (["-o", "a\0b"], 2),
        (["-o", "out", "--memory", "1e999GB"], 2),
        (["-o", "out", "--memory", "nan"], 2),
        (["-o", "out", "--memory", "9" * 5000], 2),
        (["-o", "out", "--jobs", "1e3"], 2),
        (["-o", "out", "--jobs", "9" * 5000], 2),
        (["-o", "out", "--user-bpm", "/dev/zero"], 2),
        (["-o", "out", "--user-bpm", "raw\0"], 2),
        (["-o", "out", "--user-cal", "dark:/dev/zero"], 2),
        (["-o", "out", "--user-cal", "../dark:raw/d1.fits"], 2),
        (["-o", "out", "--offsets", "/dev/zero"], 2),
        (["-o", "out", "-r", "../../reduce"], 2),
        (["-o", "out", "-r", ""], 2),
        (["-o", "out", "-r", "__import__"], 2),
        (["-o", "out", "-r", "raw\0.toml"], 2),
        (["-o", "out", "-r", "raw.toml"], 2),
        (["-o", "out", "--only", SYSTEM], 2),
        (["-o", "out", "--allow-missing", "../flat"], 2),
        (["-o", "out", "--executor", "../x"], 2),
        (["-o", "out", "--library", "nonsense://x"], 2),
        (["-o", "out", "--log-file", "/dev/null/x"], 2),
        (["-o", "out", "--scratch", "/dev/null/x"], 2),
    ],
    ids=lambda w: ascii(w)[:40],
)
def test_options(words: list[str], code: int, night: Path, nirred: Call) -> None:
    refused(nirred("run", night, *words), code)


def test_links_to_themselves(night: Path, nirred: Call) -> None:
    (night / "given").symlink_to("given")
    (night / "given.fits").symlink_to("given.fits")
    for words in (["-o", "raw/given"], ["-o", "raw/given/x"], ["--scratch", "raw/given"], ["--log-file", "raw/given"]):
        refused(nirred("run", night, "-o", "out", *words), 2, "given")
    for word in ("@raw/given", "raw/given", "raw/given.fits"):
        refused(nirred("plan", word), 4, "given")
    assert "given.fits" in nirred("plan", night, "--json")[1]


@pytest.mark.parametrize("words", [["select"], ["show", "-k", "INSTRUME"], ["tags"]])
def test_names_with_odd_characters(words: list[str], night: Path, nirred: Call) -> None:
    """Names are printed unchanged for programs; a table cannot control the terminal."""
    names = ["two words.fits", "-rf.fits", "#x.fits", "[a].fits", "@y.fits", "n\u00e5.fits"]
    for name in names:
        (night / name).write_bytes((night / "i1.fits").read_bytes())
    code, out, _ = nirred(*words, night)
    assert code == 0 and all(name in out for name in names)


def test_a_list_quotes_what_would_not_be_read_back(night: Path, nirred: Call) -> None:
    names = ["two words.fits", "#x.fits", "@y.fits", "it's.fits"]
    for name in names:
        (night / name).write_bytes((night / "i1.fits").read_bytes())
    code, _, _ = nirred("select", night, "--expr", "object == 'FS 17'", "-o", "out")
    assert code == 0
    again = nirred("select", "@out")[1].splitlines()
    assert {Path(n).name for n in again} == {*names, "i1.fits"}
