"""What the TinyTrain paper prints, read from `published.yaml`: accuracies, costs, latency and energy, the ablation.

Backbones, methods and data have this project's names; None is what the paper does not have.
"""

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from importlib.resources import files

import yaml
from pydantic import BaseModel, ConfigDict

TITLES = {
    "none": "None",
    "full_train": "FullTrain",
    "last_layer": "LastLayer",
    "transductive": "Transductive",
    "adapter_drop:share=75": "AdapterDrop-75",
    "adapter_drop:share=50": "AdapterDrop-50",
    "adapter_drop:share=25": "AdapterDrop-25",
    "tinytl": "TinyTL",
    "sparse_update": "SparseUpdate",
    "tinytrain": "TinyTrain",
}


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Cost(_Model):
    """Of a backward pass, with the digits that Table 2 prints."""

    memory_mib: Decimal
    backward_mmacs: Decimal


class Latency(_Model):
    """Of a whole personalisation on a Raspberry Pi Zero 2, as digitised from Figure 1."""

    minutes: float
    kilojoules: float


class LatencyModel(_Model):
    """A linear model of Figure 1, fitted to it.

    Attributes:
        passes: of the backbone, forwards and backwards, in all iterations.
        macs_per_s: by backbone.
        usable_mib: of memory; swap_s_per_mib: of what is above it, in every iteration.
    """

    device: str
    iterations: int
    passes: int
    macs_per_s: Mapping[str, float]
    usable_mib: float
    swap_s_per_mib: float
    active_w: float
    swapping_w: float


class ChannelAblation(_Model):
    """Accuracy of channels ranked in three ways, each at the same sizes of the memory."""

    memory_kb: tuple[float, ...]
    fisher: tuple[float, ...]
    l2: tuple[float, ...]
    random: tuple[float, ...]


class Ablation(_Model):
    """MCUNet, per cent, mean over the nine domains; by method."""

    without_meta_training: Mapping[str, float]
    with_meta_training: Mapping[str, float]
    channels: ChannelAblation


class _Accuracies(_Model):
    """By backbone and method, in the order of `data`."""

    data: tuple[str, ...]
    of: Mapping[str, Mapping[str, tuple[float, ...]]]


class _Published(_Model):
    accuracy: _Accuracies
    cost: Mapping[str, Mapping[str, Cost]]
    latency: Mapping[str, Mapping[str, Latency]]
    latency_model: LatencyModel
    ablation: Ablation


@lru_cache
def _published() -> _Published:
    return _Published.model_validate(yaml.safe_load((files(__package__) / "published.yaml").read_text()))


def title(method: str) -> str:
    """What the paper calls a method."""
    return TITLES.get(method, method)


def accuracy(backbone: str, method: str, data: str) -> float | None:
    """Per cent; `data` is one of the nine domains or `average`."""
    table = _published().accuracy
    values = table.of.get(backbone, {}).get(method)
    return None if values is None or data not in table.data else values[table.data.index(data)]


def cost(backbone: str, method: str) -> Cost | None:
    """Memory and compute of a backward pass."""
    return _published().cost.get(backbone, {}).get(method)


def latency(backbone: str, method: str) -> Latency | None:
    """Minutes and kilojoules."""
    return _published().latency.get(backbone, {}).get(method)


def backbones() -> tuple[str, ...]:
    """The architectures of Table 2, in its order."""
    return tuple(_published().cost)


def timed_methods() -> tuple[str, ...]:
    """The methods of Figure 1, in its order."""
    return tuple(next(iter(_published().latency.values())))


def latency_model() -> LatencyModel:
    """What reproduces Figure 1."""
    return _published().latency_model


def ablation() -> Ablation:
    """The ablation of the conference poster."""
    return _published().ablation
