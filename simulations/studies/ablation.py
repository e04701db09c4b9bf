"""Ablations: what each part of the method is worth, one question after the other."""

from dataclasses import replace
from typing import ClassVar

from pydantic import Field, field_validator, model_validator

from simulations.studies.arms import Arm
from simulations.studies.comparisons import Comparison
from simulations.studies.questions import QUESTIONS
from simulations.studies.study_settings import StudySettings
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.selection.methods import checked_spec

ALL = "all"
META = "meta"  # needs plain backbones


def _checked_question(name: str) -> str:
    if name not in (*QUESTIONS, ALL):
        raise ConfigurationError(f"unknown question {name!r}; the known ones are {', '.join(QUESTIONS)}, {ALL}")
    return name


class AblationSettings(StudySettings):
    """Which questions are asked."""

    kind: ClassVar[str] = "ablation"

    questions: tuple[str, ...] = Field((ALL,), min_length=1)

    @field_validator("questions")
    @classmethod
    def _known(cls, questions: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_checked_question(name) for name in questions))

    @model_validator(mode="after")
    def _possible(self) -> "AblationSettings":
        for comparison in self.comparisons():
            for arm in comparison.arms.values():
                checked_spec(arm.method)
                if not self.files(arm.training):
                    raise ConfigurationError(f"{comparison.name}: there is no plain backbone; give --plain LABEL=FILE")
        return self

    @property
    def asked(self) -> list[str]:
        """The questions one by one; `all` is all that these backbones can answer."""
        everything = [name for name in QUESTIONS if self.plain or name != META]
        return list(dict.fromkeys(q for name in self.questions for q in (everything if name == ALL else [name])))

    def comparisons(self) -> list[Comparison]:
        return [self._reduced(c) for name in self.asked for c in QUESTIONS[name].comparisons(name)]

    def _reduced(self, comparison: Comparison) -> Comparison:
        """The same with arms that have no values of their own for what is the study's anyway."""
        arms = {name: self._without_study_values(arm) for name, arm in comparison.arms.items()}
        return replace(comparison, arms=arms)

    def _without_study_values(self, arm: Arm) -> Arm:
        same = {name: None for name, value in arm.own.items() if getattr(self, name, None) == value}
        return arm.model_copy(update=same)
