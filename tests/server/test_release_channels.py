from pathlib import Path

import pytest

from server.releases.checks import check_all, check_order, check_release
from server.releases.drafts import draft_release, draft_rollback
from server.releases.registry import Registry
from server.releases.signing import add_signatures, signatures_path
from tests.conftest import random_backbone
from tests.releases import DAY, NOW, file_release, signed_by, trust_of
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.backbones.weights import digest, to_bytes
from tinytrain_core.errors import BackboneError, ClockError, ConfigurationError, ManifestError
from tinytrain_core.fewshot.augment import INPUT_SCALING

TRUST = trust_of(1, 2, 3)
DATA = b"weights" * 100


@pytest.fixture(scope="module")
def weights() -> bytes:
    return to_bytes(random_backbone(load_spec("mcunet-5fps")))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    registry = Registry(tmp_path / "releases", "main")
    for version in (1, 2, 3):
        file_release(registry, DATA, version, 1, 2)
    return registry


def test_stable_comes_from_canary(registry: Registry) -> None:
    with pytest.raises(ConfigurationError, match="never in canary"):
        registry.promote(1, "stable", "")
    with pytest.raises(ConfigurationError, match="needs a reason"):
        registry.promote(1, "stable", "", force=True)
    registry.promote(1, "stable", "the first one", force=True)
    registry.promote(2, "canary", "")
    assert (registry.channel("canary"), registry.channel("stable")) == (2, 1)
    registry.promote(3, "canary", "")
    registry.promote(2, "stable", "8 of 8 devices better")
    registry.promote(2, "stable", "again changes nothing")
    assert [(p.version, p.channel, p.reason, p.forced) for p in registry.promotions()] == [
        (1, "stable", "the first one", True),
        (2, "canary", "", False),
        (3, "canary", "", False),
        (2, "stable", "8 of 8 devices better", False),
    ]
    assert registry.channels_of(3) == ["canary"]


def test_a_channel_does_not_go_back_but_by_a_withdrawal(registry: Registry) -> None:
    for version in (1, 2):
        registry.promote(version, "canary", "")
        registry.promote(version, "stable", "")
    with pytest.raises(ConfigurationError, match="canary offers 2, above 1; withdraw 2"):
        registry.promote(1, "canary", "")
    registry.withdraw(2, "worse in the dark")
    registry.withdraw(2, "the first reason stays")
    assert (registry.channel("canary"), registry.channel("stable")) == (1, 1)
    assert registry.withdrawals()[2].reason == "worse in the dark"
    with pytest.raises(ConfigurationError, match="worse in the dark"):
        registry.promote(2, "canary", "")
    assert registry.file(registry.release(2).manifest.digest) == DATA
    registry.withdraw(1, "as well")
    assert registry.channel("stable") is None


def test_decisions_need_a_release_a_reason_and_whole_weights(registry: Registry) -> None:
    for action in (lambda: registry.withdraw(9, "x"), lambda: registry.promote(9, "canary", "")):
        with pytest.raises(ConfigurationError, match="no release 9; it has 1, 2, 3"):
            action()
    with pytest.raises(ConfigurationError, match="needs a reason"):
        registry.withdraw(1, "")
    with pytest.raises(ConfigurationError, match="reason"):
        registry.withdraw(1, "x" * 501)
    registry.object_file(digest(DATA)).write_bytes(b"other")
    with pytest.raises(ManifestError):
        registry.promote(1, "canary", "")
    assert registry.promotions() == []


def test_drafts_say_what_the_weights_are(tmp_path: Path, weights: bytes) -> None:
    registry = Registry(tmp_path, "main")
    first = draft_release(registry, TRUST, weights, NOW + 0.5, 90)
    registry.add(first, weights)
    assert (first.version, first.architecture, first.digest) == (1, "mcunet-5fps", digest(weights))
    assert (first.created, first.expires, first.input_scaling) == (NOW, NOW + 90 * DAY, INPUT_SCALING)
    assert first.key_ids == sorted(TRUST.keys)
    second = draft_release(registry, TRUST, weights, NOW + DAY, 30, min_client="1.2.3")
    assert (second.version, second.min_client) == (2, "1.2.3")
    registry.add(second, weights)
    back = draft_rollback(registry, TRUST, 1, [2, 2], NOW + 2 * DAY, 7)
    assert back.model_dump() == first.model_dump() | {
        "kind": "rollback",
        "withdraws": [2],
        "created": NOW + 2 * DAY,
        "expires": NOW + 9 * DAY,
    }
    with pytest.raises(ClockError, match="set the clock"):
        draft_release(registry, TRUST, weights, NOW, 90)
    with pytest.raises(BackboneError):
        draft_release(registry, TRUST, DATA, NOW + DAY, 90)
    with pytest.raises(ConfigurationError, match="min_client"):
        draft_release(registry, TRUST, weights, NOW + DAY, 90, min_client="1.x")
    for to, withdraws in ((2, [1]), (1, [3]), (3, [4]), (1, [])):
        with pytest.raises(ConfigurationError):
            draft_rollback(registry, TRUST, to, withdraws, NOW + DAY, 7)
    registry.withdraw(1, "bad")
    with pytest.raises(ConfigurationError, match="was withdrawn"):
        draft_rollback(registry, TRUST, 1, [2], NOW + DAY, 7)


def test_verify_says_what_is_wrong_with_which(tmp_path: Path, weights: bytes) -> None:
    registry = Registry(tmp_path, "main")
    for version in (1, 2, 3):
        file_release(registry, weights, version, 1, 2, created=NOW + version, expires=NOW + version * 10 * DAY)
    order = registry.add_order(draft_rollback(registry, TRUST, 1, [2, 3], NOW + DAY, 20))
    add_signatures(signatures_path(order), signed_by(order.read_bytes(), 2))
    now = NOW + 2 * DAY
    assert [f.problems for f in check_all(registry, TRUST, now)][:3] == [[], [], []]
    (few,) = check_order(registry, TRUST, order, now).problems
    assert "1 valid signatures of the 3 pinned keys, 2 are needed" in few
    add_signatures(signatures_path(order), signed_by(order.read_bytes(), 3))
    assert check_order(registry, TRUST, order, now).problems == []

    stolen = registry.release(1).signatures
    (number,) = signed_by(b"", 1)
    add_signatures(signatures_path(registry.manifest_file(2)), {number: stolen[number]})
    problems = check_release(registry, TRUST, 2, now).problems
    assert problems[0] == f"the signature of {number} is not valid"
    assert "1 valid signatures" in problems[1]
    assert check_release(registry, trust_of(1, 2, line="other"), 1, now).problems


def test_only_what_is_still_offered_may_not_expire(tmp_path: Path, weights: bytes) -> None:
    registry = Registry(tmp_path, "main")
    for version in (1, 2, 3):
        file_release(registry, weights, version, 1, 2, created=NOW, expires=NOW + 10 * DAY)
    late = NOW + 11 * DAY

    def wrong() -> list[bool]:
        return [bool(finding.problems) for finding in check_all(registry, TRUST, late)]

    assert wrong() == [True, True, True]
    registry.promote(2, "stable", "by hand", force=True)
    assert wrong() == [False, True, True]
    registry.withdraw(3, "bad")
    assert wrong() == [False, True, False]
    (note,) = check_release(registry, TRUST, 1, late).notes
    assert "expired" in note


def test_verify_finds_what_is_missing_foreign_or_of_another_kind(tmp_path: Path, weights: bytes) -> None:
    registry = Registry(tmp_path, "main")
    file_release(registry, weights, 1, 1, 2, created=NOW, architecture="mbv2-w0.35")
    file_release(registry, weights, 2, 1, 2, created=NOW, input_scaling="0 to 1")
    file_release(registry, DATA, 3, 1, 2, created=NOW)
    (tmp_path / "foreign").mkdir()
    registry.promote(3, "canary", "")
    registry.manifest_file(3).unlink()
    signatures_path(registry.manifest_file(3)).unlink()
    found = {finding.what: " ".join(finding.problems) for finding in check_all(registry, TRUST, NOW)}
    assert "the manifest says mbv2-w0.35" in found["release 1"]
    assert "expects '0 to 1'" in found["release 2"]
    assert "its manifest is missing" in found["release 3"]
    assert "move it away" in found[str(tmp_path / "foreign")]
