"""The hook marker of plugin authors and the version of the contract."""

import pluggy

API_VERSION = (1, 0)
"""(major, minor): another major, or a newer minor than this, is refused. A new hook or argument is a minor change."""

hookimpl = pluggy.HookimplMarker("nirred")
