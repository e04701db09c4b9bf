"""Nodes of a federated baseline in this process: their real app, their own state, and no time that passes."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from client.config import DeviceConfig, NodeConfig
from simulations.clock import VirtualClock
from simulations.federated.client import app
from simulations.federated.talk import Talk
from simulations.settings import FleetSettings, build_settings
from tests.conftest import SMALL_ROWS, random_backbone
from tests.simulations.fleets import make_folder
from tinytrain_core.backbones import spec as specs
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.weights import to_bytes

SMALL = "small"
Mangle = Callable[[int, Message, Message], Message | None]


def know_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process know the small architecture by its name."""
    known = specs._raw_spec
    monkeypatch.setattr(specs, "_raw_spec", lambda name: SMALL_ROWS if name == SMALL else known(name))


def small_backbone(seed: int = 0) -> Backbone:
    return random_backbone(specs.load_spec(SMALL), seed)


def write_small(file: Path, seed: int = 0) -> str:
    file.write_bytes(to_bytes(small_backbone(seed)))
    return str(file)


def make_images(folder: Path, classes: int = 2, images: int = 4) -> Path:
    return make_folder(folder, {"abcdef"[i] * (i + 1): images for i in range(classes)})


def make_node(folder: Path, *devices: dict[str, Any]) -> NodeConfig:
    configs = tuple(DeviceConfig.model_validate({"profile": "pi_4", "shots": 2, "holdout": 2} | d) for d in devices)
    return NodeConfig(store=folder, devices=configs, simulated=True)


def fleet_settings(**changes: Any) -> FleetSettings:
    small = {"min_ways": 2, "max_ways": 2, "shots": 2, "holdout": 2, "steps": 1, "views": 1, "workers": 1}
    return build_settings(small | changes)


class AppGrid(Grid):
    """Calls the app of each node at once.

    Args:
        mangle: what becomes of a reply; None is lost.
    """

    def __init__(self, nodes: list[NodeConfig], mangle: Mangle = lambda _node, _message, reply: reply) -> None:
        self.nodes, self.mangle = nodes, mangle
        self.states = [RecordDict() for _ in nodes]
        self.sent: list[Message] = []
        self.replies: list[Message] = []
        self._arrived: dict[str, Message] = {}

    @property
    def run(self) -> Run:
        raise AssertionError("the server does not need it")

    def set_run(self, run: Run) -> None:
        raise AssertionError("the server does not need it")

    def create_message(self, *_: object, **__: object) -> Message:
        raise AssertionError("deprecated")

    def get_node_ids(self) -> list[int]:
        return [number + 1 for number in range(len(self.nodes))]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        return [self._push(message) for message in messages]

    def _push(self, message: Message) -> str:
        identity = f"m{len(self.sent)}"
        message.metadata.__dict__["_message_id"] = identity
        self.sent.append(message)
        node = message.metadata.dst_node_id - 1
        reply = self.mangle(node, message, self._reply(node, message))
        if reply is not None:
            self.replies.append(reply)
            self._arrived[identity] = reply
        return identity

    def _reply(self, node: int, message: Message) -> Message:
        config = {"partition-id": node, "num-partitions": len(self.nodes), "node": self.nodes[node].model_dump_json()}
        context = Context(1, node + 1, config, self.states[node], {})
        try:
            return app(message, context)
        except Exception as error:  # noqa: BLE001  as Flower's runtimes do
            return Message(Error(2, type(error).__name__), reply_to=message)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [self._arrived.pop(i) for i in list(message_ids) if i in self._arrived]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        return self.pull_messages(self.push_messages(messages))


def talk_with(nodes: list[NodeConfig], mangle: Mangle = lambda _node, _message, reply: reply) -> Talk:
    return Talk(AppGrid(nodes, mangle), VirtualClock(), 600.0, len(nodes))
