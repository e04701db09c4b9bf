"""What the operator writes about a rollout: a YAML file, checked key by key."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from server import config
from tinytrain_core.configuration import parse_settings, read_yaml_file
from tinytrain_core.devices.profile import device_profile
from tinytrain_core.errors import ErrorCode
from tinytrain_core.release import MAX_VERSION
from tinytrain_core.wire import PersonaliseRequest

DAY_S = 86_400.0
MAX_DEADLINE_S = 30 * DAY_S
ALL_PERCENT = 100.0
MAX_RETRIES = 20  # there and back again they stay below the highest number of an attempt


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, fields: Any) -> Any:
        unknown = sorted(str(key) for key in set(fields) - set(cls.model_fields)) if isinstance(fields, dict) else ()
        if unknown:
            raise ValueError(f"unknown key {', '.join(unknown)}; the known ones are {', '.join(cls.model_fields)}")
        return fields


def _known_class(name: str) -> str:
    return device_profile(name).name


def _known_error(name: str) -> str:
    if name.upper() not in ErrorCode.__members__:
        raise ValueError(f"no error is called {name!r}; there are {', '.join(ErrorCode.__members__).lower()}")
    return name.lower()


Percent = Annotated[float, Field(gt=0, le=ALL_PERCENT)]
Deadline = Annotated[float, Field(gt=0, le=MAX_DEADLINE_S)]
Share = Annotated[float, Field(ge=0, le=1)]


class Target(_Settings):
    """Which nodes: all conditions that are given hold. Empty is every node.

    Attributes:
        classes: a device of the node is of one of these classes; a gateway's other devices come along.
        tags: the node has all of them.
        names: the node's name is one of them, or fits it as a pattern with `*` and `?`.
        percent: of the devices of the nodes that fit.
    """

    classes: tuple[Annotated[str, AfterValidator(_known_class)], ...] = ()
    tags: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    percent: Percent = ALL_PERCENT


class Stage(_Settings):
    """A part of the target: as many whole nodes as have that many devices, those of earlier stages among them.

    Attributes:
        devices, percent: how many devices, or which share of the target's; one of the two.
        deadline_s: instead of the rollout's.
        soak_s: seconds to watch when all have ended, before the next stage.
    """

    name: str = Field("", max_length=64)
    devices: int | None = Field(None, ge=1)
    percent: Percent | None = None
    deadline_s: Deadline | None = None
    soak_s: float = Field(0.0, ge=0, le=MAX_DEADLINE_S)

    @model_validator(mode="after")
    def _one_size(self) -> "Stage":
        if (self.devices is None) == (self.percent is None):
            raise ValueError("a stage has devices or percent, one of the two")
        return self

    @property
    def size(self) -> str:
        """How large it is, in words."""
        return f"{self.percent:g} %" if self.percent is not None else f"{self.devices} devices"

    @property
    def title(self) -> str:
        """What to call it."""
        return self.name or self.size


class Gates(_Settings):
    """When a stage has passed; None switches a gate off.

    A gate of which too few devices tell is not judged, and the stage is then treated as `too_few` says. Reports with
    noise count as reports; they fail the gate of the gain where the whole interval of their mean is below its bound
    and there are too few exact ones, and tell nothing else.

    Attributes:
        max_share_failed: of devices that failed, refused, or took the order and fell silent. Silence alone halts, and
            is not held against the release.
        max_share_worse: of devices whose adapted backbone is worse on their own images.
        min_gain_lower_bound: the lower end of the 95 % interval of the mean of accuracy after less before.
        max_drop: of the mean of the accuracy in use, less that which the same device last reported of another release
            that is not withdrawn. It stops nothing where no device has ever reported another.
        min_reports: devices that have to have reported or failed; and with exact accuracies, for each gate on these.
        too_few: what becomes of a stage with fewer.
        excused: errors that are not held against a release, as they are about a device's own images.
    """

    max_share_failed: Share | None = 0.1
    max_share_worse: Share | None = 0.3
    min_gain_lower_bound: float | None = Field(-0.02, ge=-1, le=1)
    max_drop: float | None = Field(0.1, ge=0, le=1)
    min_reports: int = Field(5, ge=1)
    too_few: Literal["halt", "pass"] = "halt"
    excused: tuple[Annotated[str, AfterValidator(_known_error)], ...] = (
        "no_images",
        "too_few_classes",
        "too_few_images",
    )

    @property
    def excused_codes(self) -> frozenset[int]:
        """The excused errors as numbers."""
        return frozenset(ErrorCode[name.upper()].value for name in self.excused)


class Training(_Settings, config.Training):
    """How a device personalises, as in a plain round."""

    def request(self, digest: str, rollout: int) -> PersonaliseRequest:
        """The request to personalise the backbone of that digest."""
        return PersonaliseRequest(digest=digest, round=rollout, **self.model_dump())


DEFAULT_STAGES = (Stage(devices=10), Stage(percent=5.0), Stage(percent=25.0), Stage(percent=ALL_PERCENT))


class RolloutSpec(_Settings):
    """A rollout.

    Attributes:
        release: a version, or the channel that offers it.
        seed: orders the nodes; the same seed has the same nodes first. By default the fleet's line.
        deadline_s: that a node has for an order, and a stage for a node that is not online.
        retries: further orders to a node that failed or was late, each after twice the pause of the one before.
        backoff_s: the first of these pauses.
        concurrency: nodes that are there, have been sent an order and have not accepted it yet, at the same time.
        rollback: whether a stage that fails on what devices reported is rolled back without a hand.
        promote_to: the channel that offers the release once the last stage has passed.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    release: Annotated[int, Field(ge=1, le=MAX_VERSION)] | Literal["canary", "stable"]
    target: Target = Target()
    stages: Annotated[tuple[Stage, ...], Field(min_length=1, max_length=32)] = DEFAULT_STAGES
    seed: str = Field("", max_length=64)
    deadline_s: Deadline = DAY_S
    retries: int = Field(2, ge=0, le=MAX_RETRIES)
    backoff_s: float = Field(60.0, ge=0, le=DAY_S)
    concurrency: int = Field(50, ge=1, le=10_000)
    gates: Gates = Gates()
    rollback: Literal["auto", "none"] = "auto"
    training: Training = Training()
    promote_to: Literal["canary", "stable"] | None = None

    @model_validator(mode="after")
    def _ends_with_all(self) -> "RolloutSpec":
        shares = [stage.percent for stage in self.stages if stage.percent is not None]
        if self.stages[-1].percent != ALL_PERCENT or shares != sorted(shares):
            raise ValueError("stages: the shares grow, and the last is `percent: 100`; for fewer devices see target")
        counts = [stage.devices for stage in self.stages if stage.devices is not None]
        if counts != sorted(counts):
            raise ValueError("stages: the numbers of devices grow")
        return self

    def deadline_of(self, stage: int) -> float:
        """Seconds that a node of that stage, from 0, has for an order."""
        return self.stages[stage].deadline_s or self.deadline_s


def load_spec(file: Path) -> RolloutSpec:
    """The rollout in a YAML file.

    Raises:
        ConfigurationError: there is no such file, or a key is unknown, missing or wrong.
    """
    fields = read_yaml_file(file, "docs/operations.md has one, and simulations/configs/rollout.yaml is one")
    return parse_settings(RolloutSpec, fields, f"{file} is not a rollout")
