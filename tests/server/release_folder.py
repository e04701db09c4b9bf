"""A fleet's folder with a real release registry: signed releases and roll-back orders of weights that are any bytes."""

import hashlib
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.fleet.config import FleetConfig
from server.fleet.database import Database
from server.fleet.nodes import HostedDevice, Node, insert_nodes
from server.releases.registry import Registry
from server.releases.signing import add_signatures, signatures_path
from server.releases.trust import add_keys
from tinytrain_core.release import Manifest, sign

NOW = int(time.time())
DAY = 86_400
KEY = Ed25519PrivateKey.generate()


def weights(version: int) -> bytes:
    return b"weights of %d" % version * 40


def digest_of(version: int) -> str:
    return hashlib.sha256(weights(version)).hexdigest()


def manifest(version: int, withdraws: tuple[int, ...] = (), expires: int = NOW + 90 * DAY) -> Manifest:
    return Manifest(
        kind="rollback" if withdraws else "release",
        name="main",
        version=version,
        withdraws=list(withdraws),
        architecture="mcunet-5fps",
        input_scaling="",
        digest=digest_of(version),
        length=len(weights(version)),
        created=NOW - DAY,
        expires=expires,
    )


class ReleaseFolder:
    """A fleet in `folder`: releases 1 (stable) and 2, and the signed way back."""

    def __init__(self, folder: Path, hold_s: float = 30.0, cohort: int = 2) -> None:
        self.config = FleetConfig(folder=folder, address="localhost:9092", hold_s=hold_s, minimum_cohort=cohort)
        folder.mkdir(parents=True, exist_ok=True)
        settings = f"address: localhost:9092\nhold_s: {hold_s}\nminimum_cohort: {cohort}\n"
        (folder / "server.yaml").write_text(settings)
        self.trust = add_keys(folder, "main", [KEY.public_key().public_bytes_raw().hex()])
        self.registry = Registry(self.config.releases, "main")
        for version in (1, 2):
            self.release(version)
        self.registry.promote(1, "stable", "the first", force=True)
        self.order(1, 2)

    def release(self, version: int, expires: int = NOW + 90 * DAY) -> None:
        self._signed(self.registry.add(manifest(version, expires=expires), weights(version)))

    def order(self, to: int, withdraws: int, expires: int = NOW + 90 * DAY) -> None:
        self._signed(self.registry.add_order(manifest(to, (withdraws,), expires)))

    def _signed(self, file: Path) -> None:
        add_signatures(signatures_path(file), dict([sign(file.read_bytes(), KEY)]))

    def node(self, number: int, devices: tuple[int, ...] = (), tags: tuple[str, ...] = ()) -> Node:
        """Add a node that the SuperLink knows as `number`."""
        hosted = tuple(HostedDevice(device, "pi_4") for device in devices or (number,))
        node = Node(f"node-{number:03d}", f"ecdsa-sha2-nistp384 key{number} me", hosted, tags, added_s=NOW)
        with Database(self.config.database) as database, database.transaction() as connection:
            insert_nodes(connection, [node])
            connection.execute("UPDATE nodes SET node_id = ? WHERE name = ?", (str(number), node.name))
        return node
