"""Every trial of a study in one tidy CSV file: a line is written as its trial ends, and never changed.

Of two lines of the same trial the later one counts.
"""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from simulations.studies.arms import Training
from tinytrain_core.errors import ConfigurationError, ErrorCode, StorageError
from tinytrain_core.report import Outcome

TRIALS_FILE = "trials.csv"
FAILED = Outcome.FAILED.name.lower()
DIVERGED = ErrorCode.TRAINING_DIVERGED.name.lower()


class Purpose(StrEnum):
    """What a trial is for: to choose a learning rate, or to be counted."""

    VALIDATION = "validation"
    TEST = "test"


class Key(NamedTuple):
    """What tells a trial from every other of its study."""

    purpose: Purpose
    data: str
    backbone: str
    training: Training
    arm: str
    learning_rate: float
    trial: int


class Trial(BaseModel):
    """One arm on one task.

    Attributes:
        learning_rate: 0 where the method does not adapt.
        seed: of the augmentation.
        accuracy_before, accuracy_after: of the base and of the adapted backbone on the query images, kept or not;
            None where there was no task. A training that diverged has the base backbone's after it.
        outcome: as the report names it, in lower case; error: the name of its error code, or empty.
        backward_macs: of one step and image; total_macs: of all, selection included.
        layers: CONVOLUTION:CHANNELS of what was updated, in order.
        seconds: measured, with everything that ran on the machine meanwhile.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    purpose: Purpose
    data: str
    backbone: str
    training: Training
    arm: str
    method: str
    learning_rate: float
    trial: int
    seed: int = 0
    ways: int = 0
    support_images: int = 0
    query_images: int = 0
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    outcome: str
    error: str = ""
    updated_weights: int = 0
    paper_memory_bytes: int = 0
    live_memory_bytes: int = 0
    measured_memory_bytes: int = 0
    backward_macs: int = 0
    total_macs: int = 0
    steps: int = 0
    layers: str = ""
    seconds: float = 0.0

    @field_validator("accuracy_before", "accuracy_after", mode="before")
    @classmethod
    def _absent(cls, value: Any) -> Any:
        return None if value == "" else value

    @property
    def key(self) -> Key:
        return Key(self.purpose, self.data, self.backbone, self.training, self.arm, self.learning_rate, self.trial)

    @property
    def updated_layers(self) -> tuple[str, ...]:
        """The convolutions of `layers`, however many of their channels."""
        return tuple(layer.partition(":")[0] for layer in self.layers.split())

    @property
    def is_mendable(self) -> bool:
        """Whether it failed for another reason than its training, as for want of images, and is to be run again."""
        return self.outcome == FAILED and self.error != DIVERGED


Trials = Mapping[Key, Trial]
COLUMNS = tuple(Trial.model_fields)


def _line(values: Iterable[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()


def _whole_lines(file: Path) -> str:
    """The text up to the last line that was written to its end."""
    try:
        data = file.read_bytes() if file.exists() else b""
        return data[: data.rfind(b"\n") + 1].decode()
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{file} cannot be read: {error}") from None


def read_trials(folder: Path) -> dict[Key, Trial]:
    """The trials of a study so far, by what tells them apart; a last line that was torn is left out.

    Raises:
        ConfigurationError: the file is of another version, or a line of it is damaged.
        StorageError: it cannot be read.
    """
    file = folder / TRIALS_FILE
    rows = csv.reader(io.StringIO(_whole_lines(file)))
    head = next(rows, None)
    if head is not None and tuple(head) != COLUMNS:
        raise ConfigurationError(f"{file} has other columns than this version writes; give another --out")
    trials = (_parsed(row, f"{file}, line {number}") for number, row in enumerate(rows, 2))
    return {trial.key: trial for trial in trials}


def _parsed(row: list[str], where: str) -> Trial:
    try:
        return Trial.model_validate(dict(zip(COLUMNS, row, strict=True)))
    except (ValidationError, ValueError):
        raise ConfigurationError(f"{where} is damaged; mend it, remove it, or give another --out") from None


class TrialsFile:
    """The open file, to append to."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def append(self, trial: Trial) -> None:
        """Write a trial; it is on the disk when this returns.

        Raises:
            StorageError: it cannot be written.
        """
        try:
            self._stream.write(_line(trial.model_dump(mode="json").values()))
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise StorageError(f"cannot write to {self._stream.name}: {error.strerror}") from error


def _opened(file: Path) -> TextIO:
    """The file, made where there is none, without a last line that was torn."""
    whole = len(_whole_lines(file).encode())
    try:
        stream = file.open("a", encoding="utf-8", newline="")
        stream.truncate(whole)
        if not whole:
            stream.write(_line(COLUMNS))
    except OSError as error:
        raise StorageError(f"cannot write {file}: {error.strerror}") from error
    return stream


@contextmanager
def open_trials(folder: Path) -> Iterator[TrialsFile]:
    """The file of a study's trials, to append to.

    Raises:
        StorageError: it cannot be written.
    """
    with _opened(folder / TRIALS_FILE) as stream:
        yield TrialsFile(stream)
