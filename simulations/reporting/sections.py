"""A table with a title and notes, for a terminal, as plain text, and on a page with plots."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from textwrap import fill

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from simulations.reporting.templates import template

WIDE = 240  # of plain text, at most
NOTE_WIDTH = 120
BORDER = 2  # around a column, at most
PAGE = "page.html"


@dataclass(frozen=True)
class Section:
    """One table of a result.

    Attributes:
        rows: texts, as many as there are `columns`; rows whose first text is the same belong together.
        labels: how many columns, from the left, are words.
        notes: lines below the table. caption: what a page says above it. plots: `<svg>` elements of a page.
        words: whether the other columns are words as well, flush left.
        shown: how many rows a terminal gets at most, where a page has the others; None is all.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    labels: int = 2
    notes: Sequence[str] = ()
    caption: str = ""
    plots: Sequence[str] = ()
    words: bool = False
    shown: int | None = None

    def groups(self) -> list[list[tuple[str, ...]]]:
        """Rows that belong together, the first text only where it is new."""
        groups = [[tuple(row) for row in group] for _, group in groupby(self.rows, lambda row: row[0])]
        return [[group[0], *(("", *row[1:]) for row in group[1:])] for group in groups]


@dataclass(frozen=True)
class Page:
    """What a page has around its sections: its title, a sentence or two, and the command that makes it."""

    title: str
    lead: str
    command: str


def _table(section: Section) -> Table:
    table = Table(
        title=escape(section.title) or None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    left = len(section.columns) if section.words else section.labels
    for position, name in enumerate(section.columns):
        table.add_column(escape(name), justify="left" if position < left else "right", no_wrap=True)
    for group in section.groups():
        for row in group:
            table.add_row(*map(escape, row))
        if not section.words:
            table.add_section()
    return table


def _parts(section: Section, width: int) -> Iterator[Section]:
    """The section, its columns in as many tables as it takes for each to be at most so wide."""
    columns = list(zip(section.columns, *section.rows, strict=True))
    widths = [BORDER + max(len(line) for text in column for line in text.split("\n")) for column in columns]
    labels, left = columns[: section.labels], range(section.labels, len(columns))
    room = width - sum(widths[: section.labels])
    title = section.title
    while left:
        taken = max(sum(used <= room for used in accumulate(widths[i] for i in left)), 1)
        names, *rows = zip(*labels, *(columns[i] for i in left[:taken]), strict=True)
        yield replace(section, title=title, columns=names, rows=rows)
        left, title = left[taken:], ""


def _print(console: Console, sections: Sequence[Section]) -> None:
    for section in sections:
        for part in _parts(replace(section, rows=section.rows[: section.shown]), console.width):
            console.print(_table(part))
        if more := len(section.rows[section.shown :] if section.shown is not None else ()):
            console.print(f"and {more} more: see the page", style="dim", highlight=False)
        for note in section.notes:
            console.print(fill(note, min(NOTE_WIDTH, console.width)), style="dim", highlight=False, markup=False)
        console.print()


def sections_text(sections: Sequence[Section]) -> str:
    """Plain text, each table as wide as it needs to be and a note a line."""
    buffer = io.StringIO()
    _print(Console(file=buffer, width=WIDE, color_system=None), sections)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()).rstrip() + "\n"


def print_sections(console: Console, sections: Sequence[Section]) -> None:
    """Drawn for a terminal, plain elsewhere."""
    if console.is_terminal:
        _print(console, sections)
    else:
        console.out(sections_text(sections), end="", highlight=False)


def render_page(page: Page, sections: Sequence[Section]) -> str:
    """One self-contained HTML file: no script, no network."""
    return template(PAGE).render(page=page, sections=sections)
