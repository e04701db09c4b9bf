"""What the database is asked for: of each device in each group the last report, as if all of them had been read."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.fleet.reports.figures import fleet_figures
from server.fleet.reports.rows import By, Selection, StoredReport, stored_reports
from server.fleet.reports.table import report_json
from tests.server.fleet_store import DAY_S, NOW_S, add_report, add_rollout, good, make_fleet, opened

GROUPINGS: list[list[By]] = [[By.RELEASE, By.CLASS], [By.DAY], [By.ROLLOUT], [By.CLASS, By.DAY]]
stories = st.lists(
    st.tuples(
        st.integers(0, 6),  # the device; 0 is one that does not say which
        st.sampled_from(["pi_4", "phone"]),
        st.integers(1, 2),  # release and rollout
        st.integers(0, 2),  # day
        st.floats(0, 1),
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=20)
@given(stories, st.sampled_from(GROUPINGS), st.integers(1, 4))
def test_the_last_reports_are_those_that_count(
    story: list[tuple[int, str, int, int, float]], by: list[By], portion: int
) -> None:
    every = []
    with TemporaryDirectory() as folder, opened(make_fleet(Path(folder))) as database:
        numbers = {1: add_rollout(database, "one", 1), 2: add_rollout(database, "two", 2)}
        for second, (device, profile, release, day, after) in enumerate(story):
            report, at_s, node = good(device, profile, after=after), NOW_S + DAY_S * day + second, f"node-{device % 4}"
            add_report(database, report, release, numbers[release], at_s, node)
            every.append(StoredReport(node, device, release, ("one", "two")[release - 1], at_s, report))
        found = list(stored_reports(database, Selection(), by, portion))
        finest = list(stored_reports(database, Selection(), portion=portion))
    every.sort(key=lambda stored: stored.received_s)
    expected = report_json(fleet_figures(every, by, 2))
    assert report_json(fleet_figures(found, by, 2)) == expected
    assert report_json(fleet_figures(finest, by, 2)) == expected
    assert sum(stored.reports for stored in found) == len(every)


def test_of_reports_that_came_at_once_the_last_one_made_counts(tmp_path: Path) -> None:
    with opened(make_fleet(tmp_path)) as database:
        for made_s, after in ((30.0, 0.9), (10.0, 0.6), (20.0, 0.7)):
            add_report(database, good(1, after=after))
            with database.transaction() as connection:
                connection.execute("UPDATE reports SET made_s = ? WHERE made_s = ?", (made_s, NOW_S))
        (stored,) = stored_reports(database, Selection())
    assert (stored.report.accuracy_after, stored.reports) == (0.9, 3)


def test_a_slow_reader_does_not_keep_the_log_from_being_shortened(tmp_path: Path) -> None:
    """A reader that has taken its first row is in no transaction: a checkpoint gets through."""
    folder = make_fleet(tmp_path)
    with opened(folder) as writer, opened(folder) as reader:
        for device in (1, 2, 3):
            add_report(writer, good(device))
        reports = stored_reports(reader, Selection(), portion=2)
        assert next(reports).device == 1
        add_report(writer, good(4))
        busy, pages, moved = writer.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0]
        assert (busy, pages, moved) == (0, 0, 0)
        assert [stored.device for stored in reports] == [2, 3]


@pytest.mark.parametrize("by", GROUPINGS)
def test_there_is_nothing_to_read(tmp_path: Path, by: list[By]) -> None:
    with opened(make_fleet(tmp_path)) as database:
        assert list(stored_reports(database, Selection(), by)) == []
