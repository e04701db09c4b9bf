"""`tinytrain-server init`: a fleet's folder, with every key of `server.yaml` explained."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from server.fleet.config import FLEET_FILE, FleetConfig
from tinytrain_core.configuration import parse_settings
from tinytrain_core.errors import ConfigurationError, StorageError
from tinytrain_core.files import write_file

PRIVATE = 0o700
OTHERS = 0o077
_TEMPLATE = """\
# A TinyTrain fleet. Everything else of it is in the folder of this file: pki/ (certificates and keys), releases/
# (the release registry), trust.json (who signs releases), state/ (databases and logs).

# host:port that devices dial: the reverse proxy's, or the SuperLink's where there is none. The server's certificate
# is for this host.
address: {address}

# The line of releases that this fleet follows. Devices refuse releases of any other.
line: {line}

# host:port that Flower's SuperLink binds: on loopback, where a reverse proxy stands in front of it.
superlink: {superlink}

# Figures of devices on fewer distinct nodes than this are not shown, from 2: the devices of a gateway have one owner.
# Where a rollout says what its gates saw, accuracies of fewer devices than this are not shown.
minimum_cohort: {minimum_cohort}

# Seconds between two looks for answers of devices, and for the operator's commands.
poll_s: {poll_s}

# Seconds that a node may hold a question open until it has news; 0 lets it answer at once.
hold_s: {hold_s}

# Seconds without a sign of life after which a process of the server is started again.
stale_s: {stale_s}
"""


def server_yaml(config: FleetConfig) -> str:
    """The text of a fleet's `server.yaml`; JSON values are YAML values."""
    fields = config.model_dump(mode="json", exclude={"folder"})
    return _TEMPLATE.format(**{name: json.dumps(value) for name, value in fields.items()})


def _make_private(folder: Path) -> None:
    """Make a folder that nobody else may look into; one that is there stays as it is.

    Raises:
        StorageError: it cannot be made.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=PRIVATE)
    except OSError as error:
        raise StorageError(f"cannot make {folder}: {error.strerror}; give another place") from error


def init_command(
    folder: Annotated[Path, typer.Argument(help="The fleet's folder, which is made.")],
    address: Annotated[str, typer.Option(help="HOST:PORT that devices dial.")],
    line: Annotated[str, typer.Option(help="The name of the releases that it follows.")] = "main",
    force: Annotated[bool, typer.Option("--force", help="Write over a server.yaml that is there.")] = False,
) -> None:
    """Begin a fleet: a folder with a commented server.yaml.

    Example: tinytrain-server init /srv/fleet --address fleet.example.org:443
    """
    config = parse_settings(FleetConfig, {"address": address, "line": line}, "this is not a fleet")
    file = folder / FLEET_FILE
    if file.exists() and not force:
        raise ConfigurationError(f"{file} is there already; --force writes over it")
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    _make_private(folder)
    write_file(file, server_yaml(config).encode())
    if folder.stat().st_mode & OTHERS:
        console.print(f"others of this machine may look into {folder}; chmod 700 {folder}", style="yellow")
    console.print(f"wrote {file}; next: tinytrain-server pki init --fleet {folder}")
