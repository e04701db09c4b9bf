"""How the release commands find the registry and whom the fleet trusts."""

from pathlib import Path

from server.fleet.config import load_fleet_config
from server.releases.registry import Registry, load_trust
from server.releases.trust import TRUST_FILE
from tinytrain_core.release import Trust


def open_registry(fleet: Path) -> tuple[Registry, Path]:
    """The registry of the fleet in a folder, and that folder.

    Raises:
        ConfigurationError: it is not a fleet's folder.
    """
    config = load_fleet_config(fleet)
    return Registry(config.releases, config.line), config.folder


def trust_if_any(folder: Path) -> Trust | None:
    """The trust of the fleet in `folder`; None where it has none yet.

    Raises:
        ConfigurationError: it is damaged.
    """
    return load_trust(folder) if (folder / TRUST_FILE).exists() else None
