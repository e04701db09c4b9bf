"""The one thing that leaves a device: a closed, versioned report of numbers.

Every field is an integer, a float or a list of integers with bounds. There is no text, no bytes and no
array of weights in it; outcomes and errors are enumerated. Anything else is refused, on the device before
it is sent and on the server when it arrives.

A device may add noise to its accuracies (`tinytrain_core/privacy.py`). Its report is then WITHHELD: it holds what does
not depend on the images, the noisy accuracies, and defaults everywhere else.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from tinytrain_core.errors import EgressError, ErrorCode

SCHEMA_VERSION: Literal[2] = 2
MAX_LAYERS = 128
MAX_CHANNELS = 4096  # of one convolution
MAX_STEPS = 10_000
MAX_BYTES = 2**50
MAX_MACS = 2**60
MAX_NOISY = 640  # of an accuracy with noise, either way: what one device can tell at most


_ERROR_CODES = frozenset(ErrorCode)


class Outcome(IntEnum):
    """How personalising ended on a device, which always keeps a backbone that works."""

    ADAPTED = 1  # the delta is in use
    KEPT_BASE = 2  # adapted, but worse on the device's own holdout: the base backbone stays
    CANNOT_AFFORD = 3  # nothing fits the budget: the base backbone stays
    NOT_ADAPTED = 4  # the method does not adapt
    FAILED = 5  # see the error code
    WITHHELD = 6  # one of the first four; the device keeps to itself which


Count = Annotated[int, Field(ge=0, lt=2**31)]
Images = Annotated[int, Field(ge=0, le=1_000_000)]
Small = Annotated[int, Field(ge=0, le=99)]
Channels = Annotated[int, Field(ge=0, le=MAX_CHANNELS)]
Bytes = Annotated[int, Field(ge=0, le=MAX_BYTES)]
Macs = Annotated[int, Field(ge=0, le=MAX_MACS)]
Accuracy = Annotated[float, Field(ge=-MAX_NOISY, le=MAX_NOISY)]
Positive = Annotated[float, Field(ge=0, le=1e9)]

BUDGETS = ("memory_budget_bytes", "storage_budget_bytes", "backward_macs_budget", "full_train_backward_macs")
PUBLIC = frozenset(  # fields that follow from the device, its configuration and the order alone
    ("schema_version", "device", "profile", "round", "method", "outcome", "error", *BUDGETS)
)
NOISY = frozenset(("accuracy_before", "accuracy_after", "holdout_images"))  # what else is set in a WITHHELD report


class PersonalisationReport(BaseModel):
    """Version 2 of the report. Bytes are bytes, MACs are per step or in total as named, times are seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    schema_version: Literal[2] = SCHEMA_VERSION
    device: Count = Field(0, description="the number that the operator gave the device")
    profile: Small = Field(0, description="number of the device class in the catalogue; 0 is unknown")
    round: Count = 0
    method: Small = Field(0, description="number of the method; 0 is unknown")
    outcome: Annotated[int, Field(ge=min(Outcome), le=max(Outcome))] = Outcome.FAILED
    error: int = ErrorCode.NONE

    ways: Images = 0
    support_images: Images = 0
    holdout_images: Images = Field(0, description="for WITHHELD 1 with accuracies, 0 without")
    rejected_images: Images = Field(0, description="files that could not be decoded")
    dropped_classes: Images = Field(0, description="classes with too few images for both sides")

    accuracy_before: Accuracy = Field(0.0, description="from 0 to 1; with noise, for WITHHELD, beyond that too")
    accuracy_after: Accuracy = Field(0.0, description="the same of the adapted backbone, kept or not")
    loss_first: Positive = 0.0
    loss_last: Positive = 0.0
    steps: Annotated[int, Field(ge=0, le=MAX_STEPS)] = 0

    updated_weights: Count = Field(0, description="weights and biases that the plan updates")
    updated_layers: Annotated[int, Field(ge=0, le=MAX_LAYERS)] = 0
    updated_channels: Annotated[list[Channels], Field(min_length=1, max_length=MAX_LAYERS)] = Field(
        [0], description="updated output channels of every convolution, in order"
    )
    samples_alive: Images = Field(0, description="images whose tensors are alive at once")
    live_memory_bytes: Bytes = Field(
        0, description="predicted peak, frozen weights apart; for CANNOT_AFFORD what the least plan needs"
    )
    measured_memory_bytes: Bytes = Field(0, description="measured peak of the same; 0 where not measured")
    paper_memory_bytes: Bytes = Field(0, description="as the paper charges it, at batch 1")
    memory_budget_bytes: Bytes = 0
    storage_bytes: Bytes = Field(0, description="of features in a file, while personalising; predicted and taken")
    storage_budget_bytes: Bytes = 0
    backward_macs: Macs = Field(0, description="of one step and image; as live_memory_bytes for CANNOT_AFFORD")
    backward_macs_budget: Macs = 0
    full_train_backward_macs: Macs = Field(0, description="of one step and image, all weights updated")
    total_macs: Macs = Field(0, description="of the whole personalisation, selection included")

    estimated_s: Positive = Field(0.0, description="on the device class, from its catalogue entry")
    estimated_j: Positive = 0.0
    wall_s: Positive = Field(0.0, description="measured on the device; 0 in a simulation")

    @field_validator("error")
    @classmethod
    def _enumerated(cls, error: int) -> int:
        if error not in _ERROR_CODES:
            raise ValueError("not an error code")
        return error

    @field_validator("accuracy_before", "accuracy_after")
    @classmethod
    def _from_0_to_1(cls, accuracy: float, info: ValidationInfo) -> float:
        if not 0 <= accuracy <= 1 and info.data.get("outcome") != Outcome.WITHHELD:
            raise ValueError("an accuracy without noise is between 0 and 1")
        return accuracy

    @model_validator(mode="after")
    def _consistent(self) -> "PersonalisationReport":
        if (self.error != ErrorCode.NONE) and self.outcome != Outcome.FAILED:
            raise ValueError("an error code without a failure")
        if self.updated_layers != sum(n > 0 for n in self.updated_channels):
            raise ValueError("updated_layers is not the number of updated layers")
        if self.outcome == Outcome.WITHHELD and not self._withholds():
            raise ValueError("a report that withholds its outcome tells more")
        return self

    def _withholds(self) -> bool:
        """Whether all that depends on the images is at its default, the noisy accuracies apart."""
        told = {name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default}
        return told <= (PUBLIC | NOISY if self.holdout_images == 1 else PUBLIC)

    @property
    def has_accuracies(self) -> bool:
        """Whether the accuracies are figures, with noise or without."""
        return self.outcome != Outcome.FAILED and (self.outcome != Outcome.WITHHELD or self.holdout_images > 0)

    @property
    def gain(self) -> float | None:
        """Accuracy after less accuracy before; None where there is none. With noise its mean over devices is right."""
        return self.accuracy_after - self.accuracy_before if self.has_accuracies else None

    @property
    def worse(self) -> bool | None:
        """Whether adapting lost accuracy; None where a device failed or withholds it, as noise would decide it."""
        told = self.outcome not in (Outcome.FAILED, Outcome.WITHHELD)
        return self.accuracy_after < self.accuracy_before if told else None


def validate_report(fields: Mapping[str, Any]) -> PersonalisationReport:
    """The report that `fields` is.

    Raises:
        EgressError: an unknown or missing field, a wrong type, NaN or infinity, or a value out of range.
            The text names fields, never values.
    """
    missing = set(PersonalisationReport.model_fields) - set(fields)
    if missing:
        raise EgressError(f"the report lacks {', '.join(sorted(missing))}")
    try:
        return PersonalisationReport.model_validate(dict(fields))
    except ValidationError as error:
        wrong = sorted({str(detail["loc"][0])[:40] if detail["loc"] else "?" for detail in error.errors()})
        raise EgressError(f"not a valid report (schema {SCHEMA_VERSION}): {', '.join(wrong[:8])}") from None


def failure(code: ErrorCode, device: int = 0, profile: int = 0, round_number: int = 0) -> PersonalisationReport:
    """The report of a device on which something went wrong."""
    return PersonalisationReport(
        device=device, profile=profile, round=round_number, outcome=Outcome.FAILED, error=int(code)
    )
