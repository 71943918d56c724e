"""Options shared by `run` and `plan`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ..errors import ConfigError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _joined(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> str | None:
    """Join the values of a repeated option with commas."""
    return ",".join(values) if values else None


def _only_one(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> str | None:
    """The recipe; one of two would be ignored without a word."""
    if len(set(values)) > 1:
        raise ConfigError(f"-r {' -r '.join(values)}: several recipes", "one recipe at a time: run each by itself")
    return values[0] if values else None


_PLANNING: tuple[Decorator, ...] = (
    click.option(
        "-r",
        "--recipe",
        multiple=True,
        callback=_only_one,
        metavar="NAME|FILE.toml|CONTROL.yaml",
        help="Recipe name or file; default: decided by the frames. With an observation file: its control file.",
    ),
    click.option(
        "-p",
        "--set",
        "--param",
        "params",
        multiple=True,
        metavar="STEP:PARAM=VALUE",
        help="Parameter of a step; several values may follow.",
    ),
    click.option(
        "--user-cal",
        multiple=True,
        metavar="KIND:FILE",
        help="Use this calibration (dark, flat, bpm; the prefix processed_ is allowed); several values may follow.",
    ),
    click.option("--user-bpm", metavar="FILE", help="Your own bad-pixel mask, added to the others."),
    click.option(
        "--objects",
        multiple=True,
        callback=_joined,
        metavar="NAMES",
        help="Files whose names contain one of these are on target.",
    ),
    click.option("--skies", multiple=True, callback=_joined, metavar="NAMES", help="... are sky frames."),
    click.option("--exclude", multiple=True, callback=_joined, metavar="NAMES", help="... are left out."),
    click.option(
        "--allow-missing", metavar="KINDS", multiple=True, help="Continue without these calibrations: flat,dark."
    ),
    click.option("--only", metavar="EXPR", help="Use only frames that meet the condition (see `nirred select`)."),
    click.option(
        "--library",
        metavar="PATH|URL",
        help="Calibration library; default: the user's own (`config show`); none: no library.",
    ),
    click.option("-e", "--enable", metavar="ID", multiple=True, help="Run this block of an observation file, too."),
    click.option(
        "--basedir", metavar="DIR", help="Directory for results of an observation file; default: the current one."
    ),
    click.option(
        "--datadir", metavar="DIR", help="Directory of the files named in an observation file; default BASEDIR/data."
    ),
    click.option(
        "--strict-reqs/--loose-reqs",
        "strict_requests",
        default=None,
        help="Refuse an unknown requirement in an observation file (the default), or ignore it.",
    ),
    click.option(
        "--link-files/--copy-files", "placing", default=None, help="No effect: inputs are read where they are."
    ),
    click.option(
        "--offsets",
        metavar="FILE",
        help="Pixel positions (x y) of one object, one per frame on target or pointing: start of the registration.",
    ),
    click.option(
        "--crop", metavar="union|common", help="Stack: pixels that any frame covers (the default), or that all do."
    ),
    click.option("--strict", is_flag=True, default=None, help="Stop where a result would only be degraded."),
)


def planning(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator that adds the options of a plan."""
    for option in reversed(_PLANNING):
        command = option(command)
    return command


def calibrations(values: tuple[str, ...]) -> dict[str, str]:
    """Parse ``kind:FILE`` texts to {kind: file}; the last of a kind wins.

    Raises
    ------
    ConfigError
        A text of another form, or a kind that is not used in imaging.
    """
    from ..plan.options import kind_of

    found = {}
    for value in values:
        kind, colon, path = value.partition(":")
        kind = kind_of(kind)
        if not (kind and colon and path):
            raise ConfigError(f"--user-cal {value!r}", "write kind:FILE, as in dark:N20160102S0423_dark.fits")
        if kind in ("arc", "bias", "fringe", "standard", "slitillum", "telluric", "pinhole"):
            raise ConfigError(f"--user-cal {value!r}: {kind!r} is not used in imaging", "dark, flat and bpm are")
        found[kind] = path
    return found


def check_recipe(recipe: str | None) -> str | None:
    """Distinguish a recipe's name, a TOML recipe and a YAML control file by suffix.

    Raises
    ------
    ConfigError
        The TOML file does not exist or is not a recipe.
    """
    if recipe is None:
        return None
    if recipe.lower().endswith(".toml"):
        from ..recipe_files import read_recipe

        read_recipe(recipe)
    return recipe
