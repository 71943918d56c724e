"""nirred: near-infrared imaging reduction, from a directory of raw frames to science-ready stacks."""

__version__ = "0.1.0"
