"""`up --check`, `status` and `nginx-conf` as the operator calls them."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from server.cli import app
from server.fleet.config import load_fleet_config
from server.fleet.database import Database
from server.running import check as server_check
from server.running.controller_run import SERVERAPP
from server.running.status import server_status
from server.words import age
from tests.server.fleet_folders import call, printed
from tests.server.running import HAS_FLOWER, fleet_on_loopback
from tinytrain_core.errors import ConfigurationError


def results(folder: Path) -> dict[str, tuple[str, str]]:
    """What `up --check` found: results and texts by what was checked."""
    try:
        rows = printed(call(app, "up", "--check", "--format", "json", "--fleet", folder))
    except ConfigurationError:
        rows = [check.row() for check in server_check.check_server(load_fleet_config(folder))]
    assert isinstance(rows, list)
    return {row["check"]: (row["result"], row["found"]) for row in rows}


@pytest.mark.skipif(not HAS_FLOWER, reason="needs Flower's programs beside Python")
def test_a_fleet_that_can_run_passes(tmp_path: Path) -> None:
    config = fleet_on_loopback(tmp_path / "fleet")
    found = results(config.folder)
    assert set(found) == {"user", "programs", "certificates", "trust", "disk", "database", "address"}
    assert {result for result, _ in found.values()} == {"ok"}


def test_the_wrong_user_is_told_so_and_nothing_is_written(tmp_path: Path) -> None:
    config = fleet_on_loopback(tmp_path / "fleet")
    if os.geteuid() == 0:
        os.chown(config.folder, 65_534, 65_534)
    else:
        config.folder.chmod(0o500)
    before = sorted(config.folder.iterdir())
    for options in (["--check"], []):
        with pytest.raises(ConfigurationError, match="user"):
            call(app, "up", *options, "--fleet", config.folder)
    result, text = results(config.folder)["user"]
    assert result == "wrong"
    assert "run it as the user that owns the folder" in text
    assert sorted(config.folder.iterdir()) == before
    config.folder.chmod(0o700)


def test_a_fleet_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    call(app, "init", tmp_path / "a" / "fleet", "--address", "fleet.example.org:443")
    assert (tmp_path / "a" / "fleet").stat().st_mode & 0o777 == 0o700
    (tmp_path / "open").mkdir(mode=0o755)
    said = call(app, "init", tmp_path / "open", "--address", "fleet.example.org:443").stderr
    assert "chmod 700" in said


def test_a_sign_of_life_from_the_future_is_none(tmp_path: Path) -> None:
    config = fleet_on_loopback(tmp_path / "fleet")
    now_s = time.time()
    command = [sys.executable, "-c", "import time; time.sleep(100)", SERVERAPP, str(config.pki / "ca.crt")]
    with subprocess.Popen(command) as controller, Database(config.database) as database:
        with database.transaction() as connection:
            connection.execute("INSERT INTO controller VALUES (1, 'run', ?, ?)", (controller.pid, now_s))
        states = {
            ahead_s: next(row["state"] for row in server_status(config, now_s - ahead_s).rows if row["pid"])
            for ahead_s in (0, 86_400)
        }
        controller.kill()
    assert states[0].startswith("run run")
    assert states[86_400].startswith("silent")
    assert "ahead of this clock" in states[86_400]


def test_what_is_wrong_is_named_and_the_rest_is_checked(tmp_path: Path) -> None:
    config = fleet_on_loopback(tmp_path / "fleet")
    (config.pki / "server.key").unlink()
    (config.folder / "trust.json").unlink()
    config.database.parent.mkdir(parents=True)
    config.database.write_bytes(b"not a database, but some bytes that are long enough" * 100)
    with pytest.raises(ConfigurationError, match="certificates, trust, database"):
        call(app, "up", "--check", "--fleet", config.folder)
    found = results(config.folder)
    assert "lacks server.key" in found["certificates"][1]
    assert found["disk"][0] == "ok"


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        config = fleet_on_loopback(tmp_path / "fleet", superlink=f"127.0.0.1:{other.getsockname()[1]}")
        with pytest.raises(ConfigurationError, match="address"):
            call(app, "up", "--check", "--fleet", config.folder)


def test_a_superlink_that_others_reach_is_warned_of(tmp_path: Path) -> None:
    config = fleet_on_loopback(tmp_path / "fleet", superlink="0.0.0.0:0")
    result, text = results(config.folder)["address"]
    assert result == "ok"
    assert "can start runs" in text


def test_the_status_of_a_server_that_does_not_run(tmp_path: Path) -> None:
    config = fleet_on_loopback(tmp_path / "fleet")
    result = call(app, "status", "--format", "json", "--fleet", config.folder)
    rows = {row["what"]: row["state"] for row in json.loads(result.stdout)}
    assert rows["controller"] == "never ran"
    assert "does not answer" in rows["superlink"]
    assert "does not run" in rows["supervisor"]
    assert rows["nodes"].startswith("0 known")
    assert result.exit_code == 1


def test_the_proxys_configuration_is_printed_or_written(tmp_path: Path) -> None:
    config = fleet_on_loopback(tmp_path / "fleet")
    shown = call(app, "nginx-conf", "--fleet", config.folder, "--listen", "8443", "--body", "2m").stdout
    assert "listen 8443 ssl;" in shown
    assert "client_max_body_size 2m;" in shown
    file = tmp_path / "nginx.conf"
    call(app, "nginx-conf", "--fleet", config.folder, "--out", file)
    assert f"listen {config.address.rpartition(':')[2]} ssl;" in file.read_text(encoding="utf-8")
    assert (config.state / "proxy").is_dir()
    with pytest.raises(ConfigurationError, match="body"):
        call(app, "nginx-conf", "--fleet", config.folder, "--body", "1m; include /etc/passwd")


def test_how_long_is_said_as_people_say_it() -> None:
    said = [age(seconds) for seconds in (0, 119, 120, 7_199, 7_200, 172_800)]
    assert said == ["0 s", "119 s", "2 min", "120 min", "2 h", "2 d"]
