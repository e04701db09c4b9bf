"""What a study of accuracy is: one frozen model, whose kinds say what is held against what."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from simulations.studies.arms import Arm, ComputeShare, Mebibytes, Steps, Training, Views
from simulations.studies.comparisons import Comparison
from simulations.studies.data_sets import overlap
from tinytrain_core.engine.settings import STEPS, VIEWS
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.selection.cost import COMPUTE_SHARE, MEMORY_MIB

Rate = Annotated[float, Field(gt=0, le=1)]
Trials = Annotated[int, Field(ge=1, le=100_000)]
Images = Annotated[int, Field(ge=1, le=500)]


class StudySettings(BaseModel, ABC):
    """What every study of accuracy has. The same settings give the same trials.

    Attributes:
        data: label -> what is tested on, as `tinytrain_core.fewshot.sources.open_source` takes it.
        validation: label -> what the learning rates of the sets with other labels are chosen on.
        backbones: label -> file or shipped name of a meta-trained backbone.
        plain: label -> file of the same backbone without meta-training.
        rates: learning rates to choose from; a single one is taken without validation.
        ways: classes of a task; 0 for tasks of various ways and shots, as Meta-Dataset draws them.
        shots, queries: images of a class, where there are `ways`.
        compute_share: backward MACs that methods that choose may spend, over those of FullTrain.
        memory_mib: that they may spend, in the paper's ledger.
        methods_files: Python files that register methods of their own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    kind: ClassVar[str]

    protocol: Literal["paper", "quick"]
    data: dict[str, str] = Field(min_length=1)
    validation: dict[str, str]
    backbones: dict[str, str] = Field(min_length=1)
    plain: dict[str, str] = Field(default_factory=dict)
    rates: tuple[Rate, ...] = Field(min_length=1)
    trials: Trials
    validation_trials: Trials
    ways: int = Field(ge=0, le=100)
    shots: Images = 5
    queries: Images = 10
    steps: Steps = STEPS
    views: Views = VIEWS
    compute_share: ComputeShare = COMPUTE_SHARE
    memory_mib: Mebibytes = MEMORY_MIB
    seed: int = Field(0, ge=0, lt=2**31)
    device: Literal["cpu", "cuda"] = "cpu"
    methods_files: tuple[Path, ...] = ()

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @field_validator("data", "validation", "backbones", "plain")
    @classmethod
    def _printable(cls, by_label: dict[str, str]) -> dict[str, str]:
        for label in by_label:
            if not label.strip() or not label.isprintable():
                raise ConfigurationError(f"{label!r} is not a label; give a word, as LABEL=NAME")
        return by_label

    @field_validator("rates")
    @classmethod
    def _ascending(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted(set(rates)))

    @model_validator(mode="after")
    def _usable(self) -> "StudySettings":
        if unknown := sorted(self.plain.keys() - self.backbones.keys()):
            raise ConfigurationError(f"a plain backbone needs a meta-trained one of its label: {', '.join(unknown)}")
        for label in self.data if self.validates else ():
            self._check_validation(label)
            if not self.validation_labels(label):
                raise ConfigurationError(
                    f"the learning rates of {label} are chosen on other validation sets than its own, and there is "
                    "none; give one with --validation LABEL=DATA, or a single rate with --rates"
                )
        return self

    def _check_validation(self, tested: str) -> None:
        """That no validation set is the data tested on under another name."""
        for label in self.validation_labels(tested):
            if overlap(self.data[tested], self.validation[label]):
                raise ConfigurationError(
                    f"the validation set {label} ({self.validation[label]}) is what {tested} is tested on "
                    f"({self.data[tested]}), or has it in it; give another part of it, as PATH:SPLIT, or call it "
                    f"{tested} too, so that it only chooses for other sets"
                )

    @property
    def validates(self) -> bool:
        """Whether there is a choice of learning rates."""
        return len(self.rates) > 1

    def validation_labels(self, tested: str) -> tuple[str, ...]:
        """The validation sets that may choose a rate for the data tested on: never that of its own label."""
        return tuple(label for label in self.validation if label != tested)

    def files(self, training: Training) -> dict[str, str]:
        """The backbones of a training, by label."""
        return self.backbones if training is Training.META else self.plain

    @abstractmethod
    def comparisons(self) -> list[Comparison]:
        """What is held against what."""

    def arms(self) -> list[Arm]:
        """Every arm of the comparisons, once."""
        return list(dict.fromkeys(arm for comparison in self.comparisons() for arm in comparison.arms.values()))

    def cells(self) -> list[tuple[str, Arm]]:
        """Every arm on every backbone that there is of its training."""
        arms = self.arms()
        return [(label, arm) for label in self.backbones for arm in arms if label in self.files(arm.training)]
