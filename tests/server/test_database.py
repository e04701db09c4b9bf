import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest

from server.fleet.database import SCHEMA_VERSION, Database
from tinytrain_core.errors import StorageError


def test_a_new_database_has_the_latest_schema_and_opens_again(tmp_path: Path) -> None:
    for _ in range(2):
        with Database(tmp_path / "state" / "fleet.sqlite") as database:
            assert database.rows("PRAGMA user_version")[0][0] == SCHEMA_VERSION
            assert database.rows("PRAGMA journal_mode")[0][0] == "wal"
            assert database.rows("SELECT * FROM rollouts") == []


def test_reports_of_a_span_of_time_are_found_by_an_index(tmp_path: Path) -> None:
    with Database(tmp_path / "fleet.sqlite") as database:
        plan = database.rows("EXPLAIN QUERY PLAN SELECT * FROM reports WHERE received_s > 1.0")
    assert "reports_by_time" in plan[0]["detail"]


def test_all_of_a_transaction_happens_or_nothing(tmp_path: Path) -> None:
    with Database(tmp_path / "fleet.sqlite") as database:
        with suppress(ZeroDivisionError), database.transaction() as connection:
            connection.execute("INSERT INTO controller VALUES (1, 'run', 7, 0.0)")
            raise ZeroDivisionError
        assert database.rows("SELECT * FROM controller") == []
        with database.transaction() as connection:
            connection.execute("INSERT INTO controller VALUES (1, 'run', 7, 0.0)")
        assert len(database.rows("SELECT * FROM controller")) == 1


def test_it_is_seen_when_somebody_else_has_written(tmp_path: Path) -> None:
    with Database(tmp_path / "fleet.sqlite") as one, Database(tmp_path / "fleet.sqlite") as other:
        before = one.change()
        with one.transaction() as connection:
            connection.execute("INSERT INTO controller VALUES (1, 'run', 7, 0.0)")
        assert one.change() == before
        with other.transaction() as connection:
            connection.execute("UPDATE controller SET beat_s = 1.0")
        assert one.change() != before


def test_reading_and_opening_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    with Database(tmp_path / "fleet.sqlite") as writer, writer.transaction() as connection:
        connection.execute("INSERT INTO controller VALUES (1, 'run', 7, 0.0)")
        with Database(tmp_path / "fleet.sqlite") as reader:
            assert reader.rows("SELECT * FROM controller") == []


def test_a_later_schema_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "fleet.sqlite"
    Database(file).close()
    with sqlite3.connect(file) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(StorageError, match=f"has schema {SCHEMA_VERSION + 1}, this program knows schemas up to"):
        Database(file)


def test_a_schema_that_was_half_made_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "CREATE TABLE nodes (name TEXT);\nCREATE TABLE nodes (name TEXT);\n"
    file = tmp_path / "fleet.sqlite"
    with monkeypatch.context() as patch:
        patch.setattr("server.fleet.database._migrations", lambda: [script])
        with pytest.raises(StorageError, match="already exists"):
            Database(file)
    with Database(file) as database:
        assert database.rows("SELECT * FROM rollouts") == []


def test_what_is_no_database_is_an_error_with_its_name(tmp_path: Path) -> None:
    file = tmp_path / "fleet.sqlite"
    file.write_bytes(b"this is no database, but long enough to have a header" * 20)
    with pytest.raises(StorageError, match=r"cannot open the database .*fleet\.sqlite"):
        Database(file)


def test_a_full_disk_is_an_error_and_changes_nothing(tmp_path: Path) -> None:
    with Database(tmp_path / "fleet.sqlite") as database:
        pages = database.rows("PRAGMA page_count")[0][0]
        database.connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StorageError, match="full"), database.transaction() as connection:
            connection.execute("INSERT INTO nodes (name, public_key, added_s) VALUES (?, 'k', 0)", ("n" * 100_000,))
        assert database.rows("SELECT * FROM nodes") == []
