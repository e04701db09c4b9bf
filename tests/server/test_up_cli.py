"""`up --check`, `status` and `nginx-conf` as the operator calls them."""

import json
import socket
from pathlib import Path

import pytest

from server.cli import app
from server.fleet.config import load_fleet_config
from server.running import check as server_check
from server.running.status import duration
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
    assert set(found) == {"programs", "certificates", "trust", "disk", "database", "address"}
    assert {result for result, _ in found.values()} == {"ok"}


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
    said = [duration(seconds) for seconds in (0, 119, 120, 7_199, 7_200, 172_800)]
    assert said == ["0 s", "119 s", "2 min", "120 min", "2 h", "2 d"]
