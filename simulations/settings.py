"""What a simulated fleet is: one frozen model, read once from YAML, flags and `key=value` overrides."""

from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from client.config import Images
from server.config import MAX_DEADLINE_S, KnownOptimiser, KnownPrecision
from tinytrain_core.configuration import parse_yaml, problems, read_yaml_file
from tinytrain_core.devices.profile import device_profile
from tinytrain_core.engine.settings import LEARNING_RATE, MAX_VIEWS, OPTIMISER, PRECISION, STEPS, VIEWS
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.selection.methods import checked_spec
from tinytrain_core.wire import MAX_DEVICES_PER_NODE, METHOD_PATTERN

MAX_DEVICES = 10_000
DEMO = "demo"


class FleetSettings(BaseModel):
    """A simulated fleet and what it is asked to do. The same settings give the same reports.

    Defaults are in `configs/demo.yaml`; those of the training are the engine's.

    Attributes:
        devices: how many users, each with one device.
        mix: device class -> relative weight; shared out by largest remainder, so that the counts are exact.
        gateway_size: microcontrollers that one gateway node hosts; other devices are a node each.
        data: as `tinytrain_core.fewshot.sources.open_source` takes it.
        min_ways, max_ways: classes of a user, drawn between the two.
        shots, holdout: images of a class to learn from, and to measure on, at most.
        backbone: a file, or a shipped one by name; empty is mcunet-5fps.
        workers: processes that simulate; they change the time a run takes, never a report.
        deadline_s: seconds that the server waits for each node's reply.
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
    workers: int = Field(ge=1, le=256)
    deadline_s: float = Field(gt=0, le=MAX_DEADLINE_S)

    @field_validator("mix")
    @classmethod
    def _known_classes(cls, mix: dict[str, float]) -> dict[str, float]:
        for name, weight in mix.items():
            device_profile(name)
            if weight < 0:
                raise ConfigurationError(f"mix: the weight of {name} is {weight:g}; weights are 0 or more")
        if not sum(mix.values()):
            raise ConfigurationError("mix: all weights are 0; give at least one device class a weight above 0")
        return mix

    @model_validator(mode="after")
    def _ordered_ways(self) -> "FleetSettings":
        if self.min_ways > self.max_ways:
            raise ConfigurationError(f"min_ways is {self.min_ways}, above max_ways {self.max_ways}")
        return self


def demo_defaults() -> dict[str, Any]:
    """The raw settings of the demo, which are every fleet's defaults."""
    return parse_yaml((files(__package__) / "configs" / f"{DEMO}.yaml").read_text(), f"{DEMO}.yaml")


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """`key=value` pairs, each value read as YAML.

    Raises:
        ConfigurationError: a pair without `=`, or a value that is not YAML.
    """
    parsed = {}
    for pair in overrides:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise ConfigurationError(f"override {pair!r} is not of the form key=value, as `steps=20`")
        try:
            parsed[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigurationError(f"override {pair!r}: the value is not YAML") from error
    return parsed


def build_settings(raw: Mapping[str, Any]) -> FleetSettings:
    """The settings that `raw` describes on top of the demo's.

    Raises:
        ConfigurationError: an unknown key, a wrong type or a value out of range, with its key; an unknown
            device class or optimiser. Whether there is the method is not asked: a run is read where it is not.
    """
    try:
        return FleetSettings.model_validate(demo_defaults() | dict(raw))
    except ValidationError as error:
        known = ", ".join(FleetSettings.model_fields)
        unknown = any(e["type"] == "extra_forbidden" for e in error.errors())
        hint = f"; the keys are {known}" if unknown else ""
        raise ConfigurationError(problems(error, "settings") + hint) from None


def load_settings(config: Path | None = None, overrides: Mapping[str, Any] | None = None) -> FleetSettings:
    """Settings from a YAML file and overrides, the latter stronger, on top of the demo's.

    Raises:
        ConfigurationError: there is no such file, it is not YAML in UTF-8, the method is unknown, or as
            `build_settings`.
    """
    raw = {} if config is None else read_yaml_file(config)
    settings = build_settings(raw | dict(overrides or {}))
    checked_spec(settings.method)
    return settings
