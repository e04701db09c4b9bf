"""The systemd units: what systemd itself says of them, and that they name what there is."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer

from server.cli import app
from server.running.logs import MAX_BYTES
from tests.server.running import NGINX

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
NAMES = sorted(file.name for file in UNITS.glob("*.service"))
LASTING = [name for name in NAMES if name != "tinytrain-logs.service"]
PROGRAMS = Path(sys.executable).parent
MOST_EXPOSED = 2.5  # of 10; a service without any hardening has 9.6


def lines(name: str) -> dict[str, str]:
    text = (UNITS / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([A-Za-z]+)=(.*)$", text, re.MULTILINE))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The units with the programs of this machine."""
    folder = tmp_path_factory.mktemp("units")
    for name in NAMES:
        text = (UNITS / name).read_text(encoding="utf-8")
        text = text.replace("/opt/tinytrain/bin/", f"{PROGRAMS}/").replace("/usr/sbin/nginx", NGINX or "/bin/true")
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_there_is_one_for_each_part() -> None:
    parts = ("client", "logs", "proxy", "server")
    assert [f"tinytrain-{part}.service" for part in parts] == NAMES
    assert (UNITS / "tinytrain-logs.timer").exists()
    script = (UNITS.parent / "install-server.sh").read_text(encoding="utf-8")
    installed = set(re.findall(r"tinytrain-[a-z]+\.(?:service|timer)", script))
    assert installed == {*NAMES, "tinytrain-logs.timer"} - {"tinytrain-client.service"}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.skipif(not (PROGRAMS / "tinytrain-server").exists(), reason="needs the programs beside Python")
@pytest.mark.parametrize("name", NAMES)
def test_systemd_finds_nothing_wrong(installed: Path, name: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", str(installed / name)], capture_output=True, text=True, check=False
    )
    said = [line for line in done.stderr.splitlines() if name in line]
    assert not said
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", LASTING)
def test_each_is_started_again(name: str) -> None:
    unit = lines(name)
    assert unit["Restart"] == "always"
    assert int(unit["TimeoutStopSec"]) <= 30


@pytest.mark.parametrize("name", NAMES)
def test_each_runs_as_nobody_special_and_writes_only_its_own(name: str) -> None:
    unit = lines(name)
    assert unit["User"] == "tinytrain"
    assert unit["NoNewPrivileges"] == "yes"
    assert unit["ProtectSystem"] == "strict"
    assert unit["UMask"] == "0077"
    # A folder that is not there yet is no reason not to start: the program says what is missing.
    assert all(folder.startswith("-") for folder in unit.get("ReadWritePaths", "").split())
    assert "MemoryMax" in unit


def test_the_server_talks_over_loopback_only_and_cannot_write_its_keys() -> None:
    unit = lines("tinytrain-server.service")
    assert (unit["IPAddressDeny"], unit["IPAddressAllow"]) == ("any", "localhost")
    assert "pki" not in unit["ReadWritePaths"]


def test_a_device_cannot_write_its_images() -> None:
    unit = lines("tinytrain-client.service")
    assert "-/srv/images" in unit["ReadOnlyPaths"].split()  # a device may have its images elsewhere
    assert "ReadWritePaths" not in unit
    assert unit["OOMPolicy"] == "continue"


def test_the_server_is_started_as_its_command_line_is() -> None:
    program = typer.main.get_command(app)
    assert isinstance(program, click.Group)
    known = program.list_commands(click.Context(program))
    words = lines("tinytrain-server.service")["ExecStart"].split()
    assert words[1] in known
    assert "TINYTRAIN_FLEET" in lines("tinytrain-server.service")["Environment"]


def test_the_proxys_logs_are_turned_over_without_the_server(tmp_path: Path) -> None:
    words = lines("tinytrain-logs.service")["ExecStart"].split()
    assert words[0] == "/opt/tinytrain/bin/python"
    for name in ("proxy.jsonl", "proxy-errors.log"):
        (tmp_path / name).write_bytes(b"x" * (MAX_BYTES + 1))
    subprocess.run([sys.executable, *words[1:-1], str(tmp_path)], check=True)
    sizes = {file.name: file.stat().st_size for file in tmp_path.iterdir()}
    old = MAX_BYTES + 1
    assert sizes == {"proxy.jsonl": 0, "proxy.jsonl.1": old, "proxy-errors.log": 0, "proxy-errors.log.1": old}


def test_the_administrators_command_runs_as_the_fleets_user(tmp_path: Path) -> None:
    for name, text in (
        ("runuser", 'echo "$TINYTRAIN_FLEET: $@"'),
        ("id", 'case "$1" in -un) echo root;; *) echo 0;; esac'),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    command = ["sh", str(UNITS.parent / "tinytrain-server"), "node", "add", "a b"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "/srv/fleet: -u tinytrain -- /opt/tinytrain/bin/tinytrain-server node add a b\n"
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "as root" in refused.stderr
