import json
from pathlib import Path

import pytest

from server.config import RunSettings
from server.exchange import Cause, Missing
from server.results import Results, RoundResult, read_reports
from tinytrain_core.errors import ConfigurationError, EgressError, ErrorCode, StorageError
from tinytrain_core.report import PersonalisationReport, failure

NODE = 16492510671730019944  # more than a double can hold


def report(device: int, number: int) -> PersonalisationReport:
    return failure(ErrorCode.NONE, device, 1, number).model_copy(update={"accuracy_before": 0.1 + device / 70})


def result(number: int, *devices: int) -> RoundResult:
    reports = tuple(report(device, number) for device in devices)
    return RoundResult(number, (1, NODE), reports, (Missing(NODE, Cause.LATE),), (1,), 1000)


def test_reports_are_sorted_whatever_their_order(tmp_path: Path) -> None:
    contents = []
    for name, order in (("a", (10, 2, 1)), ("b", (1, 10, 2))):
        results = Results(RunSettings(out=str(tmp_path / name)), "d")
        results.append(result(1, *order))
        results.append(result(2, *reversed(order)))
        contents.append((tmp_path / name / "reports.jsonl").read_bytes())
    assert contents[0] == contents[1]
    reports = read_reports(tmp_path / "a")
    assert [(r.round, r.device) for r in reports] == [(1, 1), (1, 2), (1, 10), (2, 1), (2, 2), (2, 10)]
    assert reports[0] == report(1, 1)


def test_the_run_is_described_after_every_round(tmp_path: Path) -> None:
    results = Results(RunSettings(out=str(tmp_path), steps=7), "d" * 64)
    results.append(result(1, 1))
    description = json.loads((tmp_path / "run.json").read_text())
    assert description["settings"]["steps"] == 7
    assert description["backbone_digest"] == "d" * 64
    (first,) = description["rounds"]
    assert first["nodes"] == ["1", str(NODE)]
    assert first["missing"] == [{"node": str(NODE), "cause": "late"}]
    assert first["backbone_bytes_sent"] == 1000
    assert set(description["versions"]) == {"tinytrain-fleet", "flwr", "numpy", "torch", "python"}


def test_a_new_run_begins_afresh(tmp_path: Path) -> None:
    settings = RunSettings(out=str(tmp_path))
    Results(settings, "d").append(result(1, 1, 2))
    later = Results(settings, "d")
    assert not (tmp_path / "run.json").exists()  # it would be about other reports
    later.append(result(1, 3))
    assert [r.device for r in read_reports(tmp_path)] == [3]


def test_reading_checks_again(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"reports\.jsonl"):
        read_reports(tmp_path)
    Results(RunSettings(out=str(tmp_path)), "d").append(result(1, 1))
    file = tmp_path / "reports.jsonl"
    file.write_text(file.read_text().replace('"steps": 0', '"steps": -1'))
    with pytest.raises(EgressError, match="steps"):
        read_reports(tmp_path)


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        Results(RunSettings(out=str(tmp_path / "file")), "d")
