"""The controller's link over Flower's Grid: what is sent, what comes back, and a network that fails."""

import threading
from collections.abc import Iterable
from typing import Any

import httpx
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run, RunNotRunningException

from server.running import fleet_app
from server.running.fleet_app import GridLink
from tinytrain_core import wire
from tinytrain_core.orders import QUERY_SYNC, Answer, NodeStatus, SyncRequest, parse_answer

pytestmark = pytest.mark.usefixtures("flower_identity")
STATUS = Answer(status=NodeStatus(version=3)).records()


class Wire(Grid):
    """A grid whose nodes answer what they are told to, over a network that can break.

    Attributes:
        answers: by node; a node without one has not answered yet.
        broken: raised by every call; unreadable: nodes whose answer cannot be put together.
    """

    def __init__(self) -> None:
        self.sent: dict[str, Message] = {}
        self.answers: dict[int, RecordDict | Error] = {}
        self.broken: Exception | None = None
        self.unreadable: set[int] = set()
        self.unknown: set[int] = set()
        self.pulled: list[list[str]] = []

    @property
    def run(self) -> Run:
        raise AssertionError("the link does not need it")

    def set_run(self, run: Run) -> None:
        raise AssertionError("the link does not need it")

    def create_message(self, *_: object, **__: object) -> Message:
        raise AssertionError("deprecated")

    def send_and_receive(self, *_: object, **__: object) -> list[Message]:
        raise AssertionError("it would wait for the slowest")

    def get_node_ids(self) -> list[int]:
        self._check()
        return [7, 8]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        self._check()
        ids = []
        for message in messages:
            message_id = f"m{len(self.sent)}"
            message.metadata.__dict__["_message_id"] = message_id
            known = message.metadata.dst_node_id not in self.unknown
            ids.append(message_id if known else "")
            if known:
                self.sent[message_id] = message
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        self._check()
        wanted = list(message_ids)
        self.pulled.append(wanted)
        nodes = {key: self.sent[key].metadata.dst_node_id for key in wanted}
        if self.unreadable & set(nodes.values()):
            raise ValueError("Invalid object content")
        found = []
        for key, node in nodes.items():
            if (answer := self.answers.pop(node, None)) is not None:
                found.append(Message(answer, reply_to=self.sent[key]))
        return found

    def _check(self) -> None:
        if self.broken:
            raise self.broken


def numbers(records: dict[str, dict[str, Any]]) -> RecordDict:
    return RecordDict({name: MetricRecord(fields) for name, fields in records.items()})


@pytest.fixture
def grid() -> Wire:
    return Wire()


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


@pytest.fixture
def link(grid: Wire, stop: threading.Event) -> GridLink:
    return GridLink(grid, stop)


def send(link: GridLink, node: int, backbone: bytes | None = None, ttl_s: float = 60) -> str | None:
    return link.send(node, QUERY_SYNC, SyncRequest(acknowledged=[1, 2]), backbone, ttl_s)


def test_a_request_arrives_whole_and_its_answer_comes_back_once(grid: Wire, link: GridLink) -> None:
    message = grid.sent[send(link, 7, b"weights", ttl_s=300) or ""]
    request = SyncRequest.model_validate(dict(message.content[wire.REQUEST_RECORD]))  # type: ignore[arg-type]
    assert request.acknowledged == [1, 2]
    arrays = message.content.array_records[wire.BACKBONE_RECORD]
    assert arrays[wire.BACKBONE_ARRAY].numpy().tobytes() == b"weights"
    assert (message.metadata.dst_node_id, message.metadata.message_type) == (7, QUERY_SYNC)
    assert message.metadata.ttl == 300
    assert link.replies() == []
    grid.answers[7] = numbers(STATUS)
    ((node, records),) = link.replies()
    assert node == 7
    assert records is not None
    assert parse_answer(records).status.version == 3
    assert link.replies() == []


def test_one_backbone_is_one_object_for_all_nodes(grid: Wire, link: GridLink) -> None:
    weights = b"x" * 1_000
    records = [grid.sent[send(link, node, weights) or ""].content.array_records for node in (7, 8)]
    assert records[0][wire.BACKBONE_RECORD] is records[1][wire.BACKBONE_RECORD]
    other = grid.sent[send(link, 9, b"y" * 1_000) or ""].content.array_records
    assert other[wire.BACKBONE_RECORD] is not records[0][wire.BACKBONE_RECORD]


def test_an_error_is_a_lost_message_and_anything_but_numbers_is_nothing(grid: Wire, link: GridLink) -> None:
    for node in (7, 8, 9):
        send(link, node)
    grid.answers = {
        7: Error(5, "node unavailable"),
        8: RecordDict({"array": ArrayRecord({"a": Array(np.zeros(3, np.uint8))}), "status": MetricRecord({"a": 1})}),
        9: RecordDict({"text": ConfigRecord({"a": "b"})}),
    }
    assert sorted(link.replies()) == [(7, None), (8, {}), (9, {})]


def test_a_message_that_nobody_answers_is_told_of_in_the_end(link: GridLink, monkeypatch: pytest.MonkeyPatch) -> None:
    send(link, 7, ttl_s=10)
    assert link.replies() == []
    now_s = fleet_app.time.monotonic()
    monkeypatch.setattr(fleet_app.time, "monotonic", lambda: now_s + 10 + fleet_app.TTL_GRACE_S + 1)
    assert link.replies() == [(7, None)]
    assert link.replies() == []


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("away"), httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("")]
)
def test_a_superlink_that_is_away_is_no_error(grid: Wire, link: GridLink, error: Exception) -> None:
    send(link, 7)
    grid.broken = error
    assert (link.online(), send(link, 8), link.replies()) == (frozenset(), None, [])
    grid.broken = None
    grid.answers[7] = numbers(STATUS)
    assert [node for node, _ in link.replies()] == [7]
    assert link.online() == {7, 8}


def test_a_node_that_the_superlink_does_not_know_is_not_sent_to(grid: Wire, link: GridLink) -> None:
    grid.unknown = {9}
    assert send(link, 9) is None
    assert link.replies() == []


def test_a_run_that_was_stopped_ends(grid: Wire, link: GridLink, stop: threading.Event) -> None:
    grid.broken = RunNotRunningException()
    assert link.replies() == []
    assert link.online() == frozenset()
    assert stop.is_set()


def test_one_nodes_unreadable_answer_does_not_cost_the_others_theirs(
    grid: Wire, link: GridLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    for node in (7, 8, 9):
        send(link, node)
    grid.unreadable = {8}
    assert link.replies() == []
    grid.answers = {7: numbers(STATUS), 9: numbers(STATUS)}
    found = dict(link.replies())
    assert found[8] == {}
    assert found[7] is not None
    assert found[9] is not None
    grid.unreadable = set()
    send(link, 7)
    send(link, 9)
    now_s = fleet_app.time.monotonic()
    monkeypatch.setattr(fleet_app.time, "monotonic", lambda: now_s + fleet_app.ONE_BY_ONE_S + 1)
    grid.pulled.clear()
    assert [node for node, _ in link.replies()] == [7, 9]  # late by then
    send(link, 7)
    send(link, 9)
    link.replies()
    assert [len(keys) for keys in grid.pulled] == [2]
