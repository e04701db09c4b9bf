"""`tinytrain-server fleet prune`: delete what is too old to be needed."""

import time
from typing import Annotated

import typer

from server.fleet.config import load_fleet_config
from server.fleet.database import Database
from server.fleet.options import HERE, FleetFolder, Style, bar, say, show_rows
from server.fleet.reports.output import seconds
from server.fleet.reports.retention import delete_old, find_old, give_back
from server.words import age
from tinytrain_core.console import Format
from tinytrain_core.errors import ConfigurationError

LEAST_S = 86_400  # how many reports of a node are taken depends on those of the last day
MB = 1e6


def prune(
    older: Annotated[str, typer.Option(help="Delete what came longer ago, as 400d or 26w; at least 1d.")],
    fleet: FleetFolder = HERE,
    keep_last: Annotated[
        bool, typer.Option(help="Keep the last report of each device about each release, however old.")
    ] = True,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without it, say what would be deleted.")] = False,
    style: Style = Format.TABLE,
) -> None:
    """Delete old reports, refusals, and decisions of rollouts, and give their room back to the disk.

    What is about a rollout that has not ended stays, and so do reports that their node may yet send again. The fleet
    may go on meanwhile. The first time, what is left is written anew, which takes as much room again.

    Example: tinytrain-server fleet prune --older 400d --yes
    """
    period_s = seconds(older)
    if period_s < LEAST_S:
        raise ConfigurationError(f"--older is {age(period_s)}; what came within a day is needed, give at least 1d")
    file = load_fleet_config(fleet).database
    with Database(file) as database:
        old = find_old(database, time.time() - period_s, keep_last)
        rows = [{"what": one.what, "rows": one.rows, "bytes": one.bytes} for one in old]
        show_rows(rows, style)
        if not yes:
            say("nothing was deleted; with --yes these rows are, and their indexes")
            return
        before = file.stat().st_size
        with bar("deleting") as told:
            delete_old(database, old, told)
        with bar("giving room back") as told:
            give_back(database, told)
    sizes = f"{file} had {before / MB:.1f} MB and has {file.stat().st_size / MB:.1f}"
    say(f"deleted {sum(one.rows for one in old):,} rows; {sizes}")
