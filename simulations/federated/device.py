"""One device in a federated baseline: whether it can hold the training of all weights, and its part of a round."""

import logging
from dataclasses import dataclass
from pathlib import Path

from client.config import DeviceConfig
from client.personaliser import device_budget, error_code
from client.private_data import device_episode
from simulations.federated.orders import Affords, Trained, TrainRequest
from simulations.federated.training import LocalTraining
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import BackboneSpec, load_spec
from tinytrain_core.devices.estimate import estimate
from tinytrain_core.errors import ErrorCode
from tinytrain_core.seeds import Draw, generator

log = logging.getLogger(__name__)


def _training(device: DeviceConfig, request: TrainRequest, spec: BackboneSpec) -> LocalTraining:
    episode = device_episode(device, spec.resolution)
    return LocalTraining.of(spec, episode, device_budget(device, spec), request.training)


def affords(device: DeviceConfig, request: TrainRequest) -> Affords:
    """Whether a device can train all weights within its memory and storage, its backward MACs apart.

    Returns:
        What went wrong is in it; nothing is raised.
    """
    identity = {"device": device.number, "profile": device.device_class.number}
    nothing = {"images": 0, "affords": 0, "memory_bytes": 0, "memory_budget_bytes": 0}
    try:
        spec = load_spec(request.architecture)
        training, budget = _training(device, request, spec), device_budget(device, spec)
    except Exception as error:
        log.exception("device %d cannot take part", device.number)
        return Affords.model_validate(identity | nothing | {"error": int(error_code(error))})
    return Affords(
        **identity,
        images=training.work.support,
        affords=int(training.footprint.fits(budget)),
        memory_bytes=training.footprint.memory_bytes,
        memory_budget_bytes=budget.memory_bytes,
    )


@dataclass(frozen=True)
class Part:
    """What a device gave to a round; `backbone` is None where it has no part in the mean."""

    trained: Trained
    backbone: Backbone | None = None


def train_device(device: DeviceConfig, request: TrainRequest, backbone: Backbone, folder: Path | None = None) -> Part:
    """Train all weights on a device. What goes wrong is in the result; nothing is raised.

    Args:
        backbone: what the device begins with, its own layers included.
        folder: for features in files without names.
    """
    try:
        return _trained(device, request, backbone, folder)
    except Exception as error:
        log.exception("device %d has no part in round %d", device.number, request.round)
        return _no_part(device, error_code(error))


def _no_part(device: DeviceConfig, code: ErrorCode) -> Part:
    return Part(Trained(device=device.number, profile=device.device_class.number, images=0, error=int(code)))


def _trained(device: DeviceConfig, request: TrainRequest, backbone: Backbone, folder: Path | None) -> Part:
    training, budget = _training(device, request, backbone.spec), device_budget(device, backbone.spec)
    if not training.footprint.fits(budget):
        return _no_part(device, ErrorCode.BUDGET)
    seed = int(generator(request.seed, Draw.FEDERATED_VIEWS, request.round, device.number).integers(2**31))
    result, losses, macs = training.run(backbone, seed, folder)
    cost = estimate(device.device_class, macs)
    told = Trained(
        device=device.number,
        profile=device.device_class.number,
        images=training.work.support,
        steps=len(losses),
        loss_first=losses[0],
        loss_last=losses[-1],
        total_macs=macs,
        estimated_s=cost.time_s,
        estimated_j=cost.energy_j,
    )
    return Part(told, result)
