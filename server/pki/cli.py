"""`tinytrain-server pki`: the authority that devices trust, and the server's certificate."""

import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from server.fleet.config import load_fleet_config
from server.fleet.options import HERE, FleetFolder, Style, say, show_rows
from server.pki import folder as pki
from server.pki import health as pki_health
from server.pki.health import PkiFile
from tinytrain_core.console import Format

app = typer.Typer(
    help="Make and renew the certificates of a fleet, and see how long they last.\n\n"
    "They are in the fleet's folder `pki`. Keep a copy of ca.key in a safe place: whoever has it can pretend to be "
    "the server, and without it the server's certificate cannot be renewed.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Names = Annotated[
    list[str] | None,
    typer.Option("--name", help="A further DNS name or IP address under which the server is dialled; repeatable."),
]
Days = Annotated[int, typer.Option(min=1, max=pki.MAX_DAYS, help="How long the server's certificate is valid.")]


@app.command("init")
def init_command(
    fleet: FleetFolder = HERE,
    days: Days = pki.SERVER_DAYS,
    ca_days: Annotated[int, typer.Option(min=1, max=pki.MAX_DAYS, help="How long the authority's is.")] = pki.CA_DAYS,
    name: Names = None,
    force: Annotated[bool, typer.Option(help="In place of an authority that is there.")] = False,
) -> None:
    """Make a certificate authority and the server's certificate.

    It is for the host in the fleet's `address`, for this machine, and for every --name.

    Example: tinytrain-server pki init --fleet garden --name fleet.example.org
    """
    config = load_fleet_config(fleet)
    pki.init(config, time.time(), name or [], days, ca_days, force)
    say(f"wrote an authority and a server certificate to {config.pki}; next: tinytrain-server node add --help")


@app.command()
def renew(fleet: FleetFolder = HERE, days: Days = pki.SERVER_DAYS, name: Names = None) -> None:
    """Make a new server certificate, signed by the same authority; devices notice nothing.

    It is for the names of the certificate that is there, the fleet's addresses and every --name.

    Example: tinytrain-server pki renew --fleet garden
    """
    config = load_fleet_config(fleet)
    names = pki.renew(config, time.time(), name or [], days)
    say(f"wrote a server certificate for {', '.join(names)}; restart what serves with it")


def _row(file: PkiFile) -> dict[str, str]:
    until = "" if file.expires is None else f"{datetime.fromtimestamp(file.expires, UTC):%Y-%m-%d %H:%M} UTC"
    return {
        "file": file.name,
        "mode": f"{file.mode:o}",
        "valid until": until,
        "days left": "" if file.days_left is None else f"{file.days_left:.0f}",
        "for": ", ".join(file.names),
    }


@app.command()
def show(fleet: FleetFolder = HERE, style: Style = Format.TABLE) -> None:
    """Show the certificates and keys, for whom and how long they are, and what is wrong with them.

    Example: tinytrain-server pki show --fleet garden --format json
    """
    config, now_s = load_fleet_config(fleet), time.time()
    files = pki_health.files(config, now_s)
    rows = [{**asdict(f), "mode": f"{f.mode:o}"} if style is Format.JSON else _row(f) for f in files]
    show_rows(rows, style, f"there is nothing in {config.pki}")
    for warning in pki_health.warnings(config, now_s):
        say(f"warning: {warning}", "yellow")
