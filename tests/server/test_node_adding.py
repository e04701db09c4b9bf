"""Nodes in the database and their bundles: all of what was asked for, or nothing."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.fleet.config import FleetConfig
from server.fleet.database import Database
from server.fleet.nodes import Node, find_node, nodes, registered, remove_node
from server.nodes.adding import add_nodes
from server.nodes.listing import NewNode, new_node
from tests.disk import full_for
from tests.releases import trust_of
from tests.server.fleet_folders import ADDRESS, make_fleet
from tinytrain_core.enrolment import read_enrolment
from tinytrain_core.errors import ConfigurationError, StorageError
from tinytrain_core.node_key import make_key, public_of


@pytest.fixture
def fleet(tmp_path: Path) -> FleetConfig:
    return make_fleet(tmp_path / "fleet")


@pytest.fixture
def database(fleet: FleetConfig) -> Iterator[Database]:
    with Database(fleet.database) as opened:
        yield opened


def add(fleet: FleetConfig, database: Database, *new: NewNode, force: bool = False) -> list[Path]:
    return add_nodes(fleet, database, new, lambda name: fleet.folder / "bundles" / name, force)


def names(database: Database) -> list[str]:
    return [node.name for node in nodes(database)]


def test_a_bundle_holds_what_the_device_needs(fleet: FleetConfig, database: Database) -> None:
    (file,) = add(fleet, database, new_node("gate", ["1:pi_4", "2:stm32h743"], ["lab"], "1,2"))
    bundle = read_enrolment(file)
    assert (bundle.node, bundle.server, bundle.trust) == ("gate", ADDRESS, trust_of(1, 2))
    assert bundle.ca == (fleet.pki / "ca.crt").read_text(encoding="ascii")
    node = find_node(database, "gate")
    assert node.public_key == bundle.public_key == public_of(bundle.private_key or "")
    assert [(d.number, d.profile) for d in node.devices] == [(d.number, d.profile) for d in bundle.devices]
    assert (node.tags, node.location, node.node_id) == (("lab",), "1,2", None)


def test_the_key_of_a_device_never_travels(fleet: FleetConfig, database: Database) -> None:
    key = public_of(make_key())
    (file,) = add(fleet, database, new_node("gate", ["1:pi_4"], public_key=key))
    assert read_enrolment(file).private_key is None
    assert b"PRIVATE" not in file.read_bytes()
    assert find_node(database, "gate").public_key == key


def test_one_of_many_that_is_taken_keeps_all_out(fleet: FleetConfig, database: Database) -> None:
    key = public_of(make_key())
    add(fleet, database, new_node("a", ["1:pi_4"], public_key=key))
    for taken, reason in (
        (new_node("a", ["9:pi_4"]), "called a already"),
        (new_node("z", ["9:pi_4", "1:pi_4"]), "device 1 of node z is the number of a device of a"),
        (new_node("z", ["9:pi_4"], public_key=key), "key of node z is, or was, that of a"),
    ):
        with pytest.raises(ConfigurationError, match=reason):
            add(fleet, database, new_node("b", ["2:pi_4"]), taken)
    assert names(database) == ["a"]
    assert [file.name for file in (fleet.folder / "bundles").iterdir()] == ["a"]


def test_a_full_disk_adds_nothing_and_can_be_tried_again(
    fleet: FleetConfig, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = [new_node(name, [f"{number}:pi_4"]) for number, name in enumerate("abc", 1)]
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", full_for("bundles/..c.new."))
        with pytest.raises(StorageError, match="free the disk"):
            add(fleet, database, *new)
    assert names(database) == []
    keys = {file.name: read_enrolment(file).public_key for file in add(fleet, database, *new)}
    assert keys == {node.name: node.public_key for node in nodes(database)}


def test_others_write_to_the_database_while_bundles_are_written(fleet: FleetConfig, database: Database) -> None:
    add(fleet, database, new_node("old", ["9:pi_4"]))

    def meanwhile(done: int, total: int) -> None:
        assert not (fleet.folder / "bundles" / "a").exists()  # the bundle of a node that is not in the fleet yet
        with Database(fleet.database) as other:
            registered(other, "old", done)

    new = [new_node("a", ["1:pi_4"]), new_node("b", ["2:pi_4"])]
    add_nodes(fleet, database, new, lambda name: fleet.folder / "bundles" / name, progress=meanwhile)
    assert find_node(database, "old").node_id == 2
    assert sorted(file.name for file in (fleet.folder / "bundles").iterdir()) == ["a", "b", "old"]


def test_a_node_that_is_there_keeps_its_bundle(fleet: FleetConfig, database: Database) -> None:
    (file,) = add(fleet, database, new_node("a", ["1:pi_4"]))
    before = file.read_bytes()
    with pytest.raises(ConfigurationError, match="called a already"):
        add(fleet, database, new_node("a", ["1:pi_4"]))
    assert file.read_bytes() == before


def test_a_file_that_is_no_bundle_of_that_node_is_not_written_over(fleet: FleetConfig, database: Database) -> None:
    file = fleet.folder / "bundles" / "a"
    file.parent.mkdir()
    file.write_text("my diary", encoding="ascii")
    with pytest.raises(ConfigurationError, match="--force"):
        add(fleet, database, new_node("a", ["1:pi_4"]))
    assert names(database) == []
    add(fleet, database, new_node("a", ["1:pi_4"]), force=True)
    assert read_enrolment(file).node == "a"


def test_a_node_that_was_taken_out_comes_back_with_another_key(fleet: FleetConfig, database: Database) -> None:
    add(fleet, database, new_node("a", ["1:pi_4", "2:pi_4"], ["old"]))
    registered(database, "a", 2**64 - 1)
    before = find_node(database, "a")
    assert before.node_id == 2**64 - 1
    remove_node(database, "a", time.time())
    assert names(database) == []
    assert [node.name for node in nodes(database, removed=True)] == ["a"]
    with pytest.raises(ConfigurationError, match="no node is called 'a'"):
        remove_node(database, "a", time.time())
    with pytest.raises(ConfigurationError, match="a key is not used again"):
        add(fleet, database, new_node("a", ["1:pi_4"], public_key=before.public_key))
    add(fleet, database, new_node("a", ["2:pi_4"], ["new"]), new_node("b", ["1:pi_4"]))
    after = find_node(database, "a")
    assert after.public_key != before.public_key
    assert (after.node_id, after.removed_s, after.tags) == (None, None, ("new",))
    assert [device.number for device in after.devices] == [2]
    assert names(database) == ["a", "b"]


def test_nothing_is_added_before_the_fleet_says_whom_to_trust(fleet: FleetConfig, database: Database) -> None:
    other = fleet.model_copy(update={"line": "other"})
    with pytest.raises(ConfigurationError, match=r"'main'.*'other'"):
        add(other, database, new_node("a", ["1:pi_4"]))
    (fleet.folder / "trust.json").unlink()
    with pytest.raises(ConfigurationError, match="release trust add"):
        add(fleet, database, new_node("a", ["1:pi_4"]))
    assert not (fleet.folder / "bundles").exists()


def test_nothing_is_added_without_an_authority(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path, with_pki=False)
    with Database(fleet.database) as database, pytest.raises(ConfigurationError, match="pki init"):
        add(fleet, database, new_node("a", ["1:pi_4"]))


def test_a_thousand_nodes_are_listed_with_their_own_devices(fleet: FleetConfig, database: Database) -> None:
    key = public_of(make_key())
    rows = [(f"n{number:04}", f"{key}{number}", 1.0) for number in range(1_000)]
    with database.transaction() as connection:
        connection.executemany("INSERT INTO nodes (name, public_key, added_s) VALUES (?, ?, ?)", rows)
        devices = [(2 * number + side + 1, f"n{number:04}") for number in range(1_000) for side in (1, 0)]
        connection.executemany("INSERT INTO devices (number, node, profile) VALUES (?, ?, 'pi_4')", devices)

    def numbers(node: Node) -> list[int]:
        return [device.number for device in node.devices]

    found = nodes(database)
    assert [numbers(node) for node in found] == [[2 * n + 1, 2 * n + 2] for n in range(1_000)]
    assert find_node(database, "n0700") == found[700]
