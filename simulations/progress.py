"""Live progress of a run: a bar with an ETA in a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from server.exchange import OnReports
from tinytrain_core.report import Outcome, PersonalisationReport

LINES = 20  # at most this many plain lines for a run


@dataclass
class _Tally:
    """What the reports so far amount to."""

    outcomes: dict[Outcome, int] = field(default_factory=dict)
    gains: list[float] = field(default_factory=list)

    def add(self, reports: list[PersonalisationReport]) -> None:
        for report in reports:
            outcome = Outcome(report.outcome)
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
            if outcome != Outcome.FAILED:
                self.gains.append(report.accuracy_after - report.accuracy_before)

    def text(self) -> str:
        failed = self.outcomes.get(Outcome.FAILED, 0)
        gain = f"gain so far {100 * sum(self.gains) / len(self.gains):+.1f} points" if self.gains else "first results"
        return gain + (f", {failed} failed" if failed else "")


@contextmanager
def _bar(console: Console, total: int) -> Iterator[OnReports]:
    columns = (
        TextColumn("personalising"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.description}"),
    )
    tally = _Tally()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("getting ready", total=total)

        def update(done: int, total: int, reports: list[PersonalisationReport]) -> None:
            tally.add(reports)
            progress.update(task, completed=done, total=total, description=tally.text())

        yield update


@contextmanager
def _lines(console: Console, total: int) -> Iterator[OnReports]:
    tally, start_s, told = _Tally(), time.monotonic(), 0
    console.print(f"personalising on {total} devices: getting ready", highlight=False)

    def update(done: int, total: int, reports: list[PersonalisationReport]) -> None:
        nonlocal told
        tally.add(reports)
        if done < total and done - told < total / LINES:
            return
        told = done
        elapsed_s = time.monotonic() - start_s
        left_s = elapsed_s * (total - done) / done if done else 0
        console.print(f"{done}/{total} devices, {elapsed_s:.0f} s, ETA {left_s:.0f} s, {tally.text()}", highlight=False)

    yield update


@contextmanager
def progress(console: Console, total: int) -> Iterator[OnReports]:
    """What to tell of reports as they come; `total` is how many are expected."""
    with (_bar if console.is_terminal else _lines)(console, total) as update:
        yield update
