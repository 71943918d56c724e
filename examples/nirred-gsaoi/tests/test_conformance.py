"""GSAOI passes nirred's conformance kit: four arrays, registered as one, drawn onto one mosaic."""

from nirred.testing.conformance import PluginConformance


class TestGsaoi(PluginConformance):
    plugin = "gsaoi"
