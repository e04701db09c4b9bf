"""Table 1: every method on the same backbones, and, where there are plain ones, the paper's own comparison."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, field_validator, model_validator

from simulations.studies.arms import Arm, Training
from simulations.studies.comparisons import Comparison
from simulations.studies.study_settings import StudySettings
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.selection.methods import checked_spec, method_by_name

METHODS = ("none", "last_layer", "full_train", "tinytl", "sparse_update", "tinytrain")
FULL_TRAIN, SPARSE_UPDATE = "full_train", "sparse_update"  # what the paper holds TinyTrain against
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
    """The methods of a table.

    Attributes:
        reference: which of them the others are held against, one after the other; by default FullTrain, or else the
            first that adapts, then SparseUpdate.
    """

    kind: ClassVar[str] = "table1"

    methods: tuple[str, ...] = Field(METHODS, min_length=1)
    reference: tuple[str, ...] = ()

    @field_validator("methods")
    @classmethod
    def _known(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(map(checked_spec, methods)))

    @field_validator("reference", mode="before")
    @classmethod
    def _listed(cls, reference: Any) -> Any:
        return (reference,) if isinstance(reference, str) else reference

    @field_validator("reference")
    @classmethod
    def _known_reference(cls, reference: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(map(checked_spec, reference)))

    @model_validator(mode="after")
    def _among(self) -> "Table1Settings":
        if absent := [name for name in self.reference if name not in self.methods]:
            raise ConfigurationError(
                f"the reference {', '.join(absent)} is not among the methods, which are {', '.join(self.methods)}"
            )
        return self

    @property
    def references(self) -> tuple[str, ...]:
        """What the others are held against, one after the other."""
        if self.reference:
            return self.reference
        adapting = [method for method in self.methods if method_by_name(method).adapts]
        first = FULL_TRAIN if FULL_TRAIN in self.methods else next(iter(adapting), self.methods[0])
        return tuple(dict.fromkeys((first, *(m for m in self.methods if m == SPARSE_UPDATE))))

    @property
    def _note(self) -> str:
        """What to say of the reference that was taken."""
        if self.reference or FULL_TRAIN in self.methods:
            return ""
        return f"{FULL_TRAIN} is not among the methods: the reference is {self.references[0]}."

    def _comparison(self, name: str, arms: Mapping[str, Arm]) -> Comparison:
        first, *others = self.references
        return Comparison(name, TITLES[name], arms, first, others=tuple(others), printed=True, note=self._note)

    def comparisons(self) -> list[Comparison]:
        """The blocks of the table."""
        blocks = [self._comparison(LIKE_FOR_LIKE, {method: Arm(method=method) for method in self.methods})]
        if self.plain:
            blocks.append(self._comparison(PAPER, {method: _paper_arm(method) for method in self.methods}))
        return blocks
