"""The bundle that makes a machine a node of a fleet: one file, from `node add` to `tinytrain-client enrol`.

It is handed over by the operator, as on a card or over SSH, and holds a private key unless the device made its own.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from cryptography import x509
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tinytrain_core.addresses import HostPort
from tinytrain_core.configuration import parse_settings
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.files import write_file
from tinytrain_core.node_key import parse_public, public_of
from tinytrain_core.release import Trust
from tinytrain_core.wire import MAX_DEVICES_PER_NODE

ENROLMENT_SCHEMA: Literal[1] = 1
BUNDLE_SUFFIX = ".enrol"
SECRET_MODE = 0o600
MAX_BUNDLE_BYTES = 256 * 2**10
_CHECKSUM = "checksum"

NodeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
DeviceNumber = Annotated[int, Field(ge=1, lt=2**31)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EnrolledDevice(_Model):
    """A device of the node: its number in the fleet, and its class in the catalogue."""

    number: DeviceNumber
    profile: Annotated[str, Field(min_length=1, max_length=64)]


class Enrolment(_Model):
    """What a machine has to know to be a node.

    Attributes:
        node: its name in the fleet.
        server: host:port that it dials.
        ca: the certificate, in PEM, that the server's has to be signed by.
        public_key, private_key: in OpenSSH format; no private key where the device made the pair.
        devices: what it hosts, each number once.
        trust: whose releases it accepts.
    """

    schema_version: Literal[1] = ENROLMENT_SCHEMA
    node: NodeName
    server: HostPort
    ca: str
    public_key: str
    private_key: str | None = Field(None, repr=False)
    devices: Annotated[tuple[EnrolledDevice, ...], Field(min_length=1, max_length=MAX_DEVICES_PER_NODE)]
    trust: Trust

    @field_validator("ca")
    @classmethod
    def _authority(cls, pem: str) -> str:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        try:
            authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except x509.ExtensionNotFound:
            authority = False
        if not authority:
            raise ValueError("the certificate is not that of an authority")
        return pem

    @model_validator(mode="after")
    def _consistent(self) -> "Enrolment":
        numbers = [device.number for device in self.devices]
        if len(set(numbers)) != len(numbers):
            raise ValueError(f"{len(numbers)} devices have {len(set(numbers))} numbers")
        try:
            public = parse_public(self.public_key, "the public key")
            if self.private_key is not None and public_of(self.private_key) != public:
                raise ValueError("the private key is not that of the public key")
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
        return self

    def to_bytes(self) -> bytes:
        """The bundle's JSON, with a checksum of it, so that a damaged copy is noticed."""
        fields = self.model_dump(mode="json")
        return json.dumps({**fields, _CHECKSUM: _checksum(fields)}, indent=1).encode() + b"\n"

    @property
    def checksum(self) -> str:
        """What tells one bundle from another: 64 hexadecimal digits."""
        return _checksum(self.model_dump(mode="json"))


def _checksum(fields: dict[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_enrolment(file: Path, enrolment: Enrolment) -> None:
    """Write a bundle, which only its owner may read.

    Raises:
        StorageError: it cannot be written.
    """
    write_file(file, enrolment.to_bytes(), SECRET_MODE)


def parse_enrolment(data: bytes, where: str) -> Enrolment:
    """The bundle that `data` is; `where` is what to call it in an error.

    Raises:
        ConfigurationError: cut short, changed, of a later schema, or not a bundle.
    """
    if len(data) > MAX_BUNDLE_BYTES:
        raise ConfigurationError(f"{where} has {len(data)} bytes; an enrol bundle has at most {MAX_BUNDLE_BYTES}")
    try:
        fields: Any = json.loads(data)
        schema, checksum = fields["schema_version"], fields.pop(_CHECKSUM)
        found = _checksum(fields)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        raise ConfigurationError(
            f"{where} is not an enrol bundle, or its {len(data)} bytes are not the whole of one; copy it again"
        ) from None
    if schema != ENROLMENT_SCHEMA:
        raise ConfigurationError(
            f"{where} is of schema {schema!r:.20}, this program reads schema {ENROLMENT_SCHEMA}; update it"
        )
    if found != checksum:
        raise ConfigurationError(
            f"{where} has checksum {found[:16]}..., it says {checksum!s:.16}...; it was changed or cut short, copy it "
            "again"
        )
    return parse_settings(Enrolment, fields, f"{where} is not an enrol bundle")


def read_enrolment(file: Path) -> Enrolment:
    """The bundle in a file.

    Raises:
        ConfigurationError: there is no such file, or it is not a whole bundle.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BUNDLE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the enrol bundle {file}: {error.strerror}; `tinytrain-server node add` writes one"
        ) from None
    return parse_enrolment(data, str(file))
