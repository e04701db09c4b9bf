"""An arm of a study: a method, and what of the study's settings is otherwise under it."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tinytrain_core.engine.settings import MAX_VIEWS

Views = Annotated[int, Field(ge=0, le=MAX_VIEWS)]
Steps = Annotated[int, Field(ge=0, le=10_000)]
ComputeShare = Annotated[float, Field(gt=0, le=2)]
Mebibytes = Annotated[float, Field(gt=0, le=1 << 20)]

TINYTRAIN = "tinytrain"


class Training(StrEnum):
    """What a backbone went through before it is deployed."""

    META = "meta"
    PLAIN = "plain"


class Arm(BaseModel):
    """A method under the study's settings, but for those that it has a value for.

    Attributes:
        method: as `personalise` takes it, with its options.
        training: of the backbones that it starts from.
        headroom_mib: above the forward peak, in the paper's ledger, in place of the study's cap.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    training: Training = Training.META
    steps: Steps | None = None
    views: Views | None = None
    compute_share: ComputeShare | None = None
    memory_mib: Mebibytes | None = None
    headroom_mib: Mebibytes | None = None

    @property
    def own(self) -> dict[str, float]:
        """The settings that it has a value of its own for."""
        return self.model_dump(exclude={"method", "training"}, exclude_none=True)

    @property
    def name(self) -> str:
        """The method and the arm's own settings, which tell it from every other arm on the same backbone."""
        return " ".join([self.method, *(f"{name}={value:g}" for name, value in self.own.items())])

    @property
    def is_tinytrain(self) -> bool:
        return self.method.startswith(TINYTRAIN)

    def on(self, training: Training) -> "Arm":
        """The same on backbones of another training."""
        return self.model_copy(update={"training": training})
