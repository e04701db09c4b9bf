"""The server's rounds against nodes that answer, fail, lie or stay silent, behind a grid that is not Flower's."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from server.app import run
from server.config import RunSettings
from server.results import read_reports
from tests.server.conftest import run_description
from tinytrain_core import wire
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.weights import digest, to_bytes
from tinytrain_core.errors import BackboneError, ConfigurationError, ErrorCode, FleetError
from tinytrain_core.report import PersonalisationReport, failure
from tinytrain_core.wire import NodeProfile, PersonaliseRequest, parse_request, report_record

pytestmark = pytest.mark.usefixtures("flower_identity")

Node = Callable[[Message], Message | None]


class NodesGrid(Grid):
    """Hands each message to a function, and every reply back at the first pull, in reverse order."""

    def __init__(self, nodes: dict[int, Node], unreachable: frozenset[int] = frozenset()) -> None:
        self.nodes, self.unreachable = nodes, unreachable
        self.sent: list[Message] = []
        self.replies: dict[str, Message] = {}

    @property
    def run(self) -> Run:
        raise AssertionError("the server does not need it")

    def set_run(self, run: Run) -> None:
        raise AssertionError("the server does not need it")

    def create_message(self, *_: object, **__: object) -> Message:
        raise AssertionError("deprecated")

    def send_and_receive(self, *_: object, **__: object) -> list[Message]:
        raise AssertionError("has no deadline for each node")

    def get_node_ids(self) -> list[int]:
        return list(self.nodes)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        accepted = []
        for message in messages:
            message_id = f"m{len(self.sent)}"
            message.metadata.__dict__["_message_id"] = message_id
            if message.metadata.dst_node_id in self.unreachable and message.metadata.message_type != wire.QUERY_PROFILE:
                continue
            self.sent.append(message)
            accepted.append(message_id)
            reply = self.nodes[message.metadata.dst_node_id](message)
            if reply is not None:
                self.replies[message_id] = reply
        return accepted

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [self.replies.pop(i) for i in sorted(message_ids, reverse=True) if i in self.replies]

    def requests(self) -> list[Message]:
        return [message for message in self.sent if message.metadata.message_type == wire.TRAIN_PERSONALISE]


def numbers(message: Message, records: dict[str, dict[str, Any]]) -> Message:
    return Message(RecordDict({name: MetricRecord(fields) for name, fields in records.items()}), reply_to=message)


def request_of(message: Message) -> PersonaliseRequest:
    return parse_request(PersonaliseRequest, message.content.config_records[wire.REQUEST_RECORD])


def node(*devices: int, holds: bool = False, answer: Node | None = None) -> Node:
    """A node that says that it has the devices, and answers a request with reports or as `answer` does."""

    def handle(message: Message) -> Message | None:
        if message.metadata.message_type == wire.QUERY_PROFILE:
            profile = NodeProfile(devices=len(devices), holds_backbone=int(holds))
            return numbers(message, {wire.PROFILE_RECORD: profile.model_dump()})
        if answer is not None:
            return answer(message)
        reports = {report_record(i): failure(ErrorCode.NO_IMAGES, d).model_dump() for i, d in enumerate(devices)}
        return numbers(message, reports)

    return handle


@pytest.fixture
def settings(tmp_path: Path, mcunet: Backbone) -> RunSettings:
    file = tmp_path / "b.safetensors"
    file.write_bytes(to_bytes(mcunet, torch.float16))
    return RunSettings(backbone=str(file), out=str(tmp_path / "out"), deadline_s=0.3, wait_for_nodes_s=0.5)


def missing(settings: RunSettings) -> dict[str, str]:
    (only,) = run_description(settings)["rounds"]
    return {entry["node"]: entry["cause"] for entry in only["missing"]}


def test_the_backbone_goes_only_to_nodes_that_lack_it(settings: RunSettings) -> None:
    grid = NodesGrid({3: node(1, 2), 5: node(3, holds=True), 9: node()})
    run(grid, settings)
    data = Path(settings.backbone).read_bytes()
    sent = {m.metadata.dst_node_id: m.content.array_records for m in grid.requests()}
    assert [n for n, arrays in sent.items() if arrays] == [3]
    assert grid.requests()[1].content is grid.requests()[2].content  # which all who hold it have in common
    assert sent[3][wire.BACKBONE_RECORD][wire.BACKBONE_ARRAY].numpy().tobytes() == data
    assert all(request_of(m).digest == digest(data) for m in grid.requests())
    (only,) = run_description(settings)["rounds"]
    assert (only["backbone_sent_to"], only["backbone_bytes_sent"]) == (["3"], len(data))
    assert missing(settings) == {"9": "refused"}  # no devices, and an empty reply


def test_every_round_asks_for_itself_and_stamps_its_reports(settings: RunSettings) -> None:
    told: list[tuple[int, int, int]] = []
    grid = NodesGrid({3: node(4, 2), 5: node(7)})

    def on_reports(done: int, total: int, reports: list[PersonalisationReport]) -> None:
        told.append((done, total, len(reports)))

    run(grid, settings.model_copy(update={"rounds": 2, "seed": 6, "steps": 9}), on_reports)
    requests = [request_of(message) for message in grid.requests()]
    assert [(r.round, r.seed, r.steps) for r in requests] == [(1, 6, 9)] * 2 + [(2, 6, 9)] * 2
    assert [(r.round, r.device) for r in read_reports(Path(settings.out))] == [
        (n, d) for n in (1, 2) for d in (2, 4, 7)
    ]
    assert told == [(3, 6, 3), (6, 6, 3)]


def weights(message: Message) -> Message:
    reply = numbers(message, {"device-0": failure(ErrorCode.NONE, 1).model_dump()})
    reply.content["weights"] = ArrayRecord({"w": Array(np.zeros(3))})
    return reply


def lie(message: Message) -> Message:
    return numbers(message, {"device-0": failure(ErrorCode.NONE, 1).model_dump() | {"accuracy_after": float("nan")}})


def broken(message: Message) -> Message:
    return Message(Error(2, "a reason"), reply_to=message)


def silent(_: Message) -> None:
    return None


def test_late_failed_and_refused_nodes_are_recorded_and_not_waited_for(settings: RunSettings) -> None:
    answers: dict[int, Node] = {2: silent, 3: broken, 4: weights, 5: lie}
    nodes = {1: node(10)} | {number: node(number, answer=answer) for number, answer in answers.items()}
    nodes |= {6: silent, 7: node(7)}
    began = time.monotonic()
    run(NodesGrid(nodes, unreachable=frozenset({7})), settings)
    assert time.monotonic() - began < 10
    assert [r.device for r in read_reports(Path(settings.out))] == [10]
    expected = {"2": "late", "3": "failed", "4": "refused", "5": "refused", "6": "late", "7": "failed"}
    assert missing(settings) == expected


def test_too_few_nodes_is_an_error_with_both_numbers(settings: RunSettings) -> None:
    with pytest.raises(FleetError, match="2 of min-nodes=3"):
        run(NodesGrid({1: node(1), 2: node(2)}), settings.model_copy(update={"min_nodes": 3}))


class RestlessGrid(NodesGrid):
    """Nodes that come and go, so that no two looks see the same."""

    looks = 0

    def get_node_ids(self) -> list[int]:
        self.looks += 1
        assert self.looks < 20, "the server waits for ever"
        return [1, 2 + self.looks % 2]


def test_a_fleet_that_never_settles_is_taken_as_it_is_when_the_time_is_up(settings: RunSettings) -> None:
    grid = RestlessGrid({n: node(n, holds=True) for n in (1, 2, 3)})
    run(grid, settings)
    assert len(read_reports(Path(settings.out))) == 2


def test_two_devices_of_one_number_are_both_kept_and_counted(settings: RunSettings) -> None:
    run(NodesGrid({1: node(7), 2: node(7, 8)}), settings)
    assert [r.device for r in read_reports(Path(settings.out))] == [7, 7, 8]
    (only,) = run_description(settings)["rounds"]
    assert only["duplicates"] == 1


def test_a_reply_about_other_devices_than_announced_is_refused(settings: RunSettings) -> None:
    def more(message: Message) -> Message:
        return numbers(message, {report_record(i): failure(ErrorCode.NONE, i + 1).model_dump() for i in range(3)})

    def lost(message: Message) -> Message:
        return numbers(message, {report_record(0): failure(ErrorCode.CONFIGURATION).model_dump()})

    nodes = {1: node(10), 2: node(20, answer=more), 3: node(30, 31, answer=lost), 4: node(answer=lost)}
    run(NodesGrid(nodes), settings)
    assert [r.device for r in read_reports(Path(settings.out))] == [0, 0, 10]
    assert missing(settings) == {"2": "refused"}
    assert run_description(settings)["rounds"][0]["duplicates"] == 0


def test_no_report_at_all_is_an_error(settings: RunSettings) -> None:
    with pytest.raises(FleetError, match="0 reports"):
        run(NodesGrid({1: node(1, answer=broken)}), settings)
    assert missing(settings) == {"1": "failed"}


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"backbone": "nowhere.safetensors"}, ConfigurationError),
        ({"backbone": __file__}, BackboneError),
    ],
)
def test_what_is_wrong_is_found_before_any_node_is_asked(
    settings: RunSettings, wrong: dict[str, str], error: type[Exception]
) -> None:
    grid = NodesGrid({1: node(1)})
    with pytest.raises(error):
        run(grid, settings.model_copy(update=wrong))
    assert grid.sent == []
