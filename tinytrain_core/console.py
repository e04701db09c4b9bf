"""What the command lines have in common: how a result is printed, when commands are
imported, and how an error ends a program."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from importlib import import_module

import click
import typer
from rich.console import Console
from typer.core import TyperGroup

from tinytrain_core.errors import TinyTrainError

HELP_NAMES = {"help_option_names": ["-h", "--help"]}


class Format(StrEnum):
    """How a command prints its result."""

    TABLE = "table"
    JSON = "json"


def _command(name: str, found: object) -> click.Command:
    """A Typer app, or a function, as a command of that name."""
    if isinstance(found, typer.Typer):
        return typer.main.get_command(found)
    app = typer.Typer(context_settings=HELP_NAMES, pretty_exceptions_enable=False, add_completion=False)
    app.command(name)(found)  # type: ignore[type-var]
    return typer.main.get_command(app)


def lazy_commands(places: Mapping[str, str]) -> type[TyperGroup]:
    """A group whose commands are imported when they are asked for: a program starts with what it needs.

    Args:
        places: `module:attribute` of a Typer app or a function, by the command's name, in the order of the help.
    """

    class LazyGroup(TyperGroup):
        def list_commands(self, ctx: click.Context) -> list[str]:
            return list(places)

        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            if cmd_name not in places:
                return None
            module, _, attribute = places[cmd_name].partition(":")
            command = _command(cmd_name, getattr(import_module(module), attribute))
            command.name = cmd_name
            return command

    return LazyGroup


def run_cli(app: Callable[[], object], program: str) -> None:
    """Run a command line; an error is one line that begins with the program's name, and the error's exit code.

    Raises:
        SystemExit: always where `app` ends its own process, and after an error.
    """
    try:
        app()
    except TinyTrainError as error:
        console = Console(stderr=True, soft_wrap=True)
        console.print(f"{program}: {error}", style="red", markup=False, highlight=False)
        raise SystemExit(error.exit_code) from None
