"""What a device remembers: bounded, whole after damage, and monotonic whatever is lost."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.agent.database import EXHAUSTED
from client.agent.outbox import Filed
from client.agent.privacy import PrivacyConfig
from client.agent.standing import Release, Standing, later, parse_standing, read_standing, write_standing
from client.agent.state import KEPT_ORDERS, AgentState, Order
from tests.client.agents import NOW, backbones, manifest, open_device, order, write_device
from tinytrain_core.errors import ErrorCode, RollbackError, StorageError
from tinytrain_core.release import Held
from tinytrain_core.report import Outcome, failure

DIGESTS = st.sampled_from(["", "a" * 64, "b" * 64])
RELEASES = st.builds(Release, st.integers(0, 9), DIGESTS, st.integers(0, 99))
HELD = st.builds(Held, st.integers(0, 9), DIGESTS, st.integers(0, 9), st.integers(0, 99))
SPENT = st.dictionaries(st.integers(1, 20), st.integers(0, 50), max_size=4)
STANDINGS = st.builds(Standing, st.integers(0, 9), HELD, RELEASES, RELEASES, SPENT, st.sampled_from(["", "main:a"]))


def an_order(rollout: int, attempt: int = 1) -> Order:
    return Order(rollout, attempt, 1, "a" * 64, "{}", NOW, 60.0, NOW + 60, NOW + 60)


def filed(device: int, code: ErrorCode = ErrorCode.NONE) -> Filed:
    return Filed(failure(code, device), False)


def waiting(state: AgentState) -> list[tuple[int, int]]:
    return [(d.envelope.rollout, d.report.device) for d in state.deliveries(1_000)]


def test_a_device_reports_once_on_an_order(tmp_path: Path) -> None:
    state = AgentState(tmp_path / "a.sqlite")
    state.adopt(an_order(1))
    running = state.running()
    assert running is not None
    state.file(running, [filed(1), filed(2)], NOW)
    state.file(running, [filed(1), filed(3)], NOW, ended=True)
    assert waiting(state) == [(1, 1), (1, 2), (1, 3)]
    assert state.running() is None
    with pytest.raises(sqlite3.IntegrityError):
        state.adopt(an_order(1))
    numbers = [d.envelope.report_id for d in state.deliveries(9)]
    assert len(set(numbers)) == 3
    state.acknowledge(numbers[1:])
    state.close()
    again = AgentState(tmp_path / "a.sqlite")
    assert [d.envelope.report_id for d in again.deliveries(9)] == numbers[:1]
    again.close()


def test_the_oldest_reports_give_way_and_are_counted(tmp_path: Path) -> None:
    state = AgentState(tmp_path / "a.sqlite", max_reports=5)
    for rollout in range(1, 9):
        state.adopt(an_order(rollout), left=[failure(ErrorCode.SUPERSEDED, 7)])
    assert [rollout for rollout, _ in waiting(state)] == [3, 4, 5, 6, 7]
    assert (state.pending(), state.number("dropped")) == (5, 2)
    state.close()


def test_old_orders_are_forgotten(tmp_path: Path) -> None:
    state = AgentState(tmp_path / "a.sqlite")
    for rollout in range(1, KEPT_ORDERS + 4):
        state.adopt(an_order(rollout))
    assert state.seen(3, 1) is None
    assert state.seen(4, 1) is not None
    assert getattr(state.running(), "rollout", None) == KEPT_ORDERS + 3
    state.close()


def test_a_report_of_another_version_of_the_program_is_dropped_and_counted(tmp_path: Path) -> None:
    state = AgentState(tmp_path / "a.sqlite")
    state.adopt(an_order(1))
    state.adopt(an_order(2), left=[failure(ErrorCode.SUPERSEDED, 1), failure(ErrorCode.SUPERSEDED, 2)])
    with sqlite3.connect(tmp_path / "a.sqlite") as other:
        other.execute("UPDATE outbox SET report = replace(report, 'schema_version', 'schema') WHERE position = 1")
    other.close()
    assert waiting(state) == [(1, 2)]
    assert (state.pending(), state.number("dropped")) == (1, 1)
    state.close()


def overwrite(file: Path) -> None:
    file.write_bytes(b"not a database at all" * 100)


def scramble(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[4096:] = bytes(reversed(data[4096:]))
    file.write_bytes(data)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


@pytest.mark.parametrize("damage", [overwrite, scramble, cut])
def test_a_damaged_database_is_set_aside_and_versions_stay(damage: Callable[[Path], None], tmp_path: Path) -> None:
    files = backbones(2)
    device = open_device(write_device(tmp_path))
    assert device.agent.order(order(manifest(files[1], 2)), files[1], NOW) == ErrorCode.NONE
    device.tick()
    standing = device.state.standing
    device.state.close()
    damage(tmp_path / "store" / "agent.sqlite")
    device = open_device(tmp_path / "agent.yaml")
    assert (tmp_path / "store" / "agent.sqlite.damaged").exists()
    assert device.state.standing == standing
    assert device.state.deliveries(9) == []
    assert device.agent.order(order(manifest(files[0], 1), rollout=2), files[0], NOW) == ErrorCode.ROLLBACK
    assert device.agent.order(order(manifest(files[1], 2), rollout=2), None, NOW) == ErrorCode.NONE
    device.tick()
    assert waiting(device.state) == [(2, 11)]
    device.state.close()


def test_a_damaged_file_beside_it_is_made_again(tmp_path: Path) -> None:
    state = AgentState(tmp_path / "a.sqlite")
    accepted = Standing(changes=5, accepted=Held(2, "b" * 64, 2, 7), in_use=Release(2, "b" * 64))
    state.adopt(an_order(1), accepted)
    state.close()
    (tmp_path / "held.json").write_bytes(b"{}")
    state = AgentState(tmp_path / "a.sqlite")
    assert state.standing == accepted == read_standing(tmp_path / "held.json")
    state.close()


def test_where_both_are_lost_no_privacy_is_won_back(tmp_path: Path) -> None:
    overwrite(tmp_path / "a.sqlite")
    state = AgentState(tmp_path / "a.sqlite", devices=[11, 12])
    assert state.standing.spent == {11: EXHAUSTED, 12: EXHAUSTED}
    state.close()


def test_the_program_does_not_touch_a_database_of_a_later_version(tmp_path: Path) -> None:
    AgentState(tmp_path / "a.sqlite").close()
    with sqlite3.connect(tmp_path / "a.sqlite") as other:
        other.execute("PRAGMA user_version = 7")
    other.close()
    with pytest.raises(StorageError, match="version 7"):
        AgentState(tmp_path / "a.sqlite")


def test_spent_privacy_is_counted_and_ends(tmp_path: Path) -> None:
    data = backbones(1)[0]
    device = open_device(write_device(tmp_path, privacy={"noise_multiplier": 4.0, "max_reports": 2}))
    assert isinstance(device.config.privacy, PrivacyConfig)
    for attempt in (1, 2, 3):
        assert device.agent.order(order(manifest(data, 1), attempt=attempt), data, NOW) == ErrorCode.NONE
        device.tick()
    assert device.state.standing.spent == {11: 2}
    told = [d.report for d in device.state.deliveries(9)]
    assert [report.outcome for report in told] == [Outcome.WITHHELD] * 3
    assert [report.holdout_images for report in told] == [1, 1, 0]
    device.state.close()


@given(STANDINGS)
def test_a_standing_survives_its_text(standing: Standing) -> None:
    assert parse_standing(standing.to_json()) == standing


@given(st.one_of(st.none(), STANDINGS), st.one_of(st.none(), STANDINGS))
def test_of_two_standings_nothing_falls(one: Standing | None, other: Standing | None) -> None:
    found = later(one, other)
    for standing in (standing for standing in (one, other) if standing is not None):
        assert found is not None
        assert found.accepted.highest >= standing.accepted.highest
        assert found.accepted.created >= standing.accepted.created
        assert found.changes >= standing.changes
        assert all(found.spent[device] >= count for device, count in standing.spent.items())
    assert later(found, found) == found


@given(st.binary(max_size=200))
def test_whatever_is_in_the_file_is_a_standing_or_nothing(data: bytes) -> None:
    assert parse_standing(data) is None or isinstance(parse_standing(data), Standing)


def test_a_file_that_was_changed_is_none(tmp_path: Path) -> None:
    file = tmp_path / "held.json"
    write_standing(file, Standing(changes=1, accepted=Held(3, "a" * 64, 3, 4), spent={2: 1, 10: 5}))
    assert getattr(read_standing(file), "spent", None) == {2: 1, 10: 5}
    file.write_bytes(file.read_bytes().replace(b'"highest": 3', b'"highest": 0'))
    assert read_standing(file) is None


def test_going_back_is_to_the_release_before_at_once() -> None:
    first, second = manifest(b"1", 1), manifest(b"22", 2)
    standing = Standing().accept(first).proven(Release(1, first.digest)).accept(second)
    assert standing.in_use.version == 1
    standing = standing.proven(Release(2, second.digest))
    with pytest.raises(RollbackError):
        standing.accept(first)
    back = standing.accept(manifest(b"1", 1, kind="rollback", withdraws=[2]))
    assert (back.in_use.version, back.previous.version, back.accepted.highest) == (1, 2, 2)
