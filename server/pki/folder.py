"""The fleet's `pki/` folder: an authority that devices trust, and the server's certificate."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from server.fleet.config import FleetConfig
from server.pki.certificates import (
    LOOPBACK,
    Issued,
    distinct_hosts,
    host_of,
    hosts,
    make_authority,
    make_server,
)
from tinytrain_core.errors import ConfigurationError, StorageError
from tinytrain_core.files import write_file

CA_CERTIFICATE, CA_KEY = "ca.crt", "ca.key"
SERVER_CERTIFICATE, SERVER_KEY = "server.crt", "server.key"
KEYS = (CA_KEY, SERVER_KEY)
CERTIFICATES = (CA_CERTIFICATE, SERVER_CERTIFICATE)
FOLDER_MODE, KEY_MODE, CERTIFICATE_MODE = 0o700, 0o600, 0o644
SERVER_DAYS, CA_DAYS, MAX_DAYS = 825, 3_650, 36_500


def _moment(now_s: float) -> datetime:
    return datetime.fromtimestamp(now_s, UTC)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {file}: {error.strerror}; `tinytrain-server pki init` makes it"
        ) from None


def read_certificate(file: Path) -> x509.Certificate:
    """The certificate in a file.

    Raises:
        ConfigurationError: there is none, or it is damaged.
    """
    try:
        return x509.load_pem_x509_certificate(_read(file))
    except ValueError:
        raise ConfigurationError(f"{file} is not a certificate in PEM; bring it back from a copy") from None


def read_key(file: Path) -> ec.EllipticCurvePrivateKey:
    """The private key in a file.

    Raises:
        ConfigurationError: there is none, it is damaged, or it has a passphrase.
    """
    try:
        key = load_pem_private_key(_read(file), None)
    except (ValueError, TypeError):  # TypeError: it has a passphrase
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigurationError(f"{file} is not an EC private key in PEM without a passphrase; bring it back")
    return key


def _write(folder: Path, certificate: str, key: str, issued: Issued) -> None:
    """The certificate last: a key without its certificate is noticed."""
    write_file(folder / key, issued.key_pem, KEY_MODE)
    write_file(folder / certificate, issued.certificate_pem, CERTIFICATE_MODE)
    (folder / certificate).chmod(CERTIFICATE_MODE)  # whatever the umask


def server_names(config: FleetConfig, names: Sequence[str] = ()) -> list[str]:
    """The hosts under which the server is dialled: by devices, by its own programs, and as the operator adds."""
    return distinct_hosts([host_of(config.address), *names, host_of(config.superlink), *LOOPBACK])


def init(
    config: FleetConfig,
    now_s: float,
    names: Sequence[str] = (),
    days: int = SERVER_DAYS,
    ca_days: int = CA_DAYS,
    force: bool = False,
) -> None:
    """Make an authority and the server's certificate.

    Args:
        names: further hosts, DNS names or IP addresses, under which the server is dialled.
        days, ca_days: how long the certificates are valid; the server's at most as long as the authority's.
        force: in place of those that are there.

    Raises:
        ConfigurationError: a file is there already, or a name is none.
        StorageError: the folder cannot be written.
    """
    there = [name for name in (*KEYS, *CERTIFICATES) if (config.pki / name).exists()]
    if there and not force:
        raise ConfigurationError(
            f"{config.pki} has {', '.join(there)} already; `tinytrain-server pki renew` makes a new server "
            "certificate. --force makes a new authority, to which every device has to be enrolled again"
        )
    authority = make_authority(f"TinyTrain fleet at {host_of(config.address)}", ca_days, _moment(now_s))
    server = make_server(authority, server_names(config, names), days, _moment(now_s))
    try:
        config.pki.mkdir(parents=True, exist_ok=True)
        config.pki.chmod(FOLDER_MODE)
    except OSError as error:
        raise StorageError(f"cannot make {config.pki}: {error.strerror}; give the fleet another folder") from error
    _write(config.pki, CA_CERTIFICATE, CA_KEY, authority)
    _write(config.pki, SERVER_CERTIFICATE, SERVER_KEY, server)


def renew(config: FleetConfig, now_s: float, names: Sequence[str] = (), days: int = SERVER_DAYS) -> list[str]:
    """Make a new server certificate with a new key, signed by the same authority; devices notice nothing.

    Args:
        names: hosts beside those of the certificate that is there.

    Returns:
        The hosts that it is for.

    Raises:
        ConfigurationError: the authority or its key is missing, damaged or expired, or a name is none.
        StorageError: the folder cannot be written.
    """
    authority = Issued(read_certificate(config.pki / CA_CERTIFICATE), read_key(config.pki / CA_KEY))
    if authority.certificate.public_key() != authority.key.public_key():
        raise ConfigurationError(f"{config.pki / CA_KEY} is not the key of {CA_CERTIFICATE}; bring the right one back")
    file = config.pki / SERVER_CERTIFICATE
    before = hosts(read_certificate(file)) if file.exists() else []
    issued = make_server(authority, server_names(config, [*names, *before]), days, _moment(now_s))
    _write(config.pki, SERVER_CERTIFICATE, SERVER_KEY, issued)
    return hosts(issued.certificate)
