"""What a device that holds a release accepts next."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.releases import NOW, manifest_of, rollback_of
from tinytrain_core.backbones.weights import digest
from tinytrain_core.errors import RollbackError
from tinytrain_core.release import Held, Manifest

DATA = {version: b"weights %d" % version for version in range(10)}


def release(version: int, created: int = NOW) -> Manifest:
    return manifest_of(DATA[version], version, created=created)


def order(to: int, *withdraws: int, created: int = NOW) -> Manifest:
    return rollback_of(DATA[to], to, withdraws, created=created)


def held(version: int, highest: int) -> Held:
    return Held(version, digest(DATA[version]), highest, NOW)


@st.composite
def messages(draw: st.DrawFn) -> Manifest:
    created = draw(st.integers(NOW, NOW + 100))
    version = draw(st.integers(1, 7))
    above = draw(st.sets(st.integers(version + 1, 9), max_size=3))
    return order(version, *sorted(above), created=created) if above else release(version, created)


@given(st.lists(messages(), max_size=12))
def test_what_is_held_only_goes_back_by_an_order_that_withdraws_it(sent: list[Manifest]) -> None:
    now, seen = Held(), 0
    for manifest in sent:
        try:
            then = now.accept(manifest)
        except RollbackError:
            continue
        assert (then.version, then.digest) == (manifest.version, manifest.digest)
        assert then.accept(manifest) == then
        assert then.highest >= max(now.highest, then.version, *manifest.withdraws)
        assert then.created == max(now.created, manifest.created)
        if not manifest.is_rollback:
            assert then.version > seen or then.version == now.version
        if then.version < now.version:
            assert now.version in manifest.withdraws
        now, seen = then, max(seen, then.version, *manifest.withdraws)
        assert now.highest == seen


@given(st.lists(messages(), max_size=12), messages())
def test_what_was_accepted_can_be_sent_again(sent: list[Manifest], last: Manifest) -> None:
    now = Held()
    for manifest in sent:
        try:
            now = now.accept(manifest)
        except RollbackError:
            continue
    try:
        then = now.accept(last)
    except RollbackError:
        with pytest.raises(RollbackError):  # and a refusal stays one
            now.accept(last)
    else:
        assert then.accept(last) == then


def test_a_plain_release_never_goes_back() -> None:
    now = Held().accept(release(3))
    with pytest.raises(RollbackError, match="version 2 is not above 3"):
        now.accept(release(2))
    other = manifest_of(b"other weights", 3)
    with pytest.raises(RollbackError):
        now.accept(other)
    assert now.accept(release(3)) == now
    assert now.accept(release(5)).version == 5


def test_an_order_goes_back_and_what_it_withdraws_does_not_return() -> None:
    back = Held().accept(release(2)).accept(order(1, 2))
    assert (back.version, back.highest) == (1, 2)
    with pytest.raises(RollbackError):
        back.accept(release(2))
    assert back.accept(release(1)) == back
    assert back.accept(release(3)).version == 3


def test_an_order_that_is_replayed_after_a_newer_release_is_refused() -> None:
    newer = Held().accept(release(2)).accept(order(1, 2)).accept(release(3))
    with pytest.raises(RollbackError, match=r"withdraws \[2\], this device uses 3"):
        newer.accept(order(1, 2))
    assert newer.accept(order(1, 2, 3)).version == 1


def test_a_device_that_never_had_the_withdrawn_release_keeps_its_own_and_notes_it() -> None:
    canary_only = held(1, 1).accept(order(1, 2))
    assert (canary_only.version, canary_only.highest) == (1, 2)
    with pytest.raises(RollbackError):
        canary_only.accept(release(2))


def test_a_device_that_missed_releases_goes_on_to_the_one_that_the_rest_returns_to() -> None:
    late = held(1, 1).accept(order(3, 4))
    assert (late.version, late.highest) == (3, 4)
    new = Held().accept(order(3, 4))
    assert (new.version, new.highest) == (3, 4)


def test_an_order_does_not_bring_back_what_was_withdrawn_from_this_device() -> None:
    back = held(3, 3).accept(order(2, 3))
    with pytest.raises(RollbackError):
        back.accept(order(3, 4))


def test_an_order_with_other_weights_for_what_is_held_is_refused() -> None:
    with pytest.raises(RollbackError):
        held(1, 1).accept(rollback_of(b"other weights", 1, [2]))
