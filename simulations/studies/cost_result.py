"""What `table2` and `figure1` leave behind: the tables as text, CSV, JSON and a page, and the plots as files."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from matplotlib.figure import Figure
from rich.console import Console

from simulations.reporting.sections import Page, Section, print_sections, render_page, sections_text
from simulations.reporting.svg import to_file
from tinytrain_core.console import Format
from tinytrain_core.files import write_file

LINE_S = 5.0  # between two plain lines


class Tell(Protocol):
    """To be called with what is being done."""

    def __call__(self, text: str, /) -> None: ...


@contextmanager
def telling(console: Console) -> Iterator[Tell]:
    """How far a command is: one line that changes in a terminal, a line now and then elsewhere."""
    told_s = monotonic()

    def line(text: str) -> None:
        nonlocal told_s
        if monotonic() - told_s > LINE_S:
            told_s = monotonic()
            console.print(text, highlight=False, markup=False)

    if console.is_terminal:
        with console.status("starting") as status:
            yield lambda text: status.update(text)
    else:
        yield line


def _csv(records: Sequence[Mapping[str, Any]]) -> str:
    """One line for each record; what is None is empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(records[0]) if records else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue()


@dataclass(frozen=True)
class Result:
    """One table or figure.

    Attributes:
        name: of its files.
        records: the same as the sections, flat.
        facts: what JSON has beside them.
        drawings: plots by the names of their files.
    """

    name: str
    page: Page
    sections: Sequence[Section]
    records: Sequence[Mapping[str, Any]]
    facts: Mapping[str, Any]
    drawings: Mapping[str, Figure] = field(default_factory=dict)

    @property
    def told(self) -> list[Section]:
        """The sections as text has them: what a page begins with comes last."""
        *first, last = self.sections
        return [*first, replace(last, notes=(*last.notes, self.page.lead))]

    def json(self, **extra: str) -> str:
        """All figures for programs, with `extra` keys beside them."""
        notes = [note for section in self.sections for note in section.notes]
        return json.dumps({**self.facts, "rows": self.records, "notes": notes, **extra}, indent=2)

    def write(self, out: Path) -> Path:
        """Write all files; the page's is what is returned.

        Raises:
            StorageError: the folder cannot be written.
        """
        page = out / f"{self.name}.html"
        texts = {
            page: render_page(self.page, self.sections),
            page.with_suffix(".txt"): sections_text(self.told),
            page.with_suffix(".csv"): _csv(self.records),
            page.with_suffix(".json"): self.json() + "\n",
        }
        files = {file: text.encode() for file, text in texts.items()}
        files |= {out / f"{name}.svg": to_file(drawing, name) for name, drawing in self.drawings.items()}
        for file, data in files.items():
            write_file(file, data)
        return page

    def show(self, out: Path, style: Format) -> None:
        """Write all files, and print the tables or, alone on the standard output, the JSON."""
        page, console = self.write(out), Console()
        if style is Format.JSON:
            console.out(self.json(report=str(page)), highlight=False)
            return
        print_sections(console, self.told)
        console.print(f"The page: {page.resolve()}", highlight=False, soft_wrap=True)
