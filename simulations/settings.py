"""What a simulated fleet is: one frozen model, read once from YAML, flags and `key=value` overrides."""

import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from client.config import Images
from server.config import MAX_DEADLINE_S, KnownOptimiser, KnownPrecision
from simulations.overrides import explained, overlaid
from simulations.overrides import parse_overrides as parse_overrides
from simulations.world.settings import Availability, Faults, Links, Power, Spread
from tinytrain_core.configuration import parse_yaml, read_yaml_file
from tinytrain_core.devices.profile import device_profile
from tinytrain_core.engine.settings import LEARNING_RATE, MAX_VIEWS, OPTIMISER, PRECISION, STEPS, VIEWS
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.fewshot.share import EVEN, Sharing
from tinytrain_core.selection.methods import checked_spec
from tinytrain_core.wire import MAX_DEVICES_PER_NODE, METHOD_PATTERN

MAX_DEVICES = 1_000_000
MAX_WEIGHT = 1e9
MAX_WORKERS = 256
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
DEADLINE_S = 86_400.0  # virtual: microcontrollers take hours
DEMO = "demo"
SHIPPED = (DEMO, "city")  # in configs/


class FleetSettings(BaseModel):
    """A simulated fleet and what it is asked to do. The same settings give the same reports.

    Defaults are in `configs/demo.yaml`; those of the training are the engine's. The sections are off by default:
    devices of a class are alike, always there, on links that take no time, on the mains, and nothing goes wrong.

    Attributes:
        devices: how many users, each with one device.
        mix: device class -> relative weight; shared out by largest remainder, so that the counts are exact.
        gateway_size: microcontrollers that one gateway node hosts; other devices are a node each.
        data: a folder of class folders, a zip of one, either followed by :SPLIT, glyphs, glyphs:SPLIT, or
            torchvision:NAME:SPLIT.
        min_ways, max_ways: classes of a user, drawn between the two.
        shots, holdout: images of a class to learn from, and to measure on, at most.
        backbone: a file, or a shipped one by name; empty is mcunet-5fps.
        method: by its name, with options as tinytrain:ratio=0.25; docs/methods.md has them.
        steps, learning_rate, optimiser, views, precision: of the training on each device, as the engine has them.
        seed: of everything that is drawn.
        rounds: how often the server asks every node that is there.
        engine: what simulates: `workers`, processes of this machine; `ray`, a Ray cluster; `flower`, Flower's own
            engine, which knows no time and so no availability, links, power or faults.
        workers: processes that simulate, by default one for each core; they change a run's time, never a report.
        ray_address: of a Ray cluster that is running, as `10.0.0.5:6379`; empty starts one on this machine.
        deadline_s: virtual seconds that the server waits for each node's reply.
        share: how the images fall to users, and how users differ.
        spread: how devices of one class differ.
        availability: when nodes can be reached.
        links: bandwidth, latency and loss.
        power: batteries, and heat.
        faults: drop-outs, crashes, slow and lying nodes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    devices: int = Field(ge=1, le=MAX_DEVICES)
    mix: dict[str, float] = Field(min_length=1)
    gateway_size: int = Field(ge=1, le=MAX_DEVICES_PER_NODE)
    data: str = Field(min_length=1)
    min_ways: int = Field(ge=2)
    max_ways: int = Field(ge=2)
    shots: Images
    holdout: Images
    backbone: str
    method: str = Field(pattern=METHOD_PATTERN)
    steps: int = Field(STEPS, ge=0, le=10_000)
    learning_rate: float = Field(LEARNING_RATE, gt=0, le=1)
    optimiser: KnownOptimiser = OPTIMISER
    views: int = Field(VIEWS, ge=0, le=MAX_VIEWS)
    precision: KnownPrecision = PRECISION
    seed: int = Field(ge=0, lt=2**31)
    rounds: int = Field(ge=1, le=1000)
    engine: Literal["workers", "ray", "flower"] = "workers"
    workers: int = Field(min(CORES, MAX_WORKERS), ge=1, le=MAX_WORKERS)
    ray_address: str = ""
    deadline_s: float = Field(DEADLINE_S, gt=0, le=MAX_DEADLINE_S)
    share: Sharing = EVEN
    spread: Spread = Spread()
    availability: Availability = Availability()
    links: Links = Links()
    power: Power = Power()
    faults: Faults = Faults()

    @field_validator("mix")
    @classmethod
    def _known_classes(cls, mix: dict[str, float]) -> dict[str, float]:
        for name, weight in mix.items():
            device_profile(name)
            if not 0 <= weight <= MAX_WEIGHT:
                raise ConfigurationError(
                    f"mix: the weight of {name} is {weight:g}; weights are from 0 to {MAX_WEIGHT:g}, and only their "
                    "ratios count"
                )
        if not sum(mix.values()):
            raise ConfigurationError("mix: all weights are 0; give at least one device class a weight above 0")
        return mix

    @field_validator("share")
    @classmethod
    def _one_even_share(cls, share: Sharing) -> Sharing:
        return EVEN if share == EVEN else share

    @model_validator(mode="after")
    def _cluster_for_ray(self) -> "FleetSettings":
        if self.ray_address and self.engine != "ray":
            raise ConfigurationError(
                f"ray_address is {self.ray_address} and engine is {self.engine}, which uses no cluster; say engine: ray"
            )
        return self

    @model_validator(mode="after")
    def _ordered_ways(self) -> "FleetSettings":
        if self.min_ways > self.max_ways:
            raise ConfigurationError(f"min_ways is {self.min_ways}, above max_ways {self.max_ways}")
        return self


def shipped(name: str) -> dict[str, Any]:
    """The raw settings of a configuration that comes with the program, one of `SHIPPED`."""
    return parse_yaml((files(__package__) / "configs" / f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml")


def demo_defaults() -> dict[str, Any]:
    """The raw settings of the demo, which are every fleet's defaults."""
    return shipped(DEMO)


def build_settings(raw: Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> FleetSettings:
    """The settings that `raw` describes, with the overrides on it, on top of the demo's.

    Raises:
        ConfigurationError: an unknown key, a wrong type or a value out of range, with its key; an unknown
            device class or optimiser. Whether there is the method is not asked: a run is read where it is not.
    """
    merged = overlaid(FleetSettings, demo_defaults() | dict(raw), overrides or {})
    try:
        return FleetSettings.model_validate(merged)
    except ValidationError as error:
        raise ConfigurationError(explained(FleetSettings, error)) from None


def _read(config: Path) -> dict[str, Any]:
    if str(config) in SHIPPED and not config.is_file():
        return shipped(str(config))
    return read_yaml_file(config, f"the program brings {' and '.join(SHIPPED)}, each by its name")


def load_settings(config: Path | None = None, overrides: Mapping[str, Any] | None = None) -> FleetSettings:
    """Settings from a YAML file and overrides, the latter stronger, on top of the demo's.

    Args:
        config: a file, or the name of a shipped configuration where there is no such file.
        overrides: by key, or by path within a section, as `share.alpha`.

    Raises:
        ConfigurationError: there is no such file, it is not YAML in UTF-8, the method is unknown, or as
            `build_settings`.
    """
    settings = build_settings({} if config is None else _read(config), overrides)
    checked_spec(settings.method)
    return settings
