"""Talking to the SuperLink's Control API: the settings of Flower's programs, and a session in a process of its own.

The session's process is `superlink_control`, so that Flower is imported neither here nor in what calls this.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.fleet.config import FleetConfig
from server.pki.certificates import WILDCARDS, host_of
from server.pki.folder import CA_CERTIFICATE
from tinytrain_core.errors import FleetError
from tinytrain_core.files import write_file
from tinytrain_core.flower import FLOWER_QUIET

CONNECTION = "fleet"
ANSWER_S = 60.0
UNREGISTERED = "unregistered"
_PROGRAM = (sys.executable, "-P", "-m", "server.nodes.superlink_control")


def dialled(superlink: str) -> str:
    """The host:port at which a SuperLink that binds `superlink` is reached from its own machine."""
    host, port = host_of(superlink), superlink.rpartition(":")[2]
    return f"127.0.0.1:{port}" if host in WILDCARDS else superlink


def write_connection(config: FleetConfig) -> dict[str, str]:
    """Write Flower's configuration with the connection called `fleet`.

    Returns:
        Environment variables, beside the process's own, for every program of Flower that the server starts.

    Raises:
        StorageError: it cannot be written.
    """
    home = config.state.absolute() / "flwr"
    certificate = str((config.pki / CA_CERTIFICATE).absolute())
    text = (
        f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n'
        f"address = {json.dumps(dialled(config.superlink))}\n"
        f"root-certificates = {json.dumps(certificate, ensure_ascii=False)}\n"
    ).encode()
    file = home / "config.toml"
    if not file.is_file() or file.read_bytes() != text:
        write_file(file, text)
    return {**FLOWER_QUIET, "FLWR_HOME": str(home)}


@dataclass(frozen=True)
class Listed:
    """A node as the SuperLink knows it.

    Attributes:
        public_key: PEM; the SuperLink never forgets one, nor registers it a second time.
        status: registered, online, offline or unregistered.
    """

    node_id: int
    public_key: str
    name: str
    status: str

    @property
    def lives(self) -> bool:
        """Whether it may connect."""
        return self.status != UNREGISTERED


class RefusedError(FleetError):
    """The SuperLink did not do what it was asked."""


class SuperLinkSession:
    """A session with the fleet's SuperLink; use it as a context manager.

    Raises:
        FleetError: the SuperLink does not answer, is another, or its program failed.
        RefusedError: it answered that it will not do what it was asked.
    """

    def __init__(self, config: FleetConfig) -> None:
        self._address = dialled(config.superlink)
        certificate = str(config.pki / CA_CERTIFICATE)
        self._process = subprocess.Popen(
            [*_PROGRAM, self._address, certificate],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **write_connection(config)},
        )

    def __enter__(self) -> "SuperLinkSession":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # it holds nothing
        self._process.communicate()

    def _said(self) -> str:
        """The last line that the program wrote before it ended, or is ended here."""
        self._process.kill()
        lines = self._process.communicate()[1].decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def _ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        watchdog = threading.Timer(ANSWER_S, self._process.kill)
        watchdog.start()
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = b""
        finally:
            watchdog.cancel()
        if not line:
            raise FleetError(f"no answer from the SuperLink at {self._address} within {ANSWER_S:.0f} s: {self._said()}")
        answer: dict[str, Any] = json.loads(line)
        if "away" in answer:
            raise FleetError(
                f"cannot reach the SuperLink at {self._address}: {answer['away']}; is it this fleet's, and up?"
            )
        if "refused" in answer:
            raise RefusedError(f"the SuperLink at {self._address} refused: {answer['refused']}")
        return answer

    def listed(self) -> list[Listed]:
        """The nodes that the SuperLink knows, those that were unregistered included."""
        return [Listed(**{**node, "node_id": int(node["node_id"])}) for node in self._ask({"do": "list"})["nodes"]]

    def register(self, public_key: str, name: str, location: str) -> int:
        """Let a node connect.

        Args:
            public_key: PEM.
            location: latitude,longitude, or nothing.

        Returns:
            The SuperLink's number of the node.
        """
        answer = self._ask({"do": "register", "public_key": public_key, "name": name, "location": location})
        return int(answer["node_id"])

    def unregister(self, node_id: int) -> None:
        """Let a node connect no more."""
        self._ask({"do": "unregister", "node_id": str(node_id)})
