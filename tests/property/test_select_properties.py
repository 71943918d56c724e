from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from nirred.errors import ConfigError
from nirred.expressions import compile_expression
from nirred.plugin.frames import Descriptors

times = st.floats(1e-3, 1e5)
words = st.sampled_from(
    ["exposure_time", "object", "airmass", "==", "<", ">=", "!=", "in", "and", "or", "not", "(", ")", ",", "20", '"J"',
     "None", "-", "+", "/", "**", ".", "[", "]", "lambda", ":", "=", "if", "'", "\\", "{", "}"]
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(times, times)
def test_exactly_one_of_less_equal_greater(a: float, b: float) -> None:
    frame = Descriptors(exposure_time=a)
    for strict in (False, True):
        signs = [compile_expression(f"exposure_time {s} {b!r}", strict)(frame) for s in ("<", "==", ">")]
        assert sum(signs) == 1
        for sign, parts in (("<=", signs[:2]), (">=", signs[1:]), ("!=", [signs[0], signs[2]])):
            assert compile_expression(f"exposure_time {sign} {b!r}", strict)(frame) == any(parts)


@settings(max_examples=60, deadline=None)
@given(times, st.floats(-0.02, 0.02))
def test_one_percent_of_the_larger(a: float, change: float) -> None:
    b = a * (1 + change)
    found = compile_expression(f"exposure_time == {b!r}")(Descriptors(exposure_time=a))
    assert found == (abs(a - b) <= 0.01 * max(a, b))


@settings(max_examples=200, deadline=None)
@given(st.lists(words, max_size=12).map(" ".join))
def test_any_text_gives_a_truth_or_an_error_of_ours(text: str) -> None:
    try:
        found = compile_expression(text)(Descriptors(exposure_time=20.0, object="J"))
    except ConfigError:
        return
    assert found in (True, False)
