"""Print the accuracy table of NIRI nights that are simulated, reduced by `nirred run` and measured; write JSON."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from nirred.testing.accuracy import Accuracy, summary, table
from nirred.testing.campaign import Reducer, accuracies, run_command
from nirred_niri.simulation import simulation


def main(arguments: Sequence[str] | None = None, reducer: Reducer = run_command) -> int:
    """Run the benchmark; 0 when every bar is reached, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="nights per scenario (default 3)")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--size", type=int, help="square sub-array, for a quick look")
    parser.add_argument("--scenarios", default="dither,offset", help="of dither,offset,filling,standard")
    parser.add_argument("--directory", type=Path, help="keep nights and products here (default: temporary)")
    parser.add_argument("--json", type=Path, default=Path("accuracy.json"), help="where the figures go")
    options = parser.parse_args(arguments)
    directory = options.directory or Path(tempfile.mkdtemp(prefix="nirred-accuracy-"))
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    found: list[Accuracy] = []
    start = time.perf_counter()
    try:
        for item in accuracies(
            simulation(), directory, options.scenarios.split(","), seeds, reducer=reducer, size=options.size
        ):
            print(f"{item.group} seed {item.seed}: measured, {time.perf_counter() - start:.0f} s", flush=True)
            found.append(item)
    finally:
        if options.directory is None:
            shutil.rmtree(directory, ignore_errors=True)
    rows = summary(found)
    document = {"summary": rows, "nights": [asdict(item) for item in found]}
    options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(table(found))
    return 0 if all(row["passed"] for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
