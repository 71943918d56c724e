from __future__ import annotations

import numpy as np

from nirred.algorithms.calibrate import calibrate
from nirred.algorithms.response import CalibrationInputs
from nirred.framepass import compiled


def test_kernels_are_known_to_the_cache_after_their_first_call() -> None:
    calibrate(np.ones((4, 4), np.float32), CalibrationInputs())
    assert compiled()
