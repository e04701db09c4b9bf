"""A server that has been taken over: it has the fleet's certificate and every connection, but not the signers' keys."""

import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from server.fleet.config import FleetConfig
from server.fleet.database import Database
from server.fleet.nodes import find_node
from server.nodes.superlink_session import CONNECTION, write_connection
from tests.fleet.devices import PROGRAMS
from tinytrain_core.backbones.weights import digest, read_bytes
from tinytrain_core.orders import TRAIN_ORDER
from tinytrain_core.release import Manifest, sign
from tinytrain_core.wire import PersonaliseRequest

_PROJECT = """\
[project]
name = "hostile"
version = "1.0.0"
description = "An app that wants more than numbers."
license = "Apache-2.0"

[tool.flwr.app]
publisher = "nobody"

[tool.flwr.app.components]
serverapp = "hostile_server:app"
clientapp = "client.app:app"

[tool.flwr.app.config]
orders = ""
"""
# What a device would run if it ran what it is sent: the module has the name of the one that is installed there.
_CLIENT = """\
from pathlib import Path
from flwr.clientapp import ClientApp
Path(MARKER).write_text("server-sent code was run")
app = ClientApp()
"""
_SERVER = """\
import json
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()

@app.main()
def main(grid, context):
    work = json.loads(Path(context.run_config["orders"]).read_text())
    heard = {}
    for name, (node, kind, request, backbone) in work["orders"].items():
        records = RecordDict({"request": ConfigRecord(request)})
        if backbone:
            data = np.frombuffer(Path(backbone).read_bytes(), dtype=np.uint8)
            records["backbone"] = ArrayRecord({"file": Array(data)})
        (reply,) = list(grid.send_and_receive([Message(records, node, kind, ttl=60.0)], timeout=60)) or [None]
        if reply is None or not reply.has_content():
            heard[name] = {"error": reply and [reply.error.code, reply.error.reason]}
            continue
        content = reply.content
        heard[name] = {
            "arrays": list(content.array_records),
            "texts": {key: dict(record) for key, record in content.config_records.items()},
            "numbers": {key: dict(record) for key, record in content.metric_records.items()},
        }
        Path(work["heard"]).write_text(json.dumps(heard))
"""


Order = tuple[int, str, dict[str, Any], str]  # node id, type of message, request, a backbone's file in the folder


class Forger:
    """Makes orders as a server that was taken over can, with the signers' keys where a case needs them."""

    def __init__(self, config: FleetConfig, keys: Path, node: str) -> None:
        files = sorted(keys.glob("*.pem"))
        self.keys: list[Any] = [load_pem_private_key(file.read_bytes(), None) for file in files]
        with Database(config.database) as database:
            self.node = find_node(database, node).node_id or 0
        self.data = read_bytes("mcunet-5fps")

    def manifest(self, version: int, **changes: Any) -> Manifest:
        now = int(time.time())
        fields = {
            "name": "main", "version": version, "architecture": "mcunet-5fps", "input_scaling": "any",
            "digest": digest(self.data), "length": len(self.data), "created": now - 60, "expires": now + 86_400,
        }  # fmt: skip
        return Manifest.model_validate(fields | changes)

    def order(
        self,
        manifest: Manifest,
        signers: int = 2,
        sent: Manifest | None = None,
        backbone: bool = False,
        schema: int = 1,
    ) -> Order:
        """An order of `sent`, signed as if it were `manifest`."""
        plain = json.loads(manifest.to_bytes()) | {"schema_version": schema}
        signed = json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
        fields = {
            "protocol": 3, "digest": "", "acknowledged": [], "hold_s": 0.0, "valid_s": 60.0,
            "rollout": 77, "attempt": 1,
            "manifest": (sent.to_bytes() if sent else signed).decode(),
            "signatures": json.dumps(dict(sign(signed, key) for key in self.keys[:signers])),
            "settings": PersonaliseRequest(digest=(sent or manifest).digest, method="none").model_dump_json(),
        }  # fmt: skip
        return self.node, TRAIN_ORDER, fields, "weights" if backbone else ""


def take_over(config: FleetConfig, place: Path, orders: Mapping[str, Order]) -> tuple[dict[str, Any], Path]:
    """Run an app of one's own on the fleet's SuperLink.

    Returns:
        What was heard of each order, and a file that is there if a device has run code that it was sent.
    """
    folder = place / "app"
    (folder / "client").mkdir(parents=True)
    marker = folder / "marker"
    (folder / "pyproject.toml").write_text(_PROJECT, encoding="utf-8")
    (folder / "client" / "app.py").write_text(_CLIENT.replace("MARKER", repr(str(marker))), encoding="utf-8")
    (folder / "client" / "__init__.py").write_text("", encoding="utf-8")
    (folder / "hostile_server.py").write_text(_SERVER, encoding="utf-8")
    sent = {name: [*order[:3], str(place / order[3]) if order[3] else ""] for name, order in orders.items()}
    work = {"orders": sent, "heard": str(folder / "heard.json")}
    (folder / "orders.json").write_text(json.dumps(work), encoding="utf-8")
    done = subprocess.run(
        [PROGRAMS / "flwr", "run", folder, CONNECTION, "--stream", "-c", f"orders='{folder / 'orders.json'}'"],
        env=write_connection(config), capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    heard = folder / "heard.json"
    assert heard.exists(), done.stdout + done.stderr
    return json.loads(heard.read_text(encoding="utf-8")), marker
