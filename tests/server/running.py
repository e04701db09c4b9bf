"""A fleet's server as real processes, as a service manager would run it: started again whenever it ends."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

import yaml

from server.fleet.config import FleetConfig, load_fleet_config
from server.fleet.database import Database
from server.pki import folder as pki
from server.running.controller_run import Beat, controller_process, last_beat
from server.running.processes import Identity, noted
from server.running.proxy import ProxySettings, make_folders, render
from tests.releases import trust_of

PATIENCE_S = 60.0
PROGRAMS = Path(sys.executable).parent
HAS_FLOWER = (PROGRAMS / "flower-superlink").exists()
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
Found = TypeVar("Found")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, found: Callable[[], Found | None], patience_s: float = PATIENCE_S) -> Found:
    """What `found` gives as soon as it is not None or False."""
    give_up_s = time.monotonic() + patience_s
    while time.monotonic() < give_up_s:
        if result := found():
            return result
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {patience_s} s")


def fleet_on_loopback(folder: Path, **settings: object) -> FleetConfig:
    """A fleet with certificates and trust, on ports that are free."""
    folder.mkdir(parents=True)
    ports = {"address": f"127.0.0.1:{free_port()}", "superlink": f"127.0.0.1:{free_port()}"}
    (folder / "server.yaml").write_text(yaml.safe_dump(ports | settings), encoding="utf-8")
    (folder / "trust.json").write_text(trust_of(1, 2).model_dump_json(), encoding="utf-8")
    config = load_fleet_config(folder)
    pki.init(config, time.time())
    return config


class Server:
    """`tinytrain-server up` and what it has started."""

    def __init__(self, config: FleetConfig, **environment: str) -> None:
        self.config, self.environment = config, {**os.environ, **environment}
        self.output: IO[bytes] = (config.folder / "up.log").open("ab")
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [PROGRAMS / "tinytrain-server", "up", "--fleet", self.config.folder]
        return subprocess.Popen(
            command, stdout=self.output, stderr=self.output, start_new_session=True, env=self.environment
        )

    def revive(self) -> None:
        """What `Restart=always` does."""
        self.process.wait(timeout=PATIENCE_S)
        self.process = self._start()

    def running(self, program: str) -> Identity | None:
        return noted(self.config.state / "run" / f"{program}.json")

    def beat(self) -> Beat | None:
        """The sign of life of a controller that runs."""
        with Database(self.config.database) as database:
            beat = last_beat(database)
        return beat if controller_process(self.config, beat) else None

    def log(self) -> str:
        return (self.config.folder / "up.log").read_text(encoding="utf-8")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self.output.close()


@contextmanager
def running_server(config: FleetConfig, **environment: str) -> Iterator[Server]:
    server = Server(config, **environment)
    try:
        yield server
    except AssertionError as error:
        raise AssertionError(f"{error}\n{server.log()}") from error
    finally:
        server.close()


@contextmanager
def running_proxy(
    config: FleetConfig, settings: ProxySettings | None = None, file: Path | None = None
) -> Iterator[None]:
    """nginx in front of the fleet, by this user; its configuration is made unless there is a `file`."""
    assert NGINX is not None
    if file is None:
        make_folders(config)
        file = config.state / "proxy" / "nginx.conf"
        file.write_text(render(config, settings), encoding="utf-8")
    errors = config.state / "logs" / "proxy-errors.log"
    process = subprocess.Popen([NGINX, "-e", str(errors), "-c", str(file)], start_new_session=True)
    try:
        port = int(config.address.rpartition(":")[2])
        wait_for("the proxy", lambda: _listens(port) or process.poll() is not None)
        assert process.poll() is None, errors.read_text(encoding="utf-8")
        yield
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_S)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
