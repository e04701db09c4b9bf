"""A plain Flower client: it fine-tunes the whole network with PyTorch's autograd, as a first client would be written.

The server of `plain_server` sends the backbone to every node; the node trains on its device's own images, with the
loss, the views and the steps that our engine has, and answers with accuracies and the seconds that it took.
"""

import os
import time
from collections.abc import Callable

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from benchmarks.baselines import Naive
from benchmarks.cases import Case
from client.config import node_config_for
from client.private_data import device_episode
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.network import NormNetwork
from tinytrain_core.backbones.weights import from_bytes
from tinytrain_core.engine.settings import TrainingSettings
from tinytrain_core.engine.support import Task
from tinytrain_core.fewshot.augment import scale_pixels
from tinytrain_core.fewshot.episodes import Episode
from tinytrain_core.fewshot.prototypes import accuracy

TRAIN, BACKBONE, FILE, RESULT = "train.plain", "backbone", "file", "result"
WAIT_S = 7 * 86_400.0
PAUSE_S = 0.2
OnResult = Callable[[float, dict[str, float]], None]  # the time that it came at, and what it says


def unfolded(backbone: Backbone) -> NormNetwork:
    """The same function as a network with BatchNorm, in evaluation mode."""
    network = NormNetwork(backbone.spec)
    with torch.no_grad():
        for layer, weight, bias in zip(network.layers, backbone.weights, backbone.biases, strict=True):
            layer.conv.weight.copy_(weight)
            layer.norm.bias.copy_(bias)
            layer.norm.get_buffer("running_var").fill_(1 - layer.norm.eps)
    return network.eval()


@torch.no_grad()
def _accuracy(network: NormNetwork, episode: Episode) -> float:
    support, query = (network(scale_pixels(images)) for images in (episode.support, episode.query))
    return accuracy(support, episode.support_labels, query, episode.query_labels, episode.ways)


def personalise(backbone: Backbone, episode: Episode) -> dict[str, float]:
    """Train all weights; accuracy on the holdout before and after, and the seconds of training."""
    network = unfolded(backbone)
    task = Task(episode.support, episode.support_labels, episode.ways)
    before, began = _accuracy(network, episode), time.perf_counter()
    arm = Naive(Case(network, backbone, task, TrainingSettings()))
    arm.run()
    seconds = time.perf_counter() - began
    return {"before": before, "after": _accuracy(arm.network, episode), "seconds": seconds}


app = ClientApp()


@app.train("plain")
def train(message: Message, context: Context) -> Message:
    """Personalise on the node's one device."""
    torch.set_num_threads(1)
    backbone = from_bytes(message.content.array_records[BACKBONE][FILE].numpy().tobytes())
    (device,) = node_config_for(context.node_config, os.environ).devices
    result = personalise(backbone, device_episode(device, backbone.spec.resolution))
    return Message(RecordDict({RESULT: MetricRecord({**result})}), reply_to=message)


def plain_server(data: bytes, nodes: int, on_result: OnResult) -> ServerApp:
    """Sends the backbone's file to all nodes, and tells of each answer as it comes."""
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        while len(ids := sorted(grid.get_node_ids())) < nodes:
            time.sleep(PAUSE_S)
        record = ArrayRecord({FILE: Array(np.frombuffer(data, dtype=np.uint8))})
        messages = [Message(RecordDict({BACKBONE: record}), node, TRAIN, ttl=WAIT_S) for node in ids]
        waiting = set(grid.push_messages(messages))
        while waiting:
            for reply in grid.pull_messages(list(waiting)):
                waiting.discard(reply.metadata.reply_to_message_id)
                on_result(time.monotonic(), {k: float(v) for k, v in reply.content.metric_records[RESULT].items()})  # type: ignore[arg-type]
            time.sleep(PAUSE_S)

    return server
