"""Test tools for plugin authors: the simulator, the accuracy measurements and the conformance kit."""
