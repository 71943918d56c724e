"""NIRC2 passes nirred's conformance kit, and keeps its hands off what it cannot reduce."""

import pytest

import nirred_nirc2
from nirred.testing.conformance import PluginConformance
from nirred.testing.headers import headers_from_text


class TestNirc2(PluginConformance):
    plugin = "nirc2"


def frame(**changes):
    """The example header with some values changed."""
    lines = nirred_nirc2.EXAMPLE.splitlines()
    kept = [line for line in lines if line[:8].strip() not in changes]
    return headers_from_text("\n".join(kept + [f"{key:<8}= {value}" for key, value in changes.items()]))


@pytest.mark.parametrize(
    ("changes", "role"),
    [
        ({}, "science"),
        ({"SHRNAME": "'closed'"}, "dark"),
        ({"FLSPECTR": "'on'", "OBJECT": "'domeflat'"}, "lamp_on"),
        ({"FLSPECTR": "'off'", "OBJECT": "'domeflat'"}, "lamp_off"),
        ({"IMAGETYP": "'flatlampoff'"}, "lamp_off"),
    ],
)
def test_roles(changes, role):
    assert nirred_nirc2.nirred_describe(frame(**changes)).role == role


def test_spectra_and_masters():
    assert nirred_nirc2.nirred_claim(frame(GRSNAME="'lowres'")).unsupported == "spectrum"
    assert "PROCESSED" in nirred_nirc2.nirred_tags(frame(BITPIX=-32))


def test_read_noise_of_many_reads_and_coadds():
    assert nirred_nirc2.nirred_detectors(frame())[0].read_noise == pytest.approx(15.0)
    assert nirred_nirc2.nirred_detectors(frame(MULTISAM=1, COADDS=4))[0].read_noise == pytest.approx(120.0)
    assert nirred_nirc2.nirred_detectors(frame(MULTISAM=128))[0].read_noise == pytest.approx(10.0)
