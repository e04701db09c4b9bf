"""`deploy/backup.sh` on a fleet whose database is being written, and the fleet that its archive gives back."""

import os
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

from server.fleet.config import load_fleet_config
from server.fleet.database import Database
from server.fleet.nodes import Node, insert_nodes, nodes
from server.pki.health import warnings
from tests.server.running import fleet_on_loopback
from tinytrain_core.node_key import make_key, public_of

SCRIPT = Path(__file__).parents[2] / "deploy" / "backup.sh"


def test_a_fleet_comes_back_from_its_archive(tmp_path: Path) -> None:
    config = fleet_on_loopback(tmp_path / "fleet")
    (config.releases / "manifests").mkdir(parents=True)
    (config.releases / "manifests" / "1.json").write_text("{}")
    stop = threading.Event()

    def write() -> None:
        with Database(config.database) as database:
            while not stop.is_set():
                with database.transaction() as connection:
                    connection.execute("INSERT OR REPLACE INTO controller VALUES (1, 'run', 1, ?)", (time.time(),))

    with Database(config.database) as database:
        with database.transaction() as connection:
            insert_nodes(connection, [Node(name="gate-1", public_key=public_of(make_key()))])
        writer = threading.Thread(target=write)
        writer.start()
        archive = tmp_path / "fleet.tar.gz"
        environment = {**os.environ, "PYTHON": sys.executable}
        done = subprocess.run(
            [str(SCRIPT), str(config.folder), str(archive)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        stop.set()
        writer.join()
    assert done.returncode == 0, done.stderr
    assert archive.stat().st_mode & 0o077 == 0
    with tarfile.open(archive) as copy:
        copy.extractall(tmp_path / "restored", filter="tar")
    restored = load_fleet_config(tmp_path / "restored")
    with Database(restored.database) as database:
        assert [node.name for node in nodes(database)] == ["gate-1"]
    assert warnings(restored, time.time()) == []
    assert (restored.releases / "manifests" / "1.json").read_text() == "{}"


def test_a_fleet_without_a_database_gets_none(tmp_path: Path) -> None:
    config = fleet_on_loopback(tmp_path / "fleet")
    config.state.mkdir()
    environment = {**os.environ, "PYTHON": sys.executable}
    command = [str(SCRIPT), str(config.folder), str(tmp_path / "fleet.tar.gz")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "no database yet" in done.stderr
    assert not list(config.state.iterdir())


def test_a_folder_that_is_no_fleet_is_refused(tmp_path: Path) -> None:
    command = [str(SCRIPT), str(tmp_path), str(tmp_path / "fleet.tar.gz")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert not list(tmp_path.iterdir())
