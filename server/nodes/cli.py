"""`tinytrain-server node`: who belongs to the fleet."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from server.fleet.config import FleetConfig, load_fleet_config
from server.fleet.database import Database
from server.fleet.nodes import Node, nodes, remove_node
from server.fleet.options import HERE, FleetFolder, Style, bar, say, show_rows
from server.nodes.adding import add_nodes
from server.nodes.listing import NewNode, new_node, read_nodes, read_public_key
from server.nodes.registration import reachable, reconcile
from server.words import NEVER, age, moment
from tinytrain_core.console import Format
from tinytrain_core.devices.profile import catalogue
from tinytrain_core.enrolment import BUNDLE_SUFFIX
from tinytrain_core.errors import ConfigurationError, FleetError

MOST_NAMED = 10
app = typer.Typer(
    help="Add nodes to the fleet, list them, take them out.\n\n"
    "A node is a machine that connects: a device of its own, or the gateway of several. `add` writes its enrol "
    "bundle, one file to carry there for `tinytrain-client enrol`. It holds the node's private key: whoever has it can "
    "pretend to be the node.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= MOST_NAMED else f"{len(names)} nodes"


def _bring_in_line(config: FleetConfig, database: Database) -> None:
    """Tell the SuperLink where it is up, and the operator in any case."""
    if not reachable(config):
        say(f"nothing listens at {config.superlink} yet; `tinytrain-server up` brings the SuperLink in line")
        return
    with bar("registering") as progress:
        changes = reconcile(config, database, progress)
    done = [(changes.registered, "registered"), (changes.unregistered, "unregistered")]
    say("; ".join(f"{what} {_some(names)}" for names, what in done if names) or "the SuperLink is in line")
    for warning in changes.warnings():
        say(f"warning: {warning}", "yellow")
    if changes.refused:
        raise FleetError(f"the SuperLink refused {len(changes.refused)} nodes; the database has them as they should be")


def _described(
    name: str, device: Sequence[str], tag: Sequence[str], location: str, public_key: Path | None, file: Path | None
) -> list[NewNode]:
    """The nodes that the options are about."""
    if file is not None:
        if name or device or tag or location or public_key:
            raise ConfigurationError("--file says all about its nodes; leave NAME and the other options out")
        return read_nodes(file)
    if not name or not device:
        raise ConfigurationError("a node needs a NAME and at least one --device NUMBER:PROFILE, or give a --file")
    return [new_node(name, device, tag, location, "" if public_key is None else read_public_key(public_key))]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What to call the node.")] = "",
    device: Annotated[
        list[str] | None,
        typer.Option(help=f"NUMBER:PROFILE of a device that it hosts; repeatable. One of {', '.join(catalogue())}."),
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A word to choose nodes by in a rollout; repeatable.")] = None,
    location: Annotated[str, typer.Option(help="latitude,longitude in degrees.")] = "",
    public_key: Annotated[
        Path | None, typer.Option(help="Of a pair made by `tinytrain-client key`: the private key then never travels.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Where to write NAME.enrol: a file, or with --file a folder.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help="Many nodes: CSV with the columns name, devices and, if you like, tags, location, public_key."
        ),
    ] = None,
    force: Annotated[bool, typer.Option(help="Write over files that are there.")] = False,
    fleet: FleetFolder = HERE,
) -> None:
    """Add a node, or all that a file lists, and write the enrol bundles.

    Example: tinytrain-server node add gate-1 --device 1:pi_4 --device 2:stm32h743 --tag lab --bundle gate-1.enrol

    Example: tinytrain-server node add --file nodes.csv --bundle bundles
    """
    config = load_fleet_config(fleet)
    new = _described(name, device or [], tag or [], location, public_key, file)

    def place(of: str) -> Path:
        return (bundle or Path()) / (of + BUNDLE_SUFFIX) if file or not bundle else bundle

    with Database(config.database) as database:
        with bar("adding") as progress:
            files = add_nodes(config, database, new, place, force, progress)
        where = str(files[0]) if len(files) == 1 else f"{len(files)} bundles to {files[0].parent}"
        say(f"wrote {where}; next, on the device: tinytrain-client enrol {files[0].name} --into node")
        _bring_in_line(config, database)


@app.command()
def remove(name: Annotated[str, typer.Argument(help="As it was added.")], fleet: FleetFolder = HERE) -> None:
    """Take a node out: it connects no more, and its reports stay.

    Its key is spent for ever. Under the same name it can be added again, with another key.

    Example: tinytrain-server node remove gate-1
    """
    config = load_fleet_config(fleet)
    with Database(config.database) as database:
        remove_node(database, name, time.time())
        say(f"took {name} out of the fleet")
        _bring_in_line(config, database)


def _ago(then_s: float | None, now_s: float) -> str:
    return NEVER if then_s is None else f"{age(now_s - then_s)} ago"


def _client(number: int) -> str:
    """A version from the number that a node's status has."""
    return f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"


def _state(node: Node) -> str:
    if node.removed_s is not None:
        return f"removed {moment(node.removed_s)[:10]}"
    return "not yet registered" if node.node_id is None else "registered"


def _json_row(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "node_id": None if node.node_id is None else str(node.node_id),  # 64 bits are more than JSON readers hold
        "registered": node.node_id is not None,
        "devices": [{"number": device.number, "profile": device.profile} for device in node.devices],
        "tags": list(node.tags),
        "location": node.location,
        "public_key": node.public_key,
        "added_s": node.added_s,
        "removed_s": node.removed_s,
        "last_seen_s": node.last_seen_s,
        "status": None if node.status is None else node.status.model_dump(mode="json"),
    }


def _row(node: Node, now_s: float) -> dict[str, str]:
    return {
        "name": node.name,
        "node id": "" if node.node_id is None else str(node.node_id),
        "state": _state(node),
        "devices": " ".join(f"{device.number}:{device.profile}" for device in node.devices),
        "tags": " ".join(node.tags),
        "last seen": _ago(node.last_seen_s, now_s),
        "release": "" if node.status is None else str(node.status.version or "none"),
        "client": "" if node.status is None else _client(node.status.client),
    }


@app.command("list")
def list_command(
    fleet: FleetFolder = HERE,
    tag: Annotated[list[str] | None, typer.Option(help="Only nodes that have this tag; repeatable.")] = None,
    removed: Annotated[bool, typer.Option(help="Those that were taken out as well.")] = False,
    style: Style = Format.TABLE,
) -> None:
    """List the nodes, what they host, and when they were last heard.

    Example: tinytrain-server node list --tag lab
    """
    config, now_s = load_fleet_config(fleet), time.time()
    with Database(config.database) as database:
        chosen = [node for node in nodes(database, removed) if set(tag or ()) <= set(node.tags)]
    rows = [_json_row(node) if style is Format.JSON else _row(node, now_s) for node in chosen]
    show_rows(rows, style, "no nodes; `tinytrain-server node add --help` shows how to add one")
