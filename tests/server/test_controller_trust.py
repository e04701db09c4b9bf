"""What changes in the registry and in the trust while the controller runs, and what is left behind by a rollout."""

import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from server.fleet.database import Database
from server.fleet.nodes import HostedDevice, Node, insert_nodes, remove_node
from server.fleet.rollout.cli import app
from server.fleet.rollout.state import Phase, Step
from server.fleet.rollout.store import What
from server.releases.signing import add_signatures, signatures_path
from server.releases.trust import add_keys, remove_key
from tests.server.fleet_run import FleetRun
from tests.server.honest_fleet import HonestNode, good, worse
from tests.server.release_folder import NOW
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.release import sign

LONG_S = 1_800.0


@pytest.fixture
def fleet(tmp_path: Path) -> FleetRun:
    return FleetRun(tmp_path / "fleet")


def call(fleet: FleetRun, *arguments: str) -> str:
    """What a command says; an error of ours is raised."""
    result = CliRunner().invoke(app, [*arguments, "--fleet", str(fleet.folder.config.folder)])
    if result.exception is not None:
        raise result.exception
    return " ".join(result.output.split())


def test_a_key_that_is_removed_pauses_the_rollout_and_a_new_one_counts_at_once(fleet: FleetRun) -> None:
    new, (old,) = Ed25519PrivateKey.generate(), fleet.folder.trust.keys
    fleet.start()
    with fleet.controller() as controller:
        fleet.run(10, controller)
        add_keys(fleet.folder.config.folder, "main", [new.public_key().public_bytes_raw().hex()])
        trust = remove_key(fleet.folder.config.folder, old)
        assert fleet.run(100, controller).phase is Phase.PAUSED
        assert "0 valid signatures" in fleet.state().reason
        for file in (fleet.folder.registry.manifest_file(2), *fleet.folder.registry.order_files()):
            add_signatures(signatures_path(file), dict([sign(file.read_bytes(), new)]))
        for node in fleet.nodes.values():
            node.trust = trust
        fleet.tell(What.RESUME)
        assert fleet.run(LONG_S, controller).phase is Phase.COMPLETED


def test_nobody_is_sent_back_to_a_release_that_was_withdrawn(fleet: FleetRun) -> None:
    for node in fleet.nodes.values():
        node.report, node.work_s = worse, 60.0
    fleet.start()
    fleet.run(30)
    fleet.folder.registry.withdraw(1, "it leaks too")
    state = fleet.run(LONG_S)
    assert state.phase is Phase.ROLLING_BACK
    assert "release 1 was withdrawn: it leaks too; end it with `rollout abort --keep`" in state.blocked
    assert all(version != 1 for number in fleet.nodes for version, _ in fleet.orders(number))
    call(fleet, "abort", "spring", "--keep", "--reason", "release 3 will follow")
    assert fleet.run(60).phase is Phase.ABORTED


def test_what_devices_reported_of_a_withdrawn_release_is_nothing_to_fall_from(fleet: FleetRun) -> None:
    fleet.start(name="first", release=1, rollback="none")
    fleet.run(LONG_S)
    for node in fleet.nodes.values():
        node.report = lambda device, version: good(device, version).model_copy(
            update={"accuracy_before": 0.1, "accuracy_after": 0.2 + 0.01 * (device % 5)}
        )
    fleet.start(gates={"min_reports": 3, "max_drop": None})
    assert fleet.run(LONG_S).phase is Phase.COMPLETED
    fleet.folder.registry.withdraw(2, "bad")
    fleet.folder.release(3)
    fleet.start(name="three", release=3, rollback="none")
    assert fleet.run(LONG_S).phase is Phase.HALTED
    assert "accuracy changed by -0.5" in fleet.reasons("halted")[0]  # against release 1


def test_who_is_left_on_a_withdrawn_release_is_told_and_not_left_behind(fleet: FleetRun) -> None:
    fleet.start(name="first", release=1, rollback="none")
    fleet.run(LONG_S)
    for node in fleet.nodes.values():
        node.report, node.work_s = worse, 100.0
    gone = max(fleet.canaries(fleet.start(stages=[{"devices": 4}, {"percent": 100}], deadline_s=300)))
    with fleet.controller() as controller:
        fleet.run(80, controller)
        assert "was withdrawn" not in call(fleet, "status")
        fleet.nodes[gone].online = False
        assert fleet.run(LONG_S, controller).phase is Phase.ROLLED_BACK
    name = f"node-{gone:03d}"
    assert f"warning: node {name} uses release 2, which was withdrawn" in call(fleet, "status")
    fleet.folder.release(3)
    file = fleet.folder.config.folder / "next.yaml"
    others = [f"node-{number:03d}" for number in fleet.nodes if number != gone]
    file.write_text(f"name: next\nrelease: 3\nrollback: none\ngates: {{min_reports: 2}}\ntarget: {{names: {others}}}\n")
    assert f"outside the target node {name} uses release 2" in call(fleet, "plan", str(file))
    with pytest.raises(ConfigurationError, match=f"1 nodes outside the target .*: {name} .*--leave-behind"):
        call(fleet, "start", str(file))
    call(fleet, "start", str(file), "--leave-behind")


def test_devices_of_other_classes_that_come_along_are_told(fleet: FleetRun) -> None:
    hosted = (HostedDevice(50, "pi_4"), HostedDevice(51, "stm32h743"), HostedDevice(52, "esp32s3"))
    with Database(fleet.folder.config.database) as database, database.transaction() as connection:
        insert_nodes(connection, [Node("yard", "ecdsa yard me", hosted, added_s=NOW)])
    file = fleet.folder.config.folder / "next.yaml"
    file.write_text("name: next\nrelease: 2\ntarget: {classes: [pi_4]}\n")
    assert "2 of the devices are of other classes than the target's" in call(fleet, "plan", str(file))


def test_a_node_that_comes_back_with_another_key_gets_the_release(fleet: FleetRun) -> None:
    fleet.start()
    fleet.run(LONG_S)
    with Database(fleet.folder.config.database) as database:
        remove_node(database, "node-002", fleet.clock.now_s())
        hosted = (HostedDevice(2, "pi_4"), HostedDevice(22, "pi_4"))
        with database.transaction() as connection:
            insert_nodes(connection, [Node("node-002", "ecdsa other me", hosted, added_s=fleet.clock.now_s())])
            connection.execute("UPDATE nodes SET node_id = '2002' WHERE name = 'node-002'")
    del fleet.nodes[2]
    fleet.nodes[2002] = HonestNode(2002, (2, 22), fleet.folder.trust)
    state = fleet.run(LONG_S)
    assert (state.nodes["node-002"].step, state.nodes["node-002"].devices) == (Step.DONE, (2, 22))
    assert fleet.nodes[2002].held.version == 2


def test_numbers_of_rollouts_do_not_come_again_after_an_older_copy_is_restored(fleet: FleetRun) -> None:
    fleet.start(name="a", release=1, rollback="none")
    fleet.run(LONG_S)
    file = fleet.folder.config.database
    shutil.copy(file, file.with_name("copy"))
    lost = fleet.start(name="lost").number
    fleet.run(LONG_S)
    for each in file.parent.glob("fleet.sqlite*"):
        each.unlink()
    file.with_name("copy").rename(file)
    assert fleet.start(name="new").number > lost
    fleet.run(LONG_S)
    assert fleet.state().phase is Phase.COMPLETED


def test_a_rollout_under_another_name_has_the_same_canaries(fleet: FleetRun) -> None:
    first = fleet.canaries(fleet.start())
    fleet.run(LONG_S)
    assert fleet.canaries(fleet.start(name="again")) == first
