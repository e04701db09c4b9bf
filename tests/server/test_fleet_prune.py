"""`fleet prune`: what is deleted, what stays, and that the room is given back."""

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from server.fleet.reports.cli import app
from server.fleet.reports.retention import ROWS, delete_old, find_old, give_back
from tests.server.fleet_store import DAY_S, add_report, add_rollout, good, make_fleet, opened
from tinytrain_core.errors import ConfigurationError


def prune(folder: Path, *arguments: str) -> dict[str, int]:
    """The rows of each table that the command names."""
    result = CliRunner().invoke(
        app, ["prune", "--fleet", str(folder), "--format", "json", *arguments], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return {row["what"]: row["rows"] for row in json.loads(result.stdout)}


def left(folder: Path, table: str, column: str) -> list[object]:
    with opened(folder) as database:
        return [row[0] for row in database.rows(f"SELECT {column} FROM {table} ORDER BY 1")]


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """Reports of 3, 2 and 1 years and of a day ago, of a rollout that has ended and one that has not."""
    folder, now_s = make_fleet(tmp_path / "fleet"), time.time()
    with opened(folder) as database:
        spring, endless = add_rollout(database, "spring", 1), add_rollout(database, "endless", 2)
        for age_s in (1_095 * DAY_S, 730 * DAY_S, 365 * DAY_S, DAY_S / 2):
            for device in (1, 2):
                add_report(database, good(device), 1, spring, now_s - age_s, acknowledged_s=now_s)
        with database.transaction() as connection:
            connection.execute("UPDATE rollouts SET ended_s = ? WHERE id = ?", (now_s, spring))
            for rollout in (spring, endless):
                for age_s in (1_095 * DAY_S, DAY_S):
                    row = (rollout, now_s - age_s)
                    connection.execute("INSERT INTO decisions (rollout, at_s, what, reason) VALUES (?, ?, '', '')", row)
                    connection.execute(
                        "INSERT INTO refusals (rollout, at_s, node, error, reason) VALUES (?, ?, '', 1, '')", row
                    )
        add_report(database, good(3), 2, endless, now_s - 730 * DAY_S, acknowledged_s=now_s)
        add_report(database, good(3), 2, endless, now_s - 365 * DAY_S, acknowledged_s=now_s)
    return folder


def test_what_is_old_goes_with_yes_only(fleet: Path) -> None:
    expected = {"reports": 4, "refusals": 1, "decisions": 1}
    assert prune(fleet, "--older", "400d") == expected
    assert len(left(fleet, "reports", "device")) == 10
    assert prune(fleet, "--older", "400d", "--yes") == expected
    assert left(fleet, "reports", "device") == [1, 1, 2, 2, 3, 3]
    assert len(left(fleet, "refusals", "id")) == len(left(fleet, "decisions", "id")) == 3
    assert prune(fleet, "--older", "400d", "--yes") == {"reports": 0, "refusals": 0, "decisions": 0}


def test_the_last_report_of_a_device_about_a_release_stays(fleet: Path) -> None:
    with opened(fleet) as database, database.transaction() as connection:
        connection.execute("UPDATE reports SET release_version = 7 WHERE received_s < ?", (time.time() - 500 * DAY_S,))
        connection.execute("UPDATE rollouts SET ended_s = 1")
    assert (
        prune(fleet, "--older", "2d")["reports"] == 4
    )  # older ones of release 7 and 1; of device 3 each is a last one
    assert prune(fleet, "--older", "2d", "--no-keep-last", "--yes")["reports"] == 8
    assert left(fleet, "reports", "device") == [1, 2]


def test_what_a_node_may_send_again_stays(fleet: Path) -> None:
    with opened(fleet) as database, database.transaction() as connection:
        connection.execute("UPDATE reports SET acknowledged_s = NULL")
        connection.execute("UPDATE nodes SET removed_s = 1 WHERE name = 'node-2'")
    assert prune(fleet, "--older", "400d", "--yes")["reports"] == 2
    assert left(fleet, "reports", "device") == [1, 1, 1, 1, 2, 2, 3, 3]


def test_room_is_given_back_the_first_time_and_later(tmp_path: Path) -> None:
    folder, told = make_fleet(tmp_path), list[tuple[int, int]]()
    with opened(folder) as database:
        file = folder / "state" / "fleet.sqlite"
        report, rows = good(1).model_dump_json(), 2 * ROWS + 10
        with database.transaction() as connection:
            connection.execute("INSERT INTO nodes (name, public_key, added_s) VALUES ('n', 'n', 0)")
            connection.executemany(
                "INSERT INTO reports VALUES ('n', ?, 0, 1, 1, 1, 1, 1, 0, ?, ?, ?, 1)",
                [(n, n, n, report) for n in range(rows)],
            )
        sizes = []
        for before_s in (ROWS, 2 * rows):
            delete_old(database, find_old(database, before_s, True), lambda done, of: told.append((done, of)))
            give_back(database, lambda *_: None)
            sizes.append(file.stat().st_size)
        assert told == [(ROWS, ROWS), (ROWS, ROWS + 9), (ROWS + 9, ROWS + 9)]
        assert len(database.rows("SELECT 1 FROM reports")) == 1
        assert sizes[0] < len(report) * rows
        assert sizes[1] < sizes[0] / 4
        assert database.rows("PRAGMA integrity_check")[0][0] == "ok"


@pytest.mark.parametrize(("older", "text"), [("3h", "at least 1d"), ("0d", "at least 1d"), ("old", "is not a time")])
def test_the_last_day_is_never_deleted(fleet: Path, older: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        prune(fleet, "--older", older, "--yes")
