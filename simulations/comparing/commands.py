"""`tinytrain-sim report` and `tinytrain-sim compare`: a finished run once more, and several of them side by side."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from simulations.comparing.compared import read_compared
from simulations.comparing.differences import differences
from simulations.comparing.fields import comparison_fields
from simulations.comparing.sections import comparison_page, comparison_sections
from simulations.finished_run import Run, read_run, write_html, write_results
from simulations.options import Style
from simulations.reporting.account import as_fields, lines
from simulations.reporting.lead import AVERAGED
from simulations.reporting.sections import print_sections, render_page
from simulations.reporting.table import as_json, print_table
from simulations.studies.program import typed_command
from tinytrain_core.console import Format
from tinytrain_core.files import write_file

Page = Annotated[Path, typer.Option("--out", help="The page that is written, an HTML file.")]
Names = Annotated[
    list[str] | None,
    typer.Option("--name", help="What to call a run, once for each of them in their order. (their folders' names)"),
]
Folder = Annotated[Path, typer.Argument(help="The --out folder of a run.")]
Folders = Annotated[
    list[Path], typer.Argument(help="The --out folders of two or more runs, the one to compare with first.")
]


def consoles(style: Format) -> tuple[Console, Console]:
    """Where results go, and where all talk goes; with JSON the result is alone on the standard output."""
    console = Console()
    return console, Console(stderr=True) if style is Format.JSON else console


def show_run(out: Path, style: Format, console: Console, talk: Console) -> None:
    """Make the tables and the page of the run in `out`, and print its figures.

    Raises:
        ConfigurationError: there is no run, or one of its files is damaged.
        EgressError: a line of its reports is not a valid report.
        StorageError: the folder cannot be written.
    """
    run = read_run(out)
    write_results(out, run)
    page = write_html(out, run)
    if style is Format.JSON:
        fields = {"missing_nodes": run.missing, "report": str(page)} | as_fields(run.account)
        console.out(as_json(run.account.summary, fields), highlight=False)
        return
    talk.print()
    print_table(run.account.summary, console)
    if run.averaged:
        line = f"Accuracy before: {AVERAGED}. Compare runs by the accuracy after."
        console.print(line, highlight=False, soft_wrap=True)
    for line in lines(run.account):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    for cause, count in _failures(run).items():
        talk.print(f"without a result: {count} ({cause.replace('_', ' ')})", style="red", highlight=False)
    talk.print(f"\nThe report: {page.resolve()}", highlight=False, soft_wrap=True)


def _failures(run: Run) -> dict[str, int]:
    """Devices without a result by cause; of a run that does not say who took part, failures and missing nodes."""
    whole = run.account.whole
    return whole.causes if whole else {**run.account.summary.errors, **run.missing}


def report(folder: Folder = Path("demo"), style: Style = Format.TABLE) -> None:
    """Make the tables and the page of a run again.

    The folder then has `report.html`, and a row for each device and round in `devices.csv` and `devices.parquet`.

    Example: tinytrain-sim report demo
    """
    show_run(folder, style, *consoles(style))


def compare(
    folders: Folders, names: Names = None, out: Page = Path("compare.html"), style: Style = Format.TABLE
) -> None:
    """Two or more runs side by side, and each one's difference to the first.

    Where the settings that decide the devices and their images are the same, a device is compared with itself: paired
    differences with a 95 % interval and p values, corrected for several runs. Where they are not, it says so, and why.

    Example: tinytrain-sim compare runs/tinytrain runs/last_layer runs/fedavg --out compare.html
    """
    compared = read_compared(folders, names or ())
    found = differences(compared)
    sections = comparison_sections(compared, found)
    write_file(out, render_page(comparison_page(compared, typed_command()), sections).encode())
    console, talk = consoles(style)
    if style is Format.JSON:
        fields = comparison_fields(compared, found) | {"page": str(out)}
        console.out(json.dumps(fields, indent=2), highlight=False)
        return
    print_sections(console, sections)
    talk.print(f"The page: {out.resolve()}", highlight=False, soft_wrap=True)
