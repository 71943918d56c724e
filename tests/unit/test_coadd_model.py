from __future__ import annotations

import numpy as np

from nirred.coadd import _spared


def test_a_cosmic_ray_in_one_of_two_frames_leaves_the_model() -> None:
    rng = np.random.default_rng(1)
    images = [rng.normal(0.0, 10.0, (8, 40)).astype(np.float32) for _ in range(3)]
    images[2][:, 20:] = np.nan  # two frames on the right
    images[0][3, 10], images[0][4, 30] = 20000.0, 20000.0
    images[0][5, 35], images[1][5, 35] = 9000.0, 8000.0  # a star's core, whose seeing changed
    count = np.sum(np.isfinite(images), axis=0).astype(np.float32)
    middle = np.nanmedian(images, axis=0).astype(np.float32)
    spared = _spared(images, middle.copy(), count, 10.0)
    assert spared[4, 30] == images[1][4, 30] and middle[4, 30] > 9000
    middle[4, 30] = spared[4, 30]
    assert np.array_equal(spared, middle)
