"""FLAMINGOS-2 passes nirred's conformance kit."""

from nirred.testing.conformance import PluginConformance


class TestF2(PluginConformance):
    plugin = "f2"
