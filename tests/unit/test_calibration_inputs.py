from __future__ import annotations

from types import SimpleNamespace

from nirred.calibration_inputs import _curve
from nirred.plugin.frames import Detector, Linearity, Section
from nirred.registry import Registry


def test_even_and_odd_rows_are_those_of_the_detector() -> None:
    curves = Linearity(((1.0, 2.0), (1.0, 3.0)), "row_parity", (20.0, 30.0))
    group = SimpleNamespace(context=SimpleNamespace(registry=Registry()))
    info = SimpleNamespace(owner="x", name="x.fits")
    for top, first in ((0, 2.0), (200, 2.0), (201, 3.0)):
        detector = Detector((8, 8), 1.0, 1.0, section=Section(0, 8, top, top + 8))
        curve = _curve(group, info, detector, curves)  # type: ignore[arg-type]
        assert curve.coefficients[0, 1] == first and curve.time_delta[0] == 10.0 * first
    whole = Linearity(((1.0, 2.0),))
    assert _curve(group, info, detector, whole).coefficients.tolist() == [[1.0, 2.0]]  # type: ignore[arg-type]
