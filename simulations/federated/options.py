"""What a federated run is asked for, beside the fleet that it runs on."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from tinytrain_core.backbones.spec import BackboneSpec
from tinytrain_core.engine.settings import LEARNING_RATE
from tinytrain_core.errors import ConfigurationError

ROUNDS, LOCAL_STEPS, FRACTION = 10, 5, 1.0
Start = Literal["random", "backbone"]
START_RANDOM: Final = "random"
START_BACKBONE: Final = "backbone"


class FederatedSettings(BaseModel):
    """A method and how it federates. How a device trains otherwise, and its final fine-tuning, are the fleet's.

    Attributes:
        rounds: of the federation; every one trains, sends and averages weights.
        fraction: of the nodes that are there and can train, how many a round asks; at least one.
        local_steps: of each device in each round.
        learning_rate: of these; that of the final fine-tuning is the fleet's.
        start: where weights begin; for `random` the fleet's backbone gives the architecture alone.
        personal_blocks: the last blocks, which stay on the device where the method has personal layers.
        respect_budgets: whether memory and storage of a device's class limit it; the backward MACs of a step are a
            policy of the methods that choose, and limit these in either case.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: str
    rounds: int = Field(ROUNDS, ge=0, le=10_000)
    fraction: float = Field(FRACTION, gt=0, le=1)
    local_steps: int = Field(LOCAL_STEPS, ge=1, le=10_000)
    learning_rate: float = Field(LEARNING_RATE, gt=0, le=1)
    start: Start = START_BACKBONE
    personal_blocks: int = Field(0, ge=0)
    respect_budgets: bool = True


def personal_of(spec: BackboneSpec, asked: int | None) -> int:
    """How many last blocks are personal; by default one, and the feature mix where there is one.

    Raises:
        ConfigurationError: as many as there are, so that nothing is left to average, or none.
    """
    blocks = 1 + (spec.convs[-1].kind == "mix") if asked is None else asked
    if not 1 <= blocks < spec.blocks:
        raise ConfigurationError(
            f"--personal-blocks is {blocks}; {spec.name} has {spec.blocks} blocks: give 1 to {spec.blocks - 1}, so "
            "that some stay on the devices and some are averaged"
        )
    return blocks
