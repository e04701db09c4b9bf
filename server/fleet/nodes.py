"""Which nodes the operator has added, what they host, and what they last said."""

import json
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from server.fleet.database import Database
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.orders import NodeStatus


@dataclass(frozen=True)
class HostedDevice:
    """A device that a node hosts: its number in the fleet, and its class in the catalogue."""

    number: int
    profile: str


@dataclass(frozen=True)
class Node:
    """A node as its operator described it.

    Attributes:
        public_key: in OpenSSH format.
        node_id: the SuperLink's; None until it is registered there.
        last_seen_s: seconds since 1970 of its last answer; status: what that said.
    """

    name: str
    public_key: str
    devices: tuple[HostedDevice, ...] = ()
    tags: tuple[str, ...] = ()
    location: str = ""
    node_id: int | None = None
    added_s: float = field(default_factory=time.time)
    removed_s: float | None = None
    last_seen_s: float | None = None
    status: NodeStatus | None = None


def _node(row: sqlite3.Row, devices: Sequence[HostedDevice]) -> Node:
    return Node(
        name=row["name"],
        public_key=row["public_key"],
        devices=tuple(devices),
        tags=tuple(json.loads(row["tags"])),
        location=row["location"],
        node_id=None if row["node_id"] is None else int(row["node_id"]),
        added_s=row["added_s"],
        removed_s=row["removed_s"],
        last_seen_s=row["last_seen_s"],
        status=None if row["status"] is None else NodeStatus.model_validate_json(row["status"]),
    )


def nodes(database: Database, removed: bool = False) -> list[Node]:
    """The nodes by name; with `removed` those that were taken out as well."""
    where = "" if removed else "WHERE removed_s IS NULL"
    hosted: defaultdict[str, list[HostedDevice]] = defaultdict(list)
    for row in database.rows("SELECT number, node, profile FROM devices ORDER BY number"):
        hosted[row["node"]].append(HostedDevice(row["number"], row["profile"]))
    return [_node(row, hosted[row["name"]]) for row in database.rows(f"SELECT * FROM nodes {where} ORDER BY name")]


def find_node(database: Database, name: str) -> Node:
    """The node of that name.

    Raises:
        ConfigurationError: there is none, or it was taken out.
    """
    for row in database.rows("SELECT * FROM nodes WHERE name = ? AND removed_s IS NULL", name):
        devices = database.rows("SELECT number, profile FROM devices WHERE node = ? ORDER BY number", name)
        return _node(row, [HostedDevice(device["number"], device["profile"]) for device in devices])
    raise ConfigurationError(f"no node is called {name!r}; `tinytrain-server node list` names them")


def _insert(connection: sqlite3.Connection, node: Node) -> None:
    """A new row, or that of a node of the same name that was taken out, with a new key."""
    connection.execute(
        "INSERT INTO nodes (name, public_key, tags, location, added_s) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET public_key = excluded.public_key, tags = excluded.tags,"
        " location = excluded.location, added_s = excluded.added_s, node_id = NULL, removed_s = NULL,"
        " last_seen_s = NULL, status = NULL",
        (node.name, node.public_key, json.dumps(sorted(node.tags)), node.location, node.added_s),
    )
    connection.executemany(
        "INSERT INTO devices (number, node, profile) VALUES (?, ?, ?)",
        [(device.number, node.name, device.profile) for device in node.devices],
    )


def _refuse_taken(connection: sqlite3.Connection, node: Node) -> None:
    """Make sure that a node's name, key and numbers are free."""
    cure = "names, keys and device numbers are used once in a fleet"
    if connection.execute("SELECT 1 FROM nodes WHERE name = ? AND removed_s IS NULL", (node.name,)).fetchone():
        raise ConfigurationError(f"there is a node called {node.name} already; {cure}")
    if owner := connection.execute("SELECT name FROM nodes WHERE public_key = ?", (node.public_key,)).fetchone():
        raise ConfigurationError(
            f"the key of node {node.name} is, or was, that of {owner['name']}; a key is not used again, make a new one"
        )
    for device in node.devices:
        row = connection.execute("SELECT node FROM devices WHERE number = ?", (device.number,)).fetchone()
        if row:
            raise ConfigurationError(
                f"device {device.number} of node {node.name} is the number of a device of {row['node']}; {cure}"
            )


def insert_nodes(connection: sqlite3.Connection, new: Iterable[Node]) -> None:
    """Add nodes and their devices, within a transaction of the caller.

    A node that was taken out can come back under its name, with another key: its reports are then one history.

    Raises:
        ConfigurationError: a name, a key or the number of a device is taken. The caller's transaction has to end.
    """
    connection.execute("DELETE FROM devices WHERE node IN (SELECT name FROM nodes WHERE removed_s NOT NULL)")
    for node in new:
        _refuse_taken(connection, node)
        _insert(connection, node)


def remove_node(database: Database, name: str, now_s: float) -> None:
    """Take a node out; its reports stay.

    Raises:
        ConfigurationError: there is none of that name.
    """
    find_node(database, name)
    with database.transaction() as connection:
        connection.execute("UPDATE nodes SET removed_s = ? WHERE name = ?", (now_s, name))


def registered(database: Database, name: str, node_id: int | None) -> None:
    """Note the number under which the SuperLink knows a node; None where it no longer does."""
    with database.transaction() as connection:
        value = None if node_id is None else str(node_id)
        connection.execute("UPDATE nodes SET node_id = ? WHERE name = ?", (value, name))


def seen(connection: sqlite3.Connection, name: str, status: NodeStatus, now_s: float) -> None:
    """Note what a node said, within a transaction of the caller."""
    connection.execute(
        "UPDATE nodes SET last_seen_s = ?, status = ? WHERE name = ?", (now_s, status.model_dump_json(), name)
    )
