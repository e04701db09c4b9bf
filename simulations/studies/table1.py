"""Table 1: every method on the same backbones, and, where there are plain ones, the paper's own comparison."""

from typing import ClassVar

from pydantic import Field, field_validator

from simulations.studies.arms import Arm, Training
from simulations.studies.comparisons import Comparison
from simulations.studies.study_settings import StudySettings
from tinytrain_core.selection.methods import checked_spec

METHODS = ("none", "last_layer", "full_train", "tinytl", "sparse_update", "tinytrain")
FULL_TRAIN = "full_train"
LIKE_FOR_LIKE = "like-for-like"
PAPER = "paper"
TITLES = {
    LIKE_FOR_LIKE: "Like for like: every method on the same meta-trained backbone",
    PAPER: "As the paper compares: baselines on plain backbones, TinyTrain on meta-trained ones",
}


def _paper_arm(method: str) -> Arm:
    arm = Arm(method=method)
    return arm if arm.is_tinytrain else arm.on(Training.PLAIN)


class Table1Settings(StudySettings):
    """The methods of a table, and which of them the others are held against."""

    kind: ClassVar[str] = "table1"

    methods: tuple[str, ...] = Field(METHODS, min_length=1)
    reference: str = FULL_TRAIN

    @field_validator("methods")
    @classmethod
    def _known(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(map(checked_spec, methods)))

    @field_validator("reference")
    @classmethod
    def _known_reference(cls, reference: str) -> str:
        return checked_spec(reference)

    def comparisons(self) -> list[Comparison]:
        """The blocks of the table."""
        blocks = {LIKE_FOR_LIKE: {method: Arm(method=method) for method in self.methods}}
        if self.plain:
            blocks[PAPER] = {method: _paper_arm(method) for method in self.methods}
        return [Comparison(name, TITLES[name], arms, self.reference) for name, arms in blocks.items()]
