import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.releases import DAY, NOW, key, manifest_of, rollback_of, signed_by, trust_of
from tinytrain_core.errors import (
    ClientTooOldError,
    ClockError,
    ConfigurationError,
    ManifestError,
    ReleaseExpiredError,
    SignatureError,
)
from tinytrain_core.release import CLOCK_TOLERANCE_S, key_id, parse_trust, verify, version_numbers

WEIGHTS = b"the weights of a backbone" * 40
PLAIN = manifest_of(WEIGHTS)
BYTES = PLAIN.to_bytes()
TRUST = trust_of(1, 2, 3)
CLIENT = (0, 1, 0)


@given(st.integers(0, len(BYTES) - 1), st.integers(1, 255))
def test_a_manifest_with_one_other_byte_is_refused(position: int, change: int) -> None:
    other = bytearray(BYTES)
    other[position] ^= change
    with pytest.raises(SignatureError):
        verify(bytes(other), signed_by(BYTES, 1, 2, 3), TRUST, NOW, CLIENT)


@given(st.integers(0, 63), st.integers(1, 255))
def test_a_signature_with_one_other_byte_does_not_count(position: int, change: int) -> None:
    (name, good), (other, _) = signed_by(BYTES, 1, 2).items()
    damaged = bytearray(base64.b64decode(good))
    damaged[position] ^= change
    signatures = signed_by(BYTES, 1, 2) | {name: base64.b64encode(damaged).decode()}
    assert TRUST.signers(BYTES, signatures) == [other]


@given(st.sets(st.integers(1, 5)), st.sets(st.integers(1, 5), min_size=1), st.data())
def test_only_distinct_pinned_keys_count(signers: set[int], pinned: set[int], data: st.DataObject) -> None:
    trust = trust_of(*pinned, threshold=data.draw(st.integers(1, len(pinned))))
    signatures = signed_by(BYTES, *signers)
    for name in trust.keys:  # the signature of one key under the names of others is none of theirs
        signatures.setdefault(name, next(iter(signatures.values()), "AAAA"))
    if len(signers & pinned) >= trust.threshold:
        assert verify(BYTES, signatures, trust, NOW, CLIENT) == PLAIN
    else:
        with pytest.raises(SignatureError, match=f"{len(signers & pinned)} valid signatures.*{trust.threshold} are"):
            verify(BYTES, signatures, trust, NOW, CLIENT)


def test_a_signature_of_something_else_than_a_manifest_is_none() -> None:
    plain = base64.b64encode(key(1).sign(BYTES)).decode()
    assert trust_of(1, threshold=1).signers(BYTES, {next(iter(signed_by(BYTES, 1))): plain}) == []
    assert trust_of(1, threshold=1).signers(BYTES, dict.fromkeys(signed_by(BYTES, 1), "not base64")) == []


@pytest.mark.parametrize(
    ("now", "before", "error"),
    [
        (NOW - CLOCK_TOLERANCE_S, 0, None),
        (NOW - CLOCK_TOLERANCE_S - 1, 0, ClockError),
        (NOW - 3_600, 0, ClockError),
        (NOW, NOW + 3_600, ClockError),
        (NOW + 90 * DAY, 0, None),
        (NOW + 90 * DAY + 1, 0, ReleaseExpiredError),
    ],
)
def test_a_release_has_its_time(now: int, before: int, error: type[Exception] | None) -> None:
    signatures = signed_by(BYTES, 1, 2)
    if error is None:
        assert verify(BYTES, signatures, TRUST, now, CLIENT, before) == PLAIN
        return
    with pytest.raises(error):
        verify(BYTES, signatures, TRUST, now, CLIENT, before)


def test_other_lines_and_older_clients_are_refused() -> None:
    signatures = signed_by(BYTES, 1, 2)
    with pytest.raises(ManifestError, match="'main', this device follows 'other'"):
        verify(BYTES, signatures, trust_of(1, 2, line="other"), NOW, CLIENT)
    later = manifest_of(WEIGHTS, min_client="0.10.0").to_bytes()
    with pytest.raises(ClientTooOldError, match=r"0\.10\.0, this is 0\.9\.9"):
        verify(later, signed_by(later, 1, 2), TRUST, NOW, (0, 9, 9))
    assert verify(later, signed_by(later, 1, 2), TRUST, NOW, version_numbers("0.10.0.dev1")).version == 1


def test_unsigned_nonsense_is_not_interpreted() -> None:
    with pytest.raises(SignatureError):
        verify(b"{", {}, TRUST, NOW, CLIENT)
    with pytest.raises(ManifestError):
        verify(b"{", signed_by(b"{", 1, 2), TRUST, NOW, CLIENT)


@pytest.mark.parametrize(("threshold", "wrong"), [(3, "3 signatures are asked for, of 2"), (0, "threshold"), (1, "")])
def test_trust_is_checked(threshold: int, wrong: str) -> None:
    fields = trust_of(1, 2, threshold=1).model_dump() | {"threshold": threshold}
    if wrong:
        with pytest.raises(ConfigurationError, match=wrong):
            parse_trust(fields, "trust.json")
        return
    assert parse_trust(fields, "trust.json").threshold == threshold
    renamed = {key_id(b"x"): next(iter(fields["keys"].values()))}
    with pytest.raises(ConfigurationError, match="the key called"):
        parse_trust(fields | {"keys": renamed}, "trust.json")


def test_a_rollback_order_is_signed_for_itself() -> None:
    order = rollback_of(WEIGHTS, 1, [2]).to_bytes()
    with pytest.raises(SignatureError):
        verify(order, signed_by(BYTES, 1, 2), TRUST, NOW, CLIENT)
    assert verify(order, signed_by(order, 1, 2), TRUST, NOW, CLIENT).is_rollback
