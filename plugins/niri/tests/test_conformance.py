"""NIRI passes nirred's conformance kit."""

from nirred.testing.conformance import PluginConformance


class TestNiri(PluginConformance):
    plugin = "niri"
