from pathlib import Path
from typing import Any

import pytest

from tests.server.fleet_run import FleetRun
from tests.server.release_folder import DAY, NOW, manifest, weights
from tinytrain_core.errors import ConfigurationError, ManifestError, ReleaseExpiredError, SignatureError, TinyTrainError


@pytest.fixture
def fleet(tmp_path: Path) -> FleetRun:
    return FleetRun(tmp_path / "fleet")


def test_stages_and_the_way_back_are_fixed_at_the_start(fleet: FleetRun) -> None:
    state = fleet.start()
    assert (state.version, state.back_to) == (2, 1)
    assert sum(len(node.devices) for node in state.nodes.values() if node.stage == 0) >= 3
    assert fleet.state() == state


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"release": 7}, "has no release 7; it has 1, 2"),
        ({"release": "canary"}, "the channel canary offers no release"),
        ({"release": 1}, "release 1 is what stable offers, so that there is nothing to go back to"),
        ({"target": {"names": ["hall-*"]}}, "none of the 6 nodes fits the target"),
        ({"gates": {"min_reports": 9}}, "the first stage has .* devices and gates.min_reports is 9"),
    ],
)
def test_a_rollout_that_cannot_work_does_not_begin(fleet: FleetRun, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        fleet.start(**changes)
    assert fleet.rows("SELECT * FROM rollouts") == []


def test_without_a_signed_way_back_the_command_that_makes_it_is_told(fleet: FleetRun) -> None:
    fleet.folder.release(3)
    with pytest.raises(ConfigurationError, match="release create --rollback-to 1 --withdraws 3"):
        fleet.start(release=3)
    assert fleet.start(release=3, rollback="none").back_to is None


def test_a_way_back_that_has_expired_is_none(fleet: FleetRun) -> None:
    fleet.folder.release(3)
    fleet.folder.order(1, 3, expires=NOW - 1_000)
    with pytest.raises(ConfigurationError, match=r"roll-back order from \[3\] to 1 is of no use: .*expired"):
        fleet.start(release=3)


def test_a_release_that_no_device_would_take_is_refused_here_already(fleet: FleetRun) -> None:
    fleet.folder.release(3, expires=NOW - 1_000)
    fleet.folder.registry.add(manifest(4), weights(4))
    fleet.folder.release(5)
    file = fleet.folder.registry.object_file(manifest(5).digest)
    file.write_bytes(b"x" + file.read_bytes()[1:])
    fleet.folder.registry.withdraw(2, "worse on dark images")
    wanted: list[tuple[int, type[TinyTrainError], str]] = [
        (3, ReleaseExpiredError, "expired"),
        (4, SignatureError, "0 valid signatures"),
        (5, ManifestError, "digest"),
        (2, ConfigurationError, "was withdrawn .worse on dark images."),
    ]
    for version, kind, message in wanted:
        with pytest.raises(kind, match=message):
            fleet.start(release=version, rollback="none")


def test_a_second_rollout_waits_for_the_first_and_a_name_is_used_once(fleet: FleetRun) -> None:
    fleet.start()
    with pytest.raises(ConfigurationError, match="rollout 'spring' is running; wait for its end, or end it"):
        fleet.start(name="other")
    fleet.run(1_800)
    with pytest.raises(ConfigurationError, match="there was a rollout 'spring' already"):
        fleet.start()


def test_a_release_that_is_withdrawn_under_way_is_rolled_back(fleet: FleetRun) -> None:
    fleet.start()
    fleet.run(60)
    fleet.folder.registry.withdraw(2, "it leaks")
    fleet.run(1_800)
    assert fleet.decisions()[-4:] == ["halted", "rolling back", "withdrawn", "rolled back"]
    assert "release 2 was withdrawn: it leaks" in fleet.reasons("halted")[0]
    assert {node.held.version for node in fleet.nodes.values()} <= {0, 1}


def test_a_release_that_expires_under_way_pauses(fleet: FleetRun) -> None:
    fleet.folder.release(3, expires=NOW + DAY)
    fleet.start(release=3, rollback="none", stages=[{"devices": 3, "soak_s": 2 * DAY}, {"percent": 100}])
    with fleet.controller() as controller:
        fleet.run(600, controller)
        fleet.clock.sleep(2 * DAY)
        fleet.run(600, controller)
    assert fleet.state().phase.value == "paused"
    assert "expired" in fleet.state().reason


def test_a_way_back_that_expires_meanwhile_is_awaited(fleet: FleetRun) -> None:
    fleet.folder.release(3)
    fleet.folder.order(1, 3, expires=NOW + DAY)
    canaries = fleet.canaries(fleet.start(release=3, stages=[{"devices": 3, "soak_s": 5 * DAY}, {"percent": 100}]))
    with fleet.controller() as controller:
        fleet.run(600, controller)
        fleet.clock.sleep(2 * DAY)
        fleet.folder.registry.withdraw(3, "no good")
        fleet.run(300, controller)
        assert len(fleet.reasons("blocked")) == 1
        assert "expired" in fleet.state().blocked
        fleet.folder.order(1, 3)
        fleet.run(1_800, controller)
    assert {fleet.nodes[number].held.version for number in canaries} == {1}
