"""Settings of the process last until no thread needs them, and are then as before."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator

import numpy as np

from nirred.algorithms.readout import find_pattern
from nirred.algorithms.shared import no_warnings, shared


def test_a_setting_is_made_by_the_first_and_undone_by_the_last() -> None:
    said: list[str] = []

    @shared
    @contextlib.contextmanager
    def setting() -> Iterator[None]:
        said.append("made")
        yield
        said.append("undone")

    first, second = setting(), setting()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert said == ["made"]
    second.__exit__(None, None, None)
    assert said == ["made", "undone"]
    with contextlib.suppress(KeyError), setting():
        raise KeyError
    assert said == ["made", "undone"] * 2


def test_no_thread_warns_while_another_has_finished() -> None:
    bad = np.zeros((64, 64), bool)
    bad[:16, :32] = True  # boxes without a number, of which numpy warns
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        threads = [threading.Thread(target=_find_often, args=(bad,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert warnings.filters == before
        assert not heard
        warnings.warn("heard again", stacklevel=1)
        with no_warnings():
            warnings.warn("not heard", stacklevel=1)
    assert [str(w.message) for w in heard] == ["heard again"]


def _find_often(bad: np.ndarray) -> None:
    for _ in range(50):
        find_pattern(np.ones(bad.shape, np.float32), bad)
