"""`tinytrain-server rollout`: give a release to the fleet in stages, watch it, stop it.

The commands read and write the fleet's database and nothing else. The controller does what it says there, at once
where the server is up, and else when it comes up.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from server.fleet.config import FleetConfig, load_fleet_config
from server.fleet.database import Database
from server.fleet.nodes import Node, nodes
from server.fleet.options import HERE, FleetFolder, Style, say, show_rows
from server.fleet.rollout import store
from server.fleet.rollout.spec import RolloutSpec, load_spec
from server.fleet.rollout.start import began, brought_along, prepared
from server.fleet.rollout.state import ACTIVE, Phase, RolloutState
from server.fleet.rollout.status import status
from server.fleet.rollout.store import What
from server.fleet.rollout.unfinished import check_nobody_left, unfinished
from server.fleet.rollout.view import stage_rows, summary_rows
from server.releases.registry import Registry, load_trust
from tinytrain_core.console import Format
from tinytrain_core.errors import ConfigurationError

app = typer.Typer(
    help="Give a release to the fleet in stages, watch it, stop it.\n\n"
    "The shortest SPEC.yaml has two lines, `name: spring` and `release: 2`. `plan` shows what would follow from it.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
SpecFile = Annotated[Path, typer.Argument(metavar="SPEC.yaml", help="What the rollout is; see docs/operations.md.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The rollout.")]
Reason = Annotated[str, typer.Option(prompt="Reason", help="Why; it is recorded.")]


app.command()(status)


def _prepared(config: FleetConfig, known: Sequence[Node], spec: RolloutSpec) -> RolloutState:
    registry = Registry(config.releases, config.line)
    return prepared(spec, registry, load_trust(config.folder), known, time.time(), config.minimum_cohort)


def _undone(config: FleetConfig, database: Database, known: Sequence[Node]) -> dict[str, str]:
    """The nodes that need a rollout, and why."""
    number = store.latest_number(database)
    before = store.load_rollout(database, number) if number else None
    return unfinished(before, known, Registry(config.releases, config.line).withdrawals())


def _is_up(config: FleetConfig, database: Database) -> bool:
    """Whether there is a controller that heeds what is written."""
    rows = database.rows("SELECT beat_s FROM controller")
    return bool(rows) and abs(time.time() - rows[0]["beat_s"]) < config.stale_s


def _when(config: FleetConfig, database: Database) -> str:
    if _is_up(config, database):
        return "the server heeds it at its next look"
    return "the server is not running; it heeds it when `tinytrain-server up` runs"


@app.command()
def plan(file: SpecFile, fleet: FleetFolder = HERE, style: Style = Format.TABLE) -> None:
    """Check a rollout and show its stages, without beginning it.

    Example: tinytrain-server rollout plan spring.yaml --fleet /srv/fleet
    """
    config, spec = load_fleet_config(fleet), load_spec(file)
    with Database(config.database) as database:
        known = nodes(database)
        state, undone = _prepared(config, known, spec), _undone(config, database, known)
    show_rows(stage_rows(state), style)
    if more := brought_along(state, known):
        say(f"{more} of the devices are of other classes than the target's: a gateway's devices go together")
    for name in sorted(undone.keys() - state.nodes.keys()):
        say(f"outside the target node {name} {undone[name]}", "yellow")
    say(f"{began(state).reason}; begin it with `tinytrain-server rollout start {file}`")


@app.command()
def start(
    file: SpecFile,
    fleet: FleetFolder = HERE,
    leave_behind: Annotated[
        bool, typer.Option("--leave-behind", help="Also where nodes outside the target have not finished the last one.")
    ] = False,
    style: Style = Format.TABLE,
) -> None:
    """Begin a rollout, after checking all of it: signatures, the way back, who gets it, who would be left behind.

    Example: tinytrain-server rollout start spring.yaml --fleet /srv/fleet
    """
    config, spec = load_fleet_config(fleet), load_spec(file)
    with Database(config.database) as database:
        known, now_s = nodes(database), time.time()
        state = _prepared(config, known, spec)
        if not leave_behind:
            check_nobody_left(state, _undone(config, database, known))
        with database.transaction() as connection:
            state = store.insert_rollout(connection, state, now_s)
            store.record(connection, state.number, [began(state)], now_s)
        show_rows(stage_rows(state), style)
        say(f"rollout {spec.name} began: {began(state).reason}; {_when(config, database)}")


@app.command("list")
def list_command(fleet: FleetFolder = HERE, style: Style = Format.TABLE) -> None:
    """List all rollouts, the latest first.

    Example: tinytrain-server rollout list --fleet /srv/fleet
    """
    with Database(load_fleet_config(fleet).database) as database:
        found = store.summaries(database)
    show_rows(found if style is Format.JSON else summary_rows(found), style, "no rollout yet")


def _tell(config: FleetConfig, name: str, what: What, reason: str) -> None:
    """Write a command down, where the rollout can follow it."""
    with Database(config.database) as database:
        state = store.find_rollout(database, name)
        _check_possible(state, what, store.latest_number(database))
        with database.transaction() as connection:
            store.command(connection, state.number, what, reason, time.time())
        say(f"rollout {name}: {what.value} is written down; {_when(config, database)}")


def _check_possible(state: RolloutState, what: What, latest: int) -> None:
    possible = {
        What.PAUSE: {Phase.RUNNING},
        What.RESUME: {Phase.PAUSED, Phase.HALTED},
        What.KEEP: ACTIVE | {Phase.COMPLETED},
        What.ROLL_BACK: ACTIVE - {Phase.ROLLING_BACK} | {Phase.COMPLETED},
    }[what]
    name = state.spec.name
    if state.number != latest:
        raise ConfigurationError(f"rollout {name} was followed by another; only the latest can be told anything")
    if state.phase not in possible:
        allowed = ", ".join(sorted(phase.value for phase in possible))
        raise ConfigurationError(f"rollout {name} is {state.phase.value}; {what.value} needs one that is {allowed}")
    if what is What.ROLL_BACK and state.back_to is None:
        raise ConfigurationError(f"rollout {name} began without a signed roll-back order; abort it with --keep")


@app.command()
def pause(name: Name, reason: Reason, fleet: FleetFolder = HERE) -> None:
    """Give no node an order until it is resumed; those that have one go on.

    Example: tinytrain-server rollout pause spring --reason "odd reports from the north"
    """
    _tell(load_fleet_config(fleet), name, What.PAUSE, reason)


@app.command()
def resume(name: Name, reason: Reason, fleet: FleetFolder = HERE) -> None:
    """Go on with a rollout that was paused; a halted stage gets its time, and its failed nodes an order, again.

    Example: tinytrain-server rollout resume spring --reason "a broken camera, not the release"
    """
    _tell(load_fleet_config(fleet), name, What.RESUME, reason)


@app.command()
def abort(
    name: Name,
    reason: Reason,
    roll_back: Annotated[
        bool,
        typer.Option(
            "--roll-back/--keep",
            prompt="Shall the nodes that have the release go back to the one before?",
            help="Whether nodes that were ordered the release go back, or keep what they have.",
        ),
    ],
    fleet: FleetFolder = HERE,
) -> None:
    """End a rollout: nodes go back to the release before, or keep what they have, also in the midst of a roll-back.

    Example: tinytrain-server rollout abort spring --roll-back --reason "worse on dark images"
    """
    _tell(load_fleet_config(fleet), name, What.ROLL_BACK if roll_back else What.KEEP, reason)
