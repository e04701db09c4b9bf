"""How a message's contents come: object by object, from a server that is slow, lacks some, or wants a node's memory."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.app.message.arraychunk import ArrayChunk
from flwr.common.serde import message_to_proto
from flwr.proto import fleet_pb2, heartbeat_pb2, message_pb2
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree

from client.connection.contents import MAX_OBJECTS
from client.connection.fleet_messages import UnusableError, inflated
from client.connection.link import PULL_TRIES, Link
from client.connection.messages import OfflineError, RefusedError
from client.connection.pace import Meanwhile
from tests.client.servers import Authority, answering, say
from tests.client.test_node_transport import KEY
from tests.client.wires import ordered
from tinytrain_core.digests import digest

pytestmark = pytest.mark.usefixtures("flower_identity")

DATA = bytes(range(256)) * 1_500  # 384 kB


@dataclass
class Fleet:
    """A SuperLink with one message, and what is wrong with its objects."""

    message: Message
    objects: dict[str, bytes] = field(default_factory=dict)
    tree: message_pb2.ObjectTree = field(default_factory=message_pb2.ObjectTree)
    told: bool = False
    refused: dict[str, int] = field(default_factory=dict)  # HTTP's status for an object, once
    pause_s: float = 0.0  # after each 10 kB
    calls: list[str] = field(default_factory=list)
    promised: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.objects = {name: item.deflate() for name, item in get_all_nested_objects(self.message).items()}
        self.tree = get_object_tree(self.message)

    def respond(self, handler: BaseHTTPRequestHandler, content: bytes) -> None:
        call = handler.path.rpartition("/")[2]
        self.calls.append(call)
        if call == "pull-object":
            self._object(handler, message_pb2.PullObjectRequest.FromString(content).object_id)
        elif call == "pull-messages":
            pulled = fleet_pb2.PullMessagesResponse()
            if not self.told:
                pulled.messages_list.append(message_to_proto(remove_content_from_message(self.message)))
                pulled.message_object_trees.append(self.tree)
            self.told = True
            say(handler, pulled.SerializeToString())
        elif call == "send-node-heartbeat":
            self.promised.append(heartbeat_pb2.SendNodeHeartbeatRequest.FromString(content).heartbeat_interval)
            say(handler, heartbeat_pb2.SendNodeHeartbeatResponse(success=True).SerializeToString())
        else:
            say(handler, fleet_pb2.ActivateNodeResponse(node_id=7).SerializeToString())

    def _object(self, handler: BaseHTTPRequestHandler, name: str) -> None:
        if status := self.refused.pop(name, 0):
            return say(handler, b"", status)
        held = name in self.objects
        answer = message_pb2.PullObjectResponse(
            object_found=held, object_available=held, object_content=self.objects.get(name, b"")
        ).SerializeToString()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(answer)))
        handler.end_headers()
        for start in range(0, len(answer), 10_000):
            handler.wfile.write(answer[start : start + 10_000])
            time.sleep(self.pause_s)
        return None


@contextmanager
def linked(folder: Path, fleet: Fleet, meanwhile: Meanwhile | None = None) -> Iterator[Link]:
    authority = Authority(folder, "fleet")
    with answering(authority.issue("localhost"), fleet.respond) as port:
        link = Link(f"localhost:{port}", authority.file, KEY, meanwhile=meanwhile)
        link.open()
        try:
            yield link
        finally:
            link.close()


@pytest.fixture
def fleet() -> Fleet:
    return Fleet(ordered(DATA))


def chunk(fleet: Fleet) -> str:
    """The name of the object that is the backbone's bytes."""
    return max(fleet.objects, key=lambda name: len(fleet.objects[name]))


def test_a_slow_server_is_waited_for_as_long_as_it_brings_something(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.connection.pace.CALL_S", 1.0)
    monkeypatch.setattr("client.connection.pace.WINDOW_S", 0.5)
    fleet.pause_s = 0.08  # 3 s in all
    progress: list[float] = []
    with linked(tmp_path, fleet, Meanwhile(progress=lambda: progress.append(time.monotonic()))) as link:
        incoming = link.receive()
    assert incoming is not None
    assert incoming.backbone == DATA
    assert len(progress) > len(fleet.objects)
    assert (max(fleet.promised), fleet.promised[-1]) == (300.0, 30.0)  # nobody takes it for one that has gone


def test_a_server_that_brings_too_little_is_left_and_what_it_brought_is_kept(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.connection.pace.WINDOW_S", 0.5)
    monkeypatch.setattr("client.connection.pace.LEAST_BYTES_PER_S", 400_000)
    fleet.pause_s = 0.2
    with linked(tmp_path, fleet) as link:
        with pytest.raises(OfflineError, match="too long"):
            link.receive()
        monkeypatch.setattr("client.connection.pace.LEAST_BYTES_PER_S", 1)
        fleet.pause_s, before = 0.0, fleet.calls.count("pull-object")
        incoming = link.receive()
    assert incoming is not None
    assert incoming.backbone == DATA
    assert fleet.calls.count("pull-object") - before <= len(fleet.objects)


@pytest.mark.parametrize("status", [400, 401, 404, 500])
def test_a_message_is_not_lost_when_one_of_its_objects_is_refused(status: int, fleet: Fleet, tmp_path: Path) -> None:
    fleet.refused[chunk(fleet)] = status
    with linked(tmp_path, fleet) as link:
        with pytest.raises((OfflineError, RefusedError), match=f"PullObject: HTTP {status}"):
            link.receive()
        incoming = link.receive()
    assert incoming is not None
    assert incoming.backbone == DATA


def test_an_object_that_is_nowhere_is_told_and_the_message_given_up(
    fleet: Fleet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    del fleet.objects[missing := chunk(fleet)]
    with linked(tmp_path, fleet) as link:
        assert [link.receive() for _ in range(PULL_TRIES + 3)] == [None] * (PULL_TRIES + 3)
    assert f"does not have its object {missing[:16]}" in caplog.text
    assert fleet.calls.count("pull-messages") > 1  # it went on with others


def test_a_message_of_too_many_objects_is_refused_with_the_reason(fleet: Fleet, tmp_path: Path) -> None:
    for number in range(MAX_OBJECTS):
        fleet.tree.children.append(message_pb2.ObjectTree(object_id=f"{number:064x}"))
    with linked(tmp_path, fleet) as link:
        incoming = link.receive()
    assert incoming is not None
    assert incoming.fields is None
    assert f"objects, {MAX_OBJECTS} are taken" in incoming.problem
    assert "pull-object" not in fleet.calls


def test_a_backbone_beyond_the_limit_is_not_read_to_its_end(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.connection.contents.MAX_MESSAGE_BYTES", 50_000)
    with linked(tmp_path, fleet) as link:
        incoming = link.receive()
    assert incoming is not None
    assert incoming.fields is None
    assert "longer than" in incoming.problem


def _object(kind: str, children: list[str], body: bytes) -> tuple[str, bytes]:
    content = f"{kind} {','.join(children)} {len(body)}".encode() + b"\0" + body
    return digest(content), content


@pytest.mark.parametrize("size", [0, 2**20])
def test_a_chunk_that_is_named_many_times_is_not_multiplied(size: int) -> None:
    small = ArrayChunk(memoryview(b"\0" * size)).deflate()
    most = 2**25 if size else 1_000
    places = [0] * 1_500
    meta = {"dtype": "uint8", "shape": [1], "stype": "numpy.ndarray", "arraychunk_ids": places}
    name, content = _object("Array", [digest(small)], json.dumps(meta).encode())
    with pytest.raises(UnusableError, match=f"{most} are taken at most"):
        inflated(name, {digest(small): small, name: content}, most)


def test_a_list_that_would_grow_is_not_parsed() -> None:
    name, content = _object("Array", [], b"[" + b"[]," * 10**6 + b"[]]")
    with pytest.raises(UnusableError, match="an object of it"):
        inflated(name, {name: content}, 2**25)
