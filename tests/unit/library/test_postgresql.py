"""The library on a PostgreSQL server, if one is installed."""

from __future__ import annotations

import multiprocessing
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nirred.errors import LibraryError
from nirred.library import CalibrationLibrary

Make = Callable[..., Path]


def unprivileged() -> str | None:
    """User to run the server, which refuses root."""
    if os.getuid() != 0:
        return None
    known = {u.pw_name for u in pwd.getpwall()}
    return next((n for n in ("postgres", "nobody") if n in known), None)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """URL of a server of our own, reached through a socket in a temporary directory."""
    found = shutil.which("pg_ctl")
    if found is None:
        pytest.skip("no PostgreSQL server is installed (pg_ctl)")
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'nirred[cluster]'")
    tools, user = Path(found).resolve().parent, unprivileged()
    home = Path(tempfile.mkdtemp(prefix="nirred-pg-"))
    if user is not None:
        os.chown(home, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)

    def call(*words: str) -> None:
        subprocess.run([str(tools / words[0]), *words[1:]], user=user, cwd=home, check=True, capture_output=True)

    call("initdb", "-D", f"{home}/data", "-U", "nirred", "-A", "trust", "--no-sync")
    call("pg_ctl", "-D", f"{home}/data", "-l", f"{home}/log", "-w", "-o", f"-k {home} -c listen_addresses=''", "start")
    try:
        yield f"postgresql://nirred@/postgres?host={home}"
    finally:
        call("pg_ctl", "-D", f"{home}/data", "-m", "immediate", "-w", "stop")
        shutil.rmtree(home)


def test_eight_processes_on_a_server(server: str, night: Any, product: Make) -> None:
    paths = [product("dark", f"{i:02d}_dark.fits") for i in range(32)]
    context = multiprocessing.get_context("fork")
    start = context.Barrier(8)

    def work(share: list[Path]) -> None:
        start.wait()
        for path in share:
            CalibrationLibrary(server, night.registry).add(path)

    workers = [context.Process(target=work, args=([*paths[i::8], paths[0]],)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [w.exitcode for w in workers] == [0] * 8
    library = CalibrationLibrary(server, night.registry)
    assert {e.path for e in library.list()} == set(paths)
    with pytest.raises(LibraryError, match="already"):
        library.init()
    library.remove(*paths[1:])
    asking = night.dither(3)[0]
    dark = next(e for e in library.explain(asking, [night.folder]) if e["kind"] == "dark")
    assert [c["file"] for c in dark["candidates"] if c["chosen"]] == ["00_dark.fits"]
    paths[0].unlink()
    assert [e.state for e in library.verify()] == ["missing"]


def test_a_server_that_does_not_answer(server: str, night: Any) -> None:
    away = server.partition("?")[0] + "?host=/nonexistent"
    with pytest.raises(LibraryError, match="postgresql") as caught:
        CalibrationLibrary(away, night.registry).list()
    assert "check the URL" in caught.value.hint
