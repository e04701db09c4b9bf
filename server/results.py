"""What a run leaves behind: `reports.jsonl`, one line for each device and round, and `run.json`, all else.

The lines hold no time and no name of a node, and are sorted by device: the same reports give the same bytes.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from server.config import RunSettings
from server.exchange import Missing
from server.versions import versions
from tinytrain_core.configuration import problems
from tinytrain_core.errors import ConfigurationError, EgressError, StorageError
from tinytrain_core.report import PersonalisationReport, validate_report

REPORTS_FILE = "reports.jsonl"
RUN_FILE = "run.json"
RecordType = TypeVar("RecordType", bound=BaseModel)


@dataclass(frozen=True)
class RoundResult:
    """One round.

    Attributes:
        nodes: the nodes that the round began with.
        reports: in any order.
        backbone_sent_to: the nodes that did not hold the backbone.
        backbone_bytes: the size of its file.
    """

    round: int
    nodes: tuple[int, ...]
    reports: tuple[PersonalisationReport, ...]
    missing: tuple[Missing, ...]
    backbone_sent_to: tuple[int, ...]
    backbone_bytes: int

    @property
    def duplicates(self) -> int:
        """Reports beyond the first that carry a device's number; 0 is no device's."""
        numbers = Counter(report.device for report in self.reports if report.device)
        return sum(numbers.values()) - len(numbers)

    def summary(self) -> dict[str, Any]:
        """The round without its reports. Node numbers are text: they are larger than JSON's readers can hold."""
        return {
            "round": self.round,
            "nodes": [str(node) for node in self.nodes],
            "reports": len(self.reports),
            "duplicates": self.duplicates,
            "missing": [{"node": str(m.node), "cause": m.cause.value} for m in self.missing],
            "backbone_sent_to": [str(node) for node in self.backbone_sent_to],
            "backbone_bytes_sent": self.backbone_bytes * len(self.backbone_sent_to),
        }


def report_lines(reports: Iterable[PersonalisationReport]) -> str:
    """The reports as lines of JSON, sorted by device."""
    lines = [(r.device, json.dumps(r.model_dump(mode="json"), allow_nan=False)) for r in reports]
    return "".join(f"{line}\n" for _, line in sorted(lines))


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class MissingRecord(_Record):
    """A node without an answer, as it is written."""

    node: str
    cause: str


class RoundRecord(_Record):
    """A round as it is written; what older versions lack has a default."""

    nodes: tuple[str, ...]
    missing: tuple[MissingRecord, ...]
    backbone_bytes_sent: int
    duplicates: int = 0


class RunRecord(_Record):
    """What is read of `run.json`."""

    backbone_digest: str
    rounds: tuple[RoundRecord, ...]
    versions: Mapping[str, str]


def read_record(file: Path, model: type[RecordType]) -> RecordType:
    """The record in a JSON file of a run's folder.

    Raises:
        ConfigurationError: there is no such file, or it is damaged.
    """
    if not file.is_file():
        raise ConfigurationError(f"no {file.name} in {file.parent}; is it the --out folder of a simulated run?")
    try:
        return model.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise ConfigurationError(f"{file} is damaged: {problems(error)}; run the fleet again") from None


def _read_report(line: bytes, where: str) -> PersonalisationReport:
    try:
        fields = json.loads(line.decode("utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"{where} is not JSON, as of a run that was cut short: {error}") from None
    if not isinstance(fields, dict):
        raise ConfigurationError(f"{where} holds {type(fields).__name__}; expected an object")
    try:
        return validate_report(fields)
    except EgressError as error:
        raise EgressError(f"{where}: {error}") from None


def read_reports(out: Path) -> list[PersonalisationReport]:
    """The reports of the run in the folder `out`.

    Raises:
        ConfigurationError: there is no run in the folder, or a line is not a JSON object.
        EgressError: a line is not a valid report.
    """
    file = out / REPORTS_FILE
    if not file.is_file():
        raise ConfigurationError(f"no {REPORTS_FILE} in {out}; is it the --out folder of a run?")
    lines = file.read_bytes().splitlines()
    return [_read_report(line, f"{file}, line {number}") for number, line in enumerate(lines, start=1)]


class Results:
    """The results of one run in `settings.out`, written after every round; those of a former run go.

    Raises:
        StorageError: the folder cannot be written.
    """

    def __init__(self, settings: RunSettings, backbone_digest: str) -> None:
        self.folder = Path(settings.out).expanduser()
        self._settings = settings
        self._digest = backbone_digest
        self._rounds: list[dict[str, Any]] = []
        self._begin()

    def _begin(self) -> None:
        """No report, and no account of a run that is not this one."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / RUN_FILE).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot prepare {self.folder}: {error.strerror}") from error
        self._write(REPORTS_FILE, "", "w")

    def append(self, result: RoundResult) -> None:
        """Add a round."""
        self._rounds.append(result.summary())
        self._write(REPORTS_FILE, report_lines(result.reports), "a")
        self._write(RUN_FILE, json.dumps(self._description(), indent=2) + "\n", "w")

    def _description(self) -> dict[str, Any]:
        return {
            "settings": self._settings.model_dump(mode="json"),
            "backbone_digest": self._digest,
            "rounds": self._rounds,
            "versions": versions("flwr"),
        }

    def _write(self, name: str, text: str, mode: str) -> None:
        try:
            with (self.folder / name).open(mode, encoding="utf-8", newline="\n") as stream:
                stream.write(text)
        except OSError as error:
            raise StorageError(f"cannot write {self.folder / name}: {error.strerror}") from error
