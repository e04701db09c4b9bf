"""What the commands about a fleet have in common: which fleet, how rows are printed, a bar for what takes time."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table
from rich.text import Text

from server.fleet.config import FLEET_VARIABLE
from tinytrain_core.console import Format

PLAIN_WIDTH = 160  # columns where the output is not a terminal
FleetFolder = Annotated[
    Path, typer.Option("--fleet", envvar=FLEET_VARIABLE, help="The fleet's folder, or its server.yaml.")
]
Style = Annotated[Format, typer.Option("--format", help="A table for people or JSON for programs.")]
HERE = Path()


def plain_console() -> Console:
    """As wide as the terminal, or wide enough where there is none; text is printed as it is."""
    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False, markup=False)


def rows_table(rows: Sequence[Mapping[str, Any]], title: str | None = None) -> Table:
    """Rows that have the same keys as a table, whose cells are text and no markup; None is an empty cell."""
    names = list(rows[0]) if rows else []
    columns = [Column(name, overflow="fold") for name in names]
    table = Table(*columns, box=SIMPLE_HEAD, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(Text("" if value is None else str(value)) for value in row.values()))
    return table


def show_rows(rows: Sequence[Mapping[str, Any]], style: Format, empty: str = "none") -> None:
    """Print rows that have the same keys; `empty` is what to say to people where there is none."""
    console = plain_console()
    if style is Format.JSON:
        console.out(json.dumps(list(rows), indent=2), highlight=False)
    else:
        console.print(rows_table(rows) if rows else empty)


def say(text: str, style: str = "") -> None:
    """A sentence for the person at the terminal, apart from a command's output."""
    Console(stderr=True, soft_wrap=True).print(text, style=style, markup=False, highlight=False)


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar in a terminal, told how many of how many are done."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
