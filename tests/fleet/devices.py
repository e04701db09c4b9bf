"""A device of an end-to-end fleet: its folder, its own network, and `tinytrain-client run` as a service runs it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import yaml

from client.agent.config import AgentConfig, load_agent_config
from client.supervision.start import agent_facts
from tests.fleet.folders import write_images
from tests.fleet.proxy import CountingProxy

PROGRAMS = Path(sys.executable).parent
QUICK = {"shots": 2, "holdout": 4}


def call(program: str, *arguments: object, **more: Any) -> str:
    """What a command prints; it has to end with 0."""
    done = subprocess.run(
        [PROGRAMS / program, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False, **more
    )
    assert done.returncode == 0, f"{program} {arguments}: {done.stdout}\n{done.stderr}"
    return done.stdout


class Device:
    """One node. Its `number`-th device has the images of the writer of that number."""

    def __init__(self, folder: Path, numbers: Sequence[int], port: int) -> None:
        self.folder = folder
        self.numbers = tuple(numbers)
        self.proxy = CountingProxy(port)
        self.log: IO[bytes] | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def enrol(self, bundle: Path) -> None:
        """Unpack a bundle, with images of its own, and dial through the proxy."""
        images = {number: write_images(self.folder / f"images-{number}", number) for number in self.numbers}
        data = [word for number, place in images.items() for word in ("--data", f"{number}={place}")]
        call("tinytrain-client", "enrol", bundle, "--into", self.folder / "node", *data)
        self.settings(server=f"127.0.0.1:{self.proxy.port}", poll_s=0.5, idle_poll_s=1.0)
        self.devices(dict.fromkeys(self.numbers, QUICK))

    def _change(self, name: str, change: Mapping[str, Any]) -> None:
        file = self.folder / "node" / name
        fields = yaml.safe_load(file.read_text(encoding="utf-8")) | dict(change)
        file.write_text(yaml.safe_dump(fields), encoding="utf-8")

    def settings(self, **changes: Any) -> None:
        """Change `agent.yaml`."""
        self._change("agent.yaml", changes)

    def devices(self, changes: Mapping[int, Mapping[str, Any]]) -> None:
        """Change devices of `node.yaml`."""
        fields = yaml.safe_load((self.folder / "node" / "node.yaml").read_text(encoding="utf-8"))
        changed = [{**entry, **changes.get(entry["number"], {})} for entry in fields["devices"]]
        self._change("node.yaml", {"devices": changed})

    @property
    def agent_file(self) -> Path:
        return self.folder / "node" / "agent.yaml"

    @property
    def config(self) -> AgentConfig:
        return load_agent_config(self.agent_file)

    def facts(self) -> dict[str, Any]:
        """What `tinytrain-client agent` shows."""
        return agent_facts(self.agent_file)

    def start(self, most_bytes: int | None = None, **environment: str) -> None:
        """What the service manager does. With `most_bytes` no file can grow beyond that, as on a full disk."""
        self.log = (self.folder / "client.log").open("ab")
        command = [PROGRAMS / "tinytrain-client", "run", self.agent_file]
        variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        limits = f"ulimit -f {most_bytes // 1024}; " if most_bytes else ""
        shell = ["bash", "-c", limits + 'exec "$@"', "device", *map(str, command)]
        self.process = subprocess.Popen(shell, stdout=self.log, stderr=self.log, start_new_session=True, env=variables)

    def logs(self) -> str:
        """Everything that the device wrote for the person in front of it."""
        files = [self.folder / "client.log", *sorted((self.folder / "node" / "store").glob("*.log*"))]
        return "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files if file.exists())

    def node_pid(self) -> int | None:
        """The process that holds the connection, below its supervisor."""
        assert self.process
        tasks = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        children = tasks.read_text().split() if tasks.exists() else []
        return int(children[0]) if children else None

    def close(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.log:
            self.log.close()
        self.proxy.close()


def json_of(*arguments: object) -> Any:
    """What a command of the server prints as JSON."""
    return json.loads(call("tinytrain-server", *arguments, "--format", "json"))
