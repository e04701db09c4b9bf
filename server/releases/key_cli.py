"""`tinytrain-server release keygen` and `release trust`: keys of the people who sign, and which of them count."""

import os
from pathlib import Path
from typing import Annotated

import typer

from server.fleet.config import load_fleet_config
from server.fleet.options import HERE, FleetFolder, Style, say
from server.releases.keys import PASSPHRASE_VARIABLE, make_key, public_path
from server.releases.tables import print_json, print_lines
from server.releases.trust import add_keys, load_trust, remove_key
from tinytrain_core.console import Format
from tinytrain_core.release import Trust

trust_app = typer.Typer(
    help="Whose signatures count, and how many of them it takes.\n\n"
    "Devices pin what was here when they were enrolled; a change reaches those that are enrolled after it.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Threshold = Annotated[int, typer.Option(min=0, max=32, help="How many have to sign; by default as many as before.")]


def ask_passphrase() -> str:
    """Ask for a key's passphrase at the terminal."""
    return str(typer.prompt("Passphrase", hide_input=True, err=True))


def keygen(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    out: Annotated[Path | None, typer.Option(help="The private key's file; by default NAME.pem.")] = None,
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help=f"Encrypt it; asks, or takes {PASSPHRASE_VARIABLE}.")
    ] = False,
) -> None:
    """Make an Ed25519 key to sign releases with. The private half stays with its owner, off the server.

    Example: tinytrain-server release keygen alice --passphrase
    """
    secret = os.environ.get(PASSPHRASE_VARIABLE, "")
    if passphrase and not secret:
        secret = str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True))
    file = out or Path(f"{name}.pem")
    made = make_key(file, secret.encode())
    print_lines({"key": made, "owner": name, "private": f"{file}, for {name} alone", "public": str(public_path(file))})
    say(f"on the server: tinytrain-server release trust add {public_path(file).name}")


def _print(trust: Trust, style: Format) -> None:
    if style is Format.JSON:
        print_json(trust.model_dump(mode="json"))
        return
    print_lines({"line": trust.line, "threshold": f"{trust.threshold} of {len(trust.keys)} keys", **trust.keys})


@trust_app.command("add")
def add_command(
    public: Annotated[list[str], typer.Argument(help="Public keys: .pub files, or 64 hexadecimal digits.")],
    threshold: Threshold = 0,
    fleet: FleetFolder = HERE,
    style: Style = Format.TABLE,
) -> None:
    """Let signatures of more keys count.

    Example: tinytrain-server release trust add alice.pub bob.pub carol.pub --threshold 2
    """
    config = load_fleet_config(fleet)
    _print(add_keys(config.folder, config.line, public, threshold), style)


@trust_app.command("remove")
def remove_command(
    key: Annotated[str, typer.Argument(help="A key's id, 16 hexadecimal digits.")],
    threshold: Threshold = 0,
    fleet: FleetFolder = HERE,
    style: Style = Format.TABLE,
) -> None:
    """Let signatures of a key count no more.

    Example: tinytrain-server release trust remove 0123456789abcdef
    """
    _print(remove_key(load_fleet_config(fleet).folder, key, threshold), style)


@trust_app.command("show")
def show_command(fleet: FleetFolder = HERE, style: Style = Format.TABLE) -> None:
    """Show whose signatures count.

    Example: tinytrain-server release trust show
    """
    _print(load_trust(load_fleet_config(fleet).folder), style)
