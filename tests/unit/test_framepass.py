from __future__ import annotations

import numpy as np

from nirred.algorithms.combine import combine
from nirred.framepass import compiled


def test_kernels_are_known_to_the_cache_after_their_first_call() -> None:
    combine([np.ones((4, 4), np.float32)] * 3)
    assert compiled()
