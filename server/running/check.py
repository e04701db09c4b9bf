"""What has to be right before a fleet's server can run."""

import os
import pwd
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.fleet.config import FleetConfig
from server.fleet.database import Database
from server.fleet.nodes import nodes
from server.nodes.superlink_session import dialled
from server.pki.certificates import host_of
from server.pki.health import warnings
from server.releases.trust import load_trust
from server.running.controller_run import PROGRAMS
from server.running.processes import noted
from tinytrain_core.errors import TinyTrainError
from tinytrain_core.files import write_file

NEEDED = ("flower-superlink", "flower-superexec", "flwr-serverapp", "flwr")
ROOT = 0
LEAST_FREE_BYTES = 500 * 2**20


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        what: in a few words; passed: whether the server can run with it.
        text: what was found, and what to do where it is wrong.
    """

    what: str
    passed: bool
    text: str

    def row(self) -> dict[str, Any]:
        """It as a row of a table."""
        return {"check": self.what, "result": "ok" if self.passed else "wrong", "found": self.text}


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _barred(folder: Path) -> bool:
    """Whether this user may not look into a fleet's folder, or not write where its server writes."""
    if not os.access(folder, os.R_OK | os.X_OK):
        return True
    written = folder / "state"
    return not os.access(written if written.exists() else folder, os.R_OK | os.W_OK | os.X_OK)


def wrong_user(folder: Path) -> str:
    """What to do where this user should not run the server of the fleet in `folder`; empty where it may."""
    owner, me = folder.stat().st_uid, os.geteuid()
    barred = _barred(folder)
    if not barred and (me == owner or me != ROOT):
        return ""
    why = "may not write there" if barred else "would leave files there that it cannot write"
    return (
        f"{folder} belongs to {_user_name(owner)}, and {_user_name(me)} {why}; run it as the user that owns the "
        f"folder: runuser -u {_user_name(owner)} -- tinytrain-server"
    )


def _user(config: FleetConfig) -> Iterator[Check]:
    cure = wrong_user(config.folder)
    yield Check("user", not cure, cure or f"{_user_name(os.geteuid())} runs it")


def _programs(_: FleetConfig) -> Iterator[Check]:
    missing = [name for name in NEEDED if not (PROGRAMS / name).exists()]
    cure = f"{PROGRAMS} lacks {', '.join(missing)}; install tinytrain-fleet[server] there"
    yield Check("programs", not missing, cure if missing else str(PROGRAMS))


def _certificates(config: FleetConfig) -> Iterator[Check]:
    found = warnings(config, time.time())
    lacking = any(" lacks " in text or " expired " in text for text in found)
    yield Check("certificates", not lacking, "; ".join(found) or str(config.pki))


def _trust(config: FleetConfig) -> Iterator[Check]:
    trust = load_trust(config.folder)
    yield Check("trust", True, f"{trust.threshold} of {len(trust.keys)} keys sign releases")


def _folder(config: FleetConfig) -> Iterator[Check]:
    probe = config.state / f".probe-{os.getpid()}"
    write_file(probe, b"")
    probe.unlink()
    free = shutil.disk_usage(config.state).free
    enough = free >= LEAST_FREE_BYTES
    text = f"{free / 2**20:,.0f} MiB free at {config.state}"
    yield Check(
        "disk", enough, text if enough else f"{text}; at least {LEAST_FREE_BYTES / 2**20:.0f} MiB are needed, free some"
    )


def _database(config: FleetConfig) -> Iterator[Check]:
    with Database(config.database) as database:
        known = nodes(database)
    devices = sum(len(node.devices) for node in known)
    yield Check("database", True, f"{len(known)} nodes with {devices} devices in {config.database}")


def _port(config: FleetConfig) -> Iterator[Check]:
    host, port = host_of(config.superlink), int(config.superlink.rpartition(":")[2])
    if noted(config.state / "run" / "superlink.json"):
        yield Check("address", True, f"this fleet's SuperLink listens at {config.superlink}")
        return
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            yield Check("address", False, f"{config.superlink}: {error.strerror}; set `superlink:` to a free port")
            return
    exposed = not dialled(config.superlink).startswith(("127.", "[::1]", "localhost"))
    exposed = exposed or dialled(config.superlink) != config.superlink
    danger = "; whoever reaches it can start runs: bind loopback, and put the proxy in front (nginx-conf)"
    yield Check("address", True, config.superlink + (danger if exposed else " is free"))


_CHECKS: dict[str, Callable[[FleetConfig], Iterator[Check]]] = {
    "user": _user,
    "programs": _programs,
    "certificates": _certificates,
    "trust": _trust,
    "disk": _folder,
    "database": _database,
    "address": _port,
}


def check_server(config: FleetConfig) -> list[Check]:
    """Everything that is checked, right or wrong."""
    found: list[Check] = []
    for name, check in _CHECKS.items():
        try:
            found += check(config)
        except (TinyTrainError, OSError) as error:
            found.append(Check(name, False, str(error)))
        if name == "user" and not found[-1].passed:
            break  # the others would write, or blame the disk
    return found
