"""Blocks of an observation-result file, and the control file: schemas, and errors with block, line and key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nirred.plugin import ConfigError, DataError, nearest, read_text

from .detector import PROFILES
from .yamltext import Document, Fault, Where, documents

INSTRUMENT = "EMIR"
Id = Annotated[int | str, Field(union_mode="left_to_right")]
_ID = re.compile(r"[\w+-][\w.+-]{0,99}", re.ASCII)
UUIDS = frozenset(p.uuid for p in PROFILES)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Block(_Strict):
    """One block of the file, with the names used by the observatory's pipeline."""

    id: Id
    instrument: str
    mode: str
    pipeline: str = "default"
    frames: list[str] | None = None
    images: list[str] | None = None
    children: list[Id] | None = None
    parent: Id | None = None
    enabled: bool = True
    requirements: dict[str, Any] | None = None
    results: Any = None
    labels: dict[str, Any] | None = None


class Product(_Strict):
    """A calibration in the control file."""

    id: Id | None = None
    type: str
    tags: dict[str, Any] | None = None
    content: str


class Wish(_Strict):
    """A requirement in the control file."""

    name: str
    tags: dict[str, Any] | None = None
    content: Any


class Control(_Strict):
    """The control file; sections of other instruments are ignored."""

    version: Literal[1] = 1
    rootdir: str | None = None
    products: dict[str, Any] | None = None
    requirements: dict[str, Any] | None = None


M = TypeVar("M", bound=_Strict)

#: Types of schema errors, and the expected value.
_WANTED = {
    "string_type": "a word",
    "bool_type": "True or False",
    "int_type": "a whole number",
    "list_type": "a list",
    "dict_type": "keys with values",
}
_EXAMPLES = {
    "id": "_0001877553",
    "instrument": "EMIR",
    "mode": "STARE_IMAGE",
    "enabled": "False",
    "frames": "[0001877553-20181217-EMIR-STARE_IMAGE.fits]",
    "children": "[_0001877553, _0001877559]",
    "requirements": "{reprojection_method: interp}",
    "labels": "{filter: J}",
    "tags": "{filter: J}",
}
_EXAMPLES["images"] = _EXAMPLES["frames"]


@dataclass(frozen=True)
class Read:
    """A block that was read, or why it was not; `origin` names file and block."""

    origin: str
    id: str
    block: Block | None
    document: Document
    fault: str = ""
    hint: str = ""

    def at(self, *where: str | int) -> str:
        """Origin and line of a key."""
        return f"{self.origin}, line {self.document.line_of(where)}"


def check(kind: type[M], value: Any, document: Document, where: Where = ()) -> M:
    """Validate a value as a model.

    Raises
    ------
    Fault
        With the line, the key and, for an unknown key, the nearest known one.
    """
    if not isinstance(value, dict):
        raise Fault(document.line_of(where), f"no keys and values but {str(value)[:40]!r}", "write key: value")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        # a misspelt key is also missing under its right name: report the spelling
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        place = tuple(p for p in first["loc"] if not (isinstance(p, str) and p in ("int", "str")))
        line, key = document.line_of((*where, *place)), ".".join(map(str, place))
        if first["type"] == "extra_forbidden":
            hint = nearest(key, kind.model_fields) or f"known: {', '.join(kind.model_fields)}"
            raise Fault(line, f"unknown key {key!r}", hint) from None
        if first["type"] == "missing":
            raise Fault(line, f"the key {key!r} is missing", f"write {key}: ...") from None
        wanted = _WANTED.get(first["type"], first["msg"])
        raise Fault(line, f"{key} is not {str(first['input'])[:40]!r} but {wanted}", _example(key)) from None


def _example(key: str) -> str:
    """Example value for a key of a block."""
    word = key.partition(".")[0]
    return f"write {word}: {_EXAMPLES[word]}" if word in _EXAMPLES else "correct it"


def read_blocks(path: Path) -> list[Read]:
    """All blocks of a file; each contains its own fault, if any.

    Raises
    ------
    DataError
        The file cannot be read, or contains no block.
    """
    found = [_block(path, document) for document in documents(_text(path, DataError))]
    if not found:
        raise DataError(f"{path}: no observation block", "write blocks with id, instrument, mode and frames")
    return found


def _text(path: Path, error: type[DataError] | type[ConfigError]) -> str:
    try:
        return read_text(path)
    except OSError as reason:
        raise error(f"{path}: {reason.strerror}", "check the name") from None
    except UnicodeDecodeError:
        raise error(f"{path}: no UTF-8 text", "save it as UTF-8") from None


def _block(path: Path, document: Document) -> Read:
    name = document.value.get("id") if isinstance(document.value, dict) else None
    known = isinstance(name, (int, str)) and not isinstance(name, bool) and bool(str(name).strip())
    label = str(name) if known else f"block {document.number}"
    origin = f"{path.name}, block {document.number}" + (f" ({label[:60]})" if known else "")
    read = Read(origin, label, None, document)
    try:
        if document.fault is not None:
            raise document.fault
        block = check(Block, document.value, document)
        if not _ID.fullmatch(str(block.id)):
            what = f"the id {label[:60]!r} cannot name a directory"
            raise Fault(document.line_of(("id",)), what, "letters and digits")
        _frames(block, document)
    except Fault as fault:
        return Read(origin, label, None, document, f"{origin}, {fault}", fault.hint)
    return Read(read.origin, str(block.id), block, document)


def _frames(block: Block, document: Document) -> None:
    if block.frames and block.images:
        raise Fault(document.line_of(("images",)), "frames and images are one and the same", "leave one out")
    key = "frames" if block.frames else "images"
    for i, name in enumerate(block.frames or block.images or ()):
        below(name, document.line_of((key, i)), key)


def below(name: str, line: int, key: str) -> str:
    """Check that a file name, the value of a key in that line, stays below the data directory.

    Raises
    ------
    Fault
        It is absolute, leads out of the directory, or is not a name.
    """
    parts = PurePosixPath(name).parts
    if not parts or "\0" in name:
        raise Fault(line, f"{key}: {name!r} is no file name", "name a file below the data directory")
    if parts[0] == "/" or ".." in parts or re.match(r"[A-Za-z]:|~", name) or "\\" in name:
        hint = "put the file there, or choose another --datadir"
        raise Fault(line, f"{key}: {name!r} leaves the data directory", hint)
    return name


# -- control file -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Entry:
    """A product or requirement of the control file, for one detector ('': any); a requirement has mode and pipeline."""

    uuid: str
    name: str
    tags: Mapping[str, Any]
    content: Any
    mode: str = ""
    pipeline: str = ""


@dataclass(frozen=True)
class ControlFile:
    """Contents of a control file for EMIR."""

    products: tuple[Entry, ...] = ()
    requirements: tuple[Entry, ...] = ()
    remarks: tuple[str, ...] = ()


def read_control(path: Path) -> ControlFile:
    """Read the control file, in either of its layouts.

    Raises
    ------
    ConfigError
        With line and key.
    """
    found = documents(_text(path, ConfigError))
    if len(found) != 1:
        raise ConfigError(f"{path}: {len(found)} documents, a control file is one", "remove lines '---'")
    document = found[0]
    try:
        if document.fault is not None:
            raise document.fault
        given = document.value
        if isinstance(given, dict) and given.get("version", 1) != 1:
            raise Fault(document.line_of(("version",)), f"version {given['version']!r}; 1 is read", "version: 1")
        control = check(Control, given, document)
        products = _products(control, document)
        requirements = _requirements(control, document)
    except Fault as fault:
        raise ConfigError(f"{path.name}, {fault}", fault.hint) from None
    ignored = ["rootdir"] if control.rootdir else []
    remarks = [f"{path.name}: {k} is not used: calibrations are taken from the data directory" for k in ignored]
    remarks += [
        f"{path.name}: {uuid!r} is no detector of EMIR, its products are not used; known: {', '.join(sorted(UUIDS))}"
        for uuid in dict.fromkeys(e.uuid for e in products if e.uuid not in {"", *UUIDS})
    ]
    return ControlFile(tuple(products), tuple(requirements), tuple(remarks))


def _products(control: Control, document: Document) -> list[Entry]:
    section = (control.products or {}).get(INSTRUMENT) or {}
    found = []
    for uuid, where, items in _lists(section, ("products", INSTRUMENT), document):
        for i, item in enumerate(items):
            product = check(Product, item, document, (*where, i))
            below(product.content, document.line_of((*where, i, "content")), "content")
            found.append(Entry(uuid, product.type, product.tags or {}, product.content))
    return found


def _lists(section: Any, where: Where, document: Document) -> list[tuple[str, Where, list[Any]]]:
    """(detector, place, entries): files since March 2024 have a level of detectors, earlier ones do not."""
    if isinstance(section, list):
        return [("", where, section)]
    found = []
    for uuid, items in _named(section, where, document).items():
        if not isinstance(items or [], list):
            raise Fault(document.line_of((*where, uuid)), "a list of entries is expected", "write - {...}")
        found.append((uuid.lower(), (*where, uuid), items or []))
    return found


def _named(section: Any, where: Where, document: Document) -> dict[str, Any]:
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise Fault(document.line_of(where), "keys with values are expected", "write key: value")
    return section


def _requirements(control: Control, document: Document) -> list[Entry]:
    where: Where = ("requirements", INSTRUMENT)
    section = _named((control.requirements or {}).get(INSTRUMENT), where, document)
    found = []
    for key, value in section.items():
        uuid = key.lower() if key.lower() in UUIDS else ""
        one = _named(value, (*where, key), document) if uuid else {key: value}
        base = (*where, key) if uuid else where
        for pipeline, modes in one.items():
            for mode, items in _named(modes, (*base, pipeline), document).items():
                place = (*base, pipeline, mode)
                for _, at, entries in _lists(items or [], place, document):
                    for i, item in enumerate(entries):
                        wish = check(Wish, item, document, (*at, i))
                        found.append(Entry(uuid, wish.name, wish.tags or {}, wish.content, mode, pipeline))
    return found


def fits(tags: Mapping[str, Any], observed: Mapping[str, Any]) -> bool:
    """Whether tags agree with those of an observation; tags unknown there are ignored."""
    return all(str(observed[k]).lower() == str(v).lower() for k, v in tags.items() if observed.get(k) is not None)


def suggestion(word: str, known: Sequence[str]) -> str:
    """The nearest known word, or all of them."""
    lower = {k.lower(): k for k in known}
    close = nearest(word, lower)
    for small, right in lower.items():
        close = close.replace(f"'{small}'", f"'{right}'")
    return close or f"known: {', '.join(known)}"
