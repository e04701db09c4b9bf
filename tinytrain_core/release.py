"""A release: what a backbone's file is and who vouches for it, as a device checks it before it uses one byte.

A manifest is canonical JSON (sorted keys, no spaces, ASCII, integers and text only, a subset of RFC 8785), so that
its signers and its readers see the same bytes. Signatures are detached Ed25519 (RFC 8032) over those bytes behind a
prefix that says what is signed. A device pins the public keys of its operator and how many of them have to agree.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tinytrain_core.configuration import parse_settings, problems
from tinytrain_core.digests import digest
from tinytrain_core.errors import (
    ClientTooOldError,
    ClockError,
    ManifestError,
    ReleaseExpiredError,
    RollbackError,
    SignatureError,
)

MANIFEST_SCHEMA: Literal[1] = 1
SIGNED_PREFIX = b"tinytrain-fleet release manifest\n"  # a signature of a manifest is one of nothing else
MAX_MANIFEST_BYTES = 8_192
MAX_VERSION = 2**31 - 1
MAX_KEYS = 32
CLOCK_TOLERANCE_S = 300  # between the clock of whoever made a release and a device's

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
KeyId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Version = Annotated[int, Field(ge=1, le=MAX_VERSION)]
LineName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
ClientVersion = Annotated[str, Field(pattern=r"^(0|[1-9]\d{0,3})\.(0|[1-9]\d{0,3})\.(0|[1-9]\d{0,3})$")]
Seconds = Annotated[int, Field(ge=0, lt=2**40)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Manifest(_Model):
    """What is released.

    Attributes:
        name: the line of releases; versions count within it, and a device follows one.
        withdraws: the versions that a roll-back order takes back; `version` is then the older one to return to.
        architecture: of the backbone, as its specification is called.
        input_scaling: what the weights expect of pixels, in words.
        digest, length: SHA-256 and bytes of the safetensors file.
        created, expires: seconds since 1970, UTC; a device does not start to use an expired release.
        key_ids: whose signatures it is meant to carry.
        min_client: the oldest version of tinytrain-fleet that can use it.
    """

    schema_version: Literal[1] = MANIFEST_SCHEMA
    kind: Literal["release", "rollback"] = "release"
    name: LineName
    version: Version
    withdraws: Annotated[list[Version], Field(max_length=64)] = Field(default_factory=list)
    architecture: Annotated[str, Field(pattern=r"^[!-~]{1,64}$")]
    input_scaling: Annotated[str, Field(pattern=r"^[ -~]{0,200}$")]  # what signers are shown has no control characters
    digest: Digest
    length: Annotated[int, Field(gt=0, lt=2**40)]
    created: Seconds
    expires: Seconds
    key_ids: Annotated[list[KeyId], Field(max_length=MAX_KEYS)] = Field(default_factory=list)
    min_client: ClientVersion = "0.0.0"

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        if self.is_rollback != bool(self.withdraws):
            raise ValueError("a roll-back order, and nothing else, names the versions that it withdraws")
        if self.withdraws and min(self.withdraws) <= self.version:
            raise ValueError("a roll-back order withdraws versions above the one that it returns to")
        if self.expires <= self.created:
            raise ValueError("it expires before it was created")
        return self

    def to_bytes(self) -> bytes:
        """The canonical JSON that is signed."""
        fields = self.model_dump(mode="json")
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()

    @property
    def is_rollback(self) -> bool:
        """Whether it is an order to go back."""
        return self.kind == "rollback"

    @property
    def client(self) -> tuple[int, int, int]:
        """`min_client` as numbers."""
        return version_numbers(self.min_client)


def version_numbers(version: str) -> tuple[int, int, int]:
    """The first three numbers of a package's version, 0 for those that it does not have."""
    found = [int(part) for part in re.findall(r"\d+", version)[:3]]
    major, minor, patch = [*found, 0, 0, 0][:3]
    return major, minor, patch


def parse_manifest(data: bytes) -> Manifest:
    """The manifest that `data` is.

    Raises:
        ManifestError: too long, not canonical JSON, of a later schema, or not a manifest.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"the manifest has {len(data)} bytes; at most {MAX_MANIFEST_BYTES} are read")
    try:
        fields: Any = json.loads(data)
        schema = fields["schema_version"]
    except (ValueError, RecursionError, KeyError, TypeError):
        raise ManifestError(f"the manifest's {len(data)} bytes are not a JSON object with a schema_version") from None
    if schema != MANIFEST_SCHEMA:
        raise ManifestError(
            f"the manifest is of schema {schema!r:.20}, this program reads schema {MANIFEST_SCHEMA}; update it"
        )
    try:
        manifest = Manifest.model_validate(fields)
    except ValidationError as error:
        raise ManifestError(f"not a release manifest: {problems(error, 'the whole', 8)}") from None
    if manifest.to_bytes() != data:
        raise ManifestError("the manifest is not in canonical form, so that it is not what was signed")
    return manifest


def key_id(public_key: bytes) -> str:
    """What a public key is called: the first 16 hexadecimal digits of its SHA-256.

    Args:
        public_key: the 32 bytes of an Ed25519 key.
    """
    return hashlib.sha256(public_key).hexdigest()[:16]


def sign(manifest: bytes, key: Ed25519PrivateKey) -> tuple[str, str]:
    """Sign a manifest: the key's id, and the signature in base64."""
    return key_id(key.public_key().public_bytes_raw()), base64.b64encode(key.sign(SIGNED_PREFIX + manifest)).decode()


class Trust(_Model):
    """Whose releases a device accepts.

    Attributes:
        line: the name of the releases that it follows.
        threshold: how many of the keys have to have signed.
        keys: public Ed25519 keys, 64 hexadecimal digits each, by their id.
    """

    line: LineName
    threshold: Annotated[int, Field(ge=1, le=MAX_KEYS)]
    keys: Annotated[dict[KeyId, Digest], Field(min_length=1, max_length=MAX_KEYS)]

    @model_validator(mode="after")
    def _consistent(self) -> "Trust":
        if self.threshold > len(self.keys):
            raise ValueError(f"{self.threshold} signatures are asked for, of {len(self.keys)} keys")
        for name, public in self.keys.items():
            if key_id(bytes.fromhex(public)) != name:
                raise ValueError(f"the key called {name} is {key_id(bytes.fromhex(public))}")
        return self

    def signers(self, manifest: bytes, signatures: Mapping[str, str]) -> list[str]:
        """The ids of the pinned keys whose signatures are valid."""
        return sorted(
            name for name in self.keys if name in signatures and self._valid(name, manifest, signatures[name])
        )

    def _valid(self, name: str, manifest: bytes, signature: str) -> bool:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.keys[name]))
        try:
            public.verify(base64.b64decode(signature, validate=True), SIGNED_PREFIX + manifest)
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True


def parse_trust(fields: Any, where: str) -> Trust:
    """The trust that `fields` is; `where` is what to call it in an error.

    Raises:
        ConfigurationError: it is not one.
    """
    return parse_settings(Trust, fields, f"{where} does not say whom to trust")


def _check_time(manifest: Manifest, now_s: float, not_before_s: float) -> None:
    if now_s < max(manifest.created, not_before_s) - CLOCK_TOLERANCE_S:
        behind = max(manifest.created, not_before_s) - now_s
        raise ClockError(
            f"this clock says {int(now_s)}, {int(behind)} s before release {manifest.version} of {manifest.name} or "
            "the last one accepted was made; set the clock"
        )
    if now_s > manifest.expires:
        raise ReleaseExpiredError(
            f"release {manifest.version} of {manifest.name} expired {int(now_s - manifest.expires)} s ago by this "
            "clock; sign one that has not, or set the clock"
        )


def verify(
    manifest: bytes,
    signatures: Mapping[str, str],
    trust: Trust,
    now_s: float,
    client: tuple[int, int, int],
    not_before_s: float = 0,
) -> Manifest:
    """The manifest, if enough pinned keys have signed it and it can be used now and here.

    Args:
        signatures: base64 by key id; those of unknown keys do not count.
        now_s: seconds since 1970 by this machine's clock.
        client: the version of this program.
        not_before_s: a time that is known to have passed, as when the last release was made.

    Raises:
        SignatureError: too few valid signatures. It is checked first, so that nothing unsigned is interpreted.
        ManifestError: not a manifest, of a later schema, or of another line of releases.
        ReleaseExpiredError, ClockError: by this clock it has expired, or was made in the future.
        ClientTooOldError: it needs a later version of this program.
    """
    signers = trust.signers(manifest, signatures)
    if len(signers) < trust.threshold:
        raise SignatureError(
            f"{len(signers)} valid signatures of the {len(trust.keys)} pinned keys, {trust.threshold} are needed; "
            f"the release carries {len(signatures)} in all"
        )
    parsed = parse_manifest(manifest)
    if parsed.name != trust.line:
        raise ManifestError(f"the release is of the line {parsed.name!r}, this device follows {trust.line!r}")
    _check_time(parsed, now_s, not_before_s)
    if client < parsed.client:
        raise ClientTooOldError(
            f"release {parsed.version} needs tinytrain-fleet {parsed.min_client}, this is {'.'.join(map(str, client))}"
        )
    return parsed


def check_file(manifest: Manifest, data: bytes) -> None:
    """Make sure that `data` is the file that a manifest is about.

    Raises:
        ManifestError: another length or digest.
    """
    if len(data) != manifest.length or digest(data) != manifest.digest:
        raise ManifestError(
            f"the file has {len(data)} bytes and digest {digest(data)[:16]}..., release {manifest.version} has "
            f"{manifest.length} and {manifest.digest[:16]}...; it was changed or cut short"
        )


@dataclass(frozen=True)
class Held:
    """What a device holds: the state against which orders are monotonic. Version 0 is nothing yet.

    Attributes:
        version, digest: of the release in use.
        highest: the highest version that was ever accepted or withdrawn; nothing at or below it comes back.
        created: when the newest release that was accepted was made; time cannot be before that.
    """

    version: int = 0
    digest: str = ""
    highest: int = 0
    created: int = 0

    def accept(self, manifest: Manifest) -> "Held":
        """What is held once `manifest`, which was verified, is in use. Accepting it again changes nothing.

        Raises:
            RollbackError: an older release, or a roll-back order that does not withdraw what is held.
        """
        if (manifest.version, manifest.digest) == (self.version, self.digest):
            highest = max(self.highest, *manifest.withdraws, manifest.version)
            return Held(self.version, self.digest, highest, max(self.created, manifest.created))
        if not manifest.is_rollback and manifest.version <= self.highest:
            raise RollbackError(
                f"version {manifest.version} is not above {self.highest}, the highest that this device has seen; "
                "going back needs a signed roll-back order"
            )
        forward = manifest.version > self.highest  # it missed what is withdrawn
        if manifest.is_rollback and not forward and self.version not in manifest.withdraws:
            raise RollbackError(f"the roll-back order withdraws {manifest.withdraws}, this device uses {self.version}")
        highest = max(self.highest, *manifest.withdraws, manifest.version)
        return Held(manifest.version, manifest.digest, highest, max(self.created, manifest.created))
