"""Devices of an operated fleet for tests: their folders, the operator's keys, releases and orders."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client.agent.agent import Agent
from client.agent.conditions import Conditions
from client.agent.config import AgentConfig, load_agent_config
from client.agent.state import AgentState
from client.agent.work import Starter, Work, WorkerProcess
from client.agent.worker import Job, run_job
from client.config import NodeConfig, load_node_config
from tests.client.images import write_images
from tests.conftest import random_backbone
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.backbones.weights import to_bytes
from tinytrain_core.digests import digest
from tinytrain_core.errors import ErrorCode
from tinytrain_core.orders import Delivery, OrderRequest
from tinytrain_core.release import Manifest, Trust, key_id, sign
from tinytrain_core.wire import PersonaliseRequest

NOW = 1_800_000_000.0
DAY = 86_400
KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2, 3)]
QUICK = {"method": "last_layer", "steps": 1}
SECRET = "SECRETPLACE"


def trust(threshold: int = 2) -> Trust:
    public = [key.public_key().public_bytes_raw() for key in KEYS]
    return Trust(line="main", threshold=threshold, keys={key_id(key): key.hex() for key in public})


def manifest(data: bytes, version: int, **changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "name": "main",
        "version": version,
        "architecture": "mcunet-5fps",
        "input_scaling": "x / 127.5 - 1",
        "digest": digest(data),
        "length": len(data),
        "created": int(NOW) - DAY + version,
        "expires": int(NOW) + 30 * DAY,
    }
    return Manifest(**{**fields, **changes})


def order(
    what: Manifest, rollout: int = 1, attempt: int = 1, signers: int = 2, settings: Any = None, **more: Any
) -> OrderRequest:
    data = what.to_bytes()
    request = PersonaliseRequest(digest=what.digest, **{**QUICK, **(settings or {})})
    return OrderRequest(
        manifest=data.decode(),
        signatures=json.dumps(dict(sign(data, key) for key in KEYS[:signers])),
        rollout=rollout,
        attempt=attempt,
        settings=request.model_dump_json(),
        **more,
    )


def write_device(folder: Path, devices: Sequence[dict[str, Any]] = ({},), **agent: Any) -> Path:
    """The files of a device, with images for the `data` of each that are not there yet; its `agent.yaml`."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, given in enumerate(devices, 11):
        entry = {"number": number, "profile": "pi_4", "data": f"images{number}", "shots": 2, "holdout": 2, **given}
        if not (folder / entry["data"]).exists():
            write_images(folder / entry["data"], 2, 4)
        entries.append(entry)
    node = {"store": "store", "simulated": True, "devices": entries}
    (folder / "node.yaml").write_text(yaml.safe_dump(node), encoding="utf-8")
    (folder / "trust.json").write_text(trust().model_dump_json(), encoding="utf-8")
    fields = {
        "name": "gate-1",
        "node": "node.yaml",
        "server": "127.0.0.1:9",
        "ca": "ca.crt",
        "key": "key",
        "trust": "trust.json",
        "poll_s": 0.05,
        "idle_poll_s": 0.05,
    }
    (folder / "agent.yaml").write_text(yaml.safe_dump({**fields, **agent}), encoding="utf-8")
    return folder / "agent.yaml"


@dataclass
class InlineWork:
    """What a worker does, done at once and here, by the worker's own code."""

    told: list[bytes] = field(default_factory=list)

    def lines(self) -> list[bytes]:
        told, self.told = self.told, []
        return told

    def ended(self) -> int | None:
        return None if self.told else 0

    def pause(self, paused: bool) -> None:
        assert not paused

    def stop(self) -> None:
        self.told = []


def inline(job: Job) -> Work:
    work = InlineWork()
    run_job(job, lambda line: work.told.append(json.dumps(line).encode()))
    return work


def in_a_process(folder: Path) -> Starter:
    return lambda job: WorkerProcess.start(job, folder / "worker.log")


@dataclass
class Device:
    """A device that is driven by hand."""

    config: AgentConfig
    node: NodeConfig
    state: AgentState
    agent: Agent

    def tick(self, now_s: float = NOW, times: int = 3) -> None:
        for _ in range(times):
            self.agent.tick(now_s)


def open_device(file: Path, start: Starter = inline, conditions: Conditions | None = None) -> Device:
    config = load_agent_config(file)
    node = load_node_config(config.node)
    numbers = [device.number for device in node.devices]
    state = AgentState(file.parent / "store" / "agent.sqlite", numbers, config.outbox.max_reports)
    return Device(config, node, state, Agent(config, node, trust(), state, start, conditions or Conditions()))


def backbones(count: int) -> list[bytes]:
    """Files of backbones that differ."""
    spec = load_spec("mcunet-5fps")
    return [to_bytes(random_backbone(spec, seed), torch.float16) for seed in range(count)]


def outcomes(device: Device) -> dict[int, tuple[int, int]]:
    found = [d.report for d in device.state.deliveries(100)]
    assert len({report.device for report in found}) == len(found)
    return {report.device: (report.outcome, report.error) for report in found}


def give(device: Device, request: OrderRequest, data: bytes | None, now_s: float = NOW) -> ErrorCode:
    return device.agent.order(request, data, now_s)


def carry_out(device: Device, request: OrderRequest, data: bytes | None) -> None:
    assert give(device, request, data) == ErrorCode.NONE
    device.tick()
    assert device.state.running() is None


def unique_ids(deliveries: Sequence[Delivery]) -> list[int]:
    """The ids of reports, to acknowledge them."""
    return sorted({delivery.envelope.report_id for delivery in deliveries})


def reported(device: Device) -> list[tuple[int, int, int, int, int]]:
    """What waits: rollout, attempt, version, device, error."""
    return [
        (d.envelope.rollout, d.envelope.attempt, d.envelope.version, d.report.device, d.report.error)
        for d in device.state.deliveries(100)
    ]
