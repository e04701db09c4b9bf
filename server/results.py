"""What a run leaves behind: `reports.jsonl`, one line for each device and round, and `run.json`, all else.

The lines hold no time and no name of a node, and are sorted by device: the same reports give the same bytes.
"""

import json
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from server.config import RunSettings
from server.exchange import Missing
from tinytrain_core.errors import ConfigurationError, StorageError
from tinytrain_core.report import PersonalisationReport, validate_report

REPORTS_FILE = "reports.jsonl"
RUN_FILE = "run.json"
PACKAGES = ("tinytrain-fleet", "flwr", "numpy", "torch")


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

    def summary(self) -> dict[str, Any]:
        """The round without its reports. Node numbers are text: they are larger than JSON's readers can hold."""
        return {
            "round": self.round,
            "nodes": [str(node) for node in self.nodes],
            "reports": len(self.reports),
            "missing": [{"node": str(m.node), "cause": m.cause.value} for m in self.missing],
            "backbone_sent_to": [str(node) for node in self.backbone_sent_to],
            "backbone_bytes_sent": self.backbone_bytes * len(self.backbone_sent_to),
        }


def report_lines(reports: Iterable[PersonalisationReport]) -> str:
    """The reports as lines of JSON, sorted by device."""
    lines = [(r.device, json.dumps(r.model_dump(mode="json"), allow_nan=False)) for r in reports]
    return "".join(f"{line}\n" for _, line in sorted(lines))


def read_reports(out: Path) -> list[PersonalisationReport]:
    """The reports of the run in the folder `out`.

    Raises:
        ConfigurationError: there is no run in the folder.
        EgressError: a line is not a valid report.
    """
    file = out / REPORTS_FILE
    if not file.is_file():
        raise ConfigurationError(f"no {REPORTS_FILE} in {out}; is it the --out folder of a run?")
    return [validate_report(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


class Results:
    """The results of one run in `settings.out`, written after every round.

    Raises:
        StorageError: the folder cannot be written.
    """

    def __init__(self, settings: RunSettings, backbone_digest: str) -> None:
        self.folder = Path(settings.out).expanduser()
        self._settings = settings
        self._digest = backbone_digest
        self._rounds: list[dict[str, Any]] = []
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
            "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        }

    def _write(self, name: str, text: str, mode: str) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / name).open(mode, encoding="utf-8", newline="\n") as stream:
                stream.write(text)
        except OSError as error:
            raise StorageError(f"cannot write {self.folder / name}: {error.strerror}") from error
