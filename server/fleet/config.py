"""What a fleet is on the server's machine: one folder with `server.yaml`, and everything else in it."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from tinytrain_core.addresses import Binding, HostPort
from tinytrain_core.configuration import parse_settings, read_yaml_file

FLEET_FILE = "server.yaml"
FLEET_VARIABLE = "TINYTRAIN_FLEET"


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FleetConfig(_Settings):
    """The settings of a fleet. All folders are below `folder`, that of the file.

    Attributes:
        folder: filled in when the file is read.
        address: host:port that devices dial: the reverse proxy's, or the SuperLink's where there is none.
        line: the name of the releases that this fleet follows.
        superlink: host:port that the SuperLink binds, on loopback behind a proxy.
        minimum_cohort: figures of devices on fewer distinct nodes are not shown, as those of a gateway have one owner.
            What a rollout says of its gates counts devices instead.
        poll_s: seconds between two looks for answers and for the operator's commands.
        hold_s: seconds that a node may hold a question open until it has news.
        stale_s: seconds without a sign of life after which a process is started again.
    """

    folder: Path = Path()
    address: HostPort
    line: str = Field("main", pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    superlink: Binding = "127.0.0.1:9092"
    minimum_cohort: int = Field(5, ge=2, le=1_000)
    poll_s: float = Field(3.0, ge=0.1, le=60)
    hold_s: float = Field(60.0, ge=0, le=3_600)
    stale_s: float = Field(60.0, ge=5, le=3_600)

    @property
    def pki(self) -> Path:
        """The CA, the server's certificate and key."""
        return self.folder / "pki"

    @property
    def releases(self) -> Path:
        """The release registry."""
        return self.folder / "releases"

    @property
    def state(self) -> Path:
        """What the server's processes write: databases, logs."""
        return self.folder / "state"

    @property
    def database(self) -> Path:
        """Nodes, rollouts and reports."""
        return self.state / "fleet.sqlite"


def load_fleet_config(folder: Path) -> FleetConfig:
    """The fleet in `folder`, or whose `server.yaml` it is.

    Raises:
        ConfigurationError: no such file, not YAML, or not a fleet's settings.
    """
    file = folder if folder.is_file() else folder / FLEET_FILE
    fields = read_yaml_file(file, "`tinytrain-server init` makes a fleet")
    return parse_settings(FleetConfig, {**fields, "folder": file.resolve().parent}, f"{file} is not a fleet's settings")
