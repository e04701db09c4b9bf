"""Which nodes the operator has added, what they host, and what they last said."""

import json
import sqlite3
import time
from collections.abc import Sequence
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


def _node(row: sqlite3.Row, devices: Sequence[sqlite3.Row]) -> Node:
    return Node(
        name=row["name"],
        public_key=row["public_key"],
        devices=tuple(HostedDevice(d["number"], d["profile"]) for d in devices if d["node"] == row["name"]),
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
    devices = database.rows("SELECT * FROM devices ORDER BY number")
    return [_node(row, devices) for row in database.rows(f"SELECT * FROM nodes {where} ORDER BY name")]


def find_node(database: Database, name: str) -> Node:
    """The node of that name.

    Raises:
        ConfigurationError: there is none.
    """
    for node in nodes(database):
        if node.name == name:
            return node
    raise ConfigurationError(f"no node is called {name!r}; `tinytrain-server node list` names them")


def add_node(database: Database, node: Node) -> None:
    """Add a node and its devices.

    Raises:
        ConfigurationError: its name, its key or a number of its devices is taken.
    """
    try:
        with database.transaction() as connection:
            connection.execute("DELETE FROM devices WHERE node IN (SELECT name FROM nodes WHERE removed_s NOT NULL)")
            connection.execute(
                "INSERT INTO nodes (name, public_key, tags, location, added_s) VALUES (?, ?, ?, ?, ?)",
                (node.name, node.public_key, json.dumps(sorted(node.tags)), node.location, node.added_s),
            )
            connection.executemany(
                "INSERT INTO devices (number, node, profile) VALUES (?, ?, ?)",
                [(device.number, node.name, device.profile) for device in node.devices],
            )
    except sqlite3.IntegrityError as error:
        raise ConfigurationError(
            f"node {node.name} with devices {[d.number for d in node.devices]} cannot be added: {error}; "
            "names, keys and device numbers are used once in a fleet"
        ) from None


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
