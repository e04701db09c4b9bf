"""A server's end of a connection for tests, with Flower's own messages on it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from client.connection.contents import MAX_MESSAGE_BYTES
from client.connection.fleet_messages import KINDS, inflated, reply_to, unpack
from client.connection.loop import NodeLoop
from client.connection.messages import Incoming, RunEndedError
from tests.client.agents import NOW, SECRET, Device, manifest, order
from tests.client.test_wire_bytes import on_the_wire
from tinytrain_core import wire
from tinytrain_core.orders import TRAIN_ORDER, Answer, SyncRequest, parse_answer

Records = dict[str, Any]


@dataclass
class Wire:
    """A server's end of a connection, with Flower's own messages on it."""

    sent: list[Message] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    failing: Exception | None = None
    opened: list[int | None] = field(default_factory=list)
    number: int = 7
    poisoned: dict[str, Exception] = field(default_factory=dict)  # messages that no answer is taken to

    def open(self, known_id: int | None = None) -> int:
        self.opened.append(known_id)
        if self.failing:
            raise self.failing
        return self.number

    def beat(self) -> None:
        if self.failing:
            raise self.failing

    def receive(self) -> Incoming | None:
        if self.failing:
            raise self.failing
        if not self.sent:
            return None
        message = self.sent.pop(0)
        objects = {name: item.deflate() for name, item in get_all_nested_objects(message).items()}
        bare = Message(metadata=message.metadata, content=RecordDict())  # type: ignore[call-overload]
        if message.metadata.message_type not in KINDS:
            return unpack(bare, None)
        return unpack(bare, inflated(message.object_id, objects, MAX_MESSAGE_BYTES))

    def reply(self, incoming: Incoming, answer: Answer) -> None:
        if isinstance(self.failing, RunEndedError):
            raise self.failing
        assert isinstance(incoming.handle, Message)
        if error := self.poisoned.get(incoming.handle.metadata.message_id):
            raise error
        reply = reply_to(incoming.handle, answer)
        self.received.append(on_the_wire(reply))
        metrics = {name: dict(record) for name, record in reply.content.metric_records.items()}
        self.answers.append(parse_answer(metrics))

    def close(self) -> None:
        pass


def message(kind: str, records: Records, ttl: float = 3_600.0) -> Message:
    made = Message(RecordDict(records), 7, kind, ttl=ttl)
    made.metadata.__dict__["_message_id"] = made.object_id
    made.metadata.created_at = NOW
    return made


def fields(request: SyncRequest) -> ConfigRecord:
    return ConfigRecord(request.model_dump())


def ordered(data: bytes, send: bool = True, **more: Any) -> Message:
    records: Records = {wire.REQUEST_RECORD: fields(order(manifest(data, 1), **more))}
    if send:
        array = Array(np.frombuffer(data, dtype=np.uint8))
        records[wire.BACKBONE_RECORD] = ArrayRecord({wire.BACKBONE_ARRAY: array})
    return message(TRAIN_ORDER, records)


def exchange(device: Device, *sent: Message, steps: int = 4) -> Wire:
    """Send messages and let the node work."""
    line = Wire(list(sent))
    loop = NodeLoop(device.agent, line, device.config)
    for _ in range(steps):
        loop._next_talk = 0.0
        loop.step()
    return line


def silent(line: Wire) -> None:
    """Nothing of the device's is in the bytes."""
    sent = b"".join(line.received)
    assert [
        text for text in (SECRET.encode(), b"Error", b"Traceback", b".png", b"class0", b"/tmp") if text in sent
    ] == []
