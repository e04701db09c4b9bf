"""The way back to an older release, and what a device keeps for it."""

from client.agent.standing import Release
from client.store import Store
from tests.client.agents import (
    NOW,
    Device,
    carry_out,
    give,
    manifest,
    order,
    reported,
)
from tinytrain_core.digests import digest
from tinytrain_core.errors import ErrorCode
from tinytrain_core.report import Outcome


def test_the_way_back_is_at_once_and_without_training(device: Device, files: list[bytes]) -> None:
    carry_out(device, order(manifest(files[0], 1)), files[0])
    first = device.state.deliveries(1)[0].report
    carry_out(device, order(manifest(files[1], 2), rollout=2), files[1])
    back = manifest(files[0], 1, kind="rollback", withdraws=[2])
    assert give(device, order(back, rollout=2, attempt=2, settings={"round": 7}), None) == ErrorCode.NONE
    assert device.state.standing.in_use == Release(1, digest(files[0]))
    device.agent.tick(NOW)  # one look is enough: there is nothing to train
    assert device.state.running() is None
    last = device.state.deliveries(10)[-1]
    assert (last.envelope.rollout, last.envelope.attempt, last.envelope.version) == (2, 2, 1)
    assert last.report == first.model_copy(update={"round": 7})
    assert give(device, order(manifest(files[1], 2), rollout=3), files[1]) == ErrorCode.ROLLBACK
    assert device.state.standing.accepted.highest == 2


def test_the_way_back_trains_where_the_delta_is_gone(device: Device, files: list[bytes]) -> None:
    settings = {"method": "last_layer", "steps": 4}
    carry_out(device, order(manifest(files[0], 1), settings=settings), files[0])
    adapted = device.state.deliveries(1)[0].report.outcome == Outcome.ADAPTED
    carry_out(device, order(manifest(files[1], 2), rollout=2, settings=settings), files[1])
    store = Store(device.node.store)
    if adapted:
        store.drop_delta(11, digest(files[0]))
    else:
        store.save_delta(11, digest(files[0]), b"a delta that nobody has reported")
    back = manifest(files[0], 1, kind="rollback", withdraws=[2])
    assert give(device, order(back, rollout=2, attempt=2, settings=settings), None) == ErrorCode.NONE
    device.tick()
    assert reported(device)[-1] == (2, 2, 1, 11, 0)
    assert (store.delta(11, digest(files[0])) is not None) == adapted


def test_old_releases_are_pruned_and_the_one_before_is_kept(device: Device, files: list[bytes]) -> None:
    store = Store(device.node.store)
    for version, data in enumerate(files, 1):
        carry_out(device, order(manifest(data, version), rollout=version), data)
        kept = [digest(known) for known in files[max(version - 2, 0) : version]]
        assert sorted(store.backbones()) == sorted(kept)
        assert set(store.deltas(11)) <= set(kept)
    assert device.state.remembered(11, digest(files[0])) is None
    assert device.state.remembered(11, digest(files[1])) is not None
