"""The ten commands of the manual, as they stand there, from nothing to a finished rollout and its report."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from server.fleet.config import FleetConfig, load_fleet_config
from server.fleet.database import Database
from tests.fleet.folders import LABEL, write_images
from tests.server.running import HAS_FLOWER, NGINX, PROGRAMS, free_port, running_proxy, running_server, wait_for

pytestmark = [
    pytest.mark.skipif(not HAS_FLOWER, reason="needs Flower's programs beside Python"),
    pytest.mark.skipif(NGINX is None, reason="needs nginx, as from Debian's nginx-light"),
]
MANUAL = Path(__file__).parents[2] / "docs" / "operations.md"
COMMANDS = 10
SERVICES = "systemctl enable --now tinytrain-server tinytrain-proxy"
DEVICE = "tinytrain-client run node/agent.yaml"


def written_steps() -> list[str]:
    """The commands of the manual's first block, step by step; before the first stands what all of them need."""
    (block,) = re.findall(r"## From nothing to a running fleet\n.*?```bash\n(.*?)```", MANUAL.read_text(), re.DOTALL)
    return re.split(r"^(?=# \d+ )", block, flags=re.MULTILINE)


@dataclass
class Reader:
    """Somebody who types what the manual says, in a folder of their own, on a machine with other paths and ports."""

    home: Path
    port: int

    @property
    def fleet(self) -> Path:
        return self.home / "srv" / "fleet"

    @property
    def config(self) -> FleetConfig:
        return load_fleet_config(self.fleet)

    def here(self, text: str) -> str:
        """A command with this machine's paths and address."""
        return text.replace("/srv/", f"{self.home}/srv/").replace("fleet.example.org:443", f"127.0.0.1:{self.port}")

    def types(self, script: str) -> str:
        """What commands print; each of them has to end with 0. A question is answered with yes."""
        path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.here(script)],
            cwd=self.home,
            env={**os.environ, "PATH": path, "TINYTRAIN_PASSPHRASE": "between us", "OMP_NUM_THREADS": "1"},
            input="y\n",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def phase(self) -> str:
        with Database(self.config.database) as database:
            ((phase,),) = database.rows("SELECT phase FROM rollouts")
        return str(phase)

    def change(self, file: Path, **settings: object) -> None:
        """Make a file of settings fit this machine: a port that is free, and no pauses to wait for."""
        fields = yaml.safe_load(file.read_text(encoding="utf-8")) | settings
        file.write_text(yaml.safe_dump(fields), encoding="utf-8")

    @contextmanager
    def device(self) -> Iterator[None]:
        """The device's program, which goes on while the others are typed."""
        with (self.home / "client.log").open("ab") as log:
            command = [PROGRAMS / DEVICE.split()[0], *DEVICE.split()[1:]]
            process = subprocess.Popen(command, cwd=self.home, stdout=log, stderr=log, start_new_session=True)
            try:
                yield
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=60)


def test_the_ten_commands_of_the_manual(tmp_path: Path) -> None:
    first, *steps = written_steps()
    assert [int(step.split()[1]) for step in steps] == list(range(1, COMMANDS + 1))
    reader = Reader(tmp_path, free_port())
    for device in (1, 2):
        write_images(tmp_path / "srv" / "images" / str(device), device)
    said: dict[int, str] = {}
    with ExitStack() as running:
        for number, step in enumerate(steps, 1):
            said[number] = reader.types(first + step.replace(SERVICES, "true").replace(DEVICE, "true"))
            if number == 1:
                reader.change(reader.fleet / "server.yaml", superlink=f"127.0.0.1:{free_port()}", poll_s=0.5)
            if SERVICES in step:
                running.enter_context(running_server(reader.config))
                running.enter_context(running_proxy(reader.config, file=reader.fleet / "nginx.conf"))
            if DEVICE in step:
                reader.change(tmp_path / "node" / "agent.yaml", poll_s=0.5, idle_poll_s=1.0)
                running.enter_context(reader.device())
            if "rollout start" in step:
                wait_for("the rollout's end", lambda: reader.phase() in ("completed", "halted"), 90)
                assert reader.phase() == "completed", reader.types(first + "tinytrain-server rollout status spring")
    check(reader, said)


def check(reader: Reader, said: dict[int, str]) -> None:
    """What somebody who followed the manual has in the end."""
    assert "manifests/main/1.json" in said[4]
    assert "which now has 1 of 1" in said[5]
    listed = reader.types("tinytrain-server release list --format json --fleet /srv/fleet")
    assert "stable" in listed
    assert "completed" in said[10]
    assert LABEL not in said[10]
    assert (reader.fleet.stat().st_mode & 0o777) == 0o700
    state = reader.fleet / "state"
    made = [
        state / "superlink.sqlite",
        *(state / "logs" / f"{name}.jsonl" for name in ("up", "superlink", "controller")),
    ]
    assert not [file for file in made if file.stat().st_mode & 0o077]
