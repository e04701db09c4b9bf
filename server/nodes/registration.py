"""Brings the SuperLink's list of nodes in line with the fleet's database.

The SuperLink admits whom it has registered. It knows a node by its public key, never forgets a key, and does not
register one again that was unregistered; nodes that the database knows nothing about are left alone, and named.
"""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from server.fleet.config import FleetConfig
from server.fleet.database import Database
from server.fleet.nodes import Node, nodes, registered
from server.nodes.superlink_session import Listed, RefusedError, SuperLinkSession, dialled
from tinytrain_core.files import exclusive
from tinytrain_core.node_key import public_pem

DIAL_S = 2.0
TURN_S = 120.0  # to wait for another process that registers nodes
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Work:
    """What there is to do.

    Attributes:
        register: nodes that the SuperLink does not know.
        unregister: its nodes that were taken out, or have another key now.
        note: the SuperLink's numbers of nodes by name, None of those that it does not admit; they are not, or
            differently, in the database.
        spent: nodes whose key was unregistered once, so that they need a new one.
        unknown: the SuperLink's names of nodes that the database never had.
    """

    register: tuple[Node, ...] = ()
    unregister: tuple[Listed, ...] = ()
    note: dict[str, int | None] = field(default_factory=dict)
    spent: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Changes:
    """What was done, and what could not be: names of nodes, and the SuperLink's reasons by name."""

    registered: tuple[str, ...] = ()
    unregistered: tuple[str, ...] = ()
    noted: tuple[str, ...] = ()
    spent: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)

    def warnings(self) -> list[str]:
        """What the operator should know, each with what to do."""
        found = [
            f"the key of node {name} was unregistered at the SuperLink, which admits it no more; `node remove {name}`, "
            "then `node add` it with a new key"
            for name in self.spent
        ]
        found += [
            f"the SuperLink admits a node called {name!r} that this fleet's database does not have; unless somebody "
            "else registered it, bring a newer copy of the database back"
            for name in self.unknown
        ]
        return found + [f"node {name}: {reason}" for name, reason in self.refused.items()]


def outstanding(known: Sequence[Node], listed: Sequence[Listed]) -> Work:
    """What makes the SuperLink's list equal to the database's.

    Args:
        known: every node of the database, those that were taken out included.
        listed: every node of the SuperLink.
    """
    by_key = {entry.public_key: entry for entry in listed}
    keys = {node.name: public_pem(node.public_key).decode() for node in known}
    active = [node for node in known if node.removed_s is None]
    admitted = {keys[node.name] for node in active}
    outdated = [entry for entry in listed if entry.lives and entry.public_key not in admitted]
    removed = {keys[node.name] for node in known if node.removed_s is not None}
    ours = tuple(entry for entry in outdated if entry.name in keys or entry.public_key in removed)
    note: dict[str, int | None] = {}
    for node in known:
        entry = by_key.get(keys[node.name]) if node.removed_s is None else None
        node_id = entry.node_id if entry and entry.lives else None
        if node.node_id != node_id:
            note[node.name] = node_id
    return Work(
        register=tuple(node for node in active if keys[node.name] not in by_key),
        unregister=ours,
        note=note,
        spent=tuple(node.name for node in active if keys[node.name] in by_key and not by_key[keys[node.name]].lives),
        unknown=tuple(entry.name for entry in outdated if entry not in ours),
    )


def pending(database: Database) -> frozenset[tuple[str, str]]:
    """Names and keys of the nodes that, as the database alone says, are to be registered or unregistered."""
    query = "SELECT name, public_key FROM nodes WHERE (node_id IS NULL) = (removed_s IS NULL)"
    return frozenset((row["name"], row["public_key"]) for row in database.rows(query))


def reachable(config: FleetConfig) -> bool:
    """Whether something listens at the SuperLink's address."""
    host, _, port = dialled(config.superlink).rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=DIAL_S):
            return True
    except OSError:
        return False


def _carry_out(session: SuperLinkSession, database: Database, work: Work, progress: Progress) -> Changes:
    refused: dict[str, str] = {}
    total = len(work.unregister) + len(work.register)
    done = 0
    for entry in work.unregister:
        try:
            session.unregister(entry.node_id)
        except RefusedError as error:
            refused[entry.name] = str(error)
        progress(done := done + 1, total)
    for name, node_id in work.note.items():
        registered(database, name, node_id)
    for node in work.register:
        try:
            node_id = session.register(public_pem(node.public_key).decode(), node.name, node.location)
            registered(database, node.name, node_id)
        except RefusedError as error:
            refused[node.name] = str(error)
        progress(done := done + 1, total)
    return Changes(
        registered=tuple(node.name for node in work.register if node.name not in refused),
        unregistered=tuple(entry.name for entry in work.unregister if entry.name not in refused),
        noted=tuple(work.note),
        spent=work.spent,
        unknown=work.unknown,
        refused=refused,
    )


def reconcile(config: FleetConfig, database: Database, progress: Progress = lambda done, total: None) -> Changes:
    """Register the nodes that the SuperLink lacks, and unregister those that were taken out.

    Carrying it out again changes nothing. It works after the SuperLink's database was lost, and while another
    process does the same: they take turns.

    Args:
        progress: told how many of how many changes are done.

    Raises:
        FleetError: the SuperLink cannot be reached, or is not this fleet's. What was done until then stays done.
        StorageError: the database cannot be written.
    """
    with exclusive(config.state / "registration", TURN_S), SuperLinkSession(config) as session:
        work = outstanding(nodes(database, removed=True), session.listed())
        return _carry_out(session, database, work, progress)
