"""The device's side of Flower, and the only module of the client that imports it.

The guard is around the whole app, not a mod inside it: a mod does not see a message type that no handler has,
nor an error on the way to the handler. What is sent is rebuilt from what the guard has validated; neither the
handler's reply nor Flower's error reply, which carries exception text, is ever passed on.
"""

import logging
import os

from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from client.config import NodeConfig, node_config_for
from client.egress import Answer, check_devices, check_reply
from client.personaliser import error_code, failures, personalise_node
from client.store import Store
from tinytrain_core import wire
from tinytrain_core.errors import EgressError, ErrorCode, RequestError
from tinytrain_core.report import failure

log = logging.getLogger(__name__)

MESSAGE_TYPES = (wire.QUERY_PROFILE, wire.TRAIN_PERSONALISE)


def _node(context: Context) -> NodeConfig:
    return node_config_for(context.node_config, os.environ)


def _records(answer: Answer) -> RecordDict:
    """A validated answer as Flower's records, numbers only."""
    if isinstance(answer, wire.NodeProfile):
        return RecordDict({wire.PROFILE_RECORD: MetricRecord(answer.model_dump())})
    return RecordDict({wire.report_record(i): MetricRecord(r.model_dump()) for i, r in enumerate(answer)})


def _guarded(reply: object, context: Context) -> Answer:
    """What a handler's reply says.

    Raises:
        EgressError: it is not a reply that may leave.
    """
    if not isinstance(reply, Message) or not reply.has_content():
        raise EgressError("a handler gave no content")
    records = reply.content
    metrics = {name: dict(record) for name, record in records.metric_records.items()}
    answer = check_reply(records.array_records.keys(), metrics, records.config_records.keys())
    return check_devices(answer, [device.number for device in _node(context).devices])


def _refusal(message: Message, context: Context, code: ErrorCode) -> Answer:
    """What is said instead when something went wrong: an empty profile, or the code for every device."""
    if message.metadata.message_type == wire.QUERY_PROFILE:
        return wire.NodeProfile(devices=0, holds_backbone=0)
    try:
        return failures(_node(context), code)
    except Exception:
        log.exception("this node has no usable configuration")
        return [failure(code)]


class GuardedApp(ClientApp):
    """A ClientApp that answers every message with valid numbers, whatever its handlers do."""

    def __call__(self, message: Message, context: Context) -> Message:
        kind = message.metadata.message_type
        try:
            if kind not in MESSAGE_TYPES:
                raise RequestError(f"messages of type {kind!r} are unknown; the known ones are {MESSAGE_TYPES}")
            answer = _guarded(super().__call__(message, context), context)
        except Exception as error:
            log.exception("a message of type %s failed", kind)
            answer = _refusal(message, context, error_code(error))
        return Message(_records(answer), reply_to=message)


def _request_fields(message: Message) -> ConfigRecord:
    record = message.content.config_records.get(wire.REQUEST_RECORD)
    if record is None:
        raise RequestError(f"the message has no {wire.REQUEST_RECORD!r} record")
    return record


def _sent_backbone(message: Message) -> bytes | None:
    """The backbone's file, if the server sent it."""
    record = message.content.array_records.get(wire.BACKBONE_RECORD)
    if record is None:
        return None
    if set(record) != {wire.BACKBONE_ARRAY}:
        raise RequestError(f"the backbone comes as one array {wire.BACKBONE_ARRAY!r}, not as {len(record)}")
    return record[wire.BACKBONE_ARRAY].numpy().tobytes()


app = GuardedApp()


@app.query("profile")
def profile(message: Message, context: Context) -> Message:
    """How many devices are here, and whether the named backbone is held."""
    request = wire.parse_request(wire.ProfileRequest, _request_fields(message))
    node = _node(context)
    held = Store(node.store).backbone(request.digest) is not None
    answer = wire.NodeProfile(devices=len(node.devices), holds_backbone=int(held))
    return Message(_records(answer), reply_to=message)


@app.train("personalise")
def personalise(message: Message, context: Context) -> Message:
    """Personalise on every device of this node."""
    request = wire.parse_request(wire.PersonaliseRequest, _request_fields(message))
    return Message(_records(personalise_node(_node(context), request, _sent_backbone(message))), reply_to=message)
