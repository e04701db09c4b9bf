"""The fleet that a rollout is rehearsed on: a folder as an operator has it, with a registry, trust, and its nodes."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client.config import NodeConfig
from server.fleet.config import FLEET_FILE, FleetConfig
from server.fleet.database import Database
from server.fleet.init import server_yaml
from server.fleet.nodes import HostedDevice, Node, insert_nodes, nodes
from server.fleet.rollout import store
from server.fleet.rollout.spec import RolloutSpec
from server.fleet.rollout.start import began, prepared
from server.fleet.rollout.state import RolloutState
from server.fleet.rollout.targeting import members
from server.releases.drafts import draft_release, draft_rollback
from server.releases.registry import Registry
from server.releases.signing import add_signatures, sign_manifest, signatures_path
from server.releases.trust import add_keys
from tinytrain_core.backbones.weights import read_bytes
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.files import write_file
from tinytrain_core.release import Manifest, Trust

FLEET = "fleet"
STABLE, TESTED = 1, 2  # versions, where the rollout names no other
VALID_DAYS = 3_650  # longer than any rehearsal


@dataclass(frozen=True)
class Releases:
    """Which backbones are released: files, or shipped ones by name.

    Attributes:
        tested: the one that the rollout gives to the fleet; empty is the shipped one.
        stable: the one that nodes use when it begins. None: they use none yet, and go back to `tested` itself.
    """

    tested: str = ""
    stable: str | None = None


@dataclass(frozen=True)
class RehearsedFleet:
    """A fleet that is ready to begin.

    Attributes:
        in_use: the release that its nodes use already, and the file of it; None where they use none.
    """

    config: FleetConfig
    registry: Registry
    trust: Trust
    in_use: tuple[Manifest, bytes] | None


def node_name(partition: int) -> str:
    """What the server calls the node of a partition id."""
    return f"node-{partition:06d}"


def partition_of(name: str) -> int:
    """The partition id of the node of that name."""
    return int(name.removeprefix("node-"))


class _Signed:
    """A registry and the one key that signs what is in it, which is never written down."""

    def __init__(self, config: FleetConfig) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.registry = Registry(config.releases, config.line)
        self.trust = add_keys(config.folder, config.line, [self._key.public_key().public_bytes_raw().hex()])

    def release(self, version: int, data: bytes, now_s: float) -> Manifest:
        manifest = draft_release(self.registry, self.trust, data, now_s, VALID_DAYS, version)
        self._sign(self.registry.add(manifest, data), manifest)
        return manifest

    def way_back(self, to: int, withdraws: int, now_s: float) -> None:
        order = draft_rollback(self.registry, self.trust, to, [withdraws], now_s, VALID_DAYS)
        self._sign(self.registry.add_order(order), order)

    def _sign(self, file: Path, manifest: Manifest) -> None:
        add_signatures(signatures_path(file), sign_manifest(manifest, file.read_bytes(), self._key))


def make_fleet(
    out: Path, spec: RolloutSpec, releases: Releases, fleet: Sequence[NodeConfig], now_s: float
) -> RehearsedFleet:
    """Make `out/fleet`, in place of any that was there: releases signed now, the way back, every node.

    Raises:
        ConfigurationError, BackboneError: there is no such backbone, or it is damaged.
        StorageError: the folder cannot be written.
    """
    folder = (out / FLEET).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    config = FleetConfig(folder=folder, address="localhost:9092")
    write_file(folder / FLEET_FILE, server_yaml(config).encode())
    signed, tested = _Signed(config), read_bytes(releases.tested)
    version = spec.release if isinstance(spec.release, int) else TESTED
    in_use = None
    if version > STABLE:
        before = tested if releases.stable is None else read_bytes(releases.stable)
        manifest = signed.release(STABLE, before, now_s)
        signed.registry.promote(STABLE, "stable", "what the fleet had before", force=True)
        in_use = None if releases.stable is None else (manifest, before)
    signed.release(version, tested, now_s)
    if version > STABLE:
        signed.way_back(STABLE, version, now_s)
    if isinstance(spec.release, str):
        signed.registry.promote(version, spec.release, "to be rehearsed", force=True)
    with Database(config.database) as database:
        _add_nodes(database, fleet, now_s)
    return RehearsedFleet(config, signed.registry, signed.trust, in_use)


def _add_nodes(database: Database, fleet: Sequence[NodeConfig], now_s: float) -> None:
    """Every node, under the number that the link knows it by."""
    rows = [
        Node(
            node_name(partition),
            f"rehearsal {partition:06d} key",  # where a real one has its public key, which orders the nodes
            tuple(HostedDevice(device.number, device.profile) for device in node.devices),
            added_s=now_s,
        )
        for partition, node in enumerate(fleet)
    ]
    ids = [(str(partition + 1), row.name) for partition, row in enumerate(rows)]
    with database.transaction() as connection:
        insert_nodes(connection, rows)
        connection.executemany("UPDATE nodes SET node_id = ? WHERE name = ?", ids)


def _check_target(spec: RolloutSpec, known: Sequence[Node]) -> None:
    if not members(spec, known):
        raise ConfigurationError(
            f"none of the {len(known)} simulated nodes fits the target: they are called {node_name(0)} to "
            f"{node_name(len(known) - 1)}, have no tags, and host the classes of the fleet's mix; rehearse a copy of "
            "the rollout without what only the real fleet has"
        )


def begin(fleet: RehearsedFleet, spec: RolloutSpec, now_s: float) -> RolloutState:
    """Begin the rollout, after every check of `tinytrain-server rollout start`.

    Raises:
        ConfigurationError: no such release, nobody to send it to, too few for the first stage, or no way back.
    """
    with Database(fleet.config.database) as database:
        known = nodes(database)
        _check_target(spec, known)
        state = prepared(spec, fleet.registry, fleet.trust, known, now_s)  # no cohort, as nobody real is to be hidden
        with database.transaction() as connection:
            state = store.insert_rollout(connection, state, now_s)
            store.record(connection, state.number, [began(state)], now_s)
    return state
