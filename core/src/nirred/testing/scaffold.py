"""A new plugin: a package that describes a simple camera and passes the conformance kit unchanged."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from string import Template

from ..errors import ConfigError
from ..packages import KNOWN_PACKAGES
from ..registry import Registry

#: {template: its path in the package}.
FILES = {
    "pyproject.toml.template": "pyproject.toml",
    "README.md.template": "README.md",
    "plugin.py.template": "src/nirred_$name/__init__.py",
    "test_conformance.py.template": "tests/test_conformance.py",
}


def new_plugin(name: str, directory: Path, registry: Registry) -> list[Path]:
    """Write the package nirred-NAME.

    Parameters
    ----------
    name : str
        Of the camera: lower-case letters, digits and underscores, a letter first.
    directory : Path
        Created; must be empty if it exists.
    registry : Registry
        The installed plugins, whose names are not available.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    ConfigError
        The name cannot be used or is taken; the directory is not empty or cannot be written.
    """
    check_name(name, registry)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigError(f"{directory} exists already; nothing is overwritten", "another -o DIR")
    words = {"name": name, "NAME": name.upper(), "Class": name.title().replace("_", "")}
    home, written = files("nirred.testing") / "skeleton", []
    try:
        for template, place in FILES.items():
            path = directory / Template(place).substitute(words)
            path.parent.mkdir(parents=True, exist_ok=True)
            text = (home / template).read_text(encoding="utf-8")
            path.write_text(Template(text).substitute(words), encoding="utf-8")
            written.append(path)
        typed = directory / "src" / f"nirred_{name}" / "py.typed"
        typed.touch()
    except OSError as error:
        raise ConfigError(f"{directory}: {error.strerror or error}", "another -o DIR") from None
    return [*written, typed]


def check_name(name: str, registry: Registry) -> None:
    """Refuse a name that cannot be a module's or that another package has.

    Raises
    ------
    ConfigError
        With a hint of allowed names.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", name) or keyword.iskeyword(name):
        wanted = "lower-case letters, digits and underscores, a letter first: it becomes nirred_NAME"
        raise ConfigError(f"{name!r} cannot be a plugin's name", wanted)
    if name in _taken(registry):
        raise ConfigError(f"the name {name!r} is taken by nirred-{name}", "another name; `nirred plugins` lists those")


def _taken(registry: Registry) -> Iterable[str]:
    cameras = {i.name for _, i in registry.instruments()}
    own = {package.removeprefix("nirred-") for package in KNOWN_PACKAGES.values()}
    return {info.name for info in registry.found.values()} | cameras | own
