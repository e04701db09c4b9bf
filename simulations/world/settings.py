"""The sections of a fleet's settings that describe the world its devices live in. Every default switches it off.

Sections with figures by class take a device class (`pi_4`), a family (`mcu`, `sbc`, `gpu`, `phone`) or `default` as
key; the closest one counts.
"""

from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from tinytrain_core.devices.profile import DeviceProfile, catalogue
from tinytrain_core.errors import ConfigurationError

DAY_S = 86_400.0
HOUR_S = 3_600.0
DEFAULT = "default"
Value = TypeVar("Value")

Share = Annotated[float, Field(ge=0, le=1)]
Sigma = Annotated[float, Field(ge=0, le=2)]
HourOfDay = Annotated[float, Field(ge=0, lt=24)]
Hours = Annotated[float, Field(ge=0, le=24)]


def _known_keys(figures: dict[str, Value]) -> dict[str, Value]:
    families = sorted({profile.family for profile in catalogue().values()})
    known = [DEFAULT, *families, *(name for name in catalogue() if name not in families)]
    if unknown := sorted(set(figures) - set(known)):
        raise ConfigurationError(f"unknown device class {unknown[0]!r}; figures are for {', '.join(known)}")
    return figures


ByClass = Annotated[dict[str, Value], AfterValidator(_known_keys)]


def of_class(figures: dict[str, Value], profile: DeviceProfile) -> Value | None:
    """What `figures` has for a device: that of its class, else of its family, else the default; None for nothing."""
    keys = (profile.name, profile.family, DEFAULT)
    return next((figures[key] for key in keys if key in figures), None)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Spread(_Section):
    """How devices of one class differ: each figure of a device is its class's times exp(sigma x normal).

    Attributes:
        memory: sigma of the bytes that training may use.
        compute: sigma of the share of full training's MACs that a step may spend; the result is at most 1.
        speed: sigma of MACs per second.
        power: sigma of watts.
    """

    memory: Sigma = 0.0
    compute: Sigma = 0.0
    speed: Sigma = 0.0
    power: Sigma = 0.0


class Availability(_Section):
    """When nodes can be reached. A node that is away goes on computing, and sends when it is back.

    Attributes:
        kind: always; diurnal: a window each day; trace: from a file.
        from_hour, hours: diurnal: when the window begins, in hours after midnight, and how long it is.
        phase_sd_h: diurnal: standard deviation of each node's own shift of the window, in hours.
        presence: diurnal: share of the days on which a node is there at all.
        file: trace: a CSV file with the header `node,start_s,end_s`, one stay a line, in seconds from the start of
            the run. Node n does as node n modulo (highest node of the file + 1); a node without a line is never there.
        period_s: trace: the file's length in whole seconds, after which it begins again.
    """

    kind: Literal["always", "diurnal", "trace"] = "always"
    from_hour: HourOfDay = 22.0
    hours: Hours = 9.0
    phase_sd_h: float = Field(0.0, ge=0, le=24)
    presence: Share = 1.0
    file: str = ""
    period_s: int = Field(86_400, ge=1, le=366 * 86_400)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.kind == "trace") != bool(self.file):
            raise ConfigurationError(
                "availability: kind trace needs a file"
                if self.kind == "trace"
                else f"availability: a file is given, {self.file}, but kind is {self.kind}; set kind: trace"
            )
        return self


class Link(_Section):
    """A node's way to the server.

    Attributes:
        down_bps, up_bps: bits per second; null is no limit.
        latency_s: seconds one way, once for each message.
        loss: share of packets that are lost and sent again. It is applied as its expected value: bytes and seconds
            are those of a link without loss, divided by (1 - loss).
    """

    down_bps: float | None = Field(None, ge=1, le=1e12)
    up_bps: float | None = Field(None, ge=1, le=1e12)
    latency_s: float = Field(0.0, ge=0, le=3600)
    loss: float = Field(0.0, ge=0, le=0.95)


class Links(_Section):
    """The links of all nodes; a gateway has that of its first device's class.

    Attributes:
        classes: by device class, family or `default`; without an entry a link takes no time.
        spread: standard deviation of the logarithm of each node's bandwidth, both ways alike.
    """

    classes: ByClass[Link] = Field(default_factory=dict)
    spread: Sigma = 0.0


class Battery(_Section):
    """A device's battery. Training begins with at least `reserve` of it and what the training takes.

    Attributes:
        capacity_j: joules when full.
        start, start_spread: charge at the start, as a share; each device's own is uniform within +- the latter.
        reserve: share below which the device does not work.
        charge_w: watts that charging adds; 0 never charges.
        charge_from_hour, charge_hours: when it charges each day; 24 hours is always.
        idle_w: what the rest of the device draws, all the time.
    """

    capacity_j: float = Field(gt=0, le=1e9)
    start: Share = 1.0
    start_spread: Share = 0.0
    reserve: Share = 0.2
    charge_w: float = Field(0.0, ge=0, le=1e5)
    charge_from_hour: HourOfDay = 22.0
    charge_hours: Hours = 8.0
    idle_w: float = Field(0.0, ge=0, le=1e5)


class Thermal(_Section):
    """How a device that computes for long slows down.

    Attributes:
        hot_after_s: seconds of computing at full speed until it is hot.
        hot_speed: speed when hot, as a share of full speed.
        recovery_s: idle seconds after which a hot device is cold again.
    """

    hot_after_s: float = Field(gt=0, le=1e9)
    hot_speed: float = Field(gt=0, le=1)
    recovery_s: float = Field(600.0, gt=0, le=1e9)


class Power(_Section):
    """What limits devices beside their memory and speed; by device class, family or `default`.

    Attributes:
        batteries: devices without an entry are on the mains.
        thermal: devices without an entry never slow down.
    """

    batteries: ByClass[Battery] = Field(default_factory=dict)
    thermal: ByClass[Thermal] = Field(default_factory=dict)


class Faults(_Section):
    """What goes wrong.

    Attributes:
        drop_out: share of requests to train of which nothing ever comes back.
        crash: share of requests to train at which the node's runtime fails, and says so.
        slow, slow_factor: share of nodes that report late: what takes others one second takes them this many.
        byzantine: share of nodes whose reports are not what happened.
        byzantine_kind: inflate: all is perfect; nan: numbers that are none; garbage: fields that no report has;
            foreign: in the name of another device; mixed: one of these for each such node.
    """

    drop_out: Share = 0.0
    crash: Share = 0.0
    slow: Share = 0.0
    slow_factor: float = Field(10.0, ge=1, le=1e6)
    byzantine: Share = 0.0
    byzantine_kind: Literal["inflate", "nan", "garbage", "foreign", "mixed"] = "mixed"

    @model_validator(mode="after")
    def _at_most_all(self) -> Self:
        if self.drop_out + self.crash > 1:
            raise ConfigurationError(
                f"faults: drop_out {self.drop_out:g} and crash {self.crash:g} are more than all requests together"
            )
        return self
