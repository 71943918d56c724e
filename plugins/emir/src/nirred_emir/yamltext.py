"""Safe reader of YAML with several documents: every value with its line; a damaged document does not affect others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

Where = tuple[str | int, ...]

#: A line that ends a document; other forms allowed by YAML are not used in practice.
_SEPARATOR = re.compile(r"---(\s|$)")
_END = re.compile(r"\.\.\.\s*$")
#: Largest depth of nesting; no observation is deeper.
DEPTH = 20
_KINDS = ("str", "int", "float", "bool", "null", "timestamp")
_TAG = "tag:yaml.org,2002:"
BETWEEN = "blocks are separated by a line '---'"


class Fault(Exception):
    """An error at a line."""

    def __init__(self, line: int, message: str, hint: str = "") -> None:
        super().__init__(f"line {line}: {message}")
        self.line, self.message, self.hint = line, message, hint


@dataclass(frozen=True)
class Document:
    """One document.

    Parameters
    ----------
    number : int
        Number from 1; empty documents are not counted.
    line : int
        Line of its first content, from 1.
    value : Any
        Mappings, lists and scalars; None if there is a `fault`.
    lines : mapping
        {path of keys and indices: line}.
    """

    number: int
    line: int
    value: Any = None
    lines: Mapping[Where, int] = field(default_factory=dict)
    fault: Fault | None = None

    def line_of(self, where: Where) -> int:
        """Line of the value at that path, or of the collection that contains it."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, self.line)


def documents(text: str) -> list[Document]:
    """All documents of a text, each read independently.

    Anchors, aliases, merge keys and tags are refused: no observation needs them, and they can expand without limit.
    """
    found: list[Document] = []
    for first, part in _parts(text):
        number = len(found) + 1
        lines: dict[Where, int] = {}
        try:
            node = _compose(part, first)
            if node is None:
                continue
            start = node.start_mark.line + first
            value = _value(node, first, lines, ())
            found.append(Document(number, start, value, lines))
        except Fault as fault:
            found.append(Document(number, fault.line, fault=fault))
        except RecursionError:
            found.append(Document(number, first, fault=Fault(first, "nested too deeply")))
    return found


def _parts(text: str) -> Iterator[tuple[int, str]]:
    """(number of the first line, text) of each part between separators."""
    first = 1
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("%") and not "".join(lines).strip():
            lines.append("")  # %YAML 1.1: ignored, no other version is supported
        elif _SEPARATOR.match(line) or _END.match(line):
            yield first, "\n".join(lines)
            first, lines = number, [line[3:] if line.startswith("---") else ""]
        else:
            lines.append(line)
    yield first, "\n".join(lines)


def _compose(part: str, first: int) -> yaml.Node | None:
    try:
        for event in yaml.parse(part, Loader=yaml.SafeLoader):
            line = event.start_mark.line + first
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise Fault(line, "anchors and aliases (& and *) are not read", "write the values out")
        node: yaml.Node | None = yaml.compose(part, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise _fault(error, part, first) from None
    return node


def _fault(error: yaml.YAMLError, part: str, first: int) -> Fault:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:  # a character that YAML does not allow
        place = getattr(error, "position", 0)
        what = getattr(error, "reason", str(error))
        return Fault(part.count("\n", 0, place) + first, str(what), "remove the character")
    lines = part.split("\n")
    line = lines[min(mark.line, len(lines) - 1)]
    if "\t" in line:
        return Fault(mark.line + first, "a tab; YAML is indented with spaces", "replace tabs by spaces")
    return Fault(mark.line + first, str(getattr(error, "problem", None) or error), f"no YAML; {BETWEEN}")


def _value(node: yaml.Node, first: int, lines: dict[Where, int], where: Where) -> Any:
    line = node.start_mark.line + first
    lines[where] = line
    if len(where) > DEPTH:
        raise Fault(line, "nested too deeply")
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, first, lines, where)
    if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
        return [_value(n, first, lines, (*where, i)) for i, n in enumerate(node.value)]
    kind = node.tag.removeprefix(_TAG)
    if kind not in _KINDS:
        raise Fault(line, f"the tag {node.tag!r} is not read", "write plain values")
    if kind in ("str", "timestamp"):
        return str(node.value)
    try:
        return yaml.constructor.SafeConstructor().construct_object(node)
    except (yaml.YAMLError, ValueError):
        raise Fault(line, f"{str(node.value)[:40]!r} is no number", "correct it") from None


def _mapping(node: yaml.MappingNode, first: int, lines: dict[Where, int], where: Where) -> dict[str, Any]:
    if node.tag != f"{_TAG}map":
        raise Fault(node.start_mark.line + first, f"the tag {node.tag!r} is not read", "write plain values")
    found: dict[str, Any] = {}
    for key, value in node.value:
        line = key.start_mark.line + first
        if not isinstance(key, yaml.ScalarNode) or key.tag == f"{_TAG}merge":
            raise Fault(line, "a key must be a word", "write name: value")
        name = str(key.value)
        if name in found:
            raise Fault(line, f"the key {name!r} again, first in line {lines[(*where, name)]}", BETWEEN)
        found[name] = _value(value, first, lines, (*where, name))
        lines[(*where, name)] = line
    return found
