"""`fleet devices` and `fleet refusals`: how devices are, and what was refused."""

import csv
import io
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from server.fleet.reports.cli import app
from server.words import age, moment
from tests.server.fleet_store import add_node, add_report, add_rollout, failed, good, make_fleet, opened
from tinytrain_core.errors import ErrorCode
from tinytrain_core.orders import NodeState


def run(folder: Path, *arguments: str) -> str:
    result = CliRunner().invoke(app, [arguments[0], "--fleet", str(folder), *arguments[1:]], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def rows(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    return list(json.loads(run(folder, *arguments, "--format", "json")))


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """A gateway at work, a node that is silent for a day, one that never spoke, one that was taken out."""
    folder, now_s = make_fleet(tmp_path / "fleet"), float(int(time.time()))
    with opened(folder) as database:
        rollout = add_rollout(database, "spring", 4)
        gateway = {"rollout": rollout, "attempt": 2, "version": 4, "pending": 2, "dropped": 1, "restarts": 3}
        add_node(
            database,
            "gateway",
            [(1, "stm32h743"), (2, "stm32h743")],
            now_s - 30,
            state=int(NodeState.OUTSIDE_WINDOW),
            clock=int(now_s) + 90,
            **gateway,
        )
        add_node(database, "silent", [(3, "pi_4")], now_s - 86_400, refused=int(ErrorCode.CLOCK))
        add_node(database, "new", [(4, "phone")])
        add_node(database, "gone", [(5, "phone")], now_s)
        add_report(database, failed(1, "stm32h743", ErrorCode.STORAGE), 3, 0, now_s - 200, "gateway")
        add_report(database, good(1, "stm32h743", 0.123, 0.456), 4, rollout, now_s - 100, "gateway")
        add_report(database, failed(2, "stm32h743", ErrorCode.NO_IMAGES), 4, rollout, now_s - 7_300, "gateway")
        with database.transaction() as connection:
            connection.execute("UPDATE nodes SET removed_s = ? WHERE name = 'gone'", (now_s,))
            refused = [
                ("gateway", now_s - 50, rollout, int(ErrorCode.EGRESS), "not a valid report: [bold]accuracy_after"),
                ("silent", now_s - 90_000, rollout, int(ErrorCode.CLOCK), "its clock is 3,601 s behind"),
            ]
            connection.executemany(
                "INSERT INTO refusals (node, at_s, rollout, error, reason) VALUES (?, ?, ?, ?, ?)", refused
            )
    return folder


def test_how_each_device_is(fleet: Path) -> None:
    found = {row["device"]: row for row in rows(fleet, "devices")}
    assert set(found) == {1, 2, 3, 4}
    one = found[1]
    assert (one["node"], one["class"], one["tags"], one["release"]) == ("gateway", "stm32h743", ["berlin"], 4)
    assert (one["order"], one["rollout"], one["attempt"]) == ("outside window", "spring", 2)
    assert (one["pending"], one["dropped"], one["restarts"]) == (2, 1, 3)
    assert one["last"] == "ok"
    assert found[2]["last"] == "failed: no images"
    assert found[2]["last_report_s"] == pytest.approx(7_300, abs=60)
    assert one["clock_skew_s"] == 120
    assert found[3]["order"] == "refused: clock"
    assert (found[4]["seen_s"], found[4]["last"], found[4]["clock_skew_s"]) == (None, "", None)
    assert {device: row["stale"] for device, row in found.items()} == {1: False, 2: False, 3: True, 4: True}
    assert not next(row for row in rows(fleet, "devices", "--stale-after", "2d") if row["device"] == 3)["stale"]


def test_no_accuracy_of_a_device_is_shown(fleet: Path) -> None:
    for style in ("table", "json", "csv"):
        text = run(fleet, "devices", "--format", style)
        assert "stm32h743" in text
        assert "0.123" not in text
        assert "45.6" not in text
        assert "accuracy" not in text


@pytest.mark.parametrize("style", ["table", "json", "csv"])
def test_whether_adapting_helped_a_device_is_not_shown(tmp_path: Path, style: str) -> None:
    folder, texts = make_fleet(tmp_path / "fleet"), []
    for after in (0.9, 0.1):
        with opened(folder) as database:
            if after > 0.5:
                add_node(database, "gateway", [(1, "pi_4")])
            add_report(database, good(1, before=0.5, after=after), received_s=time.time() - 9_000, node="gateway")
        texts.append(run(folder, "devices", "--format", style))
    assert "ok" in texts[0]
    assert not re.search("adapted|kept|worse", "".join(texts))


def test_the_table_of_devices(fleet: Path) -> None:
    lines = {line.split()[0]: " ".join(line.split()) for line in run(fleet, "devices").splitlines() if line.strip()}
    assert re.search(r"outside window \(spring, attempt 2\) 2, 1 lost 3 \+120 s ok, 1[0-9]{2} s$", lines["1"])
    assert "24 h, STALE refused: clock" in lines["3"]
    assert "never, STALE" in lines["4"]
    table = list(csv.DictReader(io.StringIO(run(fleet, "devices", "--format", "csv"))))
    assert [row["tags"] for row in table] == ["berlin"] * 4


def test_what_was_refused(fleet: Path) -> None:
    found = rows(fleet, "refusals")
    assert [(row["node"], row["rollout"], row["error"]) for row in found] == [
        ("gateway", "spring", "egress"),
        ("silent", "spring", "clock"),
    ]
    assert [row["node"] for row in rows(fleet, "refusals", "--since", "1d")] == ["gateway"]
    assert [row["node"] for row in rows(fleet, "refusals", "--node", "silent")] == ["silent"]
    assert len(rows(fleet, "refusals", "--limit", "1")) == 1
    assert "[bold]accuracy_after" in run(fleet, "refusals")


def test_an_empty_fleet(tmp_path: Path) -> None:
    folder = make_fleet(tmp_path / "fleet")
    assert "no node has been added" in run(folder, "devices")
    assert "nothing was refused" in run(folder, "refusals")
    assert rows(folder, "devices") == rows(folder, "refusals") == []
    assert run(folder, "refusals", "--format", "csv").strip() == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "never"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (200_000, "2 d")]
)
def test_ages(seconds: float | None, text: str) -> None:
    assert age(seconds) == text


def test_moments() -> None:
    assert moment(1_767_225_599) == "2025-12-31 23:59:59 UTC"
    assert (moment(None), moment(1e12)) == ("", "1000000000000 s after 1970")
