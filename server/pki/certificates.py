"""X.509: a fleet's authority and the certificates that it signs. Nothing here touches a file."""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tinytrain_core.errors import ConfigurationError

BACKDATED = timedelta(hours=1)  # for clocks that are a little behind
WILDCARDS = {"0.0.0.0", "::"}  # what a server binds, and nobody dials
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_LABEL = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"
_DNS_NAME = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*")


@dataclass(frozen=True)
class Issued:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as a file holds it."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key as a file holds it, without a passphrase."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def host_of(address: str) -> str:
    """The host of host:port, an IPv6 address without its brackets."""
    return address.rpartition(":")[0].strip("[]")


def general_name(name: str) -> x509.GeneralName:
    """A host as a certificate names it.

    Raises:
        ConfigurationError: neither an IP address nor a DNS name.
    """
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        if not _DNS_NAME.fullmatch(name) or len(name) > 253:
            raise ConfigurationError(
                f"{name!r} is neither an IP address nor a DNS name in ASCII; give a host, without a port"
            ) from None
        return x509.DNSName(name)


def hosts(certificate: x509.Certificate) -> list[str]:
    """The hosts that a certificate is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names]


def distinct_hosts(names: Iterable[str]) -> list[str]:
    """Hosts in their order, each once, without those that nobody dials."""
    return [name for name in dict.fromkeys(names) if name and name not in WILDCARDS]


def _usage(sign: bool) -> x509.KeyUsage:
    """What a key may do: sign certificates, or take part in TLS."""
    return x509.KeyUsage(
        digital_signature=not sign,
        key_cert_sign=sign,
        crl_sign=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def make_authority(title: str, days: int, now: datetime) -> Issued:
    """A certificate authority that may sign certificates of servers, and no further authorities."""
    key = ec.generate_private_key(ec.SECP384R1())
    public = key.public_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title[:64])])
    builder = (
        _builder(name, name, public, now, now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
    )
    return Issued(builder.sign(key, SHA384()), key)


def make_server(authority: Issued, names: Iterable[str], days: int, now: datetime) -> Issued:
    """A server's certificate, for at most as long as its authority's.

    Raises:
        ConfigurationError: no name, a name that is none, or the authority has expired.
    """
    wanted = distinct_hosts(names)
    until = min(now + timedelta(days=days), authority.certificate.not_valid_after_utc)
    if not wanted or until <= now:
        raise ConfigurationError(
            f"no certificate for {len(wanted)} names until {until:%Y-%m-%d}: it needs a name, and an authority that "
            "has not expired"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    signer = authority.key.public_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wanted[0][:64])])
    builder = (
        _builder(subject, authority.certificate.subject, key.public_key(), now, until)
        .add_extension(x509.SubjectAlternativeName([general_name(name) for name in wanted]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )
    return Issued(builder.sign(authority.key, SHA384()), key)
