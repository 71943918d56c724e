"""``nirred view``: a picture of a product."""

from __future__ import annotations

from pathlib import Path

import click

from .group import example


@example("nirred view reduced/N20160102S0270_image.fits -o stack.png")
@click.command()
@click.argument("file")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    help="Default: the name of the file with .png, in the working directory.",
)
@click.option("--size", type=int, default=900, show_default=True, help="Pixels of the longer side.")
def view(file: str, output: str | None, size: int) -> None:
    """Write a PNG of FILE: asinh stretch, north and east arrows, scale bar."""
    from ..picture import stack_png
    from ..plan.model import file_root

    png = Path(output) if output else Path(file_root(Path(file)) + ".png")
    click.echo(stack_png(file, png, size))
