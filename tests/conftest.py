"""What every test stands on: one torch thread, no telemetry, and a small backbone with lively statistics."""

import os
from collections.abc import Iterator

from tinytrain_core.flower import FLOWER_QUIET

os.environ |= FLOWER_QUIET | {"RAY_USAGE_STATS_ENABLED": "0"}

import pytest
import torch
from hypothesis import settings

from tinytrain_core.backbones.folding import Backbone, fold
from tinytrain_core.backbones.network import NormNetwork
from tinytrain_core.backbones.spec import BackboneSpec, load_spec, spec_from_rows

torch.set_num_threads(1)
settings.register_profile("tests", deadline=None)  # a slow machine is no failure
settings.load_profile("tests")

SMALL_ROWS = {
    "name": "small",
    "title": "Small",
    "resolution": 32,
    "stem": 8,
    "blocks": [
        {"mid": 8, "kernel": 3, "stride": 1, "out": 8},
        {"mid": 24, "kernel": 5, "stride": 2, "out": 12},
        {"mid": 36, "kernel": 3, "stride": 1, "out": 12},
        {"mid": 36, "kernel": 7, "stride": 2, "out": 16},
        {"mid": 48, "kernel": 3, "stride": 1, "out": 16},
    ],
    "feature_mix": 40,
}


def random_network(spec: BackboneSpec, seed: int = 0) -> NormNetwork:
    """A network in evaluation mode whose BatchNorms have statistics of some variety."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = NormNetwork(spec)
        for layer in network.layers:
            norm = layer.norm
            norm.weight.data.uniform_(0.5, 2.0)
            norm.bias.data.normal_(0.3, 0.3)
            norm.get_buffer("running_mean").normal_(0, 0.2)
            norm.get_buffer("running_var").uniform_(0.3, 2.0)
    network.eval()
    return network


def random_backbone(spec: BackboneSpec, seed: int = 0) -> Backbone:
    return fold(random_network(spec, seed))


@pytest.fixture
def small() -> Backbone:
    return random_backbone(spec_from_rows(SMALL_ROWS))


@pytest.fixture(scope="session")
def mcunet() -> Backbone:
    return random_backbone(load_spec("mcunet-5fps"))


@pytest.fixture
def flower_identity() -> Iterator[None]:
    """What Flower's runtimes set before an app may make a message."""
    from flwr.supercore.task_identity import TaskIdentity  # Flower reads its environment when it is imported

    before = TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
    yield
    TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id = before
