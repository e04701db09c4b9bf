"""Flower's messages as plain data and back: what a server's message asks, and a reply of validated numbers."""

import json
import logging
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.app.message.arraychunk import ArrayChunk
from flwr.common.serde import message_from_proto
from flwr.supercore.inflatable.inflatable_object import (
    get_object_body,
    get_object_head_values_from_object_content,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from client.connection.messages import Incoming
from tinytrain_core import wire
from tinytrain_core.orders import QUERY_SYNC, TRAIN_ORDER, Answer

log = logging.getLogger(__name__)

NPY_HEADER_BYTES = 4_096
MAX_TEXT_BYTES = 512 * 2**10  # of an object that is no part of an array; what is read as JSON grows
KINDS = (TRAIN_ORDER, QUERY_SYNC)  # the messages that a node looks into


class UnusableError(Exception):
    """A message's contents are too much, or no records; the text says why in words and numbers of this program's."""


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


def unpack(message: Message, content: RecordDict | None, problem: str = "") -> Incoming:
    """What a message asks, as plain data; one that is not understood has no fields.

    Args:
        problem: why there is no content.
    """
    kind = message.metadata.message_type
    expires_s = message.metadata.created_at + message.metadata.ttl
    fields, backbone = None, None
    try:
        if content is not None and kind in KINDS:
            fields = dict(content.config_records[wire.REQUEST_RECORD])
            backbone = _backbone(content) if kind == TRAIN_ORDER else None
    except Exception as error:  # noqa: BLE001 what a server can send to break this is not to be foreseen
        fields, problem = None, f"its records are not understood: {type(error).__name__}"
    return Incoming(kind, fields, backbone, expires_s, message, problem)


def reply_to(message: Message, answer: Answer) -> Message:
    """The reply that says `answer`: records of numbers and nothing else."""
    records: dict[str, ArrayRecord | MetricRecord | ConfigRecord] = {
        name: MetricRecord(fields) for name, fields in answer.records().items()
    }
    reply = Message(RecordDict(records), reply_to=message)
    reply.metadata.__dict__["_message_id"] = reply.object_id
    return reply


def inflated(object_id: str, contents: dict[str, bytes], most_bytes: int) -> RecordDict:
    """The records that a message's objects are.

    Raises:
        UnusableError: they are not what a message is made of, or would grow beyond so many bytes.
    """
    try:
        _check_sizes(contents, most_bytes)
        whole = inflate_object_from_contents(object_id, contents)
        if not isinstance(whole, Message):
            raise UnusableError(f"its contents are a {type(whole).__name__}")
        return whole.content
    except UnusableError:
        raise
    except Exception as error:  # noqa: BLE001 what a server can send to break this is not to be foreseen
        raise UnusableError(f"its contents are not understood: {type(error).__name__}") from None


def _check_sizes(contents: dict[str, bytes], most_bytes: int) -> None:
    """Reckon how large the arrays would be: each may name the same chunk of bytes any number of times.

    Raises:
        UnusableError: larger than may be.
    """
    total = 0
    for content in contents.values():
        kind, children, _ = get_object_head_values_from_object_content(content)
        if kind == ArrayChunk.__name__:
            continue
        if len(content) > MAX_TEXT_BYTES:
            raise UnusableError(f"an object of it, {kind:.20}, is {len(content)} bytes, {MAX_TEXT_BYTES} at most")
        if kind == Array.__name__:
            places = json.loads(get_object_body(content, Array))["arraychunk_ids"]
            total += sum(len(contents[children[place]]) + 1 for place in places)
    if total > most_bytes:
        raise UnusableError(f"its arrays would be {total} bytes, {most_bytes} are taken at most")
