"""One request on one node: every device of it personalises the backbone, keeps its delta and makes its report.

What goes wrong on one device is that device's report and nobody else's. The text of an error goes to this
machine's log and nowhere else.
"""

import logging
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch

from client.config import DeviceConfig, NodeConfig
from client.private_data import device_episode
from client.store import Store
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import BackboneSpec
from tinytrain_core.backbones.weights import from_bytes
from tinytrain_core.devices.estimate import estimate
from tinytrain_core.digests import digest
from tinytrain_core.engine.settings import TrainingSettings
from tinytrain_core.errors import BackboneMissingError, ErrorCode, TinyTrainError
from tinytrain_core.personalise import Personalisation, personalise
from tinytrain_core.report import Outcome, PersonalisationReport, failure
from tinytrain_core.seeds import Draw, generator
from tinytrain_core.selection.cost import Budget, full_train_backward_macs
from tinytrain_core.wire import PersonaliseRequest

HALF_BYTES = 2  # of a weight of the released backbone, which storage holds beside the features
log = logging.getLogger(__name__)


def error_code(error: Exception) -> ErrorCode:
    """All that an outsider may learn of an error."""
    return error.code if isinstance(error, TinyTrainError) else ErrorCode.INTERNAL


def device_budget(device: DeviceConfig, spec: BackboneSpec) -> Budget:
    """What the device may spend: its class's budget, or its own settings where it has them.

    Raises:
        BudgetError: no memory at all.
    """
    full = full_train_backward_macs(spec)
    granted = device.device_class.budget(full, held_bytes=HALF_BYTES * spec.weights)
    memory = granted.memory_bytes if device.memory_bytes is None else device.memory_bytes
    macs = granted.backward_macs if device.compute_share is None else int(device.compute_share * full)
    storage = granted.storage_bytes if device.storage_bytes is None else device.storage_bytes
    return Budget(memory, macs, storage)


def device_seed(request: PersonaliseRequest, device: DeviceConfig) -> int:
    """The seed of this device in this round."""
    return int(generator(request.seed, Draw.AUGMENTATION, request.round, device.number).integers(2**31))


def run_device(
    device: DeviceConfig, request: PersonaliseRequest, backbone: Backbone, folder: Path | None = None
) -> Personalisation:
    """Personalise on one device, without touching its deltas.

    Args:
        folder: for features in files without names, as `personalise` takes it.

    Raises:
        TinyTrainError: the data, the budget, the method or the training is wrong.
    """
    episode = device_episode(device, backbone.spec.resolution)
    settings = TrainingSettings(
        request.steps, request.learning_rate, request.optimiser, views=request.views, precision=request.precision
    )
    budget = device_budget(device, backbone.spec)
    return personalise(backbone, episode, budget, request.method, device_seed(request, device), settings, folder)


def _stamp(
    report: PersonalisationReport, device: DeviceConfig, request: PersonaliseRequest, wall_s: float
) -> PersonalisationReport:
    """The report with what only the device knows."""
    cost = estimate(device.device_class, report.total_macs)
    identity = {"device": device.number, "profile": device.device_class.number, "round": request.round}
    costs = {"estimated_s": cost.time_s, "estimated_j": cost.energy_j, "wall_s": wall_s}
    return report.model_copy(update=identity | costs)


@dataclass(frozen=True)
class _Job:
    """A request with the backbone that it names, on one node."""

    node: NodeConfig
    request: PersonaliseRequest
    backbone: Backbone

    def report(self, device: DeviceConfig) -> PersonalisationReport:
        """Personalise, keep the delta if it helps, and report."""
        began = time.perf_counter()
        result = run_device(device, self.request, self.backbone, Store(self.node.store).scratch())
        self._keep(device, result)
        wall_s = 0.0 if self.node.simulated else time.perf_counter() - began
        return _stamp(result.report, device, self.request, wall_s)

    def _keep(self, device: DeviceConfig, result: Personalisation) -> None:
        store = Store(self.node.store)
        if result.delta is not None:
            store.save_delta(device.number, self.request.digest, result.delta.to_bytes())
        elif result.report.outcome != Outcome.FAILED:
            store.drop_delta(device.number, self.request.digest)


def failures(node: NodeConfig, code: ErrorCode, round_number: int = 0) -> list[PersonalisationReport]:
    """The same failure for every device of a node."""
    return [failure(code, d.number, d.device_class.number, round_number) for d in node.devices]


@dataclass(frozen=True)
class _File:
    """A backbone's file, known by its digest."""

    digest: str
    data: bytes = field(compare=False, repr=False)


@lru_cache(maxsize=1)
def _parsed(file: _File) -> Backbone:
    """The backbone in a file, read once where one process works for many nodes; training leaves it as it is."""
    return from_bytes(file.data)


def _hold_backbone(node: NodeConfig, request: PersonaliseRequest, received: bytes | None) -> Backbone:
    """The backbone that the request names: as received, which is then stored, or from the store."""
    store = Store(node.store, pool=node.pool)
    data = store.backbone(request.digest) if received is None else received
    if data is None:
        raise BackboneMissingError(f"the store at {node.store} does not hold {request.digest}, and none was sent")
    backbone = _parsed(_File(digest(data), data))
    if received is not None:
        store.save_backbone(request.digest, received)
    return backbone


def personalise_node(
    node: NodeConfig, request: PersonaliseRequest, backbone_bytes: bytes | None
) -> list[PersonalisationReport]:
    """Do what the server asks on every device of the node.

    Args:
        backbone_bytes: the backbone's file if the server sent it; None takes it from the store.

    Returns:
        One report for each device, in their order. Errors are in the reports; none is raised.
    """
    torch.set_num_threads(node.threads)
    try:
        job = _Job(node, request, _hold_backbone(node, request, backbone_bytes))
    except Exception as error:
        log.exception("the backbone cannot be used")
        return failures(node, error_code(error), request.round)
    reports = []
    for device in node.devices:
        try:
            reports.append(job.report(device))
        except Exception as error:
            log.exception("device %d could not personalise", device.number)
            reports.append(failure(error_code(error), device.number, device.device_class.number, request.round))
    return reports
