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

from server.fleet.config import FLEET_VARIABLE
from tinytrain_core.console import Format

PLAIN_WIDTH = 160  # columns where the output is not a terminal
FleetFolder = Annotated[
    Path, typer.Option("--fleet", envvar=FLEET_VARIABLE, help="The fleet's folder, or its server.yaml.")
]
Style = Annotated[Format, typer.Option("--format", help="A table for people or JSON for programs.")]
HERE = Path()


def show_rows(rows: Sequence[Mapping[str, Any]], style: Format, empty: str = "none") -> None:
    """Print rows that have the same keys; `empty` is what to say to people where there is none."""
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    if style is Format.JSON:
        console.out(json.dumps(list(rows), indent=2), highlight=False)
        return
    if not rows:
        console.print(empty, markup=False, highlight=False)
        return
    table = Table(*(Column(name, overflow="fold") for name in rows[0]), box=SIMPLE_HEAD)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    console.print(table)


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
