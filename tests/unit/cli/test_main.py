from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from nirred import __version__
from nirred.cli import main
from nirred.cli.common import ended_like_ctrl_c
from nirred.cli.group import COMMANDS, app
from nirred.errors import CalibrationMissing

Call = Callable[..., tuple[int, str, str]]


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_help_loads_little() -> None:
    heavy = ("numpy", "astropy", "pydantic", "rich", "pluggy", "nirred.registry", "nirred.cli.run")
    code = f"""
import sys
from nirred.cli import main
code = main(["--help"])
print("loaded:", code, [m for m in {heavy!r} if m in sys.modules])
"""
    assert python(code).splitlines()[-1] == "loaded: 0 []"


def test_import_is_silent_and_light() -> None:
    code = """
import logging, sys
import nirred
assert not logging.getLogger().handlers and not logging.getLogger("nirred").handlers
print([m for m in ("numpy", "click", "pydantic", "logging.handlers") if m in sys.modules])
nirred.open, nirred.select, nirred.run
print("numpy" in sys.modules)
"""
    assert python(code).splitlines() == ["[]", "False"]


def test_linear_algebra_starts_no_threads() -> None:
    code = """
import os
os.environ.pop("OPENBLAS_NUM_THREADS", None)
from nirred.cli import main
main(["--version"])
import numpy, scipy.linalg, threadpoolctl
print(sorted({pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}))
"""
    assert python(code).splitlines()[-1] == "[1]"


def test_module_runs() -> None:
    done = subprocess.run([sys.executable, "-m", "nirred", "--version"], capture_output=True, text=True, check=True)
    assert __version__ in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_shows_an_example(name: str) -> None:
    command: Any = app.get_command(click.Context(app), name)
    subs = list(command.commands) if isinstance(command, click.Group) else [""]
    assert subs
    for sub in subs:
        result = CliRunner().invoke(app, [name, *filter(None, [sub]), "--help"])
        assert result.exit_code == 0
        assert "Examples:" in result.output and f"nirred {name}" in result.output
        assert "\\b" not in result.output and "\b" not in result.output


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"view"}))
def test_every_command_speaks_json(name: str) -> None:
    command: Any = app.get_command(click.Context(app), name)
    leaves = command.commands.values() if isinstance(command, click.Group) else [command]
    for leaf in leaves:
        assert "--json" in [o for p in leaf.params for o in p.opts], leaf.name


@pytest.mark.parametrize("words", [(), ("cal",), ("plugins",), ("recipe",), ("config",)])
def test_no_line_in_a_list_of_commands_is_cut_short(words: tuple[str, ...], nirred: Call) -> None:
    _, listed, _ = nirred(*words, "--help")
    commands = listed.partition("Commands:")[2]
    assert commands and "..." not in commands


def test_a_misspelt_command_is_suggested(nirred: Call) -> None:
    code, out, err = nirred("rnu", "raw")
    assert (code, out) == (2, "")
    assert "'run'" in err
    assert nirred("run", "--nope")[0] == 2


@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        (CalibrationMissing("no flat", "take one"), 5, "error: no flat\n  hint: take one\n"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("oops"), 70, "Traceback"),
    ],
)
def test_errors_become_exit_codes(
    nirred: Call, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int, words: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise raised

    monkeypatch.setattr("nirred.cli.common.names_with_stdin", fail)
    monkeypatch.setattr("nirred.cli.show.names_with_stdin", fail)
    found, out, err = nirred("show", "x")
    assert (found, out) == (code, "")
    assert words in err


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Ctrl-C as it was: an interrupted command changes what the next one does."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_ctrl_c_ends_quietly() -> None:
    code = """
import os, signal, time
import nirred.cli, nirred.cli.show
def stop(*_):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
signal.signal(signal.SIGINT, signal.default_int_handler)
nirred.cli.show.names_with_stdin = stop
print(nirred.cli.main(["show", "x"]), flush=True)
stop()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=50)
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "130\n")
    assert "interrupted" in done.stderr and "Traceback" not in done.stderr


def test_sigterm_ends_a_run_like_ctrl_c() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), ended_like_ctrl_c():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
    inside: list[bool] = []

    def elsewhere() -> None:
        with ended_like_ctrl_c():
            inside.append(signal.getsignal(signal.SIGTERM) is before)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert inside == [True]


def test_a_closed_pipe_is_quiet() -> None:
    code = "import sys; from nirred.cli import main; sys.exit(main(['recipe', 'show', 'reduce']))"
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -c "{code}" | true'], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr and "Error" not in done.stderr


def test_plugin_commands_are_loaded_when_called(monkeypatch: pytest.MonkeyPatch, nirred: Call) -> None:
    class Point:
        name, value, dist = "extra", "extra:cmd", None

        def load(self) -> click.Command:
            if self.name == "broken":
                raise ImportError("no such thing")
            return click.command()(lambda: click.echo("hello"))

    broken = Point()
    broken.name = "broken"
    monkeypatch.setattr("nirred.cli.group._plugin_commands", lambda: {"extra": Point(), "broken": broken})
    assert nirred("extra")[1] == "hello\n"
    assert "extra" in nirred("--help")[1]
    code, _, err = nirred("broken")
    assert code == 3 and "no such thing" in err


def test_exit_code_of_main_without_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Commands" in capsys.readouterr().err


@pytest.mark.parametrize("words", [(), ("cal",)])
def test_a_group_alone_shows_its_help_once(words: tuple[str, ...], nirred: Call) -> None:
    code, out, err = nirred(*words)
    assert code == 2 and not out
    assert err.count("Usage:") == 1 and "Commands:" in err and "Error" not in err


def test_a_place_that_cannot_be_written_to_is_no_bug(tmp_path: Path, nirred: Call) -> None:
    pytest.importorskip("nirred_niri")
    (tmp_path / "file").write_text("")
    code, _, err = nirred("simulate", "niri", "-o", tmp_path / "file", "--size", "64")
    assert code == 2 and "Traceback" not in err and "hint:" in err


@pytest.mark.parametrize("words", ["show", "select", "cal explain", "view", "rerun", "tags"])
def test_what_is_no_fits_file_is_said_once(words: str, tmp_path: Path, nirred: Call) -> None:
    junk = tmp_path / "junk.fits"
    junk.write_text("hello")
    _, out, err = nirred(*words.split(), junk)
    (line,) = [text for text in (out + err).splitlines() if "not a FITS file" in text]
    assert line.replace(str(junk), "junk.fits").count("junk.fits") == 1, line
    assert "SIMPLE" not in out + err


def test_names_that_are_no_text_pass_from_one_command_to_the_next(tmp_path: Path) -> None:
    (tmp_path / "N\udce9 \u03b1.fits").write_bytes(b"no FITS")
    words = [sys.executable, "-m", "nirred"]
    for encoding, shown in (("utf-8:strict", b"N\xe9 \xce\xb1"), ("latin-1:strict", b"N\xe9 ?")):
        environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "1"}
        told = subprocess.run(
            [*words, "tags", "--json", "."], cwd=tmp_path, env=environment, capture_output=True, check=False
        )
        assert b"Traceback" not in told.stderr and told.returncode == 4, told.stderr
        assert rb"N\udce9" in told.stdout and json.loads(told.stdout.decode(encoding.partition(":")[0]))
        piped = subprocess.run(
            [*words, "show", "-k", "OBJECT"], input=shown + b".fits\n", cwd=tmp_path, env=environment,
            capture_output=True, check=False,
        )  # fmt: skip
        assert b"Traceback" not in piped.stderr and piped.returncode == 4, piped.stderr


def test_a_list_of_names_is_written_as_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding, told in (("utf-8", "N\udce9 \u03b1".encode("utf-8", "surrogateescape")), ("latin-1", b"N\xe9 ?")):
        out = io.TextIOWrapper(io.BytesIO(), encoding, "strict")
        monkeypatch.setattr(sys, "stdout", out)
        assert main(["--version"]) == 0
        out.write("N\udce9 \u03b1")
        out.flush()
        assert out.buffer.getvalue().endswith(told)  # type: ignore[attr-defined]
