"""`flwr run . local` with the two apps on Flower's own simulation engine, as a user would start it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import torch
import yaml

from server.results import read_reports
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.weights import to_bytes
from tinytrain_core.errors import ErrorCode

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
NODES = 3

pytestmark = pytest.mark.skipif(not (PROGRAMS / "flwr").exists(), reason="needs Flower's programs beside Python")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Flower at home in a temporary folder, on a port of its own, without telemetry."""
    own = {
        "FLWR_HOME": str(tmp_path / "flwr"),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(free_port()),
        "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "TINYTRAIN_NODES": str(tmp_path / "nodes"),
    }
    (tmp_path / "flwr").mkdir()
    return {**os.environ, **own}


@pytest.fixture
def superlink(environment: dict[str, str], tmp_path: Path) -> Iterator[None]:
    """The SuperLink that `flwr run` would start and leave behind, started here so that it can be stopped."""
    port = environment["FLWR_LOCAL_SUPERLINK_HTTP_API_PORT"]
    command = [PROGRAMS / "flower-superlink", "--simulation", "--insecure", "--host", "127.0.0.1", "--port", port]
    with (tmp_path / "superlink.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}/health", process)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def wait_until_healthy(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(address, timeout=2):
                return
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.3)
    raise AssertionError(f"no SuperLink at {address}, exit code {process.poll()}")


def write_nodes(folder: Path, store: Path) -> None:
    """A gateway of two devices, one of which has no images, and two single devices."""
    folder.mkdir()
    (folder / "empty").mkdir()
    users = [{"number": number, "users": 4} for number in range(4)]
    device = {"data": "glyphs", "shots": 2, "holdout": 2}
    nodes = [
        [{"number": 1, "profile": "stm32h743", "user": users[0], **device},
         {"number": 2, "profile": "stm32h743", **device, "data": "empty"}],
        [{"number": 3, "profile": "pi_4", "user": users[2], **device}],
        [{"number": 4, "profile": "jetson_nano", "user": users[3], **device}],
    ]  # fmt: skip
    for partition, devices in enumerate(nodes):
        node = {"store": str(store / str(partition)), "simulated": True, "devices": devices}
        (folder / f"{partition}.yaml").write_text(yaml.safe_dump(node), encoding="utf-8")


@pytest.mark.usefixtures("superlink")
def test_flwr_run_ends_with_a_report_of_every_device(
    environment: dict[str, str], tmp_path: Path, mcunet: Backbone
) -> None:
    write_nodes(tmp_path / "nodes", tmp_path / "stores")
    (tmp_path / "b.safetensors").write_bytes(to_bytes(mcunet, torch.float16))
    settings = f"steps=2 rounds=2 min-nodes={NODES} backbone='{tmp_path / 'b.safetensors'}' out='{tmp_path / 'out'}'"
    federation = f"num-supernodes={NODES} client-resources-num-cpus=1 init-args-num-cpus=2"
    command = [PROGRAMS / "flwr", "run", ".", "local", "--stream", "--federation-config", federation, "-c", settings]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    reports = read_reports(tmp_path / "out")
    assert [(r.round, r.device) for r in reports] == [(n, d) for n in (1, 2) for d in (1, 2, 3, 4)]
    assert [r.error for r in reports[:4]] == [ErrorCode.NONE, ErrorCode.NO_IMAGES, ErrorCode.NONE, ErrorCode.NONE]
    first, second = json.loads((tmp_path / "out" / "run.json").read_text())["rounds"]
    assert (len(first["backbone_sent_to"]), second["backbone_sent_to"]) == (NODES, [])
    (bundle,) = (tmp_path / "flwr" / "apps").iterdir()
    assert [file.name for file in bundle.rglob("*") if file.is_file()] == ["pyproject.toml"]
    shutil.rmtree(tmp_path / "flwr")
