"""How the commands about reports take times and print rows: a table for people, JSON for programs, or CSV."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from server.fleet.options import plain_console, show_rows
from tinytrain_core.console import Format
from tinytrain_core.errors import ConfigurationError

_SECONDS = {"m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}


class Output(StrEnum):
    """How figures are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


Style = Annotated[Output, typer.Option("--format", help="A table for people, JSON for programs, CSV for spreadsheets.")]
Since = Annotated[str, typer.Option(help="Of the last 30m, 12h, 7d or 4w by the server's clock; by default all.")]


def seconds(text: str) -> float:
    """How long `text` is, as 90m, 12h, 7d or 4w.

    Raises:
        ConfigurationError: it is something else.
    """
    match = re.fullmatch(r"([0-9]{1,6})([mhdw])", text)
    if not match:
        raise ConfigurationError(f"{text!r} is not a time; write a number and m, h, d or w, as in 12h")
    return float(int(match[1]) * _SECONDS[match[2]])


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: " ".join(v) if isinstance(v, tuple) else v for k, v in row.items()} for row in rows)
    return buffer.getvalue()


def print_rows(
    rows: Sequence[Mapping[str, Any]], cells: Sequence[Mapping[str, str]], style: Output, nothing: str
) -> None:
    """Rows for programs, or their cells for people; `nothing` is said to people where there are none."""
    if style is Output.CSV:
        plain_console().out(_csv(rows), end="", highlight=False)
    elif style is Output.JSON:
        show_rows(rows, Format.JSON)
    else:
        show_rows(cells, Format.TABLE, nothing)
