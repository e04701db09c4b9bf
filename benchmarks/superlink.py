"""How many devices one SuperLink carries: what a poll costs it, with and without the proxy in front.

    python -m benchmarks.superlink --seconds 20

Real programs, TLS, node signatures and SQLite on loopback. Fake nodes poll without a pause, over a connection that they
keep or a new one for each poll, as it is where polls are further apart than the server keeps idle connections.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PullMessagesRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from server.fleet.config import FleetConfig
from server.fleet.options import Style, show_rows
from server.nodes.superlink_session import SuperLinkSession
from server.pki import folder as pki
from server.running.flower_programs import flower_environment, is_healthy, superlink_command
from server.running.proxy import ProxySettings, make_folders, render
from tinytrain_core.console import Format
from tinytrain_core.node_key import make_key, public_of, public_pem

SUPERLINK, PROXY = "127.0.0.1:47711", "127.0.0.1:47712"
PERIODS_S = (3, 10, 15, 30)
KEPT_IDLE_S = {"superlink": 5, "proxy": 75}  # for which an idle connection is kept
HEARTBEAT_S = 20.0  # between two of a node's
SHARE = 0.6  # of a core, to be planned with: messages and registrations need some as well
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    """One combination, as it was measured.

    Attributes:
        polls_per_s: answered, with all nodes polling without a pause.
        superlink_ms, proxy_ms: processor time of a poll.
        worst_ms: the 99th percentile of how long a poll took.
    """

    dialled: str
    connection: str
    polls_per_s: float
    superlink_ms: float
    proxy_ms: float
    worst_ms: float

    def devices(self, period_s: float) -> int:
        """Nodes that poll every `period_s` and send heartbeats, at `SHARE` of one processor core.

        A SuperLink is one process that uses one core at a time, so that the processor time of a poll bounds them;
        what was answered here is less, as those who ask are on the same machine.
        """
        return int(SHARE * 1_000 / self.superlink_ms / (1 / period_s + 1 / HEARTBEAT_S))


def _client(address: str, ca: bytes, private_key: str) -> FleetHttpClient:
    key = load_ssh_private_key(private_key.encode(), None)
    version = RuntimeVersionHttpInterceptor(component_name="SuperNode")
    signature = NodeAuthHttpInterceptor(key, key.public_key())  # type: ignore[arg-type]
    return FleetHttpClient.from_server_address(address, False, ca, [version, signature])


def _drive(address: str, ca: bytes, keys: list[str], fresh: bool, until_s: float) -> list[float]:
    """Poll with each node in turn until a moment; how long each poll took in seconds."""
    clients, ids = [], []
    for key in keys:
        client = _client(address, ca, key)
        public = public_key_to_bytes(load_ssh_private_key(key.encode(), None).public_key())  # type: ignore[arg-type]
        ids.append(client.ActivateNode(ActivateNodeRequest(public_key=public, heartbeat_interval=1_800)).node_id)
        clients.append(client)
    took = []
    while time.time() < until_s:
        for number, node_id in enumerate(ids):
            if fresh:
                clients[number].close()
                clients[number] = _client(address, ca, keys[number])
            before = time.perf_counter()
            clients[number].PullMessages(PullMessagesRequest(node=Node(node_id=node_id)))
            took.append(time.perf_counter() - before)
    for client in clients:
        client.close()
    return took


def _seconds_of(pids: list[int]) -> float:
    """The processor time that processes have used."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_PER_S


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def _started(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[int]:
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextmanager
def _fleet(folder: Path) -> Iterator[tuple[FleetConfig, int, int | None]]:
    """A SuperLink and, where nginx is installed, the proxy in front of it, with their processes."""
    config = FleetConfig(folder=folder, address=PROXY, superlink=SUPERLINK)
    pki.init(config, time.time())
    make_folders(config)
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    with _started([str(part) for part in superlink_command(config)], flower_environment(config), config.state) as link:
        while not is_healthy(config):
            time.sleep(0.2)
        if nginx is None:
            yield config, link, None
            return
        settings = ProxySettings(node_rate=10_000, address_rate=100_000)
        file = config.state / "proxy" / "nginx.conf"
        file.write_text(render(config, settings), encoding="utf-8")
        with _started([nginx, "-e", "errors", "-c", str(file)], dict(os.environ), config.state / "proxy") as proxy:
            time.sleep(0.5)
            yield config, link, proxy


def _measure(
    config: FleetConfig, pids: tuple[int, int | None], keys: list[str], fresh: bool, seconds: float, through: bool
) -> Load:
    address = config.address if through else config.superlink
    ca = (config.pki / pki.CA_CERTIFICATE).read_bytes()
    workers = 4
    link = [pids[0]]
    proxy = [] if pids[1] is None else [pids[1], *_children(pids[1])]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(abs, range(workers)))
        begin_s, before = time.time(), (_seconds_of(link), _seconds_of(proxy))
        parts = [keys[n::workers] for n in range(workers)]
        jobs = [pool.submit(_drive, address, ca, part, fresh, begin_s + seconds) for part in parts]
        took = sorted(second for job in jobs for second in job.result())
        lasted_s, after = time.time() - begin_s, (_seconds_of(link), _seconds_of(proxy))
    return Load(
        dialled="proxy" if through else "superlink",
        connection="new" if fresh else "kept",
        polls_per_s=round(len(took) / lasted_s, 1),
        superlink_ms=round(1_000 * (after[0] - before[0]) / len(took), 2),
        proxy_ms=round(1_000 * (after[1] - before[1]) / len(took), 2) if through else 0.0,
        worst_ms=round(1_000 * took[int(0.99 * (len(took) - 1))], 1),
    )


def _row(load: Load) -> dict[str, object]:
    """The load with the devices that it stands for, where its kind of connection is that of such a period."""
    row: dict[str, object] = asdict(load)
    for period_s in PERIODS_S:
        kept = period_s < KEPT_IDLE_S[load.dialled]
        row[f"devices at {period_s} s"] = load.devices(period_s) if kept == (load.connection == "kept") else None
    return row


def main(
    nodes: Annotated[int, typer.Option(help="Fake nodes.")] = 40,
    seconds: Annotated[float, typer.Option(help="Of each of the measurements.")] = 20.0,
    style: Style = Format.TABLE,
) -> None:
    """Measure what a poll costs a SuperLink, directly and through nginx.

    Example: python -m benchmarks.superlink --nodes 40 --seconds 20
    """
    loads = []
    with tempfile.TemporaryDirectory() as folder, _fleet(Path(folder)) as (config, link, proxy):
        for through in (False, True) if proxy else (False,):
            for fresh in (False, True):
                keys = [make_key() for _ in range(nodes)]
                with SuperLinkSession(config) as session:
                    for number, key in enumerate(keys):
                        session.register(public_pem(public_of(key)).decode(), f"n{through}{fresh}{number}", "")
                loads.append(_measure(config, (link, proxy), keys, fresh, seconds, through))
    rows = [_row(load) for load in loads]
    if style is Format.JSON:
        typer.echo(json.dumps(rows, indent=2))
    else:
        show_rows(rows, style)


if __name__ == "__main__":
    typer.run(main)
