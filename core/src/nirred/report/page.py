"""The report page: collect the data, render, and write the file atomically."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..errors import DataError
from ..files import replacing
from ..picture import printable
from ..plan.model import ROLE_WORDS
from ..run.layout import log_path, report_path, run_path
from ..run.schema import RunFile, read_run
from .findings import Finding, findings
from .raster import NO_DATA
from .sections import KINDS, Product, read_products
from .words import LEVELS, number, with_error

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class Headline:
    """The outcome of the run in a few words."""

    grade: str
    title: str
    groups: str
    files: str


def write_report(out: Path) -> Path:
    """Make OUT/report/index.html from run.json, task records and products; the raw files may be gone.

    Parameters
    ----------
    out : Path
        As given to ``nirred run -o``.

    Returns
    -------
    Path
        The page. The same directory gives the same bytes.

    Raises
    ------
    DataError
        No run.json, or one of another schema; the page cannot be written.
    """
    run = read_run(run_path(out))
    page = render(run, read_products(out, run), log=log_path(out).is_file())
    path = report_path(out)
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise DataError(f"{path.parent}: {error.strerror or error}", "another -o") from error
    with replacing(path) as stream:
        stream.write(page.encode("utf-8", "replace"))
    return path


def render(run: RunFile, products: Sequence[Product], *, log: bool = True) -> str:
    """The page as text.

    Parameters
    ----------
    run : RunFile
        run.json.
    products : sequence of Product
        From `read_products`.
    log : bool
        Whether nirred.log exists next to run.json.
    """
    found = findings(run, products)
    stacks = [p for p in products if p.kind == "image"]
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            run=run,
            head=headline(run, found, stacks),
            findings=found,
            stacks=stacks,
            masters=[p for p in products if p.master is not None],
            roles=_roles(run),
            tasks={t.id: t for t in run.tasks},
            parameters=_parameters(run, products),
            versions=_versions(run, products),
            spent=sum(t.cpu_s for t in run.tasks),
            elapsed=_elapsed(run),
            fates=Counter(f.fate for f in run.files),
            levels=LEVELS,
            kinds=KINDS,
            no_data="#{:02x}{:02x}{:02x}".format(*NO_DATA),
            log=log,
        )
    )


def environment() -> Environment:
    """Templates of this package; all values are escaped, and control characters are replaced."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def finalize(value: Any) -> Any:
        return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    env = Environment(
        loader=PackageLoader("nirred.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize,
    )
    env.filters |= {"number": number, "with_error": with_error, "base": lambda path: Path(path).name, "link": _link}
    env.filters["role"] = lambda role: ROLE_WORDS.get(role, role)
    return env


def _link(name: str) -> str:
    """Relative URL of a file in OUT from the report's directory; never with a scheme or outside OUT."""
    parts = [p for p in Path(name).parts if p not in ("..", "/")]
    return "../" + quote(os.fsencode("/".join(parts)))


def headline(run: RunFile, found: Sequence[Finding], stacks: Sequence[Product]) -> Headline:
    """Summary: what was reduced, the number of groups by outcome, and the most severe grade."""
    outcomes = Counter(t.outcome for t in run.tasks)
    groups = f"{_count(len(run.tasks), 'group')}: " + ", ".join(f"{n} {o}" for o, n in outcomes.most_common())
    degraded = sum(t.degraded and t.outcome in ("done", "reused") for t in run.tasks)
    groups += f", {degraded} of them degraded" if degraded else ""
    fates = Counter(f.fate for f in run.files)
    files = f"{_count(len(run.files), 'file')}: " + ", ".join(f"{n} {fate}" for fate, n in fates.most_common())
    titles = list(dict.fromkeys(p.task.title or p.task.id for p in stacks))
    instruments = sorted({t.instrument for t in run.tasks if t.instrument})
    title = ", ".join(titles[:4]) + (f" and {len(titles) - 4} more" if len(titles) > 4 else "")
    title = title or ("no stack" if run.tasks else "nothing to reduce")
    title = f"{', '.join(instruments)}: {title}" if instruments else title
    grade = found[0].grade if found else "good"
    return Headline(grade, title, groups if run.tasks else "no group", files)


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _roles(run: RunFile) -> dict[str, list[tuple[str, str, str, str]]]:
    """{task: (file, role, outcome, reason) of every frame and calibration file}; a group's own error is said above."""
    told = {t.id: t.error.message for t in run.tasks if t.error is not None}
    rows: dict[str, list[tuple[str, str, str, str]]] = {}
    for f in run.files:
        for r in f.roles:
            rows.setdefault(r.task, []).append(
                (Path(f.file).name, r.role, r.outcome, "" if r.reason == told.get(r.task) else r.reason)
            )
    return rows


def _parameters(run: RunFile, products: Sequence[Product]) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """(parameter, value, who set it, tasks): of the products, and what the user set for groups that failed."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for s in run.settings:
        rows.setdefault((f"{s.step}:{s.name}", repr(s.value), s.origin), [])
    for product in products:
        for p in product.parameters:
            rows.setdefault((p.name, p.value, p.origin), []).append(product.task.id)
    users = sorted(rows.items(), key=lambda item: item[0][2].startswith(("plugin", "recipe")))
    return [(*key, tuple(dict.fromkeys(tasks))) for key, tasks in users]


def _versions(run: RunFile, products: Sequence[Product]) -> dict[str, str]:
    found = {name: version for p in products for name, version in p.versions}
    return {"nirred": run.nirred} | found | {p.package: p.version for p in run.plugins}


def _elapsed(run: RunFile) -> str:
    """Wall-clock time of the run, in words."""
    try:
        seconds = (datetime.fromisoformat(run.finished) - datetime.fromisoformat(run.started)).total_seconds()
    except (ValueError, TypeError):
        return ""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
