"""What an operated device is told at its enrolment: `agent.yaml`, beside the node's own configuration.

Relative paths in it are relative to the folder that the file is in.
"""

import re
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from client.agent.privacy import PrivacyConfig
from tinytrain_core.addresses import HostPort, host_and_port
from tinytrain_core.configuration import parse_settings, read_yaml_file

WINDOW = re.compile(r"^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)$")
Hours = Annotated[str, Field(pattern=WINDOW.pattern)]
STATE_FILE = "agent.sqlite"
MAX_ORDERS_PER_DAY = 200  # as many as are remembered


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PowerConfig(_Settings):
    """When there is power enough to personalise.

    Attributes:
        mains_only: only while a mains supply is online; a device without a battery counts as on the mains.
        min_battery_percent: below this it waits, unless it is on the mains.
    """

    mains_only: bool = False
    min_battery_percent: int = Field(0, ge=0, le=100)


class TemperatureConfig(_Settings):
    """How hot any of the device's thermal zones may be, in degrees Celsius."""

    max_c: float = Field(80.0, ge=0, le=150)


class OutboxConfig(_Settings):
    """How many reports wait at most for the server; the oldest give way."""

    max_reports: int = Field(1_000, ge=1, le=100_000)


class AgentConfig(_Settings):
    """The settings of a device that a fleet's server gives orders to.

    Attributes:
        name: what the operator calls the node.
        node: its devices and their data, as `tinytrain-client init` writes it.
        server: host:port of the fleet; ca: the certificate that the server's is signed with.
        key: the node's private key, OpenSSH, elliptic curve; trust: whose releases it accepts.
        state: orders and reports, kept across power cuts; None is in the node's store.
        window: local times of day between which it may personalise, as 22:00-06:00; none is always.
        poll_s, idle_poll_s: seconds between two looks for messages, while there is something to do and otherwise.
        local_every_h: hours after which it personalises again by itself, server or not; 0 is never.
        max_orders_per_day: of a release that it has accepted before; the settings of an order are not signed, so that
            a server may order as it likes within these.
        max_attempts: how often a device may end the process that personalises it before that counts as its outcome.
        work_limit_s: seconds that one device may take.
        memory_limit_mib: of the process that personalises; None lets the system decide.
        privacy: noise on what is reported; None reports plain figures.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    node: Path
    server: HostPort
    ca: Path
    key: Path
    trust: Path
    state: Path | None = None
    window: Annotated[tuple[Hours, ...], Field(max_length=20)] = ()
    power: PowerConfig = PowerConfig()
    temperature: TemperatureConfig | None = None
    outbox: OutboxConfig = OutboxConfig()
    poll_s: float = Field(3.0, ge=0.05, le=600)
    idle_poll_s: float = Field(15.0, ge=0.05, le=600)
    local_every_h: float = Field(0.0, ge=0, le=24 * 366)
    max_orders_per_day: int = Field(24, ge=1, le=MAX_ORDERS_PER_DAY)
    max_attempts: int = Field(3, ge=1, le=20)
    work_limit_s: float = Field(6 * 3_600.0, gt=0, le=7 * 86_400)
    memory_limit_mib: int | None = Field(None, ge=64)
    privacy: PrivacyConfig | None = None

    @field_validator("window", mode="before")
    @classmethod
    def _listed(cls, window: object) -> object:
        return [window] if isinstance(window, str) else window

    @property
    def address(self) -> tuple[str, int]:
        """The server's host and port."""
        return host_and_port(self.server)


def load_agent_config(path: str | Path) -> AgentConfig:
    """Read a device's `agent.yaml`.

    Raises:
        ConfigurationError: no such file, not YAML, or not a device's settings.
    """
    file = Path(path).expanduser()
    fields = read_yaml_file(file, "`tinytrain-client enrol` writes one")
    config = parse_settings(AgentConfig, fields, f"{file} is not a device's settings")
    folder = file.resolve().parent
    paths = {name: getattr(config, name) for name in ("node", "ca", "key", "trust", "state")}
    anchored = {name: folder / place.expanduser() for name, place in paths.items() if place is not None}
    return config.model_copy(update=anchored)
