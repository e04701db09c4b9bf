"""`tinytrain-server node` where there is no SuperLink, and what there is to do where there is one."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.fleet.config import FleetConfig
from server.fleet.database import Database
from server.fleet.nodes import Node, registered, seen
from server.nodes import cli as node_cli
from server.nodes.registration import outstanding
from server.nodes.superlink_session import UNREGISTERED, Listed, dialled, write_connection
from tests.server.fleet_folders import call, make_fleet, printed
from tinytrain_core.enrolment import read_enrolment
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.node_key import make_key, public_of, public_pem
from tinytrain_core.orders import NodeStatus

KEYS = [public_of(make_key()) for _ in range(6)]
NAMES = "abcdef"


@pytest.fixture
def fleet(tmp_path: Path) -> FleetConfig:
    return make_fleet(tmp_path / "fleet", "127.0.0.1:1")  # nobody listens there


@pytest.fixture
def folder(fleet: FleetConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The operator's working folder."""
    monkeypatch.setenv("TINYTRAIN_FLEET", str(fleet.folder))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_bundle_is_named_after_its_node(folder: Path) -> None:
    (folder / "key.pub").write_text(KEYS[0], encoding="ascii")
    said = call(node_cli.app, "add", "a", "--device", "1:pi_4", "--public-key", "key.pub").stderr
    assert "wrote a.enrol" in said
    assert "nothing listens at 127.0.0.1:1" in said
    assert read_enrolment(folder / "a.enrol").private_key is None
    assert "took a out" in call(node_cli.app, "remove", "a").stderr
    assert "no nodes" in call(node_cli.app, "list").stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["a"], "a NAME and at least one --device"),
        (["--device", "1:pi_4"], "a NAME and at least one --device"),
        (["a", "--file", "nodes.csv"], "leave NAME"),
        (["--device", "1:pi_4", "--file", "nodes.csv"], "leave NAME"),
        (["a", "--device", "1:pi_4", "--public-key", "nowhere"], "cannot read the public key"),
        (["a", "--device", "1:toaster"], "unknown device 'toaster'"),
    ],
)
def test_what_makes_no_sense_is_refused(folder: Path, arguments: Sequence[str], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        call(node_cli.app, "add", *arguments)
    assert [path.name for path in folder.iterdir()] == ["fleet"]


def test_the_list_says_what_was_heard(fleet: FleetConfig, folder: Path) -> None:
    call(node_cli.app, "add", "a", "--device", "1:pi_4", "--tag", "lab", "--location", "51.5,-0.1")
    status = NodeStatus(client=1_002_003, version=7)
    with Database(fleet.database) as database:
        registered(database, "a", 2**64 - 1)
        with database.transaction() as connection:
            seen(connection, "a", status, time.time() - 7_300)
    rows = printed(call(node_cli.app, "list", "--format", "json"))
    assert isinstance(rows, list)
    assert (rows[0]["node_id"], rows[0]["status"]["version"]) == (str(2**64 - 1), 7)
    shown = call(node_cli.app, "list").stdout
    for expected in ("2 h ago", "1.2.3", " 7 ", "registered", "1:pi_4", "lab"):
        assert expected in shown
    for command in ("add", "remove", "list"):
        assert "Example" in call(node_cli.app, command, "--help").stdout


def test_a_wildcard_is_dialled_on_loopback(fleet: FleetConfig) -> None:
    assert [dialled(address) for address in ("0.0.0.0:9", "[::]:9", "[::1]:9", "host:9")] == [
        "127.0.0.1:9", "127.0.0.1:9", "[::1]:9", "host:9",
    ]  # fmt: skip
    file = Path(write_connection(fleet)["FLWR_HOME"]) / "config.toml"
    written = file.stat().st_mtime_ns
    assert 'address = "127.0.0.1:1"' in file.read_text(encoding="utf-8")
    write_connection(fleet)
    assert file.stat().st_mtime_ns == written


def listed(key: int, name: str, lives: bool = True) -> Listed:
    return Listed(key + 1, public_pem(KEYS[key]).decode(), name, "online" if lives else UNREGISTERED)


def after(known: Sequence[Node], at_superlink: Sequence[Listed]) -> tuple[list[Node], list[Listed]]:
    """Both lists when what is outstanding has been done."""
    work = outstanding(known, at_superlink)
    ended = {entry.node_id for entry in work.unregister}
    kept = [replace(entry, status=UNREGISTERED) if entry.node_id in ended else entry for entry in at_superlink]
    made = [listed(KEYS.index(node.public_key), node.name) for node in work.register]
    numbers = {**work.note, **{entry.name: entry.node_id for entry in made}}
    return [replace(node, node_id=numbers.get(node.name, node.node_id)) for node in known], kept + made


@given(
    known=st.dictionaries(
        st.integers(0, 5), st.tuples(st.booleans(), st.one_of(st.none(), st.integers(1, 6))), max_size=6
    ),
    at_superlink=st.dictionaries(
        st.integers(0, 5), st.tuples(st.sampled_from(NAMES + "xy"), st.booleans()), max_size=6
    ),
)
def test_the_two_lists_agree_afterwards(
    known: dict[int, tuple[bool, int | None]], at_superlink: dict[int, tuple[str, bool]]
) -> None:
    rows = [
        Node(NAMES[key], KEYS[key], node_id=node_id, removed_s=1.0 if removed else None)
        for key, (removed, node_id) in known.items()
    ]
    entries = [listed(key, name, lives) for key, (name, lives) in at_superlink.items()]
    rows, entries = after(rows, entries)
    admitted = {entry.public_key: entry.node_id for entry in entries if entry.lives}
    work = outstanding(rows, entries)
    assert (work.register, work.unregister, work.note) == ((), (), {})
    for node in rows:
        here = admitted.get(public_pem(node.public_key).decode())
        assert node.node_id == here
        assert (here is not None) == (node.removed_s is None and node.name not in work.spent)
    ours = {public_pem(node.public_key).decode() for node in rows if node.removed_s is None}
    strangers = [entry.name for entry in entries if entry.lives and entry.public_key not in ours]
    assert list(work.unknown) == strangers
