"""``nirred view``: a PNG of a product or raw frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from ..errors import ConfigError
from ..picture import Scale, Stretch
from .group import example


@example(
    "nirred view reduced/N20160102S0270_image.fits -o stack.png",
    "nirred view reduced/N20160102S0270_image.fits --ext NEXP --scale minmax --stretch linear --bar",
    "nirred view raw/N20160102S0270.fits --cut 400:700,400:700 --limits 100 2000 --size 600",
)
@click.command()
@click.argument("file")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    help="Name of the picture; default: the file's, with .png, in the working directory.",
)
@click.option("--ext", metavar="NAME[,VER]", default="", help="Extension: SCI, VAR, DQ, NEXP or a number; default SCI.")
@click.option("--cut", "section", metavar="X1:X2,Y1:Y2", default="", help="Only this section; pixels count from 1.")
@click.option(
    "--scale",
    type=click.Choice(get_args(Scale)),
    default="sky",
    show_default=True,
    help="Range of values shown. sky: from 2 sigma below the sky to the brighter stars; zscale: as ds9.",
)
@click.option("--limits", type=float, nargs=2, metavar="LOW HIGH", help="Range of values shown, in the image's unit.")
@click.option(
    "--stretch",
    type=click.Choice(get_args(Stretch)),
    default="asinh",
    show_default=True,
    help="Brightness scale between the limits; asinh and log show faint structure beside bright.",
)
@click.option("--colours", "--colors", default="gray", show_default=True, help="Colour map of matplotlib.")
@click.option("--bad", default="#203050", show_default=True, help="Colour of pixels without data.")
@click.option("--bar", is_flag=True, help="Draw a colour bar below the picture.")
@click.option("--size", type=int, default=900, show_default=True, help="Longer side of the picture, pixels.")
def view(file: str, output: str | None, ext: str, limits: tuple[float, float] | None, **how: Any) -> None:
    """Write a PNG of FILE, a product or a raw frame, with north and east arrows and a scale bar."""
    from ..drawing import Look, stack_png
    from ..plan.model import file_root

    low, high = limits or (None, None)
    png = Path(output) if output else Path(file_root(Path(file)) + ".png")
    if png.suffix.lower() != ".png":
        raise ConfigError(f"-o {png}: pictures are PNG", f"write -o {png.with_suffix('.png')}")
    click.echo(stack_png(file, png, Look(extension=ext, low=low, high=high, **how)))
