"""The command group: names and one-line helps are data here, so that ``nirred --help`` imports no command."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from typing import Any

import click

from .. import __version__

#: name: (module:object, one line for the list of commands).
COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("run:run", "Plan and reduce: from raw frames to stacks."),
    "plan": ("plan:plan", "Show what `run` would do, and why."),
    "select": ("select:select_command", "Choose files by tags and an expression."),
    "show": ("show:show", "Print descriptors or keywords of files."),
    "tags": ("show:tags", "Print the tags of files."),
    "params": ("params:params", "Parameters of a step for one file, with origin."),
    "recipes": ("recipes:recipes", "List recipes, or what a file would be reduced with."),
    "recipe": ("recipes:recipe", "Print one recipe."),
    "cal": ("cal:cal", "The calibration library; why a frame gets which calibration."),
    "plugins": ("plugins:plugins", "Installed instruments, refused plugins; write and check one."),
    "config": ("config:config", "Show the effective configuration."),
    "verify": ("verify:verify", "Check products against their records."),
    "rerun": ("rerun:rerun", "Make a product again from its provenance and compare."),
    "simulate": ("simulate:simulate", "Make a raw night with known truth."),
    "demo": ("demo:demo", "Simulate a night, reduce it, compare with the truth."),
    "report": ("report:report", "Write the report of an output directory again."),
    "view": ("view:view", "Make a picture of a product."),
}
#: Entry-point group of plugins' commands.
GROUP = "nirred.commands"


def _plugin_commands() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {p.name: p for p in entry_points(group=GROUP) if p.name not in COMMANDS}


class LazyGroup(click.Group):
    """Loads a command when it is called; for a misspelt name, suggests the nearest."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The core's commands in order of use, then the plugins'."""
        return [*COMMANDS, *sorted(_plugin_commands())]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import one command."""
        if name in COMMANDS:
            module, _, attribute = COMMANDS[name][0].partition(":")
            command = getattr(importlib.import_module(f".{module}", __package__), attribute)
            assert isinstance(command, click.Command)
            return command
        point = _plugin_commands().get(name)
        return _load(point) if point is not None else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; suggest the nearest for one that does not exist."""
        names = self.list_commands(ctx)
        if args and args[0] not in names and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], names, n=1, cutoff=0.5)
            hint = f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(names)}."
            raise click.UsageError(f"No command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])
        extra = _plugin_commands()
        if extra:
            with formatter.section("Commands of plugins"):
                formatter.write_dl([(n, f"from {p.dist.name if p.dist else p.value}") for n, p in extra.items()])


def _load(point: Any) -> click.Command:
    from ..errors import PluginError

    package = point.dist.name if point.dist else point.value
    try:
        command = point.load()
    except Exception as error:
        raise PluginError(
            f"command {point.name!r} of {package} cannot be loaded: {type(error).__name__}: {error}",
            "repair that package",
        ) from error
    if not isinstance(command, click.Command):
        raise PluginError(f"command {point.name!r} of {package} is a {type(command).__name__}, no click command")
    return command


def example(*lines: str) -> Callable[[click.Command], click.Command]:
    """Decorator that puts examples at the end of a command's help."""

    def add(command: click.Command) -> click.Command:
        command.epilog = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
        return command

    return add


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="\b\nExamples:\n  nirred run raw/ -o reduced/\n  nirred plan raw/\n  nirred demo",
)
@click.version_option(__version__, "-V", "--version", prog_name="nirred")
def app() -> None:
    """Near-infrared imaging reduction: from a directory of raw frames to science-ready stacks."""
