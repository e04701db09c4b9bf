"""Rollouts in the fleet's database: their state, the operator's commands, and every decision."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from pydantic import ValidationError

from server.fleet.database import Database
from server.fleet.rollout.state import (
    ACTIVE,
    Decision,
    RolloutState,
    progress_from_json,
    progress_to_json,
    state_from_json,
    state_to_json,
)
from tinytrain_core.errors import ConfigurationError, StorageError

MINUTE_S = 60.0


class What(StrEnum):
    """What an operator can tell a rollout."""

    PAUSE = "pause"
    RESUME = "resume"
    KEEP = "abort-keep"
    ROLL_BACK = "abort-roll-back"


@dataclass(frozen=True)
class Command:
    """What the operator told a rollout."""

    number: int
    what: What
    reason: str


def insert_rollout(connection: sqlite3.Connection, state: RolloutState, now_s: float) -> RolloutState:
    """A new rollout, within a transaction of the caller, with its number.

    It is at least the minutes since 1970, so that the numbers of a database that was lost do not come again with an
    older copy of it: devices do not carry out an order that they have seen.

    Raises:
        ConfigurationError: its name is taken, or another rollout is active.
    """
    for row in connection.execute("SELECT name, phase FROM rollouts ORDER BY id DESC"):
        if row["name"] == state.spec.name:
            raise ConfigurationError(f"there was a rollout {state.spec.name!r} already; give this one another name")
        if row["phase"] in ACTIVE:
            raise ConfigurationError(
                f"rollout {row['name']!r} is {row['phase']}; wait for its end, or end it: "
                f"tinytrain-server rollout abort {row['name']} --keep --reason ..."
            )
    (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'rollouts'").fetchone()
    stored = replace(state, number=max(last + 1, int(now_s // MINUTE_S)))
    connection.execute(
        "INSERT INTO rollouts (id, name, spec, release_version, release_digest, state, phase, started_s)"
        " VALUES (?, ?, ?, ?, ?, '', ?, ?)",
        (
            *(stored.number, state.spec.name, state.spec.model_dump_json()),
            *(state.version, state.digest, state.phase, now_s),
        ),
    )
    update_rollout(connection, None, stored, now_s)
    return stored


def update_rollout(
    connection: sqlite3.Connection, before: RolloutState | None, after: RolloutState, now_s: float
) -> None:
    """Write what has changed since `before`, within a transaction of the caller."""
    if before is None or replace(before, nodes={}) != replace(after, nodes={}):
        ended_s = None if after.phase in ACTIVE else now_s
        connection.execute(
            "UPDATE rollouts SET state = ?, phase = ?,"
            " ended_s = CASE WHEN ? IS NULL THEN NULL ELSE coalesce(ended_s, ?) END WHERE id = ?",
            (state_to_json(after), after.phase, ended_s, ended_s, after.number),
        )
    old = {} if before is None else before.nodes
    if after.nodes is old:
        return
    changed = [(name, node) for name, node in after.nodes.items() if old.get(name) is not node]
    connection.executemany(
        "INSERT OR REPLACE INTO rollout_nodes (rollout, node, progress) VALUES (?, ?, ?)",
        [(after.number, name, progress_to_json(node)) for name, node in changed],
    )
    gone = [(after.number, name) for name in old.keys() - after.nodes.keys()]
    connection.executemany("DELETE FROM rollout_nodes WHERE rollout = ? AND node = ?", gone)


def record(connection: sqlite3.Connection, rollout: int, decisions: Iterable[Decision], now_s: float) -> None:
    """Write decisions down, within a transaction of the caller."""
    connection.executemany(
        "INSERT INTO decisions (rollout, at_s, what, reason, figures) VALUES (?, ?, ?, ?, ?)",
        [(rollout, now_s, d.what, d.reason, json.dumps(dict(d.figures), allow_nan=False)) for d in decisions],
    )


def _state(database: Database, row: sqlite3.Row) -> RolloutState:
    try:
        state = state_from_json(row["state"])
        found = database.rows("SELECT node, progress FROM rollout_nodes WHERE rollout = ?", row["id"])
        return replace(state, nodes={each["node"]: progress_from_json(each["progress"]) for each in found})
    except ValidationError:
        raise StorageError(
            f"rollout {row['name']} in the fleet's database cannot be read; was a later version of this program here?"
        ) from None


def latest_number(database: Database) -> int:
    """The number of the rollout that was started last; 0 where there was none."""
    return int(database.rows("SELECT coalesce(max(id), 0) AS number FROM rollouts")[0]["number"])


def load_rollout(database: Database, number: int) -> RolloutState:
    """The rollout of that number.

    Raises:
        StorageError: there is none, or it cannot be read.
    """
    rows = database.rows("SELECT * FROM rollouts WHERE id = ?", number)
    if not rows:
        raise StorageError(f"the fleet's database has no rollout {number}")
    return _state(database, rows[0])


def find_rollout(database: Database, name: str = "") -> RolloutState:
    """The rollout of that name, or the one that was started last.

    Raises:
        ConfigurationError: there is none.
        StorageError: it cannot be read.
    """
    where, values = ("WHERE name = ?", (name,)) if name else ("", ())
    rows = database.rows(f"SELECT * FROM rollouts {where} ORDER BY id DESC LIMIT 1", *values)
    if rows:
        return _state(database, rows[0])
    if name:
        raise ConfigurationError(f"no rollout is called {name!r}; `tinytrain-server rollout list` names them")
    raise ConfigurationError("there was no rollout yet; begin one with `tinytrain-server rollout start SPEC.yaml`")


def command(connection: sqlite3.Connection, rollout: int, what: What, reason: str, now_s: float) -> None:
    """Tell a rollout something, within a transaction of the caller."""
    connection.execute(
        "INSERT INTO commands (rollout, what, reason, at_s) VALUES (?, ?, ?, ?)", (rollout, what, reason, now_s)
    )


def open_commands(database: Database, rollout: int) -> list[Command]:
    """What a rollout was told and has not heeded yet."""
    rows = database.rows("SELECT * FROM commands WHERE rollout = ? AND done_s IS NULL ORDER BY id", rollout)
    return [Command(row["id"], What(row["what"]), row["reason"]) for row in rows]


def heeded(connection: sqlite3.Connection, commands: Iterable[Command], now_s: float) -> None:
    """Commands were carried out, within a transaction of the caller."""
    connection.executemany("UPDATE commands SET done_s = ? WHERE id = ?", [(now_s, c.number) for c in commands])


def decisions(database: Database, rollout: int) -> list[dict[str, Any]]:
    """Every decision about a rollout, the oldest first: at_s, what, reason, figures."""
    rows = database.rows("SELECT at_s, what, reason, figures FROM decisions WHERE rollout = ? ORDER BY id", rollout)
    return [{**dict(row), "figures": json.loads(row["figures"])} for row in rows]


def summaries(database: Database) -> list[dict[str, Any]]:
    """Every rollout, the latest first: number, name, release, phase, started_s, ended_s."""
    columns = "id AS number, name, release_version AS release, phase, started_s, ended_s"
    return [dict(row) for row in database.rows(f"SELECT {columns} FROM rollouts ORDER BY id DESC")]
