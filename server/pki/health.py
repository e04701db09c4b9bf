"""What is in a fleet's `pki/` folder, how long it lasts, and what is wrong with it."""

from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature

from server.fleet.config import FleetConfig
from server.pki.certificates import general_name, hosts
from server.pki.folder import (
    CA_CERTIFICATE,
    CERTIFICATES,
    FOLDER_MODE,
    KEY_MODE,
    KEYS,
    SERVER_CERTIFICATE,
    SERVER_KEY,
    read_certificate,
    read_key,
    server_names,
)
from tinytrain_core.errors import ConfigurationError

WARN_DAYS = {CA_CERTIFICATE: 180, SERVER_CERTIFICATE: 30}  # a new authority has to be carried to every device
DAY_S = 86_400.0


@dataclass(frozen=True)
class PkiFile:
    """A file of the folder; the last three are a certificate's.

    Attributes:
        mode: its permissions, as 600 in octal.
        names: the hosts that it is for.
        expires: seconds since 1970; days_left: until then, negative afterwards.
    """

    name: str
    mode: int
    names: tuple[str, ...] = ()
    expires: float | None = None
    days_left: float | None = None


def files(config: FleetConfig, now_s: float) -> list[PkiFile]:
    """What there is.

    Raises:
        ConfigurationError: a file cannot be read or is damaged.
    """
    found = []
    for name in (*CERTIFICATES, *KEYS):
        file = config.pki / name
        if not file.exists():
            continue
        mode = file.stat().st_mode & 0o777
        if name in KEYS:
            found.append(PkiFile(name, mode))
            continue
        certificate = read_certificate(file)
        expires = certificate.not_valid_after_utc.timestamp()
        found.append(PkiFile(name, mode, tuple(hosts(certificate)), expires, (expires - now_s) / DAY_S))
    return found


def _about_time(file: PkiFile, folder: Path, cure: str) -> list[str]:
    if file.days_left is None or file.days_left >= WARN_DAYS[file.name]:
        return []
    if file.days_left < 0:
        return [f"{folder / file.name} expired {-file.days_left:.0f} days ago, and no device connects; {cure}"]
    return [f"{folder / file.name} expires in {file.days_left:.0f} days; {cure}"]


def _about_pair(config: FleetConfig) -> list[str]:
    """Whether the server's certificate, its key, the authority and the fleet's addresses go together."""
    server, authority = (read_certificate(config.pki / name) for name in (SERVER_CERTIFICATE, CA_CERTIFICATE))
    found = []
    if server.public_key() != read_key(config.pki / SERVER_KEY).public_key():
        found.append(f"{config.pki / SERVER_KEY} is not the key of {SERVER_CERTIFICATE}; `tinytrain-server pki renew`")
    try:
        server.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        found.append(
            f"{config.pki / SERVER_CERTIFICATE} was not signed by {CA_CERTIFICATE}; `tinytrain-server pki renew`"
        )
    missing = {str(general_name(name).value) for name in server_names(config)} - set(hosts(server))
    if missing:
        found.append(
            f"{config.pki / SERVER_CERTIFICATE} is not for {', '.join(sorted(missing))}; `tinytrain-server pki renew`"
        )
    return found


def warnings(config: FleetConfig, now_s: float) -> list[str]:
    """What the operator should know about the certificates, each with what to do; empty where all is well."""
    missing = [name for name in (*CERTIFICATES, SERVER_KEY) if not (config.pki / name).exists()]
    if missing:
        return [f"{config.pki} lacks {', '.join(missing)}; `tinytrain-server pki init` makes them"]
    found = []
    for path in (config.pki, *(config.pki / name for name in KEYS)):
        if path.exists() and (mode := path.stat().st_mode & 0o777) & 0o077:
            wanted = FOLDER_MODE if path == config.pki else KEY_MODE
            found.append(f"{path} has mode {mode:o}, so that others can read it; chmod {wanted:o} {path}")
    try:
        ca, server = files(config, now_s)[:2]
        found += _about_time(ca, config.pki, "`tinytrain-server pki init --force`, then enrol every device again")
        found += _about_time(server, config.pki, "`tinytrain-server pki renew`, then restart the server")
        return found + _about_pair(config)
    except ConfigurationError as error:
        return [*found, str(error)]
