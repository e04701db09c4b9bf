"""Adding nodes: their keys, their rows in the database and their enrol bundles, all of them or none."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from server.fleet.config import FleetConfig
from server.fleet.database import Database
from server.fleet.nodes import Node, insert_nodes
from server.nodes.listing import NewNode
from server.pki.folder import CA_CERTIFICATE, read_certificate
from server.releases.trust import load_trust
from tinytrain_core.enrolment import EnrolledDevice, Enrolment, read_enrolment, write_enrolment
from tinytrain_core.errors import ConfigurationError, StorageError
from tinytrain_core.node_key import make_key, public_of
from tinytrain_core.release import Trust


def _trust(config: FleetConfig) -> Trust:
    """Whose releases the fleet's devices are to accept.

    Raises:
        ConfigurationError: it has not been said, or is about another line of releases.
    """
    trust = load_trust(config.folder)
    if trust.line != config.line:
        raise ConfigurationError(
            f"the fleet's devices would trust the releases of {trust.line!r}, and the fleet follows {config.line!r}; "
            "make the two the same"
        )
    return trust


def _enrolment(config: FleetConfig, node: NewNode, ca: str, trust: Trust) -> Enrolment:
    private_key = None if node.public_key else make_key()
    return Enrolment(
        node=node.name,
        server=config.address,
        ca=ca,
        public_key=node.public_key or public_of(private_key or ""),
        private_key=private_key,
        devices=tuple(EnrolledDevice(number=device.number, profile=device.profile) for device in node.devices),
        trust=trust,
    )


def _may_write(file: Path, enrolment: Enrolment) -> bool:
    """Whether a bundle's place is free: nothing is there, or one of a node of that name that is no more."""
    if not file.exists():
        return True
    try:
        before = read_enrolment(file)
    except ConfigurationError:
        return False
    return (before.node, before.ca) == (enrolment.node, enrolment.ca)


@contextmanager
def _beside(files: Sequence[Path]) -> Iterator[list[Path]]:
    """Where to write bundles before it is certain that their nodes are added; what is left there goes in the end."""
    written = [file.with_name(f".{file.name}.new") for file in files]
    try:
        yield written
    finally:
        for file in written:
            with suppress(OSError):
                file.unlink()


def _take_places(written: Sequence[Path], files: Sequence[Path]) -> None:
    """Rename the bundles to what they are to be called; quick, as the database waits meanwhile.

    Raises:
        StorageError: one cannot be renamed.
    """
    for before, file in zip(written, files, strict=True):
        try:
            before.replace(file)
        except OSError as error:
            raise StorageError(f"cannot write {file}: {error.strerror}; give another place with --bundle") from error


def add_nodes(
    config: FleetConfig,
    database: Database,
    new: Sequence[NewNode],
    bundle_of: Callable[[str], Path],
    force: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Add nodes to the database and write their enrol bundles: all of them, or none where one cannot be added.

    Args:
        bundle_of: the file to write by the name of a node.
        force: write over other files.

    Returns:
        The bundles.

    Raises:
        ConfigurationError: there is no authority or no trust yet, a name, key or number is taken, or a file is there.
        StorageError: a bundle or the database cannot be written.
    """
    trust = _trust(config)
    read_certificate(config.pki / CA_CERTIFICATE)
    ca = (config.pki / CA_CERTIFICATE).read_text(encoding="ascii")
    enrolments = [_enrolment(config, node, ca, trust) for node in new]
    files = [bundle_of(node.name) for node in new]
    for file, enrolment in zip(files, enrolments, strict=True):
        if not force and not _may_write(file, enrolment):
            raise ConfigurationError(f"{file} is there already; --force writes over it, --bundle gives another place")
    now_s = time.time()
    rows = [
        Node(node.name, enrolment.public_key, node.devices, node.tags, node.location, added_s=now_s)
        for node, enrolment in zip(new, enrolments, strict=True)
    ]
    with _beside(files) as written:
        for done, (file, enrolment) in enumerate(zip(written, enrolments, strict=True), 1):
            write_enrolment(file, enrolment)
            progress(done, len(files))
        with database.transaction() as connection:
            insert_nodes(connection, rows)
            _take_places(written, files)
    return files
