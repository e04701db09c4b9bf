"""Manifests that are yet to be signed: of a new release, and of an order to go back to an old one."""

from collections.abc import Sequence

from server.releases.registry import Registry
from server.releases.signing import DAY_S
from server.words import moment
from tinytrain_core.backbones.weights import digest, from_bytes
from tinytrain_core.configuration import parse_settings
from tinytrain_core.errors import ClockError, ConfigurationError
from tinytrain_core.fewshot.augment import INPUT_SCALING
from tinytrain_core.release import Manifest, Trust, check_file


def _checked_now(registry: Registry, now_s: float) -> int:
    """This time, if nothing in the registry was made after it.

    Raises:
        ClockError: the latest release was made in this clock's future.
    """
    highest = registry.highest()
    made = registry.release(highest).manifest.created if highest else 0
    if now_s < made:
        raise ClockError(f"this clock says {moment(now_s)}, release {highest} was made {moment(made)}; set the clock")
    return int(now_s)


def draft_release(
    registry: Registry, trust: Trust, data: bytes, now_s: float, days: int, version: int = 0, min_client: str = "0.0.0"
) -> Manifest:
    """The manifest of a new release.

    Args:
        data: the backbone's file.
        days: until it expires.
        version: 0 is the one after the highest.

    Raises:
        BackboneError: the file is not a backbone's.
        ConfigurationError: a setting is out of range.
        ClockError: this clock is behind.
    """
    created = _checked_now(registry, now_s)
    fields = {
        "name": registry.line,
        "version": version or registry.highest() + 1,
        "architecture": from_bytes(data).spec.name,
        "input_scaling": INPUT_SCALING,
        "digest": digest(data),
        "length": len(data),
        "created": created,
        "expires": created + days * DAY_S,
        "key_ids": sorted(trust.keys),
        "min_client": min_client,
    }
    return parse_settings(Manifest, fields, "this cannot be released")


def draft_rollback(
    registry: Registry, trust: Trust, to: int, withdraws: Sequence[int], now_s: float, days: int
) -> Manifest:
    """The manifest of an order to go back.

    Args:
        to: the version to return to.
        withdraws: the versions that it takes back.
        days: until it expires.

    Raises:
        ConfigurationError: there is no such release, it was itself withdrawn, or is not below those withdrawn.
        ManifestError: its weights are damaged.
    """
    target = registry.release(to).manifest
    for version in withdraws:
        registry.release(version)
    if registry.is_withdrawn(to):
        raise ConfigurationError(f"release {to} was withdrawn, so that no order can return to it")
    check_file(target, registry.file(target.digest))
    created = _checked_now(registry, now_s)
    fields = target.model_dump() | {
        "kind": "rollback",
        "withdraws": sorted(set(withdraws)),
        "created": created,
        "expires": created + days * DAY_S,
        "key_ids": sorted(trust.keys),
    }
    return parse_settings(Manifest, fields, "this roll-back cannot be ordered")
