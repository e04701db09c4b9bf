"""What passes between the server of a federated baseline and its nodes, as plain numbers, names and weights.

`query.federated`: which devices of the node can hold the training of all weights? `train.federated`: train these
weights and send them back. `train.adopt`: this is the result; put your backbone together from it. All three are the
simulator's alone: a device that is installed knows none of them, and would refuse to send weights.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tinytrain_core.engine.settings import TrainingSettings
from tinytrain_core.errors import EgressError, RequestError
from tinytrain_core.report import Bytes, Count, Images, Macs, Positive
from tinytrain_core.wire import Digest, report_record

QUERY_FEDERATED = "query.federated"
TRAIN_FEDERATED = "train.federated"
TRAIN_ADOPT = "train.adopt"
FEDERATED_KINDS = (QUERY_FEDERATED, TRAIN_FEDERATED, TRAIN_ADOPT)
ARRAYS_RECORD = "arrays"
ADOPTED_RECORD = "adopted"


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class TrainRequest(_Message):
    """Server to node: how to train all weights, and which of them are shared."""

    architecture: str
    head_scale: float = Field(gt=0)
    personal_blocks: int = Field(0, ge=0)
    round: int = Field(0, ge=0)
    seed: int = Field(0, ge=0)
    steps: int = Field(ge=1)
    learning_rate: float = Field(gt=0, le=1)
    optimiser: str
    views: int
    precision: str

    @property
    def training(self) -> TrainingSettings:
        """How a device trains."""
        return TrainingSettings(
            self.steps, self.learning_rate, self.optimiser, views=self.views, precision=self.precision
        )


class AdoptRequest(_Message):
    """Server to node: make the backbone of this digest of what you hold and what comes with this message.

    Attributes:
        random_seed: begin with the random weights of this seed; negative begins with what the node holds.
    """

    digest: Digest
    architecture: str
    random_seed: int = -1


class Affords(_Message):
    """One device's answer: what training all weights would take, and whether it has that."""

    device: Count
    profile: int = Field(ge=0)
    images: Images
    affords: int = Field(ge=0, le=1)
    memory_bytes: Bytes
    memory_budget_bytes: Bytes
    error: int = Field(0, ge=0)


class Trained(_Message):
    """What one device did in one round. `images` is the weight of its part in the mean; 0 where it has none."""

    device: Count
    profile: int = Field(ge=0)
    images: Images
    steps: int = Field(0, ge=0)
    loss_first: Positive = 0.0
    loss_last: Positive = 0.0
    total_macs: Macs = 0
    estimated_s: Positive = 0.0
    estimated_j: Positive = 0.0
    error: int = Field(0, ge=0)


Order = TypeVar("Order", bound=_Message)


def parse_order(model: type[Order], fields: Mapping[str, Any]) -> Order:
    """The request that `fields` is.

    Raises:
        RequestError: it is none.
    """
    try:
        return model.model_validate(dict(fields))
    except ValidationError as error:
        wrong = ", ".join(sorted({str(detail["loc"][0]) if detail["loc"] else "?" for detail in error.errors()}))
        raise RequestError(f"not a {model.__name__}: {wrong}") from None


def parse_answers(model: type[Order], records: Mapping[str, Mapping[str, Any]]) -> list[Order]:
    """The devices' answers in a node's reply, in their order.

    Raises:
        EgressError: something else.
    """
    if set(records) != {report_record(position) for position in range(len(records))}:
        raise EgressError("the answers of a node's devices are numbered from 0 without gaps")
    try:
        return [model.model_validate(dict(records[report_record(position)])) for position in range(len(records))]
    except ValidationError:
        raise EgressError(f"not a valid {model.__name__}") from None
