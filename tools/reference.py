"""Write docs/reference/ from the code: commands, Python, hooks, contract, steps, recipes. `make docs` runs it."""

from __future__ import annotations

import dataclasses
import enum
import functools
import importlib
import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "reference"
NOTE = "<!-- Written by tools/reference.py from the code; `make docs` writes it anew. -->\n"
_SECTION = re.compile(r"^([A-Z][a-z]+)\n-{3,}\n", re.MULTILINE)
_ENTRY = re.compile(r"^(\S[^\n]*?)(?: : ([^\n]*))?\n((?:[ ]{4}[^\n]*\n?|\n)*)", re.MULTILINE)


def docstring(thing: object) -> tuple[str, dict[str, str], dict[str, str]]:
    """(text before the sections, {parameter: meaning}, {other section: text}) of a numpydoc docstring."""
    parts = _SECTION.split(inspect.cleandoc(getattr(thing, "__doc__", None) or ""))
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    entries: dict[str, str] = {}
    for title in ("Parameters", "Attributes"):
        for names, kind, text in _ENTRY.findall(sections.pop(title, "")):
            meaning = " ".join(text.split())
            for name in names.split(","):
                entries[name.strip()] = (meaning or kind).replace("``", "`")
    return parts[0].strip().replace("``", "`"), entries, {k: v.strip() for k, v in sections.items()}


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table; bars in cells are escaped."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def code(text: str) -> str:
    """Text as inline code; empty stays empty."""
    return f"`{text}`" if text else ""


def signature(function: Callable[..., Any]) -> str:
    """Name, arguments and result as written in the source; annotations are text there, defaults may be."""
    text = f"{function.__name__}{inspect.signature(function)}"
    return re.sub(r"""(: |-> )(['"])(.*?)\2""", r"\1\3", text)


#: Heads of the columns of a table of options.
_OPTIONS = ("option", "value", "default", "meaning")


# -- commands ---------------------------------------------------------------------------------------------------------
def commands() -> str:
    """Every command of the core with its arguments and options."""
    from nirred.cli.group import COMMANDS, app

    out = ["# Commands\n", "`nirred COMMAND --help` says the same, also of plugins' commands, such as `nirred emir`.\n"]
    for name in COMMANDS:
        command = app.get_command(click.Context(app), name)
        assert command is not None
        out += _command(f"nirred {name}", command)
    return "\n".join(out)


def _command(name: str, command: click.Command) -> Iterator[str]:
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    words = [(a.name or "").upper() + ("..." if a.nargs == -1 else "") for a in arguments]
    words = [w if a.required else f"[{w}]" for w, a in zip(words, arguments, strict=True)]
    yield f"## {name}\n"
    if isinstance(command, click.Group):
        yield " ".join((command.help or "").split()) + "\n"
        if options:
            yield table(_OPTIONS, [_option(o) for o in options])
        for sub in sorted(command.commands):
            yield from _command(f"{name} {sub}", command.commands[sub])
        return
    yield f"    {' '.join([name, *words, *(['[OPTIONS]'] if options else [])])}\n"
    yield from (" ".join(paragraph.split()) + "\n" for paragraph in (command.help or "").split("\n\n"))
    if options:
        yield table(_OPTIONS, [_option(o) for o in options])
    if command.epilog:
        head, *lines = (line.strip() for line in command.epilog.splitlines() if line != "\b")
        yield "\n".join([head, "", *("    " + line for line in lines)]) + "\n"


def _option(option: click.Option) -> tuple[str, ...]:
    value = "" if option.is_flag or option.count else option.metavar or _kind(option.type)
    default = "" if not option.show_default or option.default is None else str(option.default)
    if isinstance(option.default, (tuple, list)):
        default = " ".join(map(str, option.default))
    names = " / ".join(", ".join(map(code, words)) for words in (option.opts, option.secondary_opts) if words)
    return names, code(value), code(default), option.help or ""


def _kind(kind: Any) -> str:
    return "|".join(map(str, kind.choices)) if isinstance(kind, click.Choice) else kind.name.split()[0].upper()


# -- hooks and contract -----------------------------------------------------------------------------------------------
def hook_specs() -> dict[str, Callable[..., Any]]:
    """The hooks by name, in the order of the source."""
    from nirred import hookspecs

    return {n: f for n, f in vars(hookspecs).items() if n.startswith("nirred_") and callable(f)}


def called(hook: str) -> bool:
    """Whether the core calls a hook anywhere."""
    core = ROOT / "core" / "src" / "nirred"
    use = re.compile(rf'["\.]{hook}\b')
    files = (p for p in core.rglob("*.py") if p.name != "hookspecs.py" and p.parts[-2] not in ("plugin", "testing"))
    return any(use.search(p.read_text(encoding="utf-8")) for p in files)


def hooks() -> str:
    """Every hook: signature and documentation."""
    from nirred import hookspecs
    from nirred.plugin import API_VERSION

    out = ["# Hooks\n", docstring(hookspecs)[0] + "\n"]
    out += [
        f"The version of the contract is {'.'.join(map(str, API_VERSION))}. Types are in [contract](contract.md).\n"
    ]
    for name, function in hook_specs().items():
        text, _, _ = docstring(function)
        out += [f"## {name}\n", f"    {signature(function)}\n", text + "\n"]
        if not called(name):
            out += ["Declared, so that plugins can rely on its form; the core of this version does not call it.\n"]
    return "\n".join(out)


def contract() -> str:
    """Everything that `nirred.plugin` offers."""
    from nirred import plugin

    out = ["# Contract: `nirred.plugin`\n", docstring(plugin)[0] + "\n"]
    for name in sorted(plugin.__all__, key=str.lower):
        thing = getattr(plugin, name)
        if inspect.ismodule(thing):
            out += [f"## {name}\n", docstring(thing)[0] + "\n"]
            rows = [(code(n), docstring(getattr(thing, n))[0].split("\n")[0]) for n in _public(thing)]
            out += [table(("name", "what it does"), rows)]
        elif inspect.isclass(thing):
            out += _class(name, thing)
        elif inspect.isfunction(thing):
            out += _function(name, thing, signature(thing))
        else:
            out += [f"## {name}\n", _value(thing) + "\n"]
    return "\n".join(out)


# -- Python -----------------------------------------------------------------------------------------------------------
def python() -> str:
    """The functions and classes that `nirred` offers to scripts."""
    import nirred
    from nirred.library import Entry
    from nirred.run.api import RunResult

    out = ["# Python: `nirred`\n", docstring(importlib.import_module("nirred.api"))[0] + "\n"]
    for name in ("run", "select", "open"):
        function = getattr(importlib.import_module("nirred.api"), name)
        bare = [p.replace(annotation=p.empty) for p in inspect.signature(function).parameters.values()]
        out += _function(f"nirred.{name}", function, f"nirred.{name}{inspect.Signature(bare)}")
        raised = docstring(function)[2].get("Raises", "")
        out += [f"Raises {code(names)}: {' '.join(why.split())}\n" for names, _, why in _ENTRY.findall(raised)]
    for kind in (RunResult, nirred.File, nirred.CalibrationLibrary, Entry):
        out += _class(kind.__name__, kind)
    return "\n".join(out)


def _function(name: str, function: Callable[..., Any], called_as: str) -> Iterator[str]:
    text, entries, _ = docstring(function)
    yield from (f"## {name}\n", f"    {called_as}\n", text + "\n")
    if entries:
        yield table(("argument", "meaning"), [(code(k), v) for k, v in entries.items()])


def _public(module: Any) -> list[str]:
    names = getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]
    return sorted(n for n in names if inspect.isfunction(getattr(module, n)) or inspect.isclass(getattr(module, n)))


def _value(thing: Any) -> str:
    if typing.get_origin(thing) is typing.Literal:
        return "One of " + ", ".join(code(str(v)) for v in typing.get_args(thing)) + "."
    if type(thing).__name__ == "HookimplMarker":
        return "Marks a function of a plugin as the implementation of the hook of its name."
    return code(str(thing))


def _class(name: str, kind: type) -> Iterator[str]:
    text, entries, _ = docstring(kind)
    yield f"## {name}\n"
    yield text + "\n"
    if issubclass(kind, enum.Enum):
        yield table(("name", "value"), [(code(m.name or ""), str(m.value)) for m in kind.__members__.values()])
    elif dataclasses.is_dataclass(kind):
        rows = [
            (code(f.name), code(str(f.type)), _default(f), entries.get(f.name, "")) for f in dataclasses.fields(kind)
        ]
        yield table(("field", "type", "default", "meaning"), rows)
    elif entries:
        yield table(("attribute", "meaning"), [(code(k), v) for k, v in entries.items()])
    fields = getattr(kind, "__dataclass_fields__", ())
    for member, value in vars(kind).items():
        if not (member.startswith("_") or member in fields) and (
            inspect.isfunction(value) or isinstance(value, (property, functools.cached_property, classmethod))
        ):
            yield f"- `{member}{_arguments(value)}`: {docstring(value)[0].split(chr(10) * 2)[0]}"
    yield ""


def _arguments(member: Any) -> str:
    """Names of a method's arguments, in their order; '' for a property."""
    if not callable(function := getattr(member, "__func__", member)):
        return ""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    _, *found = inspect.signature(function).parameters.values()
    return f"({', '.join(stars.get(p.kind, '') + p.name for p in found)})"


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return code(repr(field.default)) if not callable(field.default) else "a function"
    return "empty" if field.default_factory is not dataclasses.MISSING else ""


# -- steps and recipes ------------------------------------------------------------------------------------------------
def steps() -> str:
    """The core's steps with their parameters."""
    from nirred.recipes import step_types
    from nirred.step import FrameStep

    out = ["# Steps and parameters\n"]
    out += ["`-p STEP:PARAMETER=VALUE` sets one; `nirred params FILE STEP` shows what acts on a file, and who set it."]
    out += [
        "A plugin may have other defaults for its frames, and steps of its own, which the same command shows. Every",
        "step has `skip`: pass the frames through untouched.\n",
    ]
    for name, kind in step_types().items():
        fused = "Works on each frame; adjacent ones are fused into one pass." if issubclass(kind, FrameStep) else ""
        doc = kind.doc[:1].upper() + kind.doc[1:] + "."
        out += [f"## {name}\n", " ".join(filter(None, (doc, fused, f"Version {kind.version}."))) + "\n"]
        rows = [_parameter(kind.Params, n) for n in kind.Params.model_fields if n != "skip"]
        out += [table(("parameter", "kind", "unit", "default", "meaning"), rows)] if rows else []
    return "\n".join(out)


def _parameter(kind: Any, name: str) -> tuple[str, ...]:
    field = kind.model_fields[name]
    shown = field.annotation.__name__ if isinstance(field.annotation, type) else str(field.annotation)
    shown = re.sub(r"\b(typing|pathlib\.\w+|pathlib)\.", "", shown)
    limits = [str(m).split("(")[-1].rstrip(")") for m in field.metadata]
    shown = ", ".join([shown, *limits])
    return code(name), code(shown), kind.unit(name), code(str(field.default)), field.description or ""


def recipes() -> str:
    """The core's recipes, step by step."""
    from nirred.cli.recipes import recipe_text
    from nirred.recipes import core_recipes

    out = [
        "# Recipes\n",
        "`-r NAME` chooses one; without it frames decide. `nirred recipe show NAME --toml` prints one as",
    ]
    out += ["a file that `-r FILE.toml` takes. `nirred recipes` lists those of plugins, too.\n"]
    for recipe in core_recipes():
        aside = f"Also known as {', '.join(map(code, recipe.aliases))}.\n" if recipe.aliases else ""
        body = "\n".join("    " + line for line in recipe_text(recipe).splitlines()[1:])
        out += [f"## {recipe.name}\n", recipe.doc[:1].upper() + recipe.doc[1:] + ".", aside, body + "\n"]
    return "\n".join(out)


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands,
    "python.md": python,
    "hooks.md": hooks,
    "contract.md": contract,
    "steps.md": steps,
    "recipes.md": recipes,
}


def pages() -> dict[str, str]:
    """{file name: text} of the whole reference."""
    importlib.invalidate_caches()
    return {name: NOTE + "\n" + re.sub(r"\n{3,}", "\n\n", make()).rstrip() + "\n" for name, make in PAGES.items()}


def main() -> int:
    """Write every page that changed and say which."""
    TARGET.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        path = TARGET / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{path.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
