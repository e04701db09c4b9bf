"""Detached signatures of a manifest, as files: made where the keys are, checked and gathered where the registry is."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from server.words import moment
from tinytrain_core.configuration import problems
from tinytrain_core.errors import ManifestError, SignatureError, StorageError
from tinytrain_core.files import exclusive, write_file
from tinytrain_core.release import MAX_KEYS, MAX_MANIFEST_BYTES, KeyId, Manifest, Trust, parse_manifest, sign, verify

SUFFIX = ".signatures.json"
LOCK_WAIT_S = 10.0  # for another command that writes
DAY_S = 86_400
_MAX_BYTES = 16 * 2**10  # of a file of signatures
_SIGNATURE_BYTES = 64


def _signature(text: str) -> str:
    try:
        length = len(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        raise ValueError("not base64") from None
    if length != _SIGNATURE_BYTES:
        raise ValueError(f"{length} bytes; an Ed25519 signature has {_SIGNATURE_BYTES}")
    return text


_Signature = Annotated[str, Field(max_length=2 * _SIGNATURE_BYTES), AfterValidator(_signature)]
_SIGNATURES: TypeAdapter[dict[str, str]] = TypeAdapter(
    Annotated[dict[KeyId, _Signature], Field(min_length=1, max_length=MAX_KEYS)]
)


@dataclass(frozen=True)
class SignedRelease:
    """A manifest as it travels.

    Attributes:
        manifest_bytes: its canonical JSON, which is what was signed.
        signatures: base64 by key id.
    """

    manifest: Manifest
    manifest_bytes: bytes
    signatures: dict[str, str]

    def check(self, trust: Trust, now_s: float) -> None:
        """Make sure that a device that trusts `trust` would take it at `now_s`, whatever its client's version.

        Raises:
            ReleaseError: as `tinytrain_core.release.verify` raises it.
        """
        verify(self.manifest_bytes, self.signatures, trust, now_s, self.manifest.client)


def read_bounded(file: Path, most: int, what: str = "") -> bytes:
    """The bytes of a file that may have at most `most`.

    Args:
        what: it is, as "the key ", for the error.

    Raises:
        StorageError: it is not there, or cannot be read.
        ManifestError: it is longer.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(most + 1)
    except OSError as error:
        raise StorageError(f"cannot read {what}{file}: {error.strerror}") from error
    if len(data) > most:
        raise ManifestError(f"{what}{file} has more than {most} bytes; it is not what its place says")
    return data


def read_manifest_file(file: Path) -> tuple[Manifest, bytes]:
    """The manifest in a file, and its bytes.

    Raises:
        StorageError: it cannot be read.
        ManifestError: it is not a manifest in canonical form.
    """
    data = read_bounded(file, MAX_MANIFEST_BYTES)
    try:
        return parse_manifest(data), data
    except ManifestError as error:
        raise ManifestError(f"{file}: {error}") from None


def signatures_path(manifest: Path) -> Path:
    """Where the signatures of a manifest's file are: beside it."""
    return manifest.with_name(manifest.stem + SUFFIX)


def read_signatures(file: Path) -> dict[str, str]:
    """The signatures in a file; none where there is no such file.

    Raises:
        StorageError: it cannot be read.
        SignatureError: it is not a JSON object of Ed25519 signatures by key id.
    """
    if not file.exists():
        return {}
    data = read_bounded(file, _MAX_BYTES)
    try:
        return _SIGNATURES.validate_json(data)
    except ValidationError as error:
        raise SignatureError(f"{file} does not hold signatures by key id: {problems(error, 'the file', 4)}") from None


def add_signatures(file: Path, new: Mapping[str, str]) -> dict[str, str]:
    """Add to a file of signatures, which is made where there is none, and give all that it then holds.

    Raises:
        StorageError: it cannot be read or written.
        SignatureError: what it held are not signatures, or there would be too many.
    """
    with exclusive(file.parent, LOCK_WAIT_S):
        signatures = dict(sorted({**read_signatures(file), **new}.items()))
        if len(signatures) > MAX_KEYS:
            raise SignatureError(f"{file} would hold {len(signatures)} signatures; at most {MAX_KEYS} are read")
        write_file(file, _SIGNATURES.dump_json(signatures, indent=1) + b"\n")
    return signatures


def sign_manifest(manifest: Manifest, data: bytes, key: Ed25519PrivateKey) -> dict[str, str]:
    """A key's signature of a manifest, by the key's id.

    Raises:
        SignatureError: the manifest names its signers, and this key is none of them.
    """
    name, signature = sign(data, key)
    if manifest.key_ids and name not in manifest.key_ids:
        raise SignatureError(
            f"this key is {name}; {manifest.kind} {manifest.version} of {manifest.name} is meant for the signatures "
            f"of {', '.join(manifest.key_ids)}"
        )
    return {name: signature}


def lifetime(manifest: Manifest, now_s: float) -> str:
    """How long a manifest can still be used."""
    days = (manifest.expires - now_s) / DAY_S
    return f"expired {-days:.1f} days ago" if days < 0 else f"in {days:.1f} days"


def description(manifest: Manifest, data: bytes, now_s: float) -> dict[str, str]:
    """What a signer has to see: every field of a manifest, and the digest of the bytes that are signed."""
    withdrawn = ", ".join(map(str, manifest.withdraws))
    return {
        "kind": f"roll-back order, which withdraws {withdrawn}" if manifest.is_rollback else "release",
        "line": manifest.name,
        "version": str(manifest.version),
        "architecture": manifest.architecture,
        "input": manifest.input_scaling,
        "weights": f"sha256 {manifest.digest}",
        "length": f"{manifest.length:,} bytes",
        "created": moment(manifest.created),
        "expires": f"{moment(manifest.expires)} ({lifetime(manifest, now_s)})",
        "clients": f"tinytrain-fleet {manifest.min_client} and later",
        "signers": ", ".join(manifest.key_ids) or "any",
        "manifest": f"sha256 {sha256(data).hexdigest()}",
    }
