"""SHA-256 of messages side by side against hashlib's."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from nirred.algorithms.sha256 import LANES, sha256_together


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000, 4096])
@pytest.mark.parametrize("cut", [64, 192, 1 << 16])
def test_digests_are_those_of_hashlib(size, cut):
    """Every place of the padding, and any cut into chunks of whole blocks."""
    data = np.random.default_rng(size).integers(0, 256, (LANES, size), np.uint8)
    chunks = [data[:, at : at + cut] for at in range(0, size, cut)]
    assert sha256_together(chunks) == [hashlib.sha256(line.tobytes()).hexdigest() for line in data]


@pytest.mark.parametrize("shapes", [[(3, 64)], [(LANES, 60), (LANES, 64)]])
def test_chunks_that_do_not_fit(shapes):
    with pytest.raises(ValueError, match="whole blocks"):
        sha256_together([np.zeros(shape, np.uint8) for shape in shapes])
