from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nirred.algorithms.combine import Rejection, combine

examples = settings(max_examples=25, deadline=None)
rules = st.sampled_from([Rejection(), Rejection("sigclip", 2, 2), Rejection("varclip"), Rejection("noise", 3, 3)])


@st.composite
def stacks(draw):
    n = draw(st.integers(1, 17))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    data = (rng.standard_cauchy((n, 3, 37)) * 30 + 1000).astype(np.float32)
    data[rng.random(data.shape) < 0.05] = np.nan
    dq = rng.choice(np.array([0, 0, 0, 1, 2, 8, 16], np.uint16), data.shape)
    return data, dq, np.full_like(data, 900)


@examples
@given(stacks(), rules)
def test_median_lies_within_the_values(frames, rule):
    data, dq, var = frames
    result = combine(data, dq, var, method="median", rejection=rule)
    some = result.n > 0
    assert (result.sci >= np.nanmin(np.where(np.isnan(data), np.inf, data), axis=0))[some].all()
    assert (result.sci <= np.nanmax(np.where(np.isnan(data), -np.inf, data), axis=0))[some].all()


@examples
@given(stacks(), st.sampled_from(["mean", "median"]), st.integers(0, 100))
def test_order_of_frames_does_not_matter(frames, method, seed):
    data, dq, var = frames
    order = np.random.default_rng(seed).permutation(len(data))
    rule = Rejection("noise", 3, 3)
    first = combine(data, dq, var, method=method, rejection=rule)
    second = combine(data[order], dq[order], var[order], method=method, rejection=rule)
    np.testing.assert_allclose(first.sci, second.sci, rtol=1e-6)
    np.testing.assert_array_equal(first.n, second.n)
    np.testing.assert_array_equal(first.dq, second.dq)


@examples
@given(stacks(), st.sampled_from(["mean", "median", "wtmean"]), rules, st.integers(0, 16))
def test_a_masked_frame_changes_nothing(frames, method, rule, place):
    data, dq, var = frames
    place = min(place, len(data))
    extra_data = np.insert(data, place, 77.0, axis=0)
    extra_dq = np.insert(dq, place, 16, axis=0)
    extra_var = np.insert(var, place, 900, axis=0)
    first = combine(data, dq, var, method=method, rejection=rule)
    second = combine(extra_data, extra_dq, extra_var, method=method, rejection=rule)
    for name in ("sci", "var", "n", "dq"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
