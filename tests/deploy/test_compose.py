"""The compose file and the image: keys that compose knows, paths that exist, and no more rights than needed."""

import re
import subprocess
from pathlib import Path
from typing import Annotated

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field

from tinytrain_core.configuration import parse_settings
from tinytrain_core.errors import ConfigurationError

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
Duration = Annotated[str, Field(pattern=r"^[0-9]+(ms|s|m|h)$")]
Bytes = Annotated[str, Field(pattern=r"^[0-9]+[bkmg]$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Build(_Part):
    context: str
    dockerfile: str


class Healthcheck(_Part):
    test: list[str]
    interval: Duration
    timeout: Duration
    start_period: Duration
    retries: int


class Service(_Part):
    """What of the compose specification is used."""

    build: Build | None = None
    image: str
    entrypoint: list[str] | None = None
    command: list[str]
    init: bool
    restart: str = Field(pattern=r"^(no|always|unless-stopped|on-failure(:[0-9]+)?)$")
    stop_grace_period: Duration = "10s"
    stop_signal: str = Field("SIGTERM", pattern=r"^SIG[A-Z]+$")
    network_mode: str | None = Field(None, pattern=r"^(service:[a-z]+|host|none|bridge)$")
    depends_on: list[str] = []
    ports: list[Annotated[str, Field(pattern=r"^\S+:\S+$")]] = []
    volumes: list[Annotated[str, Field(pattern=r"^.+:/[a-z/]+(:ro)?$")]] = []
    read_only: bool
    tmpfs: list[str] = []
    cap_drop: list[str]
    security_opt: list[str]
    mem_limit: Bytes
    pids_limit: int
    healthcheck: Healthcheck | None = None


class Compose(_Part):
    name: str
    services: dict[str, Service]


def compose() -> Compose:
    return parse_settings(Compose, yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8")), "compose")


def test_it_has_the_keys_and_values_that_compose_knows() -> None:
    assert set(compose().services) == {"server", "proxy"}
    with pytest.raises(ConfigurationError, match="memlimit"):
        parse_settings(Compose, {"name": "x", "services": {"s": {"memlimit": "1g"}}}, "compose")


def test_only_the_proxys_port_is_published_and_the_superlink_stays_on_loopback() -> None:
    services = compose().services
    assert services["server"].ports == ["${PORT:-443}:${PORT:-443}"]
    assert services["proxy"].ports == []
    assert services["proxy"].network_mode == "service:server"


def test_neither_has_more_rights_than_it_needs() -> None:
    for service in compose().services.values():
        assert service.read_only
        assert service.cap_drop == ["ALL"]
        assert "no-new-privileges:true" in service.security_opt


def test_the_image_copies_what_there_is() -> None:
    server = compose().services["server"]
    assert server.build
    context = DEPLOY / server.build.context
    text = (context / server.build.dockerfile).read_text(encoding="utf-8")
    sources = [word for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for word in line.split()[:-1]]
    assert sources
    assert all((context / source).exists() for source in sources)
    assert "USER tinytrain" in text


def test_the_script_is_bash(tmp_path: Path) -> None:
    script = DEPLOY / "install-server.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert script.stat().st_mode & 0o111
    refused = subprocess.run(["bash", str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "the folder of the fleet" in refused.stderr
