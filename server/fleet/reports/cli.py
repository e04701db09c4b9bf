"""`tinytrain-server fleet`: what the devices of a fleet reported, how they are, and what noise on reports is worth."""

import json
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from server.fleet.config import FleetConfig, load_fleet_config
from server.fleet.database import Database
from server.fleet.options import HERE, FleetFolder, plain_console, say
from server.fleet.reports.devices import device_cells, device_states, refusals
from server.fleet.reports.figures import FleetFigures, fleet_figures
from server.fleet.reports.output import Output, Since, Style, print_rows, seconds
from server.fleet.reports.privacy import account, costs, multiplier_for, sentences
from server.fleet.reports.prune import prune
from server.fleet.reports.rows import By, Selection, StoredReport, stored_reports
from server.fleet.reports.table import report_csv, report_json, report_table
from server.words import moment
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.files import write_file

SILENCES = 3  # of a node, each as long as it may hold a question, after which it is stale

app = typer.Typer(
    help="What the devices of a fleet reported, how they are, and what noise on reports is worth.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@contextmanager
def _opened(folder: Path) -> Iterator[tuple[FleetConfig, Database]]:
    config = load_fleet_config(folder)
    with Database(config.database) as database:
        yield config, database


def _watched(reports: Iterator[StoredReport]) -> Iterator[StoredReport]:
    """The reports as they are read, counted in a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield from reports
        return
    with console.status("reading reports") as status:
        for count, report in enumerate(reports, 1):
            yield report
            if count % 1_000 == 0:
                status.update(f"reading reports: {count:,}")


def _filters(selection: Selection, since: str) -> str:
    """The filters in words."""
    parts = [
        f"release {selection.release}" if selection.release is not None else "",
        f"rollout {selection.rollout}" if selection.rollout else "",
        f"the last {since}" if since else "",
    ]
    return f"Reports of {', '.join(part for part in parts if part) or 'all time'}."


def _command(by: Sequence[By], fleet: Path, selection: Selection, since: str, html: Path) -> str:
    given = {"--fleet": fleet, "--release": selection.release, "--rollout": selection.rollout, "--since": since or None}
    options = [f"{name} {shlex.quote(str(value))}" for name, value in given.items() if value is not None]
    groups = [f"--by {what.value}" for what in by]
    return " ".join(["tinytrain-server fleet report", *options, *groups, f"--html {shlex.quote(str(html))}"])


def _show(figures: FleetFigures, style: Output) -> None:
    console = plain_console()
    if style is Output.JSON:
        console.out(json.dumps(report_json(figures), indent=2), highlight=False)
    elif style is Output.CSV:
        console.out(report_csv(figures), end="", highlight=False)
    elif not figures.groups:
        console.print("no report has come yet, or none that the filters leave")
    else:
        console.print(report_table(figures))


@app.command()
def report(
    fleet: FleetFolder = HERE,
    release: Annotated[int | None, typer.Option(min=0, help="Only of this version; 0 is none.")] = None,
    rollout: Annotated[str | None, typer.Option(help="Only of the rollout with this name.")] = None,
    since: Since = "",
    by: Annotated[list[By] | None, typer.Option(help="What groups devices; more than once for groups of both.")] = None,
    style: Style = Output.TABLE,
    html: Annotated[Path | None, typer.Option(help="Also write a page with plots; over time with --by day.")] = None,
) -> None:
    """What the devices reported: outcomes, accuracy, time, memory and errors of groups of devices.

    Of each device in a group its last report counts. Groups with devices of fewer nodes than `minimum_cohort` of
    server.yaml show that they are there and nothing else: the devices of a gateway are one owner's.

    Example: tinytrain-server fleet report --since 7d --by day --by class --html week.html
    """
    groups = list(dict.fromkeys(by or (By.RELEASE, By.CLASS)))
    now_s = time.time()
    selection = Selection(release, rollout, now_s - seconds(since) if since else None)
    with _opened(fleet) as (config, database):
        figures = fleet_figures(_watched(stored_reports(database, selection, groups)), groups, config.minimum_cohort)
    if html is not None:
        from server.fleet.reports.page import PageFacts, report_page  # matplotlib takes a second to import

        command = _command(groups, fleet, selection, since, html)
        facts = PageFacts(f"Fleet {config.line}", moment(now_s), _filters(selection, since), command)
        page = report_page(figures, facts)
        write_file(html, page.encode())
        say(f"wrote {html}")
    _show(figures, style)


@app.command()
def devices(
    fleet: FleetFolder = HERE,
    stale_after: Annotated[str, typer.Option(help="Silence after which a node is stale, as 30m or 12h.")] = "",
    style: Style = Output.TABLE,
) -> None:
    """How each device is: what it runs, when its node was last seen, what waits, what failed.

    Nothing of how well it classifies: whatever became of an order that did not fail is `ok`.

    A node speaks at least as often as `hold_s` of server.yaml says; by default it is stale after three times that.

    Example: tinytrain-server fleet devices --stale-after 1h
    """
    with _opened(fleet) as (config, database):
        silence = seconds(stale_after) if stale_after else SILENCES * (config.hold_s + config.poll_s)
        states = device_states(database, time.time(), silence)
    rows, cells = [state.row() for state in states], [device_cells(state) for state in states]
    print_rows(rows, cells, style, "no node has been added; `tinytrain-server node add` adds one")


@app.command("refusals")
def refusals_command(
    fleet: FleetFolder = HERE,
    since: Since = "",
    node: Annotated[str | None, typer.Option(help="Only of this node.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The most to show, the latest first.")] = 200,
    style: Style = Output.TABLE,
) -> None:
    """What nodes sent that was not valid, and the orders that they refused, with the reasons.

    Example: tinytrain-server fleet refusals --since 1d
    """
    since_s = time.time() - seconds(since) if since else None
    with _opened(fleet) as (_, database):
        rows = refusals(database, since_s, node, limit)
    cells = [
        {"when": moment(row["at_s"])} | {name: str(row[name]) for name in ("node", "rollout", "error", "reason")}
        for row in rows
    ]
    print_rows(rows, cells, style, "nothing was refused")


app.command()(prune)


@app.command()
def privacy(
    reports: Annotated[int, typer.Option(min=1, max=10_000, help="Of one device, ever: its max_reports.")] = 30,
    noise: Annotated[float | None, typer.Option(help="The noise_multiplier of the devices.")] = None,
    epsilon: Annotated[float | None, typer.Option(help="Find the noise multiplier for this epsilon instead.")] = None,
    delta: Annotated[float, typer.Option(help="The chance that the promise does not hold.")] = 1e-6,
    spread: Annotated[
        float, typer.Option(min=0, max=50, help="Standard deviation of the gains between devices, in points.")
    ] = 10.0,
    style: Style = Output.TABLE,
) -> None:
    """What noise on reports promises to a device, and what it costs the figures of a fleet.

    Example: tinytrain-server fleet privacy --epsilon 8 --reports 30
    """
    if (noise is None) == (epsilon is None):
        raise ConfigurationError("give either --noise or --epsilon")
    multiplier = multiplier_for(epsilon, reports, delta) if epsilon is not None else noise
    assert multiplier is not None, "one of the two was given"
    accounting = account(multiplier, reports, delta)
    rows = costs(multiplier, spread / 100)
    if style is Output.TABLE:
        for sentence in sentences(accounting, spread / 100):
            plain_console().print(sentence)
    names = {"devices": "devices", "interval": "mean gain, ± points", "interval_without_noise": "without noise"}
    cells = [
        {name: f"{row[key]:,.0f}" if key == "devices" else f"{row[key]:.2f}" for key, name in names.items()}
        for row in rows
    ]
    together = [vars(accounting) | {"costs": rows}] if style is Output.JSON else rows
    print_rows(together, cells, style, "")
