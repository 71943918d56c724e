"""Compiled kernels follow the sources of what they call."""

from __future__ import annotations

import os
import subprocess
import sys

HEAD = "from nirred.algorithms.compiled import kernel, subkernel\n"
CALLEE = HEAD + "@subkernel\ndef share():\n    return {}\n"
CALLER = HEAD + "from callee import share\n@kernel\ndef ask():\n    return share()\n"


def test_a_kernel_kept_in_the_cache_follows_a_subkernel_of_another_file(tmp_path):
    (tmp_path / "caller.py").write_text(CALLER)
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}

    def asked() -> tuple[int, int]:
        script = "import caller; print(caller.ask(), sum(caller.ask.stats.cache_hits.values()))"
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        value, hits = done.stdout.split()
        return int(value), int(hits)

    (tmp_path / "callee.py").write_text(CALLEE.format(3))
    assert asked() == (3, 0)
    assert asked() == (3, 1)
    (tmp_path / "callee.py").write_text(CALLEE.format(42))
    assert asked() == (42, 0)
    assert asked() == (42, 1)
