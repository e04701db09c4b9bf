"""A state that is opened with another fleet, another privacy, or a file less than before."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from client.agent.database import EXHAUSTED
from client.agent.schema import TABLES
from client.agent.state import AgentState
from server.pki.certificates import make_authority
from tests.client import agents
from tests.client.agents import NOW, carry_out, give, manifest, open_device, order, reported, write_device
from tinytrain_core.errors import ErrorCode
from tinytrain_core.report import Outcome

PRIVACY = {"noise_multiplier": 4.0, "max_reports": 5}


def test_reports_that_wait_when_privacy_is_switched_on_leave_with_noise(tmp_path: Path, files: list[bytes]) -> None:
    device = open_device(write_device(tmp_path, [{}, {"data": "empty"}]))
    carry_out(device, order(manifest(files[0], 1)), files[0])
    plain = {d.report.device: d for d in device.state.deliveries(9)}
    assert plain[11].report.ways > 0
    device.state.close()
    for _ in range(2):
        device = open_device(write_device(tmp_path, [{}, {"data": "empty"}], privacy=PRIVACY))
        told = {d.report.device: d for d in device.agent.answer("", ErrorCode.NONE, NOW).deliveries}
        assert told[11].envelope == plain[11].envelope
        assert (told[11].report.outcome, told[11].report.ways, told[11].report.loss_first) == (Outcome.WITHHELD, 0, 0)
        assert device.state.standing.spent[11] == 1
        device.state.close()


def test_plain_reports_are_not_told_again_once_privacy_is_on(tmp_path: Path, files: list[bytes]) -> None:
    device = open_device(write_device(tmp_path))
    carry_out(device, order(manifest(files[0], 1)), files[0])
    device.state.close()
    device = open_device(write_device(tmp_path, privacy=PRIVACY))
    carry_out(device, order(manifest(files[1], 2), rollout=2), files[1])
    carry_out(device, order(manifest(files[0], 1, kind="rollback", withdraws=[2]), rollout=3), None)
    assert {d.report.outcome for d in device.state.deliveries(9)} == {Outcome.WITHHELD}
    assert device.state.standing.spent == {11: 3}
    device.state.close()


def test_a_damaged_file_and_an_empty_database_win_no_privacy_back(
    tmp_path: Path, files: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    device = open_device(write_device(tmp_path, privacy=PRIVACY))
    carry_out(device, order(manifest(files[0], 5)), files[0])
    device.state.close()
    (tmp_path / "store" / "agent.sqlite").write_bytes(b"")
    (tmp_path / "store" / "held.json").write_bytes(bytes(300))
    device = open_device(tmp_path / "agent.yaml")
    assert device.state.standing.spent == {11: EXHAUSTED}
    assert "privacy counts as spent" in caplog.text
    device.state.close()


def test_a_new_device_has_spent_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").write_bytes(b"")
    state = AgentState(tmp_path / "a.sqlite", devices=[11])
    assert state.standing.spent == {}
    state.close()


def test_a_database_of_the_version_before_goes_on(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a.sqlite") as old:
        column = "manifest TEXT NOT NULL,"
        old.executescript(TABLES.replace(column, f"{column} signatures TEXT NOT NULL,"))
        old.execute("INSERT INTO orders VALUES (1, 4, 1, 2, 'a', 'm', '{}', '{}', 1.0, 2.0, 3.0, 4.0, 1, 0)")
        old.execute("PRAGMA user_version = 1")
    old.close()
    state = AgentState(tmp_path / "a.sqlite")
    running = state.running()
    assert running is not None
    assert (running.rollout, running.manifest, running.settings, running.proven) == (4, "m", "{}", True)
    state.close()


def authority(folder: Path) -> None:
    (folder / "ca.crt").write_bytes(make_authority("a fleet", 10, datetime.now(UTC)).certificate_pem)


@pytest.mark.parametrize("change", ["line", "authority"])
def test_another_fleet_gets_nothing_of_the_one_before(
    change: str, tmp_path: Path, files: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_device(tmp_path, privacy=PRIVACY)
    authority(tmp_path)
    device = open_device(tmp_path / "agent.yaml")
    carry_out(device, order(manifest(files[0], 7), rollout=9), files[0])
    before = device.state.standing
    device.state.close()
    device = open_device(tmp_path / "agent.yaml")
    assert (device.state.standing, device.state.pending()) == (before, 1)
    device.state.close()
    line = "main"
    if change == "authority":
        authority(tmp_path)
    else:
        line, plain = "other", agents.trust()
        monkeypatch.setattr(agents, "trust", lambda: plain.model_copy(update={"line": "other"}))
    device = open_device(tmp_path / "agent.yaml")
    assert device.agent.answer("", ErrorCode.NONE, NOW).deliveries == ()
    assert device.state.standing.spent == {11: 1}
    assert give(device, order(manifest(files[1], 1, name=line)), files[1]) == ErrorCode.NONE
    device.tick()
    assert reported(device) == [(1, 1, 1, 11, 0)]
    assert (tmp_path / "store" / "agent.sqlite.of-another-fleet").exists()
    device.state.close()
