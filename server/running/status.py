"""What of a fleet's server runs, and how it is."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.fleet.config import FleetConfig
from server.fleet.database import Database
from server.nodes.superlink_session import dialled
from server.running.controller_run import Beat, controller_process, last_beat
from server.running.flower_programs import is_healthy
from server.running.processes import Identity, noted
from server.running.up import SUPEREXEC, SUPERLINK, supervisor_file
from server.words import age

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
HEALTH_TIMEOUT_S = 3.0
RECENT_S = 3_600.0  # in which a node counts as one that answers


@dataclass(frozen=True)
class Status:
    """A row for each process, for the nodes, and for each rollout that has not ended; whether all runs that should."""

    rows: tuple[dict[str, Any], ...]
    well: bool


def _up_for(identity: Identity | None) -> str:
    """How long a process has run."""
    if identity is None:
        return ""
    machine_s = float(Path("/proc/uptime").read_text().split()[0])
    return age(max(machine_s - identity.started / _TICKS_PER_S, 0))


def _row(what: str, identity: Identity | None, state: str) -> dict[str, Any]:
    pid = None if identity is None else identity.pid
    return {"what": what, "pid": pid, "for": _up_for(identity), "state": state}


def _controller_state(config: FleetConfig, beat: Beat | None, runs: bool, now_s: float) -> str:
    if beat is None:
        return "never ran"
    silent_s = now_s - beat.beat_s
    when = f"{age(silent_s)} ago" if silent_s >= 0 else f"{age(-silent_s)} ahead of this clock, which was set"
    said = f"run {beat.run_id}, last sign of life {when}"
    if not runs:
        return f"does not run; {said}"
    return said if _is_recent(config, beat, now_s) else f"silent; {said}"


def _is_recent(config: FleetConfig, beat: Beat, now_s: float) -> bool:
    """Whether a sign of life is one of just now; one that is far ahead is from before the clock was set back."""
    return abs(now_s - beat.beat_s) <= config.stale_s


def _fleet_rows(database: Database, now_s: float, recent_s: float) -> list[dict[str, Any]]:
    (nodes,) = database.rows(
        "SELECT count(*) AS known, coalesce(sum(node_id IS NOT NULL), 0) AS registered, "
        "coalesce(sum(last_seen_s > ?), 0) AS recent FROM nodes WHERE removed_s IS NULL",
        now_s - recent_s,
    )
    text = f"{nodes['known']} known, {nodes['registered']} registered, {nodes['recent']} answered in the last hour"
    found = [{"what": "nodes", "pid": None, "for": "", "state": text}]
    for row in database.rows("SELECT * FROM rollouts WHERE ended_s IS NULL ORDER BY id"):
        state = f"{row['name']}: release {row['release_version']}, {row['phase']}"
        found.append({"what": "rollout", "pid": None, "for": age(now_s - row["started_s"]), "state": state})
    return found


def server_status(config: FleetConfig, now_s: float) -> Status:
    """What runs of a fleet's server.

    Args:
        now_s: seconds since 1970.

    Raises:
        StorageError: its database cannot be read.
    """
    run = config.state / "run"
    files = (supervisor_file(config), run / f"{SUPERLINK}.json", run / f"{SUPEREXEC}.json")
    up, superlink, superexec = (noted(file) for file in files)
    answers = is_healthy(config, HEALTH_TIMEOUT_S)
    where = f"{'answers' if answers else 'does not answer'} at {dialled(config.superlink)}"
    with Database(config.database) as database:
        beat = last_beat(database)
        controller = controller_process(config, beat)
        rows = (
            _row("supervisor", up, "runs" if up else "does not run; `tinytrain-server up`"),
            _row("superlink", superlink, where),
            _row("superexec", superexec, "runs" if superexec else "does not run"),
            _row("controller", controller, _controller_state(config, beat, controller is not None, now_s)),
            *_fleet_rows(database, now_s, RECENT_S),
        )
    beats = controller is not None and beat is not None and _is_recent(config, beat, now_s)
    return Status(rows, all((up, superlink, superexec, answers, beats)))
