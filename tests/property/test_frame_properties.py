"""Frames to CCDData and back: flags, values and variances are unchanged."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nirred.dq import NOT_SIGNAL
from nirred.frame import Frame, Plane
from nirred.store import PlaneStack

shapes = st.tuples(st.integers(1, 5), st.integers(1, 5))


@st.composite
def planes(draw):
    shape = draw(shapes)
    data = draw(arrays(np.float32, shape, elements=st.floats(width=32)))
    dq = draw(arrays(np.uint16, shape))
    var = draw(st.none() | arrays(np.float32, shape, elements=st.floats(0, 1e6, width=32)))
    return Plane(data, dq, var)


@settings(max_examples=40, deadline=None)
@given(planes())
def test_round_trip(plane):
    frame = Frame((plane,), unit="electron")
    (again,) = Frame.from_ccddata(frame.to_ccddata()).planes
    np.testing.assert_array_equal(again.data, plane.data)
    np.testing.assert_array_equal(again.dq, plane.dq)
    assert (again.var is None) == (plane.var is None)
    if plane.var is not None:
        np.testing.assert_array_equal(again.var, plane.var)
    np.testing.assert_array_equal(frame.to_ccddata().mask, (plane.dq & int(NOT_SIGNAL)) != 0)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_scratch_file_holds_what_memory_holds(tmp_path_factory, data):
    shape = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 4)))
    stacks = [PlaneStack(shape, np.uint16), PlaneStack(shape, np.uint16, tmp_path_factory.getbasetemp())]
    for _ in range(data.draw(st.integers(0, 6))):
        i, start = data.draw(st.integers(0, shape[0] - 1)), data.draw(st.integers(0, shape[1]))
        values = data.draw(arrays(np.uint16, (data.draw(st.integers(0, shape[1] - start)), shape[2])))
        for stack in stacks:
            stack.put(i, values, start)
    for i in range(shape[0]):
        np.testing.assert_array_equal(stacks[0].frame(i), stacks[1].frame(i))
    for stack in stacks:
        stack.close()
