"""``nirred select``: choose files by tags and an expression."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ..errors import ConfigError
from .common import echo_json, names_with_stdin, registry, remark, warn
from .group import example


@example(
    "nirred select raw/ --tags DARK --expr 'exposure_time==20' -o darks.lis",
    "nirred select raw/*.fits --tags IMAGE --xtags FLAT --expr 'object!=\"FS 17\"'",
)
@click.command(name="select")
@click.argument("files", nargs=-1)
@click.option("-t", "--tags", default="", metavar="A,B", help="Tags that a file must have, all of them.")
@click.option("--xtags", default="", metavar="C,D", help="Tags that it must not have, any of them.")
@click.option("--expr", default="", metavar="EXPR", help="Condition on descriptors: comparisons, and, or, not, in.")
@click.option("--strict", is_flag=True, help="Exact: no 1 % tolerance on exposure times, names with component ids.")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write a list that `run @FILE` reads.")
@click.option("-v", "--verbose", is_flag=True, help="With -o, also print the names.")
@click.option("--json", "as_json", is_flag=True, help="Print the names as a JSON list.")
def select_command(
    files: Sequence[str],
    tags: str,
    xtags: str,
    expr: str,
    strict: bool,
    output: str | None,
    verbose: bool,
    as_json: bool,
) -> None:
    """Print the names of those FILES (or directories, @lists) that have the tags and meet the condition."""
    from ..inputs import quoted
    from ..selection import select

    names = select(
        names_with_stdin(files), tags, xtags, expr, strict, registry=registry(), on_skip=warn, on_remark=remark
    )
    if output:
        head = [f"# Includes tags: {tags}", f"# Excludes tags: {xtags}", f"# Expression: {' '.join(expr.split())}"]
        _write(output, "\n".join([*head, *map(quoted, names)]) + "\n")
    if as_json:
        echo_json(names)
    elif verbose or not output:
        for name in names:
            click.echo(name)


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as out:
            out.write(text)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", "choose another -o") from None
