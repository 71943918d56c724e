"""Draft tasks for the requests of a foreign observation file, which states the frames to combine and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError, NirredError
from ..inputs import each_once, place
from ..params import Setting
from ..recipes import recipe_for
from .drafts import FOREIGN_CHARACTERS, Bench, Draft, science_draft
from .grouping import ScienceGroup
from .model import SCIENCE, FileRecord, FrameInfo, FrameRole, Refusal
from .moments import by_exposure, configuration, exposure, order, text
from .options import known_settings, mistaken
from .scan import described

if TYPE_CHECKING:
    from ..plugin.instrument import Request, RequestSet
    from ..plugin.recipes import Recipe

#: Usual roles of the frames for each kind of product; others that the user names are used with a remark.
_USUAL = {
    "dark": ("dark", "bias"),
    "flat": ("flat", "lamp_on"),
    "image": SCIENCE,
    "skyflat": SCIENCE,
}
#: Kinds of product that are made of frames of the sky.
_OF_SKY = ("image", "skyflat")


@dataclass(frozen=True)
class Order:
    """A request including the data of its children: files in the order given, masters by kind.

    `named_by` is the request or file that names the master of each kind.
    """

    request: Request
    files: tuple[Path, ...]
    masters: Mapping[str, Path]
    named_by: Mapping[str, str]


def take_orders(asked: RequestSet) -> tuple[list[Order], list[Refusal]]:
    """Separate requests that can be carried out from those that cannot: invalid ones, and those that depend on them.

    Returns
    -------
    list of Order
        The enabled requests, in the file's order; each frame has a single name, whatever its paths.
    list of Refusal
    """
    by_id: dict[str, list[Request]] = {}
    for request in asked.requests:
        by_id.setdefault(request.id, []).append(request)
    orders, refused = [], []
    for request in asked.requests:
        try:
            _sound(request, by_id)
            if request.enabled:
                orders.append(_order(request, by_id, ()))
        except DataError as error:
            refused.append(Refusal(request.id, request.origin, error.message, error.hint))
    names = {place(f): f for f in each_once(f for o in orders for f in o.files)}
    return [replace(o, files=tuple(dict.fromkeys(names[place(f)] for f in o.files))) for o in orders], refused


def _sound(request: Request, by_id: Mapping[str, Sequence[Request]]) -> None:
    if request.fault:
        raise DataError(request.fault, request.hint)
    twins = by_id[request.id]
    if len(twins) > 1:
        places = " and ".join(t.origin for t in twins)
        raise DataError(f"the id {request.id!r} is given to {places}", "give each an id of its own")


def _order(request: Request, by_id: Mapping[str, Sequence[Request]], above: tuple[str, ...]) -> Order:
    """Collect the data of a request and its children, depth first.

    Raises
    ------
    DataError
        One of them is invalid, missing, or its own child; they name different calibrations; a file does not exist.
    """
    if request.id in above:
        raise DataError(f"{request.origin} is among its own children", "remove the circular reference")
    absent = next((f for f in request.frames if not f.is_file()), None)
    if absent is not None:
        raise DataError(f"{request.origin}: no file {absent}", "say where the frames are, or correct the name")
    files = dict.fromkeys(request.frames)
    masters: dict[str, Path] = {}
    named: dict[str, str] = {}
    for name in request.children:
        if name not in by_id:
            raise DataError(f"{request.origin}: there is no child {name!r}", "put its block into the file, too")
        child = by_id[name][0]
        try:
            _sound(child, by_id)
            below = _order(child, by_id, (*above, request.id))
        except DataError as error:
            raise DataError(
                f"{request.origin} needs {child.origin}, which cannot be used: {error.message}", error.hint
            ) from None
        files |= dict.fromkeys(below.files)
        for kind, path in below.masters.items():
            if kind not in request.calibrations and place(masters.setdefault(kind, path)) != place(path):
                what = f"{request.origin}: its children name different calibrations: {masters[kind].name}, {path.name}"
                raise DataError(what, f"combine those of one {kind}")
            named.setdefault(kind, below.named_by[kind])
    if not files:
        raise DataError(f"{request.origin} has neither frames nor children", "name what it is made of")
    own = dict(request.calibrations)
    whose = {kind: request.named_by.get(kind, request.origin) for kind in own}
    return Order(request, tuple(files), masters | own, named | whose)


def request_draft(order_: Order, records: Mapping[Path, FileRecord], bench: Bench) -> Draft:
    """The draft task of a request.

    Raises
    ------
    NirredError
        None of its frames can be used; they differ in configuration; no such recipe or parameter; a master does not
        exist or is a product of another kind.
    """
    request = order_.request
    recipe = recipe_for(request.recipe, bench.registry)
    frames, remarks = _frames(order_, records, recipe.makes)
    _check_order(request, [f.path for f in frames], order_.files)
    absent = next((p for p in order_.masters.values() if not p.is_file()), None)
    if absent is not None:
        raise DataError(f"{request.origin}: no file {absent}", "say where the calibrations are, or correct the name")
    for kind, path in order_.masters.items():
        if found := mistaken(kind, described(path, bench.registry)):
            named = f"{path.name}, named as {kind} by {order_.named_by[kind]}"
            raise DataError(f"{request.origin}: {named}, is a finished {found}", f"name a {kind}")
    draft = _grouped(recipe, frames, bench)
    name = FOREIGN_CHARACTERS.sub("_", request.id)
    given = [Setting(*key.rpartition(":")[::2], value, request.origin) for key, value in request.params.items()]
    return replace(
        draft,
        id=f"{name}_{recipe.makes or recipe.name}",
        title=f"{request.id}: {draft.title}".rstrip(": "),
        remarks=(*remarks, *draft.remarks),
        settings=known_settings(given, request.recipe, bench.registry),
        masters=order_.masters,
        named_by=order_.named_by,
        request=request,
    )


def _frames(order_: Order, records: Mapping[Path, FileRecord], makes: str) -> tuple[list[FrameInfo], list[str]]:
    """Usable frames in order of time, and remarks on the others."""
    origin, remarks = order_.request.origin, []
    frames: list[FrameInfo] = []
    for path in order_.files:
        record = records[path]
        usual = _USUAL.get(makes, ())
        role = record.frames[0].descriptors.role if record.frames else ""
        finished = order_.request.finished and record.verdict == "product"
        if finished or (makes == "dark" and role == "bias"):
            record.verdict, record.reason = None, ""
        if record.verdict is not None or not record.frames:
            remarks.append(f"{path.name} left out: {record.verdict or 'empty'}: {record.reason}")
            continue
        if usual and role not in usual:
            remarks.append(f"{path.name} is used for {origin}, although its header says {role}")
        frames += record.frames
    if not frames:
        raise DataError(f"{origin}: no frame can be used: {'; '.join(remarks)}", "see the frames' headers")
    kinds: dict[object, FrameInfo] = {}
    for frame in frames:
        kinds.setdefault((frame.owner, frame.instrument, configuration(frame)), frame)
    if len(kinds) > 1:
        one, other = list(kinds.values())[:2]
        raise DataError(
            f"{origin}: {one.name} and {other.name} differ in configuration: {_setup(one)}; {_setup(other)}",
            "combine frames of one filter, read mode and detector",
        )
    times = [run[0] for run in by_exposure(frames)]
    if makes in _OF_SKY and len(times) > 1:
        pair = " and ".join(f"{f.name} ({text(exposure(f))} s)" for f in times[:2])
        raise DataError(f"{origin}: {pair} differ in exposure time", "combine frames of one exposure time")
    return sorted(frames, key=order), remarks


def _check_order(request: Request, timed: Sequence[Path], listed: Sequence[Path]) -> None:
    """Check that the frames are listed in order of time: positions follow the list, tasks the time.

    Raises
    ------
    DataError
        The orders differ.
    """
    given = any(key.endswith(":offsets") for key in request.params)
    if given and list(dict.fromkeys(timed)) != [p for p in listed if p in set(timed)]:
        raise DataError(
            f"{request.origin}: offsets are given, but the frames are not in time order", "put both in that order"
        )


def _setup(frame: FrameInfo) -> str:
    values = [frame.instrument, *(text(v) for _, v in frame.descriptors.configuration)]
    return " ".join(v for v in values if v)


def _grouped(recipe: Recipe, frames: Sequence[FrameInfo], bench: Bench) -> Draft:
    """Draft of the frames as listed in the file, with target and sky frames separated by pointing as usual."""
    if any(call.step == "sky_correct" for call in recipe.steps):
        return science_draft(bench, ScienceGroup(list(frames)), recipe.name, recipe.makes)
    roles: dict[str, FrameRole] = {"dark": "dark", "flat": "flat"}
    role = roles.get(recipe.makes, "object")
    title = frames[0].descriptors.object or ""
    return Draft("", recipe.name, recipe.makes, tuple((f, role) for f in frames), title)


def refusal(request: Request, error: NirredError) -> Refusal:
    """The record of a request that cannot be carried out."""
    return Refusal(request.id, request.origin, error.message, error.hint)
