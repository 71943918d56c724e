"""Readable summary of a run: products with key figures, failed or degraded groups with reasons, fates of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import NirredError
from .common import safe

if TYPE_CHECKING:
    from ..run.api import RunResult

Record = Mapping[str, Any]
#: Fates whose files are not named if there was something to do.
QUIET_FATES = ("used", "unneeded", "product")
_NAMED = 8


def lines(result: RunResult, verbosity: int = 0) -> Iterator[str]:
    """The summary, line by line.

    Parameters
    ----------
    result : RunResult
        Returned by `nirred.run`.
    verbosity : int
        Below 0: only problems; above 0: every file is named.
    """
    tasks: list[Record] = list(result.record.get("tasks", ()))
    if verbosity >= 0:
        yield from _products(result.products)
        yield from _remarks(result.record, tasks)
    yield from _problems(tasks, result.outcomes)
    for asked in result.record.get("requests", ()):
        if asked["reason"]:
            yield safe(f"failed: {asked['reason']}")
            yield from [safe(f"  hint: {asked['hint']}")] if asked["hint"] else []
    if result.fault:
        yield safe(f"error: {result.fault}")
    if verbosity >= 0:
        told = {(t.get("error") or {}).get("message") or t.get("blocked") for t in tasks}
        quiet = QUIET_FATES if result.outcomes and verbosity == 0 else ()
        yield from _fates(result.record.get("files", ()), told, quiet, verbosity)
        yield _closing(result.outcomes)
        if result.report is not None:
            yield safe(f"report: {result.report}")


def _products(products: Mapping[str, Path]) -> Iterator[str]:
    for path in products.values():
        yield safe(f"{path}  {key_figures(path)}".rstrip())


def _remarks(record: Record, tasks: Iterable[Record]) -> Iterator[str]:
    """Remarks on the run and on its tasks, except on frames left out, which the fates list by reason."""
    from ..plan.model import file_root

    yield from (safe(f"remark: {r}") for r in record.get("remarks", ()))
    rejected = [f for f in record.get("files", ()) if f["fate"] == "rejected"]
    told = {f"{file_root(Path(f['file']))}.fits left out: {f['reason']}" for f in rejected}
    for task in tasks:
        remarks = (r.removeprefix(f"{task['id']}: ") for r in task.get("remarks", ()))
        yield from (safe(f"remark: {task['id']}: {r}") for r in remarks if r not in told)


def key_figures(path: Path) -> str:
    """Key figures of a product from its header, in a few words."""
    from ..headers import Headers

    try:
        get = Headers.read(path).get
    except NirredError as error:
        return f"[{error}]"
    figures = [
        _figure(get("NCOMBINE"), "1 frame" if get("NCOMBINE") == 1 else "{:.0f} frames"),
        _figure(get("TEXPTIME"), "{:.5g} s"),
        _width(get("FWHM"), get("PIXSCALE")),
        _figure(get("BADFRAC"), "{:.2%} bad"),
        _figure(get("LEVELERR"), "level +-{:.3g} " + ("adu" if get("BUNIT") == "adu" else "electron")),
    ]
    state = get("WCSSTAT")
    figures += [f"wcs {state}"] if isinstance(state, str) and state != "ok" else []
    figures += [f"{k} {get(k)}" for k in ("DARKCOR", "FLATCOR", "LINCORR") if "SKIPPED" in str(get(k, ""))]
    return safe(", ".join(f for f in figures if f))


def _width(fwhm: Any, scale: Any) -> str:
    arcsec = isinstance(fwhm, float) and isinstance(scale, float)
    return f'{fwhm * scale:.2f}" FWHM' if arcsec else _figure(fwhm, "{:.2f} px FWHM")


def _figure(value: Any, form: str) -> str:
    return form.format(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else ""


def _problems(tasks: Iterable[Record], outcomes: Mapping[str, str]) -> Iterator[str]:
    for task in tasks:
        outcome = task.get("outcome") or outcomes.get(task["id"], "")
        if outcome in ("failed", "blocked"):
            error = task.get("error") or {}
            yield safe(f"{outcome}: {task['id']}: {error.get('message') or task.get('blocked') or 'see the log'}")
            if error.get("hint"):
                yield safe(f"  hint: {error['hint']}")
        elif task.get("degraded"):
            yield safe(f"degraded: {task['id']}: {_missing(task)}")


def _missing(task: Record) -> str:
    missing = task.get("missing") or ()
    return "; ".join(map(_lack, missing)) or "a calibration is missing, see run.json"


def _lack(missing: Any) -> str:
    """The missing calibration and the reason, without repeating the kind."""
    if not isinstance(missing, Mapping):
        return str(missing)
    kind, reason = f"no {missing['kind']}", str(missing["reason"])
    return reason if reason.startswith(kind) else f"{kind} ({reason})"


def _fates(
    files: Iterable[Record], told: Container[str | None], quiet: Container[str], verbosity: int
) -> Iterator[str]:
    """Counts of fates, then names with the reason if it is not in `told`; for `quiet` fates only the counts."""
    files = list(files)
    counts = Counter(f["fate"] for f in files)
    if counts:
        total = "1 file" if len(files) == 1 else f"{len(files)} files"
        yield f"{total}: " + ", ".join(f"{n} {fate}" for fate, n in counts.most_common())
    by_reason: dict[tuple[str, str], list[str]] = {}
    for f in files:
        if f["fate"] not in quiet:
            name = Path(f["file"]).name
            reason = (f.get("reason") or "").removeprefix(f"{name}: ")
            by_reason.setdefault((f["fate"], "" if reason in told else reason), []).append(name)
    for (fate, reason), names in by_reason.items():
        shown = names if verbosity > 0 else names[:_NAMED]
        more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
        yield safe(f"  {fate}: {', '.join(shown)}{more}" + (f": {reason}" if reason else ""))


def _closing(outcomes: Mapping[str, str]) -> str:
    if not outcomes:
        return "nothing to reduce"
    counts = Counter(outcomes.values())
    return "groups: " + ", ".join(f"{n} {outcome}" for outcome, n in counts.most_common())
