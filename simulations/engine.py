"""Runs a fleet: the very apps that real servers and devices run, in processes of this machine or of a Ray cluster.

`grid.py` and what else knows Flower is imported late: Flower reads its environment when it is imported.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.config import NodeConfig
from server.config import RunSettings
from server.exchange import OnReports
from server.results import REPORTS_FILE
from simulations.account import Effort, write_account, write_hosted
from simulations.clock import VirtualClock
from simulations.environment import WORKER, environment
from simulations.executors.dispatch import Dispatch
from simulations.executors.ray_workers import RayWorkers
from simulations.executors.workers import Workers
from simulations.flower_engine import ENGINE as FLOWER
from simulations.flower_engine import check_timeless, quiet_flower, run_flower
from simulations.run_folder import COMPUTED_FILE, LOGS, set_up
from simulations.settings import FleetSettings
from simulations.world.world import World
from tinytrain_core import wire
from tinytrain_core.errors import EgressError
from tinytrain_core.report import PersonalisationReport

if TYPE_CHECKING:
    from flwr.serverapp import ServerApp

SHARED = ("backbone", "rounds", "deadline_s", *wire.REQUESTED)  # with the server
CLIENT = "client.app:app"
OnComputed = Callable[[int, str, Mapping[str, Mapping[str, Any]] | None], None]
MakeServer = Callable[[VirtualClock], "ServerApp"]


def executor(settings: FleetSettings, function: str, logs: Path | None = None) -> Dispatch:
    """What does the computing, by the settings; it is to be used as a context manager.

    Args:
        function: `module:name` of what is called for each job.
        logs: a folder for what the workers say.
    """
    kinds: dict[str, Callable[[], Dispatch]] = {
        "workers": lambda: Workers(function, settings.workers, logs),
        "ray": lambda: RayWorkers(function, None if settings.ray_address else settings.workers, settings.ray_address),
    }
    return kinds[settings.engine]()


def server_settings(settings: FleetSettings, min_nodes: int, out: Path) -> RunSettings:
    """What the server is asked for."""
    return RunSettings(**{key: getattr(settings, key) for key in SHARED}, min_nodes=max(min_nodes, 1), out=str(out))


def _always_there(world: World, clock: VirtualClock) -> int:
    """The nodes to wait for: all that are there, where nobody comes or goes, and else any."""
    now_s = clock.now_s()
    return len(world.online_nodes(now_s)) if world.next_change_s(now_s) is None else 1


class Progress:
    """Tells of devices as they are computed; the server only hears of them at a virtual time."""

    def __init__(self, nodes: Sequence[NodeConfig], settings: FleetSettings, on_reports: OnReports) -> None:
        self._nodes, self._on_reports = nodes, on_reports
        self._total = settings.devices * settings.rounds
        self._done = 0

    def computed(self, node: int, kind: str, records: Mapping[str, Mapping[str, Any]] | None) -> None:
        """A message was: those that ask for no report, and answers that are none, do not count as reports."""
        if kind == wire.TRAIN_PERSONALISE:
            reports = _reports(records)
            self._done += len(reports) or len(self._nodes[node].devices)
            self._on_reports(self._done, self._total, reports)


def _reports(records: Mapping[str, Mapping[str, Any]] | None) -> list[PersonalisationReport]:
    try:
        answer = wire.validate_metrics(records or {})
    except EgressError:
        return []
    return answer if isinstance(answer, list) else []


def simulate(
    settings: FleetSettings,
    nodes: Sequence[NodeConfig],
    out: Path,
    client: str,
    make_server: MakeServer,
    on_computed: OnComputed,
) -> None:
    """Let a ServerApp and a ClientApp of Flower run on the fleet, in virtual time; `out` gets the engine's account.

    Args:
        client: `module:name` of the ClientApp.
        make_server: the ServerApp on that clock.
        on_computed: told of each message as its computing ends.

    Raises:
        FleetError: no worker can be started.
        Exception: whatever the ServerApp raises.
    """
    write_hosted(out, nodes)
    with environment(WORKER), quiet_flower(), ExitStack() as stack:
        from simulations.grid import FleetGrid, run_server
        from simulations.remembered import Remembered
        from simulations.serving import FUNCTION

        clock, began_s = VirtualClock(), time.monotonic()
        remembered = stack.enter_context(Remembered(out / COMPUTED_FILE))
        workers = stack.enter_context(executor(settings, FUNCTION, out / LOGS))
        world = World(settings, nodes)
        grid = FleetGrid(nodes, client, world, clock, workers, remembered=remembered, on_computed=on_computed)

        def account() -> None:
            effort = Effort(settings.engine, workers.count, time.monotonic() - began_s, clock.monotonic_s())
            write_account(out, grid.visits, effort)

        try:
            run_server(make_server(clock), grid)
        except Exception:
            account()
            raise
        account()
    (out / COMPUTED_FILE).unlink(missing_ok=True)


def _run_on_grid(settings: FleetSettings, nodes: Sequence[NodeConfig], out: Path, on_reports: OnReports) -> None:
    def make_server(clock: VirtualClock) -> "ServerApp":
        from server.app import make_app

        server = server_settings(settings, _always_there(World(settings, nodes), clock), out)
        return make_app(server, lambda *_: None, clock)

    simulate(settings, nodes, out, CLIENT, make_server, Progress(nodes, settings, on_reports).computed)


def run_fleet(
    settings: FleetSettings, out: Path, on_reports: OnReports, command: str = "", resume: bool = False
) -> Path:
    """Simulate a fleet; its results are in `out`.

    Args:
        on_reports: told of progress, for engine `flower` from another thread.
        command: what to record as the command that made the run.
        resume: go on where the same run in `out` was cut short, if one was; the results are as if it never was.

    Returns:
        The file with one report a line.

    Raises:
        ConfigurationError, DataError, BackboneError: found before anything is started.
        FleetError: the engine failed, or there was not one report.
    """
    on_flower = settings.engine == FLOWER
    if on_flower:
        check_timeless(settings)
    nodes = set_up(out, settings, command, resume=resume and not on_flower, files=on_flower)
    if on_flower:
        write_hosted(out, nodes)
        run_flower(server_settings(settings, len(nodes), out), len(nodes), settings.workers, out, on_reports)
    else:
        _run_on_grid(settings, nodes, out, on_reports)
    return out / REPORTS_FILE
