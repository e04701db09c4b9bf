"""Whose signatures count: `trust.json` in the fleet's folder, which enrolling a device copies onto it."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from server.releases.keys import public_key
from server.releases.signing import LOCK_WAIT_S
from tinytrain_core.configuration import read_yaml_file
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.files import exclusive, write_file
from tinytrain_core.release import Trust, key_id, parse_trust

TRUST_FILE = "trust.json"


def load_trust(folder: Path) -> Trust:
    """The trust of the fleet in `folder`.

    Raises:
        ConfigurationError: there is none, or it is damaged.
    """
    file = folder / TRUST_FILE
    return parse_trust(read_yaml_file(file, "`tinytrain-server release trust add` writes it"), str(file))


def _alone(folder: Path) -> AbstractContextManager[None]:
    return exclusive(folder / "releases", LOCK_WAIT_S)


def _save(folder: Path, line: str, threshold: int, keys: dict[str, str]) -> Trust:
    file = folder / TRUST_FILE
    trust = parse_trust({"line": line, "threshold": threshold, "keys": keys}, str(file))
    write_file(file, trust.model_dump_json(indent=2).encode() + b"\n")
    return trust


def add_keys(folder: Path, line: str, public: Iterable[str], threshold: int = 0) -> Trust:
    """Trust more keys.

    Args:
        public: their PEM files, or their 64 hexadecimal digits.
        threshold: how many have to sign from now on; 0 leaves it as it is, or 1 where there was none.

    Raises:
        ConfigurationError: one is not a public Ed25519 key, or the threshold is above their number.
        StorageError: it cannot be written.
    """
    found = [public_key(text) for text in public]
    with _alone(folder):
        before = load_trust(folder) if (folder / TRUST_FILE).exists() else None
        keys = dict(before.keys) if before else {}
        keys |= {key_id(bytes.fromhex(digits)): digits for digits in found}
        return _save(folder, line, threshold or (before.threshold if before else 1), keys)


def remove_key(folder: Path, name: str, threshold: int = 0) -> Trust:
    """Trust a key no more.

    Raises:
        ConfigurationError: it is not trusted, or too few would be left for the threshold.
        StorageError: it cannot be written.
    """
    with _alone(folder):
        before = load_trust(folder)
        if name not in before.keys:
            raise ConfigurationError(f"the key {name} is not among those trusted: {', '.join(sorted(before.keys))}")
        keys = {other: digits for other, digits in before.keys.items() if other != name}
        return _save(folder, before.line, threshold or before.threshold, keys)
