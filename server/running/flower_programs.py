"""How Flower's programs are started for a fleet, and how the SuperLink is asked for its health."""

import os
import secrets
import ssl
from collections.abc import Sequence
from contextlib import closing
from http.client import HTTPException, HTTPSConnection
from pathlib import Path

from server.fleet.config import FleetConfig
from server.nodes.superlink_session import dialled, write_connection
from server.pki.folder import CA_CERTIFICATE, SERVER_CERTIFICATE, SERVER_KEY
from server.running.controller_run import PROGRAMS
from tinytrain_core.files import write_file

HEALTH_TIMEOUT_S = 5.0
SECRET_BYTES = 32


def superexec_secret(config: FleetConfig) -> Path:
    """The file of the secret with which SuperExec shows that it may take tasks; made where there is none."""
    file = config.state / "superexec.secret"
    if not file.is_file():
        write_file(file, secrets.token_bytes(SECRET_BYTES), 0o600)
    return file


def superlink_command(config: FleetConfig) -> Sequence[str | Path]:
    """How the SuperLink is started."""
    host, _, port = config.superlink.rpartition(":")
    return (
        *(PROGRAMS / "flower-superlink", "--host", host.strip("[]"), "--port", port),
        *("--ssl-ca-certfile", config.pki / CA_CERTIFICATE, "--ssl-certfile", config.pki / SERVER_CERTIFICATE),
        *("--ssl-keyfile", config.pki / SERVER_KEY, "--enable-supernode-auth"),
        *("--database", config.state / "superlink.sqlite", "--isolation", "process"),
        *("--disable-runtime-dependency-installation", "--superexec-auth-secret-file", superexec_secret(config)),
    )


def superexec_command(config: FleetConfig) -> Sequence[str | Path]:
    """How SuperExec is started."""
    return (
        *(PROGRAMS / "flower-superexec", "--root-certificates", config.pki / CA_CERTIFICATE),
        *("--runtime-api-address", dialled(config.superlink)),
        *("--superexec-auth-secret-file", superexec_secret(config)),
    )


def flower_environment(config: FleetConfig) -> dict[str, str]:
    """The environment of Flower's programs: quiet, at home in the fleet's folder, finding each other."""
    path = f"{PROGRAMS}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**os.environ, **write_connection(config), "PATH": path, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}


def is_healthy(config: FleetConfig, timeout_s: float = HEALTH_TIMEOUT_S) -> bool:
    """Whether the SuperLink answers over TLS, with a certificate that devices would accept."""
    host, _, port = dialled(config.superlink).rpartition(":")
    try:
        context = ssl.create_default_context(cafile=str(config.pki / CA_CERTIFICATE))
        connection = HTTPSConnection(host.strip("[]"), int(port), timeout=timeout_s, context=context)
        with closing(connection):
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
