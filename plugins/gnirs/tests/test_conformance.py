"""GNIRS passes nirred's conformance kit."""

from nirred.testing.conformance import PluginConformance


class TestGnirs(PluginConformance):
    plugin = "gnirs"
