"""Keys, manifests and registries for the tests of releases."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.releases.registry import Registry
from server.releases.signing import add_signatures, signatures_path
from tinytrain_core.backbones.weights import digest
from tinytrain_core.fewshot.augment import INPUT_SCALING
from tinytrain_core.release import Manifest, Trust, key_id, sign

NOW = 1_764_000_000
DAY = 86_400


def key(number: int) -> Ed25519PrivateKey:
    """The same key for the same number."""
    return Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big"))


def trust_of(*numbers: int, threshold: int = 2, line: str = "main") -> Trust:
    public = [key(number).public_key().public_bytes_raw() for number in numbers]
    return Trust(line=line, threshold=threshold, keys={key_id(p): p.hex() for p in public})


def signed_by(manifest: bytes, *numbers: int) -> dict[str, str]:
    return dict(sign(manifest, key(number)) for number in numbers)


def manifest_of(data: bytes, version: int = 1, **changes: object) -> Manifest:
    fields: dict[str, object] = {
        "name": "main",
        "version": version,
        "architecture": "mcunet-5fps",
        "input_scaling": INPUT_SCALING,
        "digest": digest(data),
        "length": len(data),
        "created": NOW,
        "expires": NOW + 90 * DAY,
    }
    return Manifest.model_validate(fields | changes)


def rollback_of(data: bytes, to: int, withdraws: Sequence[int], **changes: object) -> Manifest:
    return manifest_of(data, to, kind="rollback", withdraws=list(withdraws), **changes)


def file_release(registry: Registry, data: bytes, version: int, *signers: int, **changes: object) -> Path:
    """File a release that can be used now, signed by some."""
    now = int(time.time())
    dates = {"created": now, "expires": now + 90 * DAY}
    file = registry.add(manifest_of(data, version, **(dates | changes)), data)
    if signers:
        add_signatures(signatures_path(file), signed_by(file.read_bytes(), *signers))
    return file


def forked(action: Callable[[], object]) -> int:
    """Start `action` in a process of its own, which ends with 0, or 1 where it raised; its id."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        action()
        code = 0
    finally:
        os._exit(code)


def exit_code(process: int) -> int:
    """Wait for a process that `forked` gave."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
