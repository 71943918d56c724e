"""EMIR passes nirred's conformance kit."""

from nirred.testing.conformance import PluginConformance


class TestEmir(PluginConformance):
    plugin = "emir"
