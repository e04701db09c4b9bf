"""The settings of one run of the server."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tinytrain_core.engine.settings import (
    LEARNING_RATE,
    MAX_VIEWS,
    OPTIMISER,
    PRECISION,
    STEPS,
    VIEWS,
    TrainingSettings,
)
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.selection.methods import checked_spec

MAX_DEADLINE_S = 7 * 86_400


# Names that exist; any other is a ConfigurationError that lists those that do.
KnownMethod = Annotated[str, AfterValidator(checked_spec)]
KnownOptimiser = Annotated[str, AfterValidator(lambda name: TrainingSettings(optimiser=name).optimiser)]
KnownPrecision = Annotated[str, AfterValidator(lambda name: TrainingSettings(precision=name).precision)]


class Training(BaseModel):
    """How a device personalises. An unknown method, optimiser or precision is a ConfigurationError."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0, lt=2**31)
    method: KnownMethod = "tinytrain"
    steps: int = Field(STEPS, ge=0, le=10_000)
    learning_rate: float = Field(LEARNING_RATE, gt=0, le=1)
    optimiser: KnownOptimiser = OPTIMISER
    views: int = Field(VIEWS, ge=0, le=MAX_VIEWS)
    precision: KnownPrecision = PRECISION


class RunSettings(Training):
    """What a run does, and how long it waits.

    Attributes:
        backbone: the file of a backbone, or a shipped one by name; empty is mcunet-5fps.
        deadline_s: seconds that a node has for each reply.
        min_nodes: nodes to start with; a run that does not see them within `wait_for_nodes_s` is an error.
        out: the folder for the results.
    """

    backbone: str = ""
    rounds: int = Field(1, ge=1, le=1_000_000)
    deadline_s: float = Field(600.0, gt=0, le=MAX_DEADLINE_S)
    min_nodes: int = Field(1, ge=1)
    wait_for_nodes_s: float = Field(60.0, ge=0, le=86_400)
    out: str = Field("runs/latest", min_length=1)


def settings_from_run_config(run_config: Mapping[str, Any]) -> RunSettings:
    """The settings in Flower's run configuration, whose keys have dashes.

    Raises:
        ConfigurationError: an unknown key, a wrong type, a value out of range, or an unknown method or optimiser.
    """
    fields = {key.replace("-", "_"): value for key, value in run_config.items()}
    try:
        return RunSettings.model_validate(fields)
    except ValidationError as error:
        wrong = "; ".join(f"{str(e['loc'][0]).replace('_', '-')}: {e['msg']}" for e in error.errors())
        raise ConfigurationError(f"wrong run configuration: {wrong}") from None
