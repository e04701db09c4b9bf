"""The reverse proxy in front of a SuperLink: its configuration, for nginx."""

import grp
import os
import pwd
import re
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, Field

from server.fleet.config import FleetConfig
from server.nodes.superlink_session import dialled
from tinytrain_core.errors import ConfigurationError, StorageError

DELAYED_S = 20  # at most, so that a delayed request does not run into a node's own limit of 30 s
_UNQUOTABLE = set('"$\\\n')
_PLACE = re.compile(r"@([a-z_]+)@")


class ProxySettings(BaseModel):
    """What can be chosen about the proxy.

    Attributes:
        listen: host:port or port; None is the port that devices dial, on every address.
        body: the largest request, as nginx writes sizes.
        node_rate: requests per second of a node; what comes faster is delayed.
        address_rate, connections: requests per second, and at a time, of an address, behind which many may be.
        log_all: whether polls and heartbeats that went well are logged as well.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    listen: str | None = Field(None, pattern=r"^((\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.*-]+):)?[0-9]{1,5}$")
    body: str = Field("1m", pattern=r"^[1-9][0-9]*[km]?$")
    node_rate: int = Field(20, ge=1, le=10_000)
    address_rate: int = Field(200, ge=1, le=100_000)
    connections: int = Field(200, ge=1, le=100_000)
    log_all: bool = False


def _quoted(path: str) -> str:
    if _UNQUOTABLE & set(path):
        raise ConfigurationError(f"nginx cannot be told of {path!r}; give the fleet a folder without quotes or $")
    return path


def _user(config: FleetConfig) -> str:
    """Whose the workers are where nginx begins as root: the folder's owner, who alone may go into it."""
    if os.geteuid() != 0 or not config.folder.exists():
        return ""
    owner = config.folder.stat()
    return f"user {pwd.getpwuid(owner.st_uid).pw_name} {grp.getgrgid(owner.st_gid).gr_name};"


def render(config: FleetConfig, settings: ProxySettings | None = None) -> str:
    """The configuration of nginx for a fleet.

    Raises:
        ConfigurationError: the fleet's folder has a name that nginx cannot be told of.
    """
    chosen = settings or ProxySettings()
    values = {
        "state": str(config.state),
        "logs": str(config.state / "logs"),
        "proxy": str(config.state / "proxy"),
        "pki": str(config.pki),
        "superlink": dialled(config.superlink),
        "listen": chosen.listen or config.address.rpartition(":")[2],
        "body": chosen.body,
        "node_rate": str(chosen.node_rate),
        "node_burst": str(chosen.node_rate * DELAYED_S),
        "address_rate": str(chosen.address_rate),
        "address_burst": str(chosen.address_rate * DELAYED_S),
        "connections": str(chosen.connections),
        "all": str(int(chosen.log_all)),
        "user": _user(config),
    }
    template = (files("server") / "configs" / "nginx.conf").read_text(encoding="utf-8")
    return _PLACE.sub(lambda place: _quoted(values[place[1]]), template)


def make_folders(config: FleetConfig) -> None:
    """Make the folders that the proxy writes to.

    Raises:
        StorageError: they cannot be made.
    """
    for folder in (config.state / "logs", config.state / "proxy"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make {folder}: {error.strerror}; give the fleet another folder") from error
