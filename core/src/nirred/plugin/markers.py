"""The decorator that marks hook implementations, and the version of the plugin interface."""

import pluggy

API_VERSION = (1, 0)
"""(major, minor). A plugin with another major or newer minor is refused. New hooks and arguments are minor changes."""

hookimpl = pluggy.HookimplMarker("nirred")
