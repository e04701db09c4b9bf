"""The SuperLink's list of nodes and the database's: a real SuperLink over TLS, with authentication of its nodes."""

import logging
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from server.fleet.config import FleetConfig
from server.fleet.database import Database
from server.fleet.nodes import HostedDevice, Node, find_node, insert_nodes, nodes, registered, remove_node
from server.nodes import cli as node_cli
from server.nodes.registrar import Registrar
from server.nodes.registration import pending, reachable, reconcile
from server.nodes.superlink_session import Listed, RefusedError, SuperLinkSession, write_connection
from tests.server.fleet_folders import call, make_fleet, printed
from tests.server.running import wait_for
from tinytrain_core.enrolment import read_enrolment
from tinytrain_core.errors import FleetError
from tinytrain_core.node_key import make_key, public_of, public_pem

PROGRAMS = Path(sys.executable).parent
UP_WITHIN_S = 60.0

pytestmark = pytest.mark.skipif(not (PROGRAMS / "flower-superlink").exists(), reason="needs Flower's programs")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetConfig]:
    """A fleet whose SuperLink is up."""
    port = free_port()
    config = make_fleet(tmp_path_factory.mktemp("fleet"), f"127.0.0.1:{port}")
    pki = config.pki
    command: list[str | Path] = [
        *(PROGRAMS / "flower-superlink", "--host", "127.0.0.1", "--port", str(port), "--enable-supernode-auth"),
        *("--ssl-ca-certfile", pki / "ca.crt", "--ssl-certfile", pki / "server.crt"),
        *("--ssl-keyfile", pki / "server.key", "--isolation", "process", "--database", config.folder / "link.sqlite"),
    ]
    environment = {**os.environ, **write_connection(config)}
    with (config.folder / "superlink.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + UP_WITHIN_S
        while not reachable(config):
            assert process.poll() is None, (config.folder / "superlink.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield config
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def database(fleet: FleetConfig) -> Iterator[Database]:
    """A database without nodes; what the SuperLink knows from other tests is unknown to it."""
    for suffix in ("", "-wal", "-shm"):
        fleet.database.with_name(fleet.database.name + suffix).unlink(missing_ok=True)
    with Database(fleet.database) as opened:
        yield opened


def add(database: Database, number: int, prefix: str) -> Node:
    node = Node(f"{prefix}-{number}", public_of(make_key()), (HostedDevice(number, "pi_4"),), location="51.5,-0.1")
    with database.transaction() as connection:
        insert_nodes(connection, [node])
    return node


def listed(fleet: FleetConfig, prefix: str) -> dict[str, Listed]:
    """The SuperLink's nodes by their keys."""
    with SuperLinkSession(fleet) as session:
        return {entry.public_key: entry for entry in session.listed() if entry.name.startswith(prefix)}


def pem(node: Node) -> str:
    return public_pem(node.public_key).decode()


def test_what_is_missing_is_registered_once(fleet: FleetConfig, database: Database) -> None:
    added = [add(database, number, "once") for number in range(1, 6)]
    seen: list[tuple[int, int]] = []
    assert pending(database)
    changes = reconcile(fleet, database, lambda done, total: seen.append((done, total)))
    assert changes.registered == tuple(node.name for node in added)
    assert seen == [(done, 5) for done in range(1, 6)]
    at_superlink = listed(fleet, "once")
    assert {pem(node): node.node_id for node in nodes(database)} == {k: v.node_id for k, v in at_superlink.items()}
    assert not pending(database)
    again = reconcile(fleet, database)
    assert (again.registered, again.unregistered, again.noted, again.refused) == ((), (), (), {})
    assert listed(fleet, "once") == at_superlink


def test_who_was_taken_out_is_unregistered_and_may_come_back(fleet: FleetConfig, database: Database) -> None:
    gone = add(database, 1, "gone")
    add(database, 2, "gone")
    reconcile(fleet, database)
    remove_node(database, gone.name, time.time())
    assert pending(database)
    assert reconcile(fleet, database).unregistered == ("gone-1",)
    assert listed(fleet, "gone")[pem(gone)].status == "unregistered"
    assert next(node for node in nodes(database, removed=True)).node_id is None
    assert not pending(database)
    assert reconcile(fleet, database).unregistered == ()
    back = add(database, 1, "gone")
    assert reconcile(fleet, database).registered == ("gone-1",)
    assert listed(fleet, "gone")[pem(back)].lives


def test_a_node_that_came_back_at_once_loses_its_former_key(fleet: FleetConfig, database: Database) -> None:
    first = add(database, 1, "swap")
    reconcile(fleet, database)
    remove_node(database, first.name, time.time())
    second = add(database, 1, "swap")
    changes = reconcile(fleet, database)
    assert (changes.registered, changes.unregistered) == (("swap-1",), ("swap-1",))
    at_superlink = listed(fleet, "swap")
    assert [at_superlink[pem(node)].lives for node in (first, second)] == [False, True]
    assert find_node(database, "swap-1").node_id == at_superlink[pem(second)].node_id


def test_after_a_crash_between_the_two_the_number_is_noted(fleet: FleetConfig, database: Database) -> None:
    node = add(database, 1, "crash")
    with SuperLinkSession(fleet) as session:
        node_id = session.register(pem(node), node.name, "")
    changes = reconcile(fleet, database)
    assert ("crash-1" in changes.noted, changes.registered) == (True, ())
    assert find_node(database, "crash-1").node_id == node_id


def test_after_the_superlink_lost_its_database_all_are_registered_again(fleet: FleetConfig, database: Database) -> None:
    node = add(database, 1, "lost")
    reconcile(fleet, database)
    before = find_node(database, node.name).node_id
    with closing(sqlite3.connect(fleet.folder / "link.sqlite")) as link, link:
        assert link.execute("DELETE FROM node WHERE name = 'lost-1'").rowcount == 1
    assert reconcile(fleet, database).registered == ("lost-1",)
    after = find_node(database, node.name).node_id
    assert after not in (None, before)
    assert listed(fleet, "lost")[pem(node)].node_id == after


def test_what_cannot_be_brought_in_line_is_told(fleet: FleetConfig, database: Database) -> None:
    spent = add(database, 1, "odd")
    with SuperLinkSession(fleet) as session:
        session.unregister(session.register(pem(spent), spent.name, ""))
        session.register(public_pem(public_of(make_key())).decode(), "odd-stranger", "")
        with pytest.raises(RefusedError, match="refused: 4"):
            session.register("nonsense", "odd-2", "")
        with pytest.raises(RefusedError, match="refused: 4"):
            session.unregister(12345)
    registered(database, "odd-1", 77)
    changes = reconcile(fleet, database)
    assert changes.spent == ("odd-1",)
    assert "odd-stranger" in changes.unknown
    assert find_node(database, "odd-1").node_id is None
    texts = "\n".join(changes.warnings())
    assert "key of node odd-1 was unregistered" in texts
    assert "'odd-stranger'" in texts


def test_what_the_superlink_does_not_do_is_told_once_and_holds_nobody_up(
    fleet: FleetConfig, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    spent = add(database, 1, "held")
    with SuperLinkSession(fleet) as session:
        session.unregister(session.register(pem(spent), spent.name, ""))
    registrar = Registrar(fleet, logging.getLogger("registrar"))
    attempts: list[object] = []

    def attempt() -> object:
        registrar.tick(database)
        if registrar._thread and registrar._thread not in attempts:
            attempts.append(registrar._thread)
        return len(attempts) > 1 and not registrar._thread.is_alive()  # type: ignore[union-attr]

    wait_for("a second attempt", attempt)
    told = [record.getMessage() for record in caplog.records if "held-1" in record.getMessage()]
    assert len(told) == 1
    assert registrar._pauses.failures == 2
    registrar._pauses.next_s = time.monotonic() + 3_600
    add(database, 2, "held")
    wait_for("its registration", lambda: (attempt(), find_node(database, "held-2").node_id)[1])
    registrar.wait()


def test_the_commands(fleet: FleetConfig, database: Database, tmp_path: Path) -> None:
    folder = {"TINYTRAIN_FLEET": str(fleet.folder)}
    options = ["--device", "1:pi_4", "--tag", "lab", "--bundle", tmp_path / "one.enrol"]
    added = call(node_cli.app, "add", "cmd-1", *options, variables=folder)
    assert "registered cmd-1" in added.stderr
    assert read_enrolment(tmp_path / "one.enrol").node == "cmd-1"
    (tmp_path / "nodes.csv").write_text("name,devices\ncmd-2,2:phone 3:pi_4\ncmd-3,4:pi_4\n", encoding="utf-8")
    call(node_cli.app, "add", "--file", tmp_path / "nodes.csv", "--bundle", tmp_path / "many", variables=folder)
    assert [read_enrolment(tmp_path / "many" / f"cmd-{n}.enrol").node for n in (2, 3)] == ["cmd-2", "cmd-3"]
    rows = printed(call(node_cli.app, "list", "--format", "json", variables=folder))
    assert isinstance(rows, list)
    assert [(row["name"], row["registered"], len(row["devices"])) for row in rows] == [
        ("cmd-1", True, 1), ("cmd-2", True, 2), ("cmd-3", True, 1),
    ]  # fmt: skip
    assert "unregistered cmd-3" in call(node_cli.app, "remove", "cmd-3", variables=folder).stderr
    assert "cmd-2" not in call(node_cli.app, "list", "--tag", "lab", variables=folder).stdout
    assert "removed 20" in call(node_cli.app, "list", "--removed", variables=folder).stdout


def test_another_superlink_or_none_is_an_error(fleet: FleetConfig, tmp_path: Path) -> None:
    stranger = make_fleet(tmp_path / "stranger", fleet.superlink)  # the same address, another authority
    with Database(stranger.database) as database:
        with pytest.raises(FleetError, match=r"cannot reach.*verify failed"):
            reconcile(stranger, database)
        absent = make_fleet(tmp_path / "absent", f"127.0.0.1:{free_port()}")
        assert not reachable(absent)
        with pytest.raises(FleetError, match=r"cannot reach.*refused"):
            reconcile(absent, database)
    options = ["--device", "1:pi_4", "--bundle", tmp_path / "x.enrol", "--fleet", absent.folder]
    assert "nothing listens" in call(node_cli.app, "add", "a-1", *options).stderr


def test_flower_finds_its_configuration(fleet: FleetConfig) -> None:
    environment = {**os.environ, **write_connection(fleet)}
    command: list[str | Path] = [PROGRAMS / "flwr", "supernode", "list", "fleet", "--format", "json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"success": true' in done.stdout
