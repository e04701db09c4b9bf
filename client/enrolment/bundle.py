"""A machine becomes a node: the operator's bundle is unpacked into a folder from which `tinytrain-client run` works.

The folder remembers which bundle it was. The same one again brings back what is missing and leaves the rest as its
owner has edited it; another one is refused unless it is to take the place of what is there.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from client.config import parse_node_config
from client.enrolment.template import agent_yaml
from client.template import node_file
from tinytrain_core.configuration import parse_yaml
from tinytrain_core.devices.profile import catalogue
from tinytrain_core.enrolment import SECRET_MODE, Enrolment, read_enrolment
from tinytrain_core.errors import ConfigurationError, StorageError
from tinytrain_core.files import write_file
from tinytrain_core.node_key import make_key, public_of

AGENT, NODE, CA, KEY, TRUST, RECORD = "agent.yaml", "node.yaml", "ca.crt", "node.key", "trust.json", "enrolment.json"
PUBLIC_KEY = "node.pub"
STORE = "store"
FOLDER_MODE = 0o700
_UNPACKED = (CA, TRUST, NODE, AGENT)  # agent.yaml last: with it the node can run


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {folder}: {error.strerror}; give another folder") from error


def make_device_key(folder: Path) -> Path:
    """Make a key pair on the device, so that the private key never travels.

    Returns:
        The file with the public key, for `tinytrain-server node add --public-key`.

    Raises:
        ConfigurationError: there is a key already.
        StorageError: the folder cannot be written.
    """
    _make_folder(folder)
    if (folder / KEY).exists():
        raise ConfigurationError(f"{folder / KEY} is there already; its public key is {folder / PUBLIC_KEY}")
    private_key = make_key()
    write_file(folder / PUBLIC_KEY, public_of(private_key).encode() + b"\n")
    write_file(folder / KEY, private_key.encode(), SECRET_MODE)
    return folder / PUBLIC_KEY


def _held_key(folder: Path) -> str:
    """The public key of the private one in the folder; nothing where there is none.

    Raises:
        ConfigurationError: it cannot be read or is not a node's key.
    """
    file = folder / KEY
    try:
        return public_of(file.read_text(encoding="ascii"), str(file)) if file.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {file}: {error}") from None


def _held_bundle(folder: Path) -> str:
    """The checksum of the bundle that was unpacked here; nothing where there was none or it cannot be told."""
    try:
        fields = json.loads((folder / RECORD).read_text(encoding="ascii"))
        return str(fields["checksum"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def _check_key(enrolment: Enrolment, folder: Path, force: bool) -> None:
    """Make sure that the node's key is in the bundle or here, and that none is lost."""
    held = _held_key(folder)
    if enrolment.private_key is None and held != enrolment.public_key:
        what = (
            f"{folder / KEY} is another"
            if held
            else f"{folder} has none; it is in the folder of `tinytrain-client key`"
        )
        raise ConfigurationError(f"the bundle of node {enrolment.node} is for a key that its device made, and {what}")
    if held and held != enrolment.public_key and not force:
        raise ConfigurationError(
            f"{folder / KEY} is not the key of node {enrolment.node}; give an empty folder, or --force to lose that key"
        )


def _check_place(enrolment: Enrolment, folder: Path, force: bool) -> None:
    """Make sure that no other enrolment is here."""
    there = [name for name in _UNPACKED if (folder / name).exists()]
    if there and _held_bundle(folder) != enrolment.checksum and not force:
        raise ConfigurationError(
            f"{folder} has {', '.join(there)} of another enrolment; give an empty folder, or --force to take its place"
        )


def _node_text(enrolment: Enrolment, data: Mapping[int, str], store: str) -> str:
    """The node's configuration, checked.

    Raises:
        ConfigurationError: data of a device that the node does not host, or a device class unknown here.
    """
    numbers = [device.number for device in enrolment.devices]
    if unknown := sorted(set(data) - set(numbers)):
        raise ConfigurationError(f"--data for devices {unknown}; node {enrolment.node} hosts {numbers}")
    devices = [(d.number, d.profile, data.get(d.number, f"images/{d.number}")) for d in enrolment.devices]
    text = node_file(devices, store, list(catalogue()))
    parse_node_config(parse_yaml(text, NODE), f"the bundle of node {enrolment.node}")
    return text


def _texts(enrolment: Enrolment, data: Mapping[int, str], store: str) -> dict[str, str]:
    """What is to be in the files that hold no secret, by name."""
    return {
        CA: enrolment.ca,
        TRUST: enrolment.trust.model_dump_json(indent=2) + "\n",
        NODE: _node_text(enrolment, data, store),
        AGENT: agent_yaml(enrolment.node, enrolment.server, node=NODE, ca=CA, key=KEY, trust=TRUST),
    }


def _clear(folder: Path) -> None:
    """Take an earlier enrolment away, the record of it first, so that half of it is never taken for whole."""
    try:
        for name in (RECORD, *reversed(_UNPACKED)):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot take {folder / name} away: {error.strerror}") from error


def enrol(bundle: Path, folder: Path, data: Mapping[int, str], force: bool = False, store: str = STORE) -> Path:
    """Unpack an enrol bundle.

    Args:
        data: private images by the number of a device; by default `images/NUMBER` in the folder.
        store: where backbones, deltas, orders and reports are kept; relative to the folder.
        force: in the place of another enrolment, or of this one's files as they have been edited.

    Returns:
        The file with which `tinytrain-client run` works.

    Raises:
        ConfigurationError: the bundle is damaged or for another key, or another enrolment is in the folder.
        StorageError: the folder cannot be written.
    """
    enrolment = read_enrolment(bundle)
    texts = _texts(enrolment, data, store)
    _check_key(enrolment, folder, force)
    _check_place(enrolment, folder, force)
    _make_folder(folder)
    if force:
        _clear(folder)
    record = {"node": enrolment.node, "checksum": enrolment.checksum}
    write_file(folder / RECORD, json.dumps(record).encode() + b"\n")
    if enrolment.private_key is not None:
        write_file(folder / KEY, enrolment.private_key.encode(), SECRET_MODE)
    for name in _UNPACKED:
        if not (folder / name).exists():
            write_file(folder / name, texts[name].encode())
    return folder / AGENT
