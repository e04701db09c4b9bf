"""What a server may make of a signed release: how often, with what, and never at the price of what is in use."""

from pathlib import Path

import pytest

from client.agent.acceptance import DAY_S
from client.agent.conditions import Conditions
from client.agent.filing import coarse
from client.agent.state import KEPT_ORDERS, Order
from client.agent.worker import Job
from client.store import Store
from tests.client.agents import (
    DAY,
    NOW,
    Device,
    carry_out,
    give,
    inline,
    manifest,
    open_device,
    order,
    reported,
    write_device,
)
from tests.disk import full_for
from tinytrain_core.digests import digest
from tinytrain_core.errors import ErrorCode
from tinytrain_core.report import PersonalisationReport


def test_an_order_that_has_no_room_leaves_the_one_that_runs(
    tmp_path: Path, files: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = list[Job]()
    device = open_device(write_device(tmp_path), lambda job: begun.append(job) or inline(job))  # type: ignore[func-returns-value]
    carry_out(device, order(manifest(files[0], 1)), files[0])
    assert give(device, order(manifest(files[1], 2), rollout=2), files[1]) == ErrorCode.NONE
    device.agent.tick(NOW)
    assert device.agent.working()
    for name in ("safetensors", "held.json"):
        with monkeypatch.context() as full:
            full.setattr("os.fsync", full_for(name))
            assert give(device, order(manifest(files[2], 3), rollout=3), files[2]) == ErrorCode.STORAGE
        assert device.agent.working()
        assert set(Store(device.node.store).backbones()) >= {digest(files[0]), digest(files[1])}
    device.tick()
    assert reported(device)[1:] == [(2, 1, 2, 11, 0)]
    assert len(begun) == 2
    device.state.close()


def test_an_order_that_waits_keeps_its_backbone_when_another_is_refused(
    tmp_path: Path, files: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = open_device(write_device(tmp_path), conditions=Conditions(window=("00:00-00:01",)))
    assert give(device, order(manifest(files[0], 1)), files[0]) == ErrorCode.NONE
    with monkeypatch.context() as full:
        full.setattr("os.fsync", full_for("safetensors"))
        assert give(device, order(manifest(files[1], 2), rollout=2), files[1]) == ErrorCode.STORAGE
    device.state.close()
    device = open_device(tmp_path / "agent.yaml")
    device.tick()
    assert reported(device) == [(1, 1, 1, 11, 0)]
    device.state.close()


def test_a_backbone_that_is_held_is_not_written_again(device: Device, files: list[bytes]) -> None:
    carry_out(device, order(manifest(files[0], 1)), files[0])
    file = next(device.node.store.glob("backbones/*"))
    before = file.stat().st_ino
    carry_out(device, order(manifest(files[0], 1), rollout=2), files[0])
    assert file.stat().st_ino == before


@pytest.mark.parametrize("what", ["release", "settings"])
def test_a_number_that_was_had_with_another_content_is_refused(
    what: str, device: Device, files: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    first = order(manifest(files[0], 1), rollout=7)
    carry_out(device, first, files[0])
    other = (
        order(manifest(files[1], 2), rollout=7)
        if what == "release"
        else order(manifest(files[0], 1), rollout=7, settings={"steps": 2})
    )
    assert give(device, other, files[1] if what == "release" else None) == ErrorCode.REQUEST
    assert "another order of that number" in caplog.text
    assert give(device, first, None) == ErrorCode.NONE
    device.tick()
    assert reported(device) == [(7, 1, 1, 11, 0)]


def test_a_release_is_ordered_so_often_within_a_day(
    tmp_path: Path, files: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    device = open_device(write_device(tmp_path, max_orders_per_day=2))
    what = manifest(files[0], 1)
    for rollout in (1, 2):
        carry_out(device, order(what, rollout=rollout), files[0])
    device.state.close()
    device = open_device(tmp_path / "agent.yaml")
    assert give(device, order(what, rollout=3), None) == ErrorCode.REQUEST
    assert "2 orders within a day, 2 are allowed" in caplog.text
    assert give(device, order(what, rollout=3), None, NOW + DAY_S + 1) == ErrorCode.NONE
    carry_out(device, order(manifest(files[1], 2), rollout=4), files[1])  # signed anew
    back = manifest(files[0], 1, kind="rollback", withdraws=[2])
    carry_out(device, order(back, rollout=4, attempt=2), None)
    assert give(device, order(back, rollout=5), None) == ErrorCode.REQUEST
    device.state.close()


def test_what_leaves_is_coarse() -> None:
    report = PersonalisationReport(
        device=3, outcome=1, loss_first=1.23456789, loss_last=0.00051, wall_s=7.77777, accuracy_after=0.123456789
    )
    told = coarse(report)
    assert (told.loss_first, told.loss_last, told.wall_s) == (1.235, 0.001, 7.8)
    assert told.model_copy(update={n: getattr(report, n) for n in ("loss_first", "loss_last", "wall_s")}) == report


def test_a_filed_report_is_coarse(device: Device, files: list[bytes]) -> None:
    carry_out(device, order(manifest(files[0], 1), settings={"steps": 3, "learning_rate": 0.01}), files[0])
    told = device.state.deliveries(1)[0].report
    assert told.loss_first > 0
    assert told == coarse(told)


def test_what_a_device_does_by_itself_takes_no_orders_place(device: Device, files: list[bytes]) -> None:
    given = order(manifest(files[0], 1), rollout=5)
    carry_out(device, given, files[0])
    for number in range(1, KEPT_ORDERS + 2):
        alone = Order(0, number, 1, digest(files[0]), given.settings, NOW, 60.0, NOW + 60, NOW + 60)
        device.state.adopt(alone)
        running = device.state.running()
        assert running is not None
        device.state.file(running, [], NOW, ended=True)
        assert device.state.seen(0, number) is None
    assert device.agent.answer("", ErrorCode.NONE, NOW).status.rollout == 5
    carry_out(device, given, None)
    assert reported(device) == [(5, 1, 1, 11, 0)]


def test_a_delta_that_cannot_be_read_does_not_hold_the_way_back_up(device: Device, files: list[bytes]) -> None:
    carry_out(device, order(manifest(files[0], 1)), files[0])
    carry_out(device, order(manifest(files[1], 2), rollout=2), files[1])
    delta = device.node.store / "deltas" / "11" / f"{digest(files[0])}.delta"
    delta.unlink(missing_ok=True)
    delta.mkdir(parents=True)  # stands for a sector that cannot be read
    back = manifest(files[0], 1, kind="rollback", withdraws=[2])
    assert give(device, order(back, rollout=3, valid_s=60.0), None) == ErrorCode.NONE
    device.tick(NOW + 3_600)
    assert reported(device)[-1] == (3, 1, 1, 11, ErrorCode.TOO_LATE)
    assert give(device, order(back, rollout=4), None) == ErrorCode.NONE
    device.tick()
    assert device.state.running() is None
    assert reported(device)[-1][:4] == (4, 1, 1, 11)


def test_a_release_that_stays_in_use_beyond_its_date_is_warned_of_once_a_day(
    device: Device, files: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    what = manifest(files[0], 1)
    carry_out(device, order(what), files[0])
    assert device.state.standing.in_use.expires == what.expires
    for hours in range(60):
        device.agent.tick(what.expires + 3_600.0 * hours + 1)
    assert caplog.text.count("no newer one has come") == 3
    again = what.model_copy(update={"expires": what.expires + 30 * DAY})
    carry_out(device, order(again, rollout=2), None)
    assert device.state.standing.in_use.expires == again.expires
