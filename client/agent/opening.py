"""What is put right when a device opens its state: the fleet, the devices or the privacy may be others than before."""

import logging
from dataclasses import replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from client.agent.config import AgentConfig
from client.agent.database import FOREIGN
from client.agent.filing import fit_to_leave
from client.agent.state import AgentState
from client.config import NodeConfig
from tinytrain_core.digests import digest
from tinytrain_core.release import Trust

log = logging.getLogger(__name__)


def _authority(file: Path) -> str:
    """The digest of an authority's key, which its renewed certificate keeps; nothing where it cannot be read."""
    try:
        key = x509.load_pem_x509_certificate(file.read_bytes()).public_key()
    except (OSError, ValueError):
        return ""
    return digest(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _is_another(known: str, fleet: str) -> bool:
    (line, _, authority), (line_now, _, authority_now) = known.partition(":"), fleet.partition(":")
    return bool(known) and (line != line_now or bool(authority and authority_now and authority != authority_now))


def settle(state: AgentState, config: AgentConfig, node: NodeConfig, trust: Trust) -> None:
    """Set the state of another fleet aside, and let nothing wait for the server that may not leave.

    Raises:
        StorageError: the state cannot be written.
    """
    fleet, known = f"{trust.line}:{_authority(config.ca)}", state.standing.fleet
    if _is_another(known, fleet):
        log.error(
            "this device was in another fleet: its orders, versions and reports are set aside, what was spent stays"
        )
        state.begin_anew(state.standing.elsewhere(fleet), FOREIGN)
    elif known != fleet and not (known and fleet.endswith(":")):
        state.keep(replace(state.standing, changes=state.standing.changes + 1, fleet=fleet))
    numbers = [device.number for device in node.devices]
    if (privacy := config.privacy) is None:
        state.settle(numbers, None)
    else:
        state.settle(numbers, lambda report, standing: fit_to_leave(report, standing, privacy))
