"""A device whose disk or whose owner has changed things under it: it goes on, and says what is wrong."""

import sqlite3
from itertools import pairwise
from pathlib import Path

import pytest

from client.store import Store
from tests.client.agents import (
    NOW,
    Device,
    carry_out,
    give,
    manifest,
    open_device,
    order,
    reported,
    unique_ids,
    write_device,
)
from tinytrain_core.digests import digest
from tinytrain_core.errors import ErrorCode
from tinytrain_core.orders import SyncRequest


def spoil(device: Device, statement: str) -> None:
    with sqlite3.connect(device.node.store / "agent.sqlite") as other:
        other.execute(statement)
    other.close()


def test_a_device_that_is_taken_out_does_not_silence_the_others(tmp_path: Path, data: bytes) -> None:
    device = open_device(write_device(tmp_path, [{}, {}]))
    carry_out(device, order(manifest(data, 1)), data)
    device.state.close()
    device = open_device(write_device(tmp_path, [{}]))
    answer = device.agent.answer("", ErrorCode.NONE, NOW)
    assert [delivery.report.device for delivery in answer.deliveries] == [11]
    assert (answer.status.pending, answer.status.dropped) == (1, 1)
    assert device.agent.sync(SyncRequest(acknowledged=unique_ids(answer.deliveries))) == ErrorCode.NONE
    assert not device.agent.busy()
    device.state.close()


def test_a_backbone_that_cannot_be_read_is_not_held(device: Device, data: bytes) -> None:
    carry_out(device, order(manifest(data, 1)), data)
    file = Store(device.node.store)._backbone_file(digest(data))
    file.unlink()
    file.mkdir()  # stands for a sector that cannot be read
    status = device.agent.answer(digest(data), ErrorCode.NONE, NOW).status
    assert (status.holds_backbone, status.refused, status.pending) == (0, ErrorCode.NONE, 1)
    assert give(device, order(manifest(data, 1), rollout=2), None) == ErrorCode.BACKBONE_MISSING
    file.rmdir()
    carry_out(device, order(manifest(data, 1), rollout=2), data)


def test_a_backbone_that_the_worker_cannot_read_is_an_outcome(device: Device, data: bytes) -> None:
    assert give(device, order(manifest(data, 1)), data) == ErrorCode.NONE
    file = Store(device.node.store)._backbone_file(digest(data))
    file.unlink()
    file.mkdir()
    device.tick()
    assert reported(device) == [(1, 1, 1, 11, ErrorCode.STORAGE)]
    assert device.state.standing.in_use.version == 0


def test_a_state_that_is_damaged_while_it_runs_is_said_and_begun_anew(device: Device, data: bytes) -> None:
    carry_out(device, order(manifest(data, 1)), data)
    standing = device.state.standing
    spoil(device, "DROP TABLE outbox")
    answer = device.agent.answer("", ErrorCode.NONE, NOW)
    assert (answer.status.refused, answer.deliveries) == (ErrorCode.STORAGE, ())
    assert (device.agent.news(), device.agent.busy()) == (False, False)
    assert device.agent.sync(SyncRequest(acknowledged=[1])) == ErrorCode.STORAGE
    device.agent.tick(NOW)
    assert device.state.standing == standing
    carry_out(device, order(manifest(data, 1), rollout=2), None)
    assert reported(device) == [(2, 1, 1, 11, 0)]
    assert (device.node.store / "agent.sqlite.damaged").exists()


def test_a_database_without_its_tables_is_set_aside_at_the_start(tmp_path: Path, data: bytes) -> None:
    device = open_device(write_device(tmp_path))
    carry_out(device, order(manifest(data, 1)), data)
    standing = device.state.standing
    device.state.close()
    spoil(device, "DROP TABLE orders")
    device = open_device(tmp_path / "agent.yaml")
    assert device.state.standing == standing
    assert not device.agent.busy()
    device.state.close()


def test_a_disk_that_fails_is_tried_ever_more_seldom_and_said_once_a_minute(
    device: Device, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    tried = list[float]()
    assert give(device, order(manifest(data, 1)), data) == ErrorCode.NONE
    spoil(device, "CREATE TRIGGER full BEFORE INSERT ON tries BEGIN SELECT raise(FAIL, 'the disk is full'); END")
    spoil(device, "ALTER TABLE tries RENAME COLUMN count TO counted")  # what is written to it fails from now on
    for half_seconds in range(1_200):
        before = device.agent._retry._failures, device.agent._retry._failed_s
        device.agent.tick(NOW + half_seconds / 2)
        if (device.agent._retry._failures, device.agent._retry._failed_s) != before:
            tried.append(half_seconds / 2)
    gaps = [later - earlier for earlier, later in pairwise(tried)]
    assert gaps[:6] == [1, 2, 4, 8, 16, 32]
    assert set(gaps[6:]) == {60}
    assert 9 <= caplog.text.count("no such column") <= 11
    spoil(device, "DROP TRIGGER full")
    spoil(device, "ALTER TABLE tries RENAME COLUMN counted TO count")
    device.tick(NOW + 700)
    assert reported(device) == [(1, 1, 1, 11, 0)]
