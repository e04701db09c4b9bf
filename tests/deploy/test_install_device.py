"""A device as it is set up on a machine: what the unit reads is there, and what it writes is where it may."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from client.agent.agent import state_file
from client.agent.config import load_agent_config
from client.config import load_node_config
from tests.client.test_enrol import write_bundle

SCRIPT = Path(__file__).parents[2] / "deploy" / "install-device.sh"
PROGRAMS = Path(sys.executable).parent


@pytest.fixture
def stand_ins(tmp_path: Path) -> dict[str, str]:
    """The script with folders of the test's, and without the powers of root: it owns what it makes anyway."""
    tools = tmp_path / "tools"
    tools.mkdir()
    owned = tmp_path / "owned"
    for name, text in {
        "id": "exit 0",
        "chown": f'echo "$@" >> {owned}',
        "install": 'mkdir -p "${@: -1}"',
        "systemctl": "exit 0",
    }.items():
        (tools / name).write_text(f"#!/usr/bin/env bash\n{text}\n", encoding="ascii")
        (tools / name).chmod(0o755)
    (tmp_path / "units").mkdir()
    places = {"TINYTRAIN_SETTINGS": "etc", "TINYTRAIN_STORE": "var", "UNITS": "units"}
    return {
        **os.environ,
        **{name: str(tmp_path / place) for name, place in places.items()},
        "TINYTRAIN_HOME": str(PROGRAMS.parent),
        "PATH": f"{tools}:{os.environ['PATH']}",
    }


@pytest.mark.skipif(not (PROGRAMS / "tinytrain-client").exists(), reason="needs the programs beside Python")
def test_a_machine_becomes_a_device_and_may_do_so_again(tmp_path: Path, stand_ins: dict[str, str]) -> None:
    write_bundle(tmp_path / "gate-1.enrol")
    command = ["bash", str(SCRIPT), str(tmp_path / "gate-1.enrol"), "--data", "4=/srv/images/4"]
    for _ in range(2):
        done = subprocess.run(command, env=stand_ins, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    config = load_agent_config(tmp_path / "etc" / "agent.yaml")
    node = load_node_config(config.node)
    assert node.store == tmp_path / "var"
    assert state_file(config, node).parent == tmp_path / "var"
    assert node.devices[0].data == "/srv/images/4"
    assert stat.S_IMODE(config.key.stat().st_mode) == 0o600
    assert f"-R tinytrain:tinytrain {tmp_path / 'etc'}" in (tmp_path / "owned").read_text(encoding="ascii")
    unit = (tmp_path / "units" / "tinytrain-client.service").read_text(encoding="utf-8")
    assert f"ExecStart={PROGRAMS}/tinytrain-client run {tmp_path / 'etc'}/agent.yaml" in unit
    assert re.search(rf"^ReadOnlyPaths=-/srv/images {tmp_path / 'etc'}$", unit, re.MULTILINE)
    assert f"ReadWritePaths={tmp_path / 'var'}\n" in unit
