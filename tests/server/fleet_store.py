"""A fleet's folder with what devices reported, as the tests of its figures need it."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from server.fleet.database import Database
from tinytrain_core.devices.profile import device_profile
from tinytrain_core.errors import ErrorCode
from tinytrain_core.orders import NodeStatus
from tinytrain_core.report import Outcome, PersonalisationReport, failure

DAY_S = 86_400.0
NOW_S = 20_000 * DAY_S + 3_600


def make_fleet(folder: Path, **settings: Any) -> Path:
    """A fleet's folder with settings in JSON, which is YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "server.yaml").write_text(json.dumps({"address": "127.0.0.1:9443"} | settings))
    return folder


def opened(folder: Path) -> Database:
    return Database(folder / "state" / "fleet.sqlite")


def good(device: int, profile: str = "pi_4", before: float = 0.5, after: float = 0.75, **fields: Any) -> Any:
    """The report of a device that trained."""
    common: dict[str, Any] = {
        "outcome": int(Outcome.ADAPTED if after >= before else Outcome.KEPT_BASE),
        "method": 1,
        "ways": 5,
        "support_images": 25,
        "holdout_images": 50,
        "live_memory_bytes": 500,
        "measured_memory_bytes": 490,
        "memory_budget_bytes": 1_000,
        "wall_s": 4.0,
    }
    number = device_profile(profile).number
    return PersonalisationReport(
        device=device, profile=number, accuracy_before=before, accuracy_after=after, **(common | fields)
    )


def failed(device: int, profile: str = "pi_4", code: ErrorCode = ErrorCode.NO_IMAGES) -> PersonalisationReport:
    return failure(code, device, device_profile(profile).number)


def add_node(
    database: Database,
    name: str,
    devices: Sequence[tuple[int, str]] = (),
    seen_s: float | None = None,
    **status: Any,
) -> None:
    """A node that may connect, with what it last said."""
    said = NodeStatus(**status).model_dump_json() if seen_s is not None else None
    with database.transaction() as connection:
        connection.execute(
            "INSERT INTO nodes (name, public_key, tags, added_s, last_seen_s, status) VALUES (?, ?, ?, ?, ?, ?)",
            (name, f"key of {name}", '["berlin"]', 0.0, seen_s, said),
        )
        connection.executemany(
            "INSERT INTO devices (number, node, profile) VALUES (?, ?, ?)", [(n, name, p) for n, p in devices]
        )


def add_rollout(database: Database, name: str, release: int) -> int:
    """A rollout's number."""
    with database.transaction() as connection:
        cursor = connection.execute(
            "INSERT INTO rollouts (name, spec, release_version, release_digest, state, phase, started_s) "
            "VALUES (?, '{}', ?, ?, '{}', 'running', 0)",
            (name, release, "0" * 64),
        )
        return int(cursor.lastrowid or 0)


def add_report(
    database: Database,
    report: PersonalisationReport,
    release: int = 1,
    rollout: int = 0,
    received_s: float = NOW_S,
    node: str = "",
    acknowledged_s: float | None = None,
) -> None:
    """A stored report; each device has a node of its own where none is named."""
    node = node or f"node-{report.device}"
    with database.transaction() as connection:
        connection.execute("INSERT OR IGNORE INTO nodes (name, public_key, added_s) VALUES (?, ?, 0)", (node, node))
        row = (node, random.getrandbits(60), rollout, 1, release, report.device, report.profile, report.outcome)
        connection.execute(
            "INSERT INTO reports (node, report_id, rollout, attempt, release_version, device, profile, outcome, error, "
            "made_s, received_s, fields, acknowledged_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*row, report.error, received_s, received_s, report.model_dump_json(), acknowledged_s),
        )
