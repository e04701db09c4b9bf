"""`tinytrain-server rollout status`: where a rollout stands, once or as it changes."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from server.fleet.config import FleetConfig, load_fleet_config
from server.fleet.database import Database
from server.fleet.nodes import nodes
from server.fleet.options import HERE, FleetFolder, Style, plain_console, rows_table
from server.fleet.rollout import store
from server.fleet.rollout.state import ACTIVE, RolloutState
from server.fleet.rollout.unfinished import on_withdrawn
from server.fleet.rollout.view import decision_rows, facts, gate_rows, headline, node_rows, progress_rows
from server.releases.registry import Registry
from tinytrain_core.console import Format

WATCH_S = 2.0
MOST_DECISIONS = 20  # that --watch shows


def _page(state: RolloutState, decisions: Sequence[Mapping[str, Any]], with_nodes: bool) -> Group:
    parts: list[RenderableType] = [Text(headline(state)), rows_table(progress_rows(state), "stages")]
    if state.phase in ACTIVE:
        parts.append(rows_table(gate_rows(state), "gates of this stage, so far"))
    if with_nodes:
        parts.append(rows_table(node_rows(state), "nodes"))
    return Group(*parts, rows_table(decision_rows(decisions), "decisions"))


def _warnings(config: FleetConfig, database: Database) -> list[str]:
    """What the operator has to see, whichever rollout it is."""
    bad = on_withdrawn(nodes(database), Registry(config.releases, config.line).withdrawals())
    return [f"node {name} uses release {version}, which was withdrawn" for name, version in bad.items()]


def _json(state: RolloutState, decisions: Sequence[Mapping[str, Any]], warnings: Sequence[str]) -> str:
    found = facts(state) | {
        "warnings": list(warnings),
        "progress": progress_rows(state),
        "gates": gate_rows(state),
        "nodes": node_rows(state),
        "decisions": list(decisions),
    }
    return json.dumps(found, indent=2)


def status(
    name: Annotated[str, typer.Argument(help="The rollout; by default the latest.", show_default=False)] = "",
    fleet: FleetFolder = HERE,
    with_nodes: Annotated[bool, typer.Option("--nodes", help="Also a line for each node.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until the rollout has ended, or Ctrl-C.")] = False,
    style: Style = Format.TABLE,
) -> None:
    """Where a rollout stands: its stages, what its gates have seen, and every decision with its reason.

    Example: tinytrain-server rollout status spring --watch
    """
    config = load_fleet_config(fleet)
    with Database(config.database) as database:
        state = store.find_rollout(database, name)
        console = plain_console()
        if watch and style is Format.TABLE:
            state = _watched(database, state, with_nodes, console)
        decisions, warnings = store.decisions(database, state.number), _warnings(config, database)
        if style is Format.JSON:
            console.out(_json(state, decisions, warnings), highlight=False)
        else:
            console.print(
                _page(state, decisions, with_nodes), *(Text(f"warning: {each}", "yellow") for each in warnings)
            )


def _watched(database: Database, state: RolloutState, with_nodes: bool, console: Console) -> RolloutState:
    """Show it as it changes, until it has ended; what it is then."""
    with Live(console=console, transient=True, auto_refresh=False) as live:
        while state.phase in ACTIVE:
            live.update(
                _page(state, store.decisions(database, state.number)[-MOST_DECISIONS:], with_nodes), refresh=True
            )
            time.sleep(WATCH_S)
            state = store.load_rollout(database, state.number)
    return state
