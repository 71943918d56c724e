"""Layers of parameters: the last layer that sets a value wins."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from nirred.params import Params, Setting, param, resolve, snake


class Some(Params):
    alpha: float = param(1.0, "one")
    beta_gamma: float = param(2.0, "two", unit="s")
    DELTA_FOV: int = param(3, "three")


names = st.sampled_from(["alpha", "beta_gamma"])
layers = st.lists(st.tuples(names, st.floats(-1e6, 1e6), st.text("abc", min_size=1)), max_size=8)


@settings(max_examples=60, deadline=None)
@given(layers)
def test_the_last_layer_wins_and_is_named(found):
    values, origins = resolve("some", Some, [Setting("some", *layer) for layer in found])
    for name, default in (("alpha", 1.0), ("beta_gamma", 2.0)):
        mine = [(v, o) for n, v, o in found if n == name]
        assert getattr(values, name) == (mine[-1][0] if mine else default)
        assert origins[name] == (mine[-1][1] if mine else "default")


@settings(max_examples=60, deadline=None)
@given(st.floats(-1e9, 1e9), st.sampled_from([("s", 1), ("min", 60), ("h", 3600), ("d", 86400)]))
def test_quantities_as_text_mean_what_they_say(number, unit):
    values, _ = resolve("some", Some, [Setting("some", "beta_gamma", f"{number!r} {unit[0]}", "-p")])
    assert values.beta_gamma == number * unit[1]


@settings(max_examples=60, deadline=None)
@given(st.from_regex(r"[a-z]+(_[a-z0-9]+)*", fullmatch=True))
def test_our_own_spelling_is_left_alone(name):
    assert snake(name) == name
