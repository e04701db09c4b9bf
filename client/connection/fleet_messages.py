"""Flower's messages as plain data and back: what a server's message asks, and a reply of validated numbers."""

import logging
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.serde import message_from_proto
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from client.connection.messages import Incoming
from tinytrain_core import wire
from tinytrain_core.orders import QUERY_SYNC, TRAIN_ORDER, Answer

log = logging.getLogger(__name__)

NPY_HEADER_BYTES = 4_096
KINDS = (TRAIN_ORDER, QUERY_SYNC)  # the messages that a node looks into


def message_of(proto: Any) -> Message | None:
    """The message without its contents; None where it is none, so that it cannot be answered either."""
    try:
        return message_from_proto(proto)
    except Exception as error:  # noqa: BLE001 what a server can send to break this is not to be foreseen
        log.error("the server sent something that is no message: %s", type(error).__name__)
        return None


def _backbone(records: RecordDict) -> bytes | None:
    """The file in a message, whatever its array says of itself: the last bytes, as many as it has elements."""
    record = records.array_records.get(wire.BACKBONE_RECORD)
    if record is None:
        return None
    array = record[wire.BACKBONE_ARRAY]
    (length,) = array.shape
    if array.dtype != "uint8" or not 0 < length <= len(array.data) <= length + NPY_HEADER_BYTES:
        raise ValueError(f"{len(array.data)} bytes that say to be {length} of {array.dtype}")
    return array.data[len(array.data) - length :]


def unpack(message: Message, content: RecordDict | None) -> Incoming:
    """What a message asks, as plain data; one that is not understood has no fields, and says nothing else."""
    kind = message.metadata.message_type
    expires_s = message.metadata.created_at + message.metadata.ttl
    fields, backbone = None, None
    try:
        if content is not None and kind in KINDS:
            fields = dict(content.config_records[wire.REQUEST_RECORD])
            backbone = _backbone(content) if kind == TRAIN_ORDER else None
    except Exception as error:  # noqa: BLE001 what a server can send to break this is not to be foreseen
        log.error("a message of type %s is not understood: %s", kind, type(error).__name__)
        fields = None
    return Incoming(kind, fields, backbone, expires_s, message)


def reply_to(message: Message, answer: Answer) -> Message:
    """The reply that says `answer`: records of numbers and nothing else."""
    records: dict[str, ArrayRecord | MetricRecord | ConfigRecord] = {
        name: MetricRecord(fields) for name, fields in answer.records().items()
    }
    reply = Message(RecordDict(records), reply_to=message)
    reply.metadata.__dict__["_message_id"] = reply.object_id
    return reply


def inflated(object_id: str, contents: dict[str, bytes]) -> RecordDict | None:
    """The records that a message's objects are; None where they are not what a message is made of."""
    try:
        whole = inflate_object_from_contents(object_id, contents)
        return whole.content if isinstance(whole, Message) else None
    except Exception as error:  # noqa: BLE001 what a server can send to break this is not to be foreseen
        log.error("the contents of a message are not understood: %s", type(error).__name__)
        return None
