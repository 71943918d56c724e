"""``nirred emir``: observation-result files from lists of frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

from nirred.plugin import ConfigError, DataError, read_text

#: Characters of a file name that form its running number.
NUMBER = 10


@click.group()
def emir() -> None:
    """Commands for EMIR."""


@emir.command()
@click.argument("filename", metavar="LIST", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--step", type=click.Choice(["0", "1"]), required=True, help="0: blocks to run; 1: their combination.")
@click.option("--outfile", required=True, type=click.Path(path_type=Path), help="File to write; it must not exist.")
@click.option(
    "--reprojection",
    type=click.Choice(["interp", "adaptive", "exact", "none"]),
    default="interp",
    show_default=True,
    help="reprojection_method of each block.",
)
@click.option("--repeat", type=click.IntRange(1), default=1, show_default=True, help="Exposures at each position.")
@click.option(
    "--obsid_combined", "--obsid-combined", "combined", default="combined", show_default=True, help="Id of the stack."
)
@click.option("--echo", is_flag=True, help="Print the file, too.")
def obsyaml(
    filename: Path, step: str, outfile: Path, reprojection: str, repeat: int, combined: str, echo: bool
) -> None:
    """Write observation-result YAML for a dithered image.

    LIST is a text file with one file name per line. Names are relative to the data directory: what stands before
    the last / is left out. Lines that begin with # or @ are comments.
    """
    names = list_names(filename)
    if not names or len(names) % repeat:
        raise DataError(f"{filename}: {len(names)} files are no multiple of {repeat}", "another --repeat")
    text = observation(names, step=int(step), repeat=repeat, reprojection=reprojection, combined=combined)
    try:
        with outfile.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise ConfigError(f"{outfile} exists", "another --outfile") from None
    except OSError as error:
        raise ConfigError(f"{outfile}: {error.strerror}", "another --outfile") from None
    if echo:
        click.echo(text, nl=False)


def list_names(path: Path) -> list[str]:
    """File names in a list, without directories.

    Raises
    ------
    DataError
        The list cannot be read.
    """
    try:
        lines = [line.strip() for line in read_text(path).splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {error}", "a text file with one name per line") from None
    return [Path(line.split()[0]).name for line in lines if line and line[0] not in "#@"]


def observation(
    names: Sequence[str], *, step: int, repeat: int = 1, reprojection: str = "interp", combined: str = "combined"
) -> str:
    """Text of an observation-result file: one STARE_IMAGE block per `repeat` files and, with step 1, the stack."""
    ids = [f"_{names[i][:NUMBER]}" for i in range(0, len(names), repeat)]
    doubled = sorted({i for i in ids if ids.count(i) > 1})
    if doubled:
        raise DataError(
            f"several blocks would be called {doubled[0]!r}", "names must differ in the first 10 characters"
        )
    groups = [names[i : i + repeat] for i in range(0, len(names), repeat)]
    blocks = [
        "\n".join(_stare(i, group, enabled=step == 0, reprojection=reprojection))
        for i, group in zip(ids, groups, strict=True)
    ]
    if step == 1:
        wanted = {"iterations": 0, "sky_images": 0, "refine_offsets": False}
        blocks.append(dithered(f"_{combined}", ids, wanted))
    return "\n---\n".join(blocks) + "\n"


def _stare(name: str, files: Sequence[str], *, enabled: bool, reprojection: str) -> Iterator[str]:
    yield from (f"id: {name}", "instrument: EMIR", "mode: STARE_IMAGE", "frames:")
    yield from (f" - {file}" for file in files)
    yield from (f"enabled: {enabled}", "requirements:", f"  reprojection_method: {reprojection}")


def dithered(name: str, children: Sequence[str], requirements: Mapping[str, object]) -> str:
    """Block that combines the positions."""
    lines = [f"id: {name}", "instrument: EMIR", "mode: FULL_DITHERED_IMAGE", "children:"]
    lines += [f" - {child}" for child in children]
    lines += ["enabled: True", "requirements:"]
    return "\n".join([*lines, *(f"  {key}: {value}" for key, value in requirements.items())])
