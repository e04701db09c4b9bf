"""What tests of rehearsals share: an executor in this process, reports that follow from a device's number, fleets."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from client.config import DeviceConfig, NodeConfig
from server.fleet.rollout.spec import RolloutSpec
from simulations.executors.executor import Done, Executor, Function, Job
from simulations.rehearsal.folder import Releases
from simulations.rehearsal.rehearse import Pace, Rehearsal, rehearse
from simulations.rehearsal.work import Asked
from simulations.rehearsal.world import RehearsedWorld
from simulations.settings import FleetSettings, build_settings
from tests.conftest import random_backbone
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.backbones.weights import to_bytes
from tinytrain_core.devices.profile import device_profile
from tinytrain_core.report import Outcome, PersonalisationReport
from tinytrain_core.wire import PersonaliseRequest

SPEC: dict[str, Any] = {
    "name": "spring",
    "release": 2,
    "stages": [{"devices": 4}, {"percent": 50}, {"percent": 100}],
    "gates": {"min_reports": 3},
    "backoff_s": 30,
    "retries": 1,
}
FLEET: dict[str, Any] = {"mix": {"pi_4": 1}, "gateway_size": 1, "seed": 3}
AFRESH, PACE = Releases(), Pace()
Report = Callable[[DeviceConfig, PersonaliseRequest], PersonalisationReport]


def report_of(device: DeviceConfig, after: float, time_s: float = 600.0) -> PersonalisationReport:
    outcome = Outcome.ADAPTED if after >= 0.5 else Outcome.KEPT_BASE
    return PersonalisationReport(
        device=device.number,
        profile=device_profile(device.profile).number,
        outcome=outcome,
        accuracy_before=0.5,
        accuracy_after=after,
        estimated_s=time_s,
        estimated_j=3.0,
    )


def good(device: DeviceConfig, request: PersonaliseRequest) -> PersonalisationReport:
    """Every device gains, each a little differently, and takes ten minutes."""
    return report_of(device, 0.7 + 0.01 * (device.number % 5))


def worse(device: DeviceConfig, request: PersonaliseRequest) -> PersonalisationReport:
    return report_of(device, 0.3 + 0.01 * (device.number % 5))


class Instant:
    """An executor in this process, whose jobs end in the order opposite to that in which they were given."""

    def __init__(self, function: Function) -> None:
        self._function, self._jobs, self.published = function, list[Job](), dict[str, bytes]()

    @classmethod
    def of(cls, report: Report) -> "Instant":
        def personalise(asked: Asked, shared: object) -> dict[str, Any]:
            (device,) = NodeConfig.model_validate_json(asked.node).devices
            return report(device, PersonaliseRequest.model_validate_json(asked.request)).model_dump()

        return cls(personalise)

    def __enter__(self) -> "Instant":
        return self

    def __exit__(self, *_: object) -> None:
        assert not self._jobs or self.outstanding

    def publish(self, key: str, data: bytes | memoryview) -> None:
        self.published[key] = bytes(data)

    def withdraw(self, key: str) -> None:
        self.published.pop(key, None)

    def submit(self, jobs: Iterable[Job]) -> None:
        self._jobs.extend(jobs)

    def done(self) -> list[Done]:
        jobs, self._jobs = self._jobs, []
        assert all(key in self.published for job in jobs for key in job.shared)
        shared = {key: memoryview(data) for key, data in self.published.items()}
        return [Done(job.number, self._function(job.argument, shared)) for job in reversed(jobs)]

    @property
    def outstanding(self) -> int:
        return len(self._jobs)


def fleet_of(devices: int, **settings: Any) -> FleetSettings:
    return build_settings(FLEET | {"devices": devices} | settings)


def nodes_of(settings: FleetSettings) -> list[NodeConfig]:
    """A node for each device, except that the first is a gateway of two."""
    devices = [DeviceConfig(number=number, profile="pi_4", data="glyphs") for number in range(1, settings.devices + 1)]
    hosted = [devices[:2], *([device] for device in devices[2:])]
    return [NodeConfig(store=Path("/nowhere"), simulated=True, devices=tuple(own)) for own in hosted]


def run(
    out: Path,
    report: Report = good,
    devices: int = 12,
    fleet: Mapping[str, Any] | None = None,
    releases: Releases = AFRESH,
    pace: Pace = PACE,
    executor: Executor | None = None,
    **spec: Any,
) -> Rehearsal:
    """A rehearsal with reports out of hand, in a world as the fleet's settings have it."""
    settings = fleet_of(devices, **(fleet or {}))
    nodes = nodes_of(settings)
    parsed = RolloutSpec.model_validate(SPEC | spec)
    out.mkdir(parents=True, exist_ok=True)
    return rehearse(parsed, nodes, RehearsedWorld(settings, nodes), releases, executor or Instant.of(report), out, pace)


def backbone_file(folder: Path, seed: int) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{seed}.safetensors"
    file.write_bytes(to_bytes(random_backbone(load_spec("mcunet-5fps"), seed), torch.float16))
    return str(file)
