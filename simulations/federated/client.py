"""The ClientApp of federated baselines: what an installed device answers, and beside it what sends weights.

Only a simulated fleet runs it. Every message that is not of `FEDERATED_KINDS` goes to the device's own app, so that
the last stage of a baseline is the very personalisation that it is compared with. Personal layers of a device stay in
Flower's node state and never enter a reply.
"""

import os
from collections.abc import Sequence

import torch
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from pydantic import BaseModel

from client.app import app as device_app
from client.config import DeviceConfig, NodeConfig, node_config_for
from client.personaliser import personalise_node
from client.store import Store
from simulations.federated import orders
from simulations.federated.arrays import arrays_in, record_of
from simulations.federated.averaging import RunningMean, arrays_of, base_names, personal_names, with_arrays
from simulations.federated.device import affords, train_device
from simulations.federated.start import random_weights
from tinytrain_core import wire
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.backbones.weights import digest, from_bytes, to_bytes
from tinytrain_core.errors import BackboneMissingError, RequestError, TinyTrainError

HELD_RECORD, HELD_DIGEST = "held", "digest"  # in the node's state: the backbone that base layers complete


class FederatedApp(ClientApp):
    """Federated messages are its own; all others are the device's."""

    def __call__(self, message: Message, context: Context) -> Message:
        kind = message.metadata.message_type
        if kind in orders.FEDERATED_KINDS:
            return super().__call__(message, context)
        if kind == wire.TRAIN_PERSONALISE and _personal_devices(context):
            return _personalise_own(message, context)
        return device_app(message, context)


app = FederatedApp()


def _node(context: Context) -> NodeConfig:
    node = node_config_for(context.node_config, os.environ)
    torch.set_num_threads(node.threads)
    return node


def _request(message: Message) -> ConfigRecord:
    record = message.content.config_records.get(wire.REQUEST_RECORD)
    if record is None:
        raise RequestError(f"the message has no {wire.REQUEST_RECORD!r} record")
    return record


def _store(node: NodeConfig) -> Store:
    return Store(node.store, pool=node.pool)


def _personal_record(device: DeviceConfig) -> str:
    """The name in the node's state of what a device keeps to itself."""
    return f"personal-{device.number}"


def _personal_devices(context: Context) -> bool:
    """Whether any device of the node has layers of its own."""
    return bool(context.state.array_records)


def _own(context: Context, device: DeviceConfig, backbone: Backbone) -> Backbone:
    """The backbone with the device's own layers in it, if it has any."""
    record = context.state.array_records.get(_personal_record(device))
    return backbone if record is None else with_arrays(backbone, arrays_in(record))


def _keep(context: Context, store: Store, backbone: Backbone) -> None:
    """Hold what base layers alone are completed with, from now on."""
    data = to_bytes(backbone)
    store.save_backbone(digest(data), data)
    context.state[HELD_RECORD] = ConfigRecord({HELD_DIGEST: digest(data)})


def _held(context: Context, store: Store) -> Backbone:
    record = context.state.config_records.get(HELD_RECORD)
    data = None if record is None else store.backbone(str(record[HELD_DIGEST]))
    if data is None:
        raise BackboneMissingError("base layers came, and the node holds no backbone to put them in")
    return from_bytes(data)


def _received(message: Message, context: Context, store: Store, request: orders.TrainRequest) -> Backbone:
    """The weights that a round begins with: all are in the message, or the base is, and the rest is held."""
    arrays = arrays_in(message.content.array_records[orders.ARRAYS_RECORD])
    spec = load_spec(request.architecture)
    if set(arrays) == base_names(spec, 0):
        empty = Backbone(
            spec,
            tuple(torch.zeros(conv.weight_shape) for conv in spec.convs),
            tuple(torch.zeros(conv.out_channels) for conv in spec.convs),
            request.head_scale,
        )
        whole = with_arrays(empty, arrays)
        if request.personal_blocks:
            _keep(context, store, whole)
        return whole
    return with_arrays(_held(context, store), arrays)


@app.query("federated")
def federated_query(message: Message, context: Context) -> Message:
    """Which devices can hold the training of all weights."""
    request = orders.parse_order(orders.TrainRequest, _request(message))
    answers = [affords(device, request) for device in _node(context).devices]
    return Message(_numbers(answers), reply_to=message)


def _numbers(answers: Sequence[BaseModel]) -> RecordDict:
    """One record for each device of a node."""
    return RecordDict({wire.report_record(i): MetricRecord(a.model_dump()) for i, a in enumerate(answers)})


@app.train("federated")
def federated_train(message: Message, context: Context) -> Message:
    """Train all weights on every device that can, and send the mean of what is shared."""
    request = orders.parse_order(orders.TrainRequest, _request(message))
    node = _node(context)
    store = _store(node)
    backbone, mean, answers = _received(message, context, store, request), RunningMean(), []
    names = base_names(backbone.spec, request.personal_blocks)
    for device in node.devices:
        part = train_device(device, request, _own(context, device, backbone), store.scratch())
        answers.append(part.trained)
        if part.backbone is not None:
            mean.add(part.trained.images, arrays_of(part.backbone, names))
            _keep_personal(context, device, request, part.backbone)
    records = _numbers(answers)
    if mean.examples:
        records[orders.ARRAYS_RECORD] = record_of(mean.arrays())
    return Message(records, reply_to=message)


def _keep_personal(context: Context, device: DeviceConfig, request: orders.TrainRequest, trained: Backbone) -> None:
    if request.personal_blocks:
        names = personal_names(trained.spec, request.personal_blocks)
        context.state[_personal_record(device)] = record_of(arrays_of(trained, names))


@app.train("adopt")
def adopt(message: Message, context: Context) -> Message:
    """Put the final backbone together and hold it; the answer says whether it is the one that was meant."""
    request = orders.parse_order(orders.AdoptRequest, _request(message))
    store = _store(_node(context))
    arrays = message.content.array_records.get(orders.ARRAYS_RECORD)
    try:
        spec = load_spec(request.architecture)
        rest = random_weights(spec, request.random_seed) if request.random_seed >= 0 else _held(context, store)
        data = to_bytes(rest if arrays is None else with_arrays(rest, arrays_in(arrays)))
        store.save_backbone(request.digest, data)
    except TinyTrainError:
        return _adopted(message, False)
    return _adopted(message, True)


def _adopted(message: Message, held: bool) -> Message:
    return Message(RecordDict({orders.ADOPTED_RECORD: MetricRecord({"holds_backbone": int(held)})}), reply_to=message)


def _personalise_own(message: Message, context: Context) -> Message:
    """The device's own personalisation, of the backbone with the device's own layers in it."""
    request = wire.parse_request(wire.PersonaliseRequest, _request(message))
    node, record = _node(context), message.content.array_records.get(wire.BACKBONE_RECORD)
    store = _store(node)
    data = store.backbone(request.digest) if record is None else record[wire.BACKBONE_ARRAY].numpy().tobytes()
    if data is None:
        return device_app(message, context)  # which says that it is missing
    backbone, held, reports = from_bytes(data), store.backbones(), []
    for device in node.devices:
        own = to_bytes(_own(context, device, backbone))
        alone = node.model_copy(update={"devices": (device,), "pool": None})
        reports += personalise_node(alone, request.model_copy(update={"digest": digest(own)}), own)
    store.prune(held)  # of backbones that are one device's alone, which its personal layers give again
    return Message(_numbers(reports), reply_to=message)
