"""An operator and a fleet on loopback: real processes, real certificates, nginx in front, a network for each device."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml

from server.fleet.config import FleetConfig, load_fleet_config
from server.fleet.database import Database
from server.fleet.nodes import nodes
from server.fleet.rollout.spec import RolloutSpec
from server.fleet.rollout.targeting import members
from tests.conftest import random_backbone
from tests.fleet.devices import Device, call, json_of
from tests.server.running import Server, free_port, running_proxy, running_server, wait_for
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.backbones.weights import to_bytes

NODES: dict[str, dict[int, str]] = {
    "gate-1": {1: "stm32h743", 2: "stm32h743", 3: "stm32h743"},
    "zero-1": {4: "pi_zero_2w"},
    "pi-1": {5: "pi_4"},
    "nano-1": {6: "jetson_nano"},
    "phone-1": {7: "phone"},
    "esp-1": {8: "esp32s3"},
}
SIGNERS = ("alice", "bob")
TRAINING = {"steps": 2, "views": 1}


class Operator:
    """Whoever runs the fleet in `folder`, with the signers' keys in another place."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.keys = folder / "fleet", folder / "keys"
        self.devices: dict[str, Device] = {}
        self.config: FleetConfig
        self.server: Server

    def server_command(self, *words: object) -> str:
        return call("tinytrain-server", *words, env=self._environment())

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "TINYTRAIN_FLEET": str(self.folder)}

    def set_up(self) -> None:
        """From nothing to signed releases 1 and 2; the second is degraded, with a way back."""
        self.keys.mkdir(parents=True)
        self.server_command("init", self.folder, "--address", f"127.0.0.1:{free_port()}")
        settings = yaml.safe_load((self.folder / "server.yaml").read_text(encoding="utf-8"))
        settings |= {"superlink": f"127.0.0.1:{free_port()}", "poll_s": 0.3, "hold_s": 5.0, "stale_s": 10.0}
        (self.folder / "server.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        self.config = load_fleet_config(self.folder)
        self.server_command("pki", "init")
        for name in SIGNERS:
            self.server_command("release", "keygen", name, "--out", self.keys / f"{name}.pem")
        public = [self.keys / f"{name}.pub" for name in SIGNERS]
        self.server_command("release", "trust", "add", *public, "--threshold", len(SIGNERS))
        self.release("mcunet-5fps")

    def release(self, backbone: object, *options: object) -> None:
        """Make a release or an order, and sign it with every key."""
        self.server_command("release", "create", *([backbone] if backbone else []), *options)
        newest = max(self.config.releases.rglob("*.json"), key=lambda file: (file.stat().st_mtime_ns, file.name))
        for name in SIGNERS:
            self.server_command("release", "sign", newest, "--key", self.keys / f"{name}.pem", "--yes")

    def degraded(self) -> Path:
        """A backbone whose weights are random: it loads, and is good for nothing."""
        file = self.folder.parent / "degraded.safetensors"
        file.write_bytes(to_bytes(random_backbone(load_spec("mcunet-5fps"), seed=7), torch.float16))
        return file

    def add_node(self, name: str, hosted: Mapping[int, str], *options: object) -> Device:
        """Add a node, and enrol its device."""
        bundle = self.folder.parent / f"{name}.enrol"
        hosts = [word for number, profile in hosted.items() for word in ("--device", f"{number}:{profile}")]
        self.server_command("node", "add", name, *hosts, *options, "--bundle", bundle)
        device = Device(self.folder.parent / name, list(hosted), int(self.config.address.rpartition(":")[2]))
        device.enrol(bundle)
        self.devices[name] = device
        return device

    def roll_out(self, name: str, release: int, stages: Sequence[Mapping[str, Any]] = (), **more: Any) -> None:
        """Begin a rollout."""
        spec = {
            "name": name,
            "release": release,
            "stages": [*stages, {"percent": 100}],
            "deadline_s": 240,
            "retries": 2,
            "backoff_s": 0.5,
            "gates": {"min_reports": 1, "max_share_worse": None, "min_gain_lower_bound": None},
            "training": TRAINING,
        }
        file = self.folder.parent / f"{name}.yaml"
        file.write_text(yaml.safe_dump(spec | more), encoding="utf-8")
        self.server_command("rollout", "start", file)

    def seed_of_the_most_accurate(self) -> str:
        """A rollout's seed by which the node comes first whose one device has reported the highest accuracy."""
        with Database(self.config.database) as database:
            known = nodes(database)
            reports = database.rows("SELECT node, fields FROM reports WHERE rollout > 0")
        alone = {node.name for node in known if len(node.devices) == 1}
        told = [(json.loads(fields)["accuracy_before"], name) for name, fields in reports if name in alone]
        best = max(told)[1]
        for number in range(10_000):
            spec = RolloutSpec(name="sought", release=1, seed=f"seed {number}")
            if members(spec, known)[0].name == best:
                return spec.seed
        raise AssertionError(f"no seed puts {best} first")

    def phase(self, name: str) -> str:
        with Database(self.config.database) as database:
            ((phase,),) = database.rows("SELECT phase FROM rollouts WHERE name = ?", name)
        return str(phase)

    def wait(self, name: str, phase: str, patience_s: float = 150) -> None:
        """Until the rollout is in that phase."""
        try:
            wait_for(f"rollout {name} {phase}", lambda: self.phase(name) == phase, patience_s)
        except AssertionError as error:
            status = self.server_command("rollout", "status", name)
            logs = "\n".join(f"--- {d.folder.name}\n{d.logs()[-3000:]}" for d in self.devices.values())
            raise AssertionError(f"{error}\n{status}\n{self.server.log()[-5000:]}\n{logs}") from None

    def reports(self, name: str) -> list[dict[str, Any]]:
        """The stored reports of a rollout, by device."""
        with Database(self.config.database) as database:
            rows = database.rows(
                "SELECT reports.* FROM reports JOIN rollouts ON rollouts.id = reports.rollout WHERE name = ? "
                "ORDER BY device, reports.attempt",
                name,
            )
        return [dict(row) for row in rows]

    def decisions(self, name: str) -> list[tuple[str, str]]:
        """What was decided, and why."""
        with Database(self.config.database) as database:
            rows = database.rows(
                "SELECT what, reason FROM decisions JOIN rollouts ON rollouts.id = decisions.rollout "
                "WHERE name = ? ORDER BY decisions.id",
                name,
            )
        return [(row["what"], row["reason"]) for row in rows]

    def fleet(self, *words: object) -> Any:
        """What a command about the fleet prints as JSON."""
        return json_of(*words, "--fleet", self.folder)

    def traffic(self) -> dict[str, int]:
        """Bytes down so far, of each node."""
        return {name: device.proxy.down for name, device in self.devices.items()}


@contextmanager
def running_fleet(folder: Path, nodes: Mapping[str, Mapping[int, str]]) -> Iterator[Operator]:
    """A fleet that runs, all of its nodes online."""
    operator = Operator(folder)
    operator.set_up()
    with ExitStack() as running:
        operator.server = running.enter_context(running_server(operator.config))
        running.enter_context(running_proxy(operator.config))
        for name, hosted in nodes.items():
            device = operator.add_node(name, hosted)
            running.callback(device.close)
            device.start()
        wait_for("a controller", operator.server.beat)
        yield operator
