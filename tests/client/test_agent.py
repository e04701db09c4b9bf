"""What a device does about orders: carried out once, refused with a code, superseded, too late, and back again."""

from dataclasses import replace
from pathlib import Path

import pytest

from client.agent.conditions import Conditions
from client.agent.config import PowerConfig
from client.agent.standing import Release, read_standing
from client.store import Store
from tests.client.agents import (
    DAY,
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
from tinytrain_core.orders import NodeState, SyncRequest
from tinytrain_core.release import Held


def test_an_order_is_carried_out_once_and_delivered_until_it_is_acknowledged(
    device: Device, files: list[bytes]
) -> None:
    request = order(manifest(files[0], 1))
    assert give(device, request, files[0]) == ErrorCode.NONE
    accepted = device.agent.answer(digest(files[0]), ErrorCode.NONE, NOW).status
    assert (accepted.version, accepted.highest, accepted.rollout, accepted.holds_backbone) == (0, 1, 1, 1)
    assert not device.agent.news()
    device.tick()
    assert device.agent.news()
    answer = device.agent.answer("", ErrorCode.NONE, NOW)
    assert (answer.status.version, answer.status.pending, answer.status.state) == (1, 1, NodeState.IDLE)
    assert (answer.status.client, answer.status.devices, answer.status.clock) == (1_000, 1, int(NOW))
    assert [d.report.device for d in answer.deliveries] == [11]
    assert reported(device) == [(1, 1, 1, 11, 0)]
    assert give(device, request, files[0]) == ErrorCode.NONE
    device.tick()
    again = device.agent.answer("", ErrorCode.NONE, NOW)
    assert again.deliveries == answer.deliveries
    assert device.agent.sync(SyncRequest(acknowledged=[*unique_ids(answer.deliveries), 5])) == ErrorCode.NONE
    assert not device.agent.answer("", ErrorCode.NONE, NOW).deliveries
    assert not device.agent.news()
    assert not device.agent.busy()


def test_a_higher_attempt_does_it_again_without_the_backbone(device: Device, files: list[bytes]) -> None:
    what = manifest(files[0], 1)
    carry_out(device, order(what), files[0])
    carry_out(device, order(what, attempt=2, acknowledged=[]), None)
    assert [r[:2] for r in reported(device)] == [(1, 1), (1, 2)]


REFUSALS = {
    "too few signatures": (lambda what: order(what, signers=1), ErrorCode.SIGNATURE),
    "another line": (lambda what: order(what.model_copy(update={"name": "other"})), ErrorCode.MANIFEST),
    "expired": (lambda what: order(what.model_copy(update={"expires": int(NOW) - 1})), ErrorCode.RELEASE_EXPIRED),
    "from the future": (lambda what: order(what.model_copy(update={"created": int(NOW) + DAY})), ErrorCode.CLOCK),
    "a later program": (lambda what: order(what.model_copy(update={"min_client": "9.0.0"})), ErrorCode.CLIENT_TOO_OLD),
    "another file": (lambda what: order(what.model_copy(update={"length": what.length + 1})), ErrorCode.MANIFEST),
    "another digest": (lambda what: order(what.model_copy(update={"digest": "0" * 64})), ErrorCode.MANIFEST),
    "settings of another backbone": (
        lambda what: order(what).model_copy(update={"settings": order(manifest(b"x", 1)).settings}),
        ErrorCode.REQUEST,
    ),
    "signatures that are none": (lambda what: order(what).model_copy(update={"signatures": "[]"}), ErrorCode.REQUEST),
    "a changed manifest": (
        lambda what: order(what).model_copy(update={"manifest": order(what).manifest.replace("main", "mair")}),
        ErrorCode.SIGNATURE,
    ),
}


@pytest.mark.parametrize(("change", "code"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refused_order_changes_nothing(
    change: object, code: ErrorCode, device: Device, files: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    before = device.state.standing
    request = change(manifest(files[0], 1))  # type: ignore[operator]
    assert give(device, request, files[0]) == code
    assert device.agent.answer("", code, NOW).status.refused == code
    assert code.name in caplog.text
    assert device.state.standing == before == read_standing(device.node.store / "held.json")
    assert device.state.running() is None
    assert device.state.last() is None
    assert Store(device.node.store).backbones() == []


def test_a_backbone_that_is_not_there_is_asked_for(device: Device, files: list[bytes]) -> None:
    request = order(manifest(files[0], 1))
    assert give(device, request, None) == ErrorCode.BACKBONE_MISSING
    carry_out(device, request, files[0])


def test_versions_only_rise(device: Device, files: list[bytes]) -> None:
    carry_out(device, order(manifest(files[1], 2)), files[1])
    assert give(device, order(manifest(files[0], 1), rollout=2), files[0]) == ErrorCode.ROLLBACK
    assert give(device, order(manifest(files[0], 2), rollout=2), files[0]) == ErrorCode.ROLLBACK
    carry_out(device, order(manifest(files[1], 2), rollout=2), None)
    carry_out(device, order(manifest(files[2], 3), rollout=3), files[2])
    assert device.state.standing.accepted.highest == 3


def test_a_newer_order_supersedes_the_running_one(device: Device, files: list[bytes]) -> None:
    assert give(device, order(manifest(files[0], 1)), files[0]) == ErrorCode.NONE
    assert give(device, order(manifest(files[1], 2), rollout=2), files[1]) == ErrorCode.NONE
    device.tick()
    assert reported(device) == [(1, 1, 1, 11, ErrorCode.SUPERSEDED), (2, 1, 2, 11, 0)]
    assert device.state.standing.in_use == Release(2, digest(files[1]))
    assert give(device, order(manifest(files[0], 1)), None) == ErrorCode.NONE  # late, and known already
    assert device.state.running() is None


def test_an_order_that_is_not_begun_in_time_is_too_late(device: Device, files: list[bytes]) -> None:
    assert give(device, order(manifest(files[0], 1), valid_s=60.0), files[0]) == ErrorCode.NONE
    device.tick(NOW + 61)
    assert reported(device) == [(1, 1, 1, 11, ErrorCode.TOO_LATE)]
    assert device.state.standing.in_use == Release()
    carry_out(device, order(manifest(files[0], 1), attempt=2), None)
    assert device.state.standing.in_use == Release(1, digest(files[0]))


def test_a_clock_that_is_set_back_does_not_make_an_order_valid_for_ever(tmp_path: Path, files: list[bytes]) -> None:
    (tmp_path / "supplies" / "battery").mkdir(parents=True)
    (tmp_path / "supplies" / "battery" / "type").write_text("Battery", encoding="utf-8")
    rules = Conditions(power=PowerConfig(mains_only=True), supplies=tmp_path / "supplies")
    device = open_device(write_device(tmp_path), conditions=rules)
    assert give(device, order(manifest(files[0], 1), valid_s=60.0), files[0], NOW + DAY) == ErrorCode.NONE
    device.tick(NOW)
    assert device.agent.answer("", ErrorCode.NONE, NOW).status.state == NodeState.NO_POWER
    device.tick(NOW + 59)
    assert not reported(device)
    device.tick(NOW + 61)
    assert reported(device) == [(1, 1, 1, 11, ErrorCode.TOO_LATE)]
    device.state.close()


def test_a_release_that_expires_while_it_waits_is_not_begun(device: Device, files: list[bytes]) -> None:
    what = manifest(files[0], 1, expires=int(NOW) + 100)
    assert give(device, order(what), files[0]) == ErrorCode.NONE
    device.tick(NOW + 101)
    assert reported(device) == [(1, 1, 1, 11, ErrorCode.RELEASE_EXPIRED)]


def test_a_backbone_that_cannot_be_loaded_never_comes_into_use(device: Device, files: list[bytes]) -> None:
    carry_out(device, order(manifest(files[0], 1)), files[0])
    broken = b"signed, and not a backbone"
    carry_out(device, order(manifest(broken, 2), rollout=2), broken)
    assert reported(device)[1:] == [(2, 1, 2, 11, ErrorCode.BACKBONE)]
    assert device.state.standing.in_use == Release(1, digest(files[0]))
    assert device.state.standing.accepted == Held(2, digest(broken), 2, device.state.standing.accepted.created)
    assert Store(device.node.store).backbone(digest(files[0])) == files[0]
    carry_out(device, order(manifest(files[1], 3), rollout=3), files[1])
    assert device.state.standing.in_use.version == 3


def test_a_device_goes_on_by_itself(tmp_path: Path, files: list[bytes]) -> None:
    device = open_device(write_device(tmp_path, local_every_h=1))
    carry_out(device, order(manifest(files[0], 1), settings={"round": 3}), files[0])
    device.tick(NOW + 1_800)
    assert len(reported(device)) == 1
    device.tick(NOW + 3_601)
    device.tick(NOW + 7_300)
    assert reported(device)[1:] == [(0, 1, 1, 11, 0), (0, 2, 1, 11, 0)]
    assert [d.report.round for d in device.state.deliveries(9)] == [3, 3, 3]
    last = device.agent.answer("", ErrorCode.NONE, NOW).status
    assert (last.rollout, last.attempt) == (1, 1)
    device.state.close()


def test_a_local_run_gives_way_to_an_order_without_a_word(tmp_path: Path, files: list[bytes]) -> None:
    device = open_device(write_device(tmp_path, local_every_h=1))
    carry_out(device, order(manifest(files[0], 1)), files[0])
    device.agent.tick(NOW + 3_601)  # begun: what it says is heard at the next look
    assert device.state.running() is not None
    assert give(device, order(manifest(files[1], 2), rollout=2), files[1], NOW + 3_602) == ErrorCode.NONE
    device.tick(NOW + 3_603)
    assert reported(device) == [(1, 1, 1, 11, 0), (2, 1, 2, 11, 0)]
    assert replace(device.state.standing, changes=0).in_use.version == 2
    device.state.close()
