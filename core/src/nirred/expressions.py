"""Conditions over descriptors (``exposure_time == 20 and object != "FS 17"``): a whitelisted grammar, never `eval`."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any, NamedTuple

from .algorithms.shared import no_warnings
from .errors import ConfigError
from .plugin.frames import FIELD_NAMES, Descriptors

MAX_LENGTH = 10_000
MAX_DEPTH = 50
#: Relative tolerance of == without `strict`: headers give 20.002 s for 20 s.
TOLERANCE = {"exposure_time": 0.01, "central_wavelength": 1e-5, "effective_wavelength": 1e-5}

#: Descriptors that every frame has, known or not.
COMMON_NAMES = frozenset(FIELD_NAMES) - {"extra", "pretty", "configuration"}
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "in",
    ast.NotIn: "not in",
    ast.Is: "==",
    ast.IsNot: "!=",
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_ORDER: dict[str, Callable[[Any, Any], bool]] = {"<": operator.lt, ">": operator.gt}
_HINTS = {
    r"&&": "write `and`",
    r"\|\|": "write `or`",
    r"!(?!=)": "write `not` or `!=`",
    r"(?<![=!<>])=(?!=)": "compare with ==",
}

_Value = Callable[["Descriptors"], Any]
_Condition = Callable[["Descriptors"], bool]


class _Forms(NamedTuple):
    """A name with component ids and its readable form; a condition may use either."""

    full: Any
    pretty: Any


@dataclass(frozen=True)
class Predicate:
    """A compiled expression: call it with `Descriptors`, or with anything that has `.descriptors`.

    Attributes
    ----------
    text : str
        The expression as written.
    names : frozenset of str
        Descriptors that it uses.
    """

    text: str
    strict: bool
    names: frozenset[str]
    _test: _Condition

    def __call__(self, frame: Any) -> bool:
        """Whether the frame is selected.

        Raises
        ------
        ConfigError
            The expression is not a condition for this frame, or text compared with a date is not a date.
        """
        return self._test(getattr(frame, "descriptors", frame))

    def check_names(self, known: Collection[str]) -> None:
        """Refuse names that are neither a field of `Descriptors` nor in `known`.

        Raises
        ------
        ConfigError
            A misspelt descriptor; the nearest is suggested.
        """
        for name in sorted(self.names - COMMON_NAMES - set(known)):
            raise _unknown(name, self.text, COMMON_NAMES | set(known))


def compile_expression(text: str, strict: bool = False) -> Predicate:
    """Compile a condition over descriptors.

    Comparisons (chained too), ``and``, ``or``, ``not``, ``in``, brackets, tuples, + - * /, numbers, text, None, True
    and False, and names of descriptors. An empty expression selects everything.

    Parameters
    ----------
    text : str
        At most 10,000 characters, nested at most 50 deep.
    strict : bool
        False: ``exposure_time`` is equal within 1 % of the larger value, wavelengths within 1e-5, names with
        component ids (``filter_name``, ``disperser``) match in full or readable form. ``<`` and ``>`` then hold
        only outside the tolerance, so that exactly one of <, == and > is true.

    Returns
    -------
    Predicate
        If a descriptor is missing in a header, ==, <, <=, >, >= and in are false (and != and not in are true);
        only ``x == None`` finds it. Dates compare with ISO text, times with "HH:MM:SS".

    Raises
    ------
    ConfigError
        Names the column of the fault, with a caret under it.
    """
    text = text.replace("\n", " ").strip()
    if len(text) > MAX_LENGTH:
        raise ConfigError(f"expression of {len(text)} characters", f"at most {MAX_LENGTH}; name files by a list")
    if not text:
        return Predicate("", strict, frozenset(), lambda _: True)
    compiler = _Compiler(text, strict)
    return Predicate(text, strict, frozenset(compiler.names), compiler.condition)


class _Compiler:
    """Turns a syntax tree into nested functions; anything not listed is refused with its position."""

    def __init__(self, text: str, strict: bool) -> None:
        self.text = text
        self.strict = strict
        self.names: set[str] = set()
        try:
            with no_warnings():  # '\d', 1 is None: irrelevant in a condition
                body = ast.parse(text, mode="eval").body
        except SyntaxError as error:
            raise _syntax(error, text) from None
        except (ValueError, RecursionError, MemoryError) as error:
            raise ConfigError(f"expression cannot be read: {error or 'nested too deeply'}") from None
        self.condition = self._condition(body, 0)

    def _fault(self, node: ast.AST, message: str, hint: str = "") -> ConfigError:
        return _fault(message, self.text, _column(node, self.text), hint)

    def _condition(self, node: ast.expr, depth: int) -> _Condition:
        if depth > MAX_DEPTH:
            raise self._fault(node, "nested too deeply", f"at most {MAX_DEPTH} levels")
        match node:
            case ast.BoolOp():
                parts = [self._condition(v, depth + 1) for v in node.values]
                if isinstance(node.op, ast.And):
                    return lambda d: all(p(d) for p in parts)
                return lambda d: any(p(d) for p in parts)
            case ast.UnaryOp(op=ast.Not()):
                inner = self._condition(node.operand, depth + 1)
                return lambda d: not inner(d)
            case ast.Compare():
                return self._compare(node, depth + 1)
            case ast.Constant(value=bool() | None):
                constant = bool(node.value)
                return lambda _: constant
            case ast.Name():
                return self._truth(node)
        raise self._fault(node, "not a condition", 'compare a descriptor: exposure_time == 20, object != "FS 17"')

    def _truth(self, node: ast.Name) -> _Condition:
        value = self._value(node, 0)

        def test(d: Descriptors) -> bool:
            found = value(d)
            if found is not None and not isinstance(found, bool):
                raise self._fault(node, f"{node.id} is {found!r}, not true or false", "compare it with something")
            return bool(found)

        return test

    def _compare(self, node: ast.Compare, depth: int) -> _Condition:
        operands = [node.left, *node.comparators]
        values = [self._value(o, depth) for o in operands]
        tests = [self._relation(op, left, right) for op, left, right in zip(node.ops, operands, operands[1:])]

        def test(d: Descriptors) -> bool:
            found = [v(d) for v in values]
            return all(t(a, b) for t, a, b in zip(tests, found, found[1:]))

        return test

    def _relation(self, op: ast.cmpop, left: ast.expr, right: ast.expr) -> Callable[[Any, Any], bool]:
        if isinstance(op, (ast.Is, ast.IsNot)) and not (isinstance(right, ast.Constant) and right.value is None):
            raise self._fault(right, "`is` compares with None only", "write ==")
        for name, other in () if isinstance(op, (ast.In, ast.NotIn)) else ((left, right), (right, left)):
            kind = Descriptors.__annotations__.get(name.id, "") if isinstance(name, ast.Name) else ""
            if kind.startswith(("float", "int")) and isinstance(other, ast.Constant) and isinstance(other.value, str):
                raise self._fault(other, f"{ast.unparse(name)} is a number", f"write {other.value} without quotes")
        sign = _COMPARE[type(op)]
        names = {n.id for side in (left, right) for n in ast.walk(side) if isinstance(n, ast.Name)}
        tolerance = 0.0 if self.strict else max((TOLERANCE.get(n, 0.0) for n in names), default=0.0)

        def relation(a: Any, b: Any) -> bool:
            try:
                return _related(sign, a, b, tolerance)
            except _NoDate as error:
                raise self._fault(right, str(error), 'write "2016-01-02", "12:30:00" or both') from None

        return relation

    def _value(self, node: ast.expr, depth: int) -> _Value:
        if depth > MAX_DEPTH:
            raise self._fault(node, "nested too deeply", f"at most {MAX_DEPTH} levels")
        match node:
            case ast.Name():
                return self._name(node)
            case ast.Constant(value=str() | bool() | int() | float() | None):
                constant = node.value
                return lambda _: constant
            case ast.Tuple() | ast.List() | ast.Set():
                items = [self._value(e, depth + 1) for e in node.elts]
                return lambda d: tuple(i(d) for i in items)
            case ast.UnaryOp(op=ast.UAdd() | ast.USub()):
                inner, minus = self._value(node.operand, depth + 1), isinstance(node.op, ast.USub)
                return lambda d: _calculate(operator.mul, -1 if minus else 1, inner(d))
            case ast.BinOp() if type(node.op) in _ARITHMETIC:
                function = _ARITHMETIC[type(node.op)]
                left, right = self._value(node.left, depth + 1), self._value(node.right, depth + 1)
                return lambda d: _calculate(function, left(d), right(d))
        raise self._fault(node, *_refusal(node))

    def _name(self, node: ast.Name) -> _Value:
        name, strict = node.id, self.strict
        if name in ("extra", "pretty", "configuration"):
            raise self._fault(node, f"{name!r} is no descriptor")
        self.names.add(name)

        def value(d: Descriptors) -> Any:
            full = d.get(name)
            if strict:
                return full
            pretty = readable(d, name)
            return full if pretty == full or pretty is None else _Forms(full, pretty)

        return value


def readable(descriptors: Descriptors, name: str) -> Any:
    """Value of a descriptor, in the form without component ids if it has one."""
    if name == "filter_name" and name not in descriptors.pretty and descriptors.filter_pretty is not None:
        return descriptors.filter_pretty
    return descriptors.get(name, pretty=True)


def _refusal(node: ast.expr) -> tuple[str, str]:
    match node:
        case ast.Call():
            return "calls are not allowed", "a descriptor is written without brackets: exposure_time == 20"
        case ast.BinOp(op=ast.BitAnd() | ast.BitOr()):
            return "& and | are not allowed", "write `and`, `or`"
        case ast.BoolOp() | ast.Compare() | ast.UnaryOp(op=ast.Not()):
            return "a condition where a value should be", "join conditions by `and`, `or`"
    kind = type(node).__name__
    return f"{kind} is not allowed", "comparisons, and, or, not, in, + - * /, numbers, text and descriptors are"


def _calculate(function: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    """Apply an operator to numbers; other types, overflow and division by zero give an unknown value."""
    if not (isinstance(a, (int, float)) and isinstance(b, (int, float))):
        return None
    try:
        return function(a, b)
    except ArithmeticError:
        return None


def _related(sign: str, a: Any, b: Any, tolerance: float) -> bool:
    match sign:
        case "==":
            return _equal(a, b, tolerance)
        case "!=":
            return not _equal(a, b, tolerance)
        case "in":
            return _within(a, b, tolerance)
        case "not in":
            return not _within(a, b, tolerance)
    equal = _equal(a, b, tolerance) and a is not None
    if sign in ("<=", ">="):
        return equal or _ordered(sign[0], a, b)
    return not equal and _ordered(sign, a, b)


def _equal(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, _Forms):
        return any(_equal(form, b, tolerance) for form in a)
    if isinstance(b, _Forms):
        return any(_equal(a, form, tolerance) for form in b)
    a, b = _dates(a, b)
    if tolerance and _number(a) and _number(b):
        try:
            return bool(abs(a - b) <= tolerance * max(abs(a), abs(b)))
        except OverflowError:  # an integer too large for a float: not close to any
            return bool(a == b)
    return bool(a == b)


def _within(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(b, _Forms):
        return any(_within(a, form, tolerance) for form in b)
    if isinstance(b, (tuple, list, set, frozenset)):
        return any(_equal(a, item, tolerance) for item in b)
    if isinstance(b, str):
        forms = a if isinstance(a, _Forms) else (a,)
        return any(isinstance(f, str) and f in b for f in forms)
    return False


def _ordered(sign: str, a: Any, b: Any) -> bool:
    a = a.pretty if isinstance(a, _Forms) else a
    b = b.pretty if isinstance(b, _Forms) else b
    a, b = _dates(a, b)
    if a is None or b is None:
        return False
    try:
        return bool(_ORDER[sign](a, b))
    except TypeError:
        return False


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class _NoDate(ValueError):
    """Text compared with a date is not a date."""


def _dates(a: Any, b: Any) -> tuple[Any, Any]:
    """Convert a date or time and the text that it is compared with to one type."""
    if isinstance(a, str) and isinstance(b, (date, time)):
        b, a = _dates(b, a)
        return a, b
    if not (isinstance(a, (date, time)) and isinstance(b, str)):
        return a, b
    if isinstance(a, datetime):
        a = a.replace(tzinfo=None)
        for read, part in ((date.fromisoformat, a.date()), (time.fromisoformat, a.time())):
            try:
                return part, read(b)
            except ValueError:
                continue
    try:
        return a, type(a).fromisoformat(b)
    except ValueError:
        raise _NoDate(f"{b!r} is no date or time") from None


def _column(node: ast.AST, text: str) -> int:
    """Zero-based character position of a node; the syntax tree counts bytes."""
    return len(text.encode()[: getattr(node, "col_offset", 0)].decode(errors="ignore"))


def _fault(message: str, text: str, column: int, hint: str = "") -> ConfigError:
    start = max(0, column - 60)
    shown = text[start : start + 100]
    caret = " " * (column - start) + "^"
    return ConfigError(f"expression, column {column + 1}: {message}\n  {shown}\n  {caret}", hint)


def _syntax(error: SyntaxError, text: str) -> ConfigError:
    column = min(error.offset - 1, len(text)) if error.offset else len(text)  # no offset: the text ends too early
    bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", text)
    hint = next((h for sign, h in _HINTS.items() if re.search(sign, bare)), "check quotes, brackets and operators")
    return _fault(error.msg.partition(". ")[0], text, column, hint)


def _unknown(name: str, text: str, known: Collection[str]) -> ConfigError:
    from .params import nearest

    column = next((_column(n, text) for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name) and n.id == name), 0)
    return _fault(f"no descriptor {name!r}", text, column, nearest(name, sorted(known)) or "see `nirred show FILE`")
