"""Write the pictures of docs/explanation/science.md: a simulated night, its stack, one sky-subtracted frame, its
weight map, and the difference between the stack and the truth.

    python tools/pictures.py

The night is a sub-array of NIRI, so that the pictures stay small.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits
from PIL import Image

from nirred.testing.comparison import Comparison, read_product
from nirred.testing.oracle import oracle_stack
from nirred.testing.simulate import simulate_night
from nirred_niri.simulation import simulation

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
SCENARIO, SIZE, SEED, BIN = "dither", 512, 3, 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, reduce, write the PNG files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=IMAGES, help="directory of the pictures")
    out = parser.parse_args(arguments).output
    with tempfile.TemporaryDirectory(prefix="nirred-pictures-") as name:
        directory = Path(name)
        night = simulate_night(simulation(), directory, scenario=SCENARIO, seed=SEED, size=SIZE)
        reduced = directory / "reduced"
        command = [sys.executable, "-m", "nirred", "run", str(night.raw_dir), "-o", str(reduced), "--quiet"]
        subprocess.run([*command, "--keep-intermediates"], check=True)
        path = reduced / night.groups[SCENARIO].product
        product = read_product(path)
        comparison = Comparison(night, SCENARIO, product, oracle_stack(night, SCENARIO, product.grid))
        residual = comparison.residual(product.sci, comparison.scale)
        noise = float(np.nanmedian(np.sqrt(product.var)))
        frame = one_frame(reduced, product.grid.reference)
        save(out / "science-stack.png", product.sci, -3 * noise, 20 * noise)
        save(out / "science-frame.png", frame, -6 * noise, 40 * noise)
        weight = 1.0 / product.var
        save(out / "science-weight.png", weight, 0.0, float(np.nanmedian(weight)) * 1.1)
        save(out / "science-residual.png", residual, -4 * noise, 4 * noise)
        sys.stdout.write(f"1-sigma noise of a pixel of the stack: {noise:.2f} electrons; pictures in {out}\n")


def one_frame(reduced: Path, name: str) -> np.ndarray:
    """The sky-subtracted frame of a raw file."""
    stem = name.split(".")[0]
    for path in sorted(reduced.rglob(f"{stem}*.fits")):
        with fits.open(path) as hdus:
            if "sky" in path.stem.lower() and "SCI" in hdus:
                return np.asarray(hdus["SCI"].data, float)
    raise SystemExit(
        f"no sky-subtracted frame of {name} in {reduced}: {sorted(p.name for p in reduced.rglob('*.fits'))}"
    )


def save(path: Path, values: np.ndarray, low: float, high: float) -> None:
    """A grey picture, north up as stored, blocks of pixels averaged; white is high."""
    ny, nx = (n // BIN * BIN for n in values.shape)
    blocks = values[:ny, :nx].reshape(ny // BIN, BIN, nx // BIN, BIN)
    with np.errstate(invalid="ignore"):
        mean = np.nanmean(np.nan_to_num(blocks, nan=low), axis=(1, 3))
    grey = np.clip(255 * (mean - low) / (high - low), 0, 255).astype(np.uint8)
    Image.fromarray(grey[::-1]).save(path, optimize=True)


if __name__ == "__main__":
    main()
