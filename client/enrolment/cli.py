"""`tinytrain-client enrol` and `key`: how a machine joins a fleet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from client.config import load_node_config
from client.enrolment.bundle import STORE, enrol, make_device_key
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.fewshot.names import is_file


def _data(options: Sequence[str]) -> dict[int, str]:
    """Private data by the number of a device; paths as the shell means them, not relative to the node's folder.

    Raises:
        ConfigurationError: an option is not NUMBER=PATH, or a number is there twice.
    """
    found: dict[int, str] = {}
    for option in options:
        number, _, place = option.partition("=")
        if not number.isascii() or not number.isdigit() or not place or int(number) in found:
            raise ConfigurationError(f"--data {option!r} is not NUMBER=PATH with a new number, as 1=images")
        found[int(number)] = str(Path(place).expanduser().absolute()) if is_file(place) else place
    return found


def enrol_command(
    bundle: Annotated[Path, typer.Argument(help="The file that `tinytrain-server node add` wrote.")],
    into: Annotated[Path, typer.Option(help="The node's folder.")] = Path("node"),
    data: Annotated[
        list[str] | None,
        typer.Option(help="NUMBER=PATH: the private images of a device; repeatable. By default images/NUMBER there."),
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="Where backbones, orders and reports are kept. By default store there.")
    ] = None,
    force: Annotated[
        bool, typer.Option(help="In the place of another enrolment, or of files that were edited since.")
    ] = False,
) -> None:
    """Make this machine a node: unpack the operator's bundle. The same bundle again only brings back what is missing.

    Delete the bundle afterwards: it holds the node's private key.

    Example: tinytrain-client enrol gate-1.enrol --into node --data 1=~/images
    """
    agent = enrol(bundle, into, _data(data or []), force, str(store.expanduser().absolute()) if store else STORE)
    node = load_node_config(agent.parent / "node.yaml")
    console = Console(stderr=True, soft_wrap=True)
    for device in node.devices:
        if is_file(device.data) and not Path(device.data).exists():
            console.print(f"device {device.number} has no images yet: put them into {device.data}", markup=False)
    console.print(f"wrote {agent}; delete {bundle}; next: tinytrain-client run {agent}", highlight=False, markup=False)


def key_command(
    folder: Annotated[Path, typer.Argument(help="The node's folder, the one to enrol into afterwards.")] = Path("node"),
) -> None:
    """Make the node's key pair on this machine, so that its private key never travels.

    Example: tinytrain-client key node
    """
    public = make_device_key(folder)
    Console(stderr=True, soft_wrap=True).print(
        f"wrote {public}; carry it to: tinytrain-server node add NAME --public-key {public.name} ...",
        highlight=False,
        markup=False,
    )
