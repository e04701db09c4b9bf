"""When a device may personalise: hours, power and temperature, read from files as Linux shows them."""

import time
from collections.abc import Iterator
from datetime import datetime
from datetime import time as Time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.agent.conditions import COOLER_C, Conditions, within
from client.agent.config import AgentConfig, PowerConfig, load_agent_config
from client.agent.runner import PAUSE_LIMIT_S
from tests.client.agents import NOW, InlineWork, backbones, manifest, open_device, order, write_device
from tinytrain_core.errors import ConfigurationError, ErrorCode
from tinytrain_core.orders import NodeState

HOURS = st.times(timezones=st.none())


def stamp(hours: int, minutes: int = 0) -> float:
    return datetime(2026, 3, 3, hours, minutes).timestamp()


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n", encoding="utf-8")


@pytest.mark.parametrize(("hour", "allowed"), [(21, False), (22, True), (23, True), (0, True), (5, True), (6, False)])
def test_a_window_passes_midnight_in_local_time(hour: int, allowed: bool) -> None:
    found = Conditions(window=("22:00-06:00",)).check(stamp(hour))
    assert (found == NodeState.IDLE) == allowed
    assert found in (NodeState.IDLE, NodeState.OUTSIDE_WINDOW)


@given(st.tuples(HOURS, HOURS), HOURS)
def test_a_window_and_the_rest_of_the_day_are_a_day(ends: tuple[Time, Time], now: Time) -> None:
    begin, end = (f"{t.hour:02d}:{t.minute:02d}" for t in ends)
    if begin != end:
        assert within(f"{begin}-{end}", now) != within(f"{end}-{begin}", now)
    else:
        assert within(f"{begin}-{end}", now)


def test_any_of_several_windows_is_enough() -> None:
    rules = Conditions(window=("01:00-02:00", "12:30-13:00"))
    assert rules.check(stamp(12, 45)) == rules.check(stamp(1, 59)) == NodeState.IDLE
    assert rules.check(stamp(12, 15)) == NodeState.OUTSIDE_WINDOW


def power(folder: Path, mains_only: bool = False, least: int = 0) -> NodeState:
    return Conditions(power=PowerConfig(mains_only=mains_only, min_battery_percent=least), supplies=folder).check(NOW)


def test_a_device_without_a_supply_to_be_seen_is_on_the_mains(tmp_path: Path) -> None:
    assert power(tmp_path / "nothing", mains_only=True, least=100) == NodeState.IDLE


def test_a_socket_that_feeds_nothing_does_not_hold_a_device_without_a_battery_back(tmp_path: Path) -> None:
    write(tmp_path / "ucsi-source-psy-USBC000:001", type="USB", online=0, scope="System")
    assert power(tmp_path, mains_only=True) == NodeState.IDLE


def test_mains_and_batteries(tmp_path: Path) -> None:
    write(tmp_path / "AC", type="Mains", online=0)
    write(tmp_path / "BAT0", type="Battery", capacity=40)
    write(tmp_path / "mouse", type="Battery", capacity=3, scope="Device")
    assert power(tmp_path, mains_only=True) == NodeState.NO_POWER
    assert power(tmp_path, least=41) == NodeState.NO_POWER
    assert power(tmp_path, least=40) == NodeState.IDLE
    write(tmp_path / "AC", online=1)
    assert power(tmp_path, mains_only=True, least=100) == NodeState.IDLE


def test_a_battery_that_says_nothing_does_not_hold_a_device_back(tmp_path: Path) -> None:
    write(tmp_path / "BAT0", type="Battery", capacity="unknown")
    assert power(tmp_path, least=50) == NodeState.IDLE


def test_a_hot_device_has_to_cool_below_its_limit(tmp_path: Path) -> None:
    rules = Conditions(max_c=70.0, thermal=tmp_path)
    assert rules.check(NOW) == NodeState.IDLE
    write(tmp_path / "thermal_zone0", temp=30_000)
    write(tmp_path / "thermal_zone1", temp=70_001)
    assert rules.check(NOW) == NodeState.TOO_HOT
    write(tmp_path / "thermal_zone1", temp=int((70 - COOLER_C) * 1_000) + 1)
    assert rules.check(NOW, hot=True) == NodeState.TOO_HOT
    assert rules.check(NOW) == NodeState.IDLE
    write(tmp_path / "thermal_zone1", temp="no sensor")
    assert rules.check(NOW, hot=True) == NodeState.IDLE


class Resting(InlineWork):
    """A worker that can be paused, and is never done."""

    paused = False
    stopped = False

    def ended(self) -> int | None:
        return None

    def pause(self, paused: bool) -> None:
        self.paused = paused

    def stop(self) -> None:
        self.stopped = True


def test_a_worker_rests_while_it_may_not_work_and_is_ended_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, works = backbones(1)[0], list[Resting]()

    def start(_: object) -> Resting:
        works.append(Resting())
        return works[-1]

    write(tmp_path / "thermal" / "thermal_zone0", temp=20_000)
    rules = Conditions(max_c=70.0, thermal=tmp_path / "thermal")
    device = open_device(write_device(tmp_path, work_limit_s=1e5), start, rules)
    assert device.agent.order(order(manifest(data, 1)), data, NOW) == ErrorCode.NONE
    device.tick()
    write(tmp_path / "thermal" / "thermal_zone0", temp=80_000)
    device.tick()
    assert (works[0].paused, works[0].stopped) == (True, False)
    assert device.agent.answer("", ErrorCode.NONE, NOW).status.state == NodeState.TOO_HOT
    write(tmp_path / "thermal" / "thermal_zone0", temp=20_000)
    device.tick()
    assert works[0].paused is False
    assert device.agent.answer("", ErrorCode.NONE, NOW).status.state == NodeState.WORKING
    write(tmp_path / "thermal" / "thermal_zone0", temp=80_000)
    device.tick()
    later = time.monotonic() + PAUSE_LIMIT_S + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    device.tick()
    assert works[0].stopped
    assert device.state.tries(11) == 0  # it was not the device's fault
    write(tmp_path / "thermal" / "thermal_zone0", temp=20_000)
    device.tick()
    assert (len(works), device.state.tries(11)) == (2, 1)
    device.state.close()


def test_the_settings_are_read_and_anchored(tmp_path: Path) -> None:
    file = write_device(
        tmp_path, window="22:00-06:00", power={"mains_only": True}, temperature={"max_c": 70}, state="state/a.sqlite"
    )
    config = load_agent_config(file)
    assert (config.window, config.address, config.poll_s) == (("22:00-06:00",), ("127.0.0.1", 9), 0.05)
    assert (config.node, config.state) == (tmp_path / "node.yaml", tmp_path / "state" / "a.sqlite")
    assert Conditions.of(config) == Conditions(("22:00-06:00",), PowerConfig(mains_only=True), 70.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": "22-6"},
        {"window": ["25:00-06:00"]},
        {"server": "nowhere"},
        {"server": "a..b:1"},
        {"poll_s": 0},
        {"colour": "red"},
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        load_agent_config(write_device(tmp_path, **wrong))


def test_an_address_may_be_of_the_sixth_version() -> None:
    assert AgentConfig(name="a", node="n", server="[::1]:9", ca="c", key="k", trust="t").address == ("::1", 9)
