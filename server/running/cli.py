"""`tinytrain-server up`, `status` and `nginx-conf`: run a fleet's server, look at it, put a proxy in front."""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console

from server.fleet.config import FleetConfig, load_fleet_config
from server.fleet.options import HERE, FleetFolder, Style, say, show_rows
from server.running.check import check_server, wrong_user
from server.running.logs import JsonLines, close_log, open_log
from server.running.proxy import ProxySettings, make_folders, render
from server.running.status import server_status
from server.running.up import Up, only_one
from tinytrain_core.configuration import parse_settings
from tinytrain_core.console import Format
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.files import write_file

OWN_FILES = 0o077  # the umask
_COLOURS = {logging.WARNING: "yellow", logging.ERROR: "red"}


class _ToConsole(logging.Handler):
    """Events for the person at the terminal, or for the journal of the machine."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(stderr=True, soft_wrap=True, highlight=False)

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{time.strftime('%H:%M:%S')} {record.getMessage()}"
        self._console.print(text, style=_COLOURS.get(record.levelno, ""), markup=False)


class _ToConsoleAsJson(_ToConsole):
    def emit(self, record: logging.LogRecord) -> None:
        self._console.out(JsonLines("up").format(record), highlight=False)


@contextmanager
def _opened_log(config: FleetConfig, style: Format) -> Iterator[logging.Logger]:
    log = open_log(config.state / "logs", "up")
    log.addHandler(_ToConsoleAsJson() if style is Format.JSON else _ToConsole())
    try:
        yield log
    finally:
        close_log(log)


def _on_signals(up: Up) -> None:
    """SIGTERM and Ctrl-C end the server in order; SIGHUP lets it read its certificates again."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        up.stop.set()

    def renew(_signal: int, _frame: FrameType | None) -> None:
        up.renew.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGHUP, renew)


def _check(config: FleetConfig, style: Format) -> None:
    """Print what was checked.

    Raises:
        ConfigurationError: something is wrong.
    """
    checks = check_server(config)
    show_rows([check.row() for check in checks], style)
    if wrong := [check.what for check in checks if not check.passed]:
        raise ConfigurationError(f"the server would not run: {', '.join(wrong)}; see above")


def _run(config: FleetConfig, style: Format) -> None:
    """Run the server; what it writes is for its own user.

    Raises:
        ConfigurationError: another user should run it.
    """
    if cure := wrong_user(config.folder):
        raise ConfigurationError(cure)
    os.umask(OWN_FILES)
    with only_one(config), _opened_log(config, style) as log:
        up = Up(config, log, threading.Event())
        _on_signals(up)
        up.run()


def _loaded(fleet: Path) -> FleetConfig:
    """The fleet's settings.

    Raises:
        ConfigurationError: they are wrong, or this user may not read them.
    """
    try:
        return load_fleet_config(fleet)
    except (ConfigurationError, PermissionError):
        if fleet.is_dir() and (cure := wrong_user(fleet)):
            raise ConfigurationError(cure) from None
        raise


def up_command(
    fleet: FleetFolder = HERE,
    check: Annotated[bool, typer.Option("--check", help="Say what is wrong, and start nothing.")] = False,
    style: Style = Format.TABLE,
) -> None:
    """Run the server of a fleet until it is stopped: SuperLink, SuperExec and the controller.

    Whatever of it ends or hangs is started again. All logs are in FLEET/state/logs, one JSON object a line. Devices
    should reach the SuperLink through a proxy: see nginx-conf. SIGHUP reads renewed certificates.

    Example: tinytrain-server up --fleet /srv/fleet
    """
    config = _loaded(fleet)
    if check:
        _check(config, style)
    else:
        _run(config, style)


def status_command(fleet: FleetFolder = HERE, style: Style = Format.TABLE) -> None:
    """What of a fleet's server runs, since when, how it is, and which rollout is under way.

    Its exit code is 1 where something that should run does not.

    Example: tinytrain-server status --fleet /srv/fleet
    """
    status = server_status(load_fleet_config(fleet), time.time())
    show_rows(status.rows, style)
    if not status.well:
        raise typer.Exit(1)


def nginx_command(
    fleet: FleetFolder = HERE,
    out: Annotated[Path | None, typer.Option(help="The file to write; by default it is printed.")] = None,
    listen: Annotated[str, typer.Option(help="PORT or HOST:PORT; by default the port that devices dial.")] = "",
    body: Annotated[str, typer.Option(help="The largest request of a device, as nginx writes sizes.")] = "1m",
    node_rate: Annotated[int, typer.Option(help="Requests per second of a node; more are delayed.")] = 20,
    address_rate: Annotated[int, typer.Option(help="Requests per second of an address.")] = 200,
    connections: Annotated[int, typer.Option(help="Requests of an address at a time.")] = 200,
    log_all: Annotated[bool, typer.Option("--log-all", help="Log polls and heartbeats as well.")] = False,
) -> None:
    """Write the configuration of the nginx that stands in front of a fleet's SuperLink.

    Example: tinytrain-server nginx-conf --fleet /srv/fleet --out /srv/fleet/nginx.conf
    """
    config = load_fleet_config(fleet)
    fields: dict[str, Any] = {
        "listen": listen or None,
        "body": body,
        "node_rate": node_rate,
        "address_rate": address_rate,
        "connections": connections,
        "log_all": log_all,
    }
    text = render(config, parse_settings(ProxySettings, fields, "this is not a proxy"))
    if out is None:
        Console(soft_wrap=True).out(text, end="", highlight=False)
        return
    make_folders(config)
    write_file(out, text.encode())
    logs = config.state / "logs"
    say(f"wrote {out}; run it with: nginx -e {logs / 'proxy-errors.log'} -c {out.absolute()}")
