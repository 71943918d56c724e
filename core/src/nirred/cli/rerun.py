"""``nirred rerun``: make a product again and compare the two."""

from __future__ import annotations

from pathlib import Path

import click

from .common import echo_json, registry, safe
from .group import example


@example("nirred rerun reduced/N20160102S0270_image.fits -o again/", "nirred rerun N1_image.fits --raw raw/ -o again/")
@click.command()
@click.argument("product")
@click.option("--raw", multiple=True, metavar="DIR", help="Directory of the inputs and calibrations; may be repeated.")
@click.option("-o", "--output", default="rerun", show_default=True, metavar="DIR", help="Directory of the new product.")
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="Threads; default: all usable processors.")
@click.option("--json", "as_json", is_flag=True, help="Print {product, same, differences, remarks} on stdout.")
@click.pass_context
def rerun(ctx: click.Context, product: str, raw: tuple[str, ...], output: str, jobs: int | None, as_json: bool) -> None:
    """Make PRODUCT again from its PROVENANCE, and compare the bytes.

    Inputs and calibrations are identified by SHA-256 among the files of the run.json next to PRODUCT, in its directory
    and in --raw. Exit code: 0 the same bytes, 1 different.
    """
    from ..run.rerun import rerun as again

    found = again(Path(product), raw, Path(output), registry(), jobs=jobs or 0)
    same = not found.differences
    if as_json:
        echo_json({"product": found.path, "same": same, "differences": found.differences, "remarks": found.remarks})
    else:
        for text in found.remarks:
            click.echo(safe(f"remark: {text}"))
        click.echo(safe(f"{found.path}: " + ("the same bytes" if same else f"differs from {product}")))
        for text in found.differences:
            click.echo(safe(f"  {text}"))
    ctx.exit(0 if same else 1)
