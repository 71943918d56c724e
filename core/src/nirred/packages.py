"""Packages of plugins: which installed ones to use, and which one an unclaimed frame would need."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from .errors import ConfigError
from .headers import Headers

#: Packages that provide an instrument, by INSTRUME. Facts about packages, not about data.
KNOWN_PACKAGES = {
    "NIRI": "nirred-niri",
    "F2": "nirred-f2",
    "FLAM": "nirred-f2",
    "GNIRS": "nirred-gnirs",
    "EMIR": "nirred-emir",
}
#: Modules that plugins need not import at start; importing them would delay every start.
HEAVY = ("numpy", "scipy", "astropy", "photutils", "reproject", "pydantic", "numba", "matplotlib", "sqlalchemy", "yaml")
SLOW_IMPORT = 1.0  # s


def wanted_plugins(installed: Sequence[str]) -> Sequence[str]:
    """Names of all plugins, or of those listed in NIRRED_PLUGINS.

    Raises
    ------
    ConfigError
        A listed plugin is not installed; the nearest is suggested.
    """
    listed = os.environ.get("NIRRED_PLUGINS")
    if listed is None:
        return installed
    names = [name for text in listed.split(",") if (name := text.strip())]
    if strange := [name for name in names if name not in installed]:
        from .params import nearest

        hint = nearest(strange[0], installed) or f"installed: {', '.join(installed) or 'none'}"
        raise ConfigError(f"environment NIRRED_PLUGINS: no plugin {strange[0]!r}", hint)
    return names


def import_cost(loaded: set[str], seconds: float) -> str:
    """What is wrong with a plugin that loaded these modules at start, or took so long; '' if nothing is."""
    heavy = [name for name in HEAVY if name in loaded]
    if heavy:
        return f"imports {', '.join(heavy)} at start: every command waits for it"
    return f"takes {seconds:.1f} s to import: every command waits for it" if seconds > SLOW_IMPORT else ""


def why_unclaimed(headers: Headers, broken: Mapping[str, str], known: Sequence[str]) -> tuple[str, str]:
    """Why no plugin claims a frame, and a remedy.

    Parameters
    ----------
    headers : Headers
        Those of the frame.
    broken : mapping
        Refused plugins: {name: package and fault}.
    known : sequence of str
        What installed plugins claim ("INSTRUME = NIRI").
    """
    says = str(headers.get("INSTRUME") or headers.get("CURRINST") or "").strip()
    for name, fault in broken.items():
        if says and says.lower() in name.lower():
            return f"INSTRUME = {says!r}: its plugin {fault}", "repair that package"
    if package := KNOWN_PACKAGES.get(says.upper()):
        return f"no installed plugin knows INSTRUME = {says!r}", f"pip install {package}"
    what = f"INSTRUME = {says!r}" if says else "its header, which has no INSTRUME"
    claimed = f"; those installed claim {', '.join(known)}" if known else ""
    return f"no installed plugin knows {what}", f"install the plugin of its camera, or leave it out{claimed}"
