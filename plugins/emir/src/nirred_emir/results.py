"""Results in the layout of the observatory's pipeline: obsid<id>_results and obsid<id>_work."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nirred.plugin import DataError, Headers, NirredError, RequestOutcome, read_text

DONE, FAILED = 2, 3
_LEVELS = {"failed": "ERROR", "message": "ERROR"}


def results(outcome: RequestOutcome) -> dict[str, bytes | Path | None]:
    """Names and contents of the files in the two directories of a block: FITS, JSON and text; no image if it failed."""
    request = outcome.request
    folder, field = f"obsid{request.id}_results", request.details["field"]
    files: dict[str, bytes | Path | None] = {f"obsid{request.id}_work/": b""}
    values = {field: f"{field}.fits" if outcome.product is not None else None}
    if request.details["mode"] == "FULL_DITHERED_IMAGE":
        values["result_sky"] = None
    known = json.dumps([request.id, plain(request.details), plain(outcome.task)], sort_keys=True, default=str)
    identity = str(uuid.uuid5(uuid.NAMESPACE_OID, known))
    result = {"values": values, "qc": "UNKNOWN", "uuid": identity}
    files[f"{folder}/{field}.fits"] = outcome.product
    files[f"{folder}/result.json"] = _json(result)
    files[f"{folder}/task.json"] = _json(_task(outcome, folder, identity))
    files[f"{folder}/processing.log"] = _log(outcome)
    return files


def located(base: Path, name: str, field: str) -> Path:
    """The image left by an earlier run of a block, under the name that distinguishes it from those of other blocks.

    Raises
    ------
    DataError
        There is none, it is not nirred's, or it is a mean of several exposures, whose noise cannot be stacked.
    """
    folder = base / f"obsid{name}_results"
    try:
        value = json.loads(read_text(folder / "result.json"))["values"][field]
        path = folder / Path(value).name
        headers = Headers.read(path)
    except (OSError, ValueError, LookupError, TypeError, NirredError):
        raise DataError(f"no earlier result in {folder}", "run its block, or say where the frames are") from None
    if headers.primary.get("NIRKIND") != "image":
        raise DataError(f"{path} was not made by nirred", "run its block again, or say where the frames are")
    if headers.get("NCOMBINE") != 1:
        raise DataError(f"{path} is a mean of several exposures", "say where the frames are")
    product = base / f"{name}_image.fits"
    return product if product.is_file() and product.samefile(path) else path


def resampled(path: Path) -> bool:
    """Whether the pixels of a single position reduced earlier are no longer those of the detector."""
    return "CORRFAC" in Headers.read(path).primary


def _json(value: Any) -> bytes:
    return json.dumps(plain(value), indent=2, default=str).encode() + b"\n"


def plain(value: Any) -> Any:
    """A value with its paths replaced by names."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def _task(outcome: RequestOutcome, folder: str, identity: str) -> dict[str, Any]:
    details, task = outcome.request.details, outcome.task
    moments = [when.isoformat() for when, _ in outcome.log] or [""]
    good = outcome.product is not None
    inputs = {k: {"source": details["sources"][k], "value": v} for k, v in details["requirements"].items()}
    for entry in task.get("calibrations", ()):
        source = details["masters"].get(entry["kind"], entry["reason"])
        inputs[f"master_{entry['kind']}"] = {"source": source, "value": entry["file"]}
    return {
        "result": f"{folder}/result.json" if good else None,
        "id": identity,
        "time_create": moments[0],
        "time_start": moments[0],
        "time_end": moments[-1],
        "request": "reduce",
        "request_params": {
            "oblock_id": outcome.request.id,
            "pipeline": details["pipeline"],
            "instrument_configuration": details["uuid"],
            "mode": details["mode"],
            "requirements": details["requirements"],
        },
        "request_runinfo": {
            "runner": "nirred",
            "results_dir": folder,
            "work_dir": f"obsid{outcome.request.id}_work",
            "inputs": inputs,
            "frames": [Path(i["file"]).name for i in task.get("inputs", ())],
            "instrument": "EMIR",
            "pipeline": details["pipeline"],
            "mode": details["mode"],
            "recipe": task.get("recipe", outcome.request.recipe),
            "outcome": outcome.outcome,
            "message": outcome.message,
        },
        "state": DONE if good else FAILED,
    }


def _log(outcome: RequestOutcome) -> bytes:
    """Log lines in the format of the observatory's pipeline: time - logger - level - message."""
    lines = []
    for when, text in outcome.log:
        level = _LEVELS.get(text.partition(":")[0], "INFO")
        stamp = f"{when:%Y-%m-%d %H:%M:%S},{when.microsecond // 1000:03d}"
        lines.append(f"{stamp} - nirred - {level} - {text}")
    return "".join(f"{line}\n" for line in lines).encode()
