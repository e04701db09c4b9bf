"""Whether what is in a registry can be rolled out: the checks of `release verify`, and of a promotion."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from server.releases.registry import Registry
from server.releases.signing import SignedRelease
from tinytrain_core.backbones.weights import from_bytes
from tinytrain_core.errors import ManifestError, ReleaseError, ReleaseExpiredError, SignatureError, TinyTrainError
from tinytrain_core.fewshot.augment import INPUT_SCALING
from tinytrain_core.release import Manifest, Trust, check_file


@dataclass(frozen=True)
class Finding:
    """What was found about a release, a roll-back order or another file.

    Attributes:
        problems: why it cannot be used.
        notes: what would be a problem, were it still meant to be used.
    """

    what: str
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _weights(registry: Registry, manifest: Manifest) -> None:
    """Load a release's weights.

    Raises:
        TinyTrainError: they are missing, damaged, or not what the manifest says.
    """
    data = registry.file(manifest.digest)
    check_file(manifest, data)
    architecture = from_bytes(data).spec.name
    if architecture != manifest.architecture:
        raise ManifestError(f"the weights are of {architecture}, the manifest says {manifest.architecture}")
    if manifest.input_scaling != INPUT_SCALING:
        raise ManifestError(f"it expects {manifest.input_scaling!r}, networks are fed {INPUT_SCALING!r}")


def _superseded(registry: Registry, version: int) -> bool:
    return version < (registry.channel("stable") or 0) and not registry.channels_of(version)


def _signed(release: SignedRelease, trust: Trust, now_s: float, retired: bool) -> Iterator[tuple[bool, str]]:
    """What is wrong with a release's signatures and dates, each with whether it matters."""
    valid = trust.signers(release.manifest_bytes, release.signatures)
    for name in sorted((set(release.signatures) & set(trust.keys)) - set(valid)):
        yield True, f"the signature of {name} is not valid"
    try:
        release.check(trust, now_s)
    except (SignatureError, ReleaseExpiredError) as error:
        yield not retired, str(error)
    except ReleaseError as error:
        yield True, str(error)


def check_release(registry: Registry, trust: Trust, version: int, now_s: float) -> Finding:
    """Check a release: manifest, signatures, dates, weights. One that nobody is offered may have expired.

    Raises:
        ConfigurationError: there is no such release.
        TinyTrainError: what was decided about releases cannot be read.
    """
    finding = Finding(f"release {version}")
    withdrawal = registry.withdrawals().get(version)
    if withdrawal:
        finding.notes.append(f"withdrawn: {withdrawal.reason}")
    retired = withdrawal is not None or _superseded(registry, version)
    if version not in registry.versions():
        registry.release(version)
    try:
        release = registry.release(version)
        for matters, text in _signed(release, trust, now_s, retired):
            (finding.problems if matters else finding.notes).append(text)
        _weights(registry, release.manifest)
    except TinyTrainError as error:
        finding.problems.append(str(error))
    return finding


def check_order(registry: Registry, trust: Trust, file: Path, now_s: float) -> Finding:
    """Check a roll-back order, and that it returns to a release that can be used.

    Raises:
        TinyTrainError: what was decided about releases cannot be read.
    """
    finding = Finding(f"roll-back order {file.name}")
    try:
        order = registry.at(file)
        retired = all(_superseded(registry, version) for version in order.manifest.withdraws)
        for matters, text in _signed(order, trust, now_s, retired):
            (finding.problems if matters else finding.notes).append(text)
        _weights(registry, order.manifest)
        target = registry.release(order.manifest.version).manifest
        if target.digest != order.manifest.digest:
            finding.problems.append(f"its weights are not those of release {target.version}")
    except TinyTrainError as error:
        finding.problems.append(str(error))
        return finding
    if registry.is_withdrawn(order.manifest.version):
        (finding.notes if retired else finding.problems).append(f"release {order.manifest.version} was withdrawn")
    return finding


def check_all(registry: Registry, trust: Trust, now_s: float) -> list[Finding]:
    """Check everything in a registry, foreign files too.

    Raises:
        TinyTrainError: what was decided about releases cannot be read.
    """
    findings = [check_release(registry, trust, version, now_s) for version in registry.versions()]
    findings += [check_order(registry, trust, file, now_s) for file in registry.order_files()]
    decided = {*registry.withdrawals(), *(promotion.version for promotion in registry.promotions())}
    for version in sorted(decided - set(registry.versions())):
        findings.append(Finding(f"release {version}", ["it was promoted or withdrawn, but its manifest is missing"]))
    findings += [
        Finding(str(file), ["it is none of the registry's files; move it away"]) for file in registry.foreign()
    ]
    return findings
