"""A process that writes to the registry is killed at every flush and rename, and the registry still reads."""

import itertools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from server.releases.registry import Registry
from server.releases.signing import add_signatures, signatures_path
from server.releases.trust import add_keys, load_trust
from tests.disk import full_for
from tests.releases import DAY, exit_code, file_release, forked, key, manifest_of, rollback_of, signed_by, trust_of
from tinytrain_core.backbones.weights import digest
from tinytrain_core.errors import RollbackError, StorageError

OLD, NEW = b"old weights" * 50, b"new weights" * 50
TRUST = trust_of(1, 2, 3)
KILLED = 9


def die_at(step: int) -> None:
    """End this process without any clean-up just before (even steps) or after (odd ones) a flush or rename."""
    moments = itertools.count()

    def moment() -> None:
        if next(moments) == step:
            os._exit(KILLED)

    def dying(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            moment()
            result = real(*arguments, **options)
            moment()
            return result

        return call

    os.fsync, os.replace = dying(os.fsync), dying(os.replace)  # type: ignore[assignment]


def fleet(folder: Path) -> Registry:
    """A fleet with two releases, one of them in a channel."""
    registry = Registry(folder / "releases", "main")
    add_keys(folder, "main", [key(1).public_key().public_bytes_raw().hex()])
    file_release(registry, OLD, 1, 1, 2)
    file_release(registry, OLD, 2, 1)
    registry.promote(1, "canary", "")
    return registry


def whole(folder: Path) -> str:
    """Everything that the registry says, every file of it checked."""
    registry = Registry(folder / "releases", "main")
    assert list(registry.foreign()) == []
    releases = {version: registry.release(version) for version in registry.versions()}
    for release in releases.values():
        assert digest(registry.file(release.manifest.digest)) == release.manifest.digest
        assert len(TRUST.signers(release.manifest_bytes, release.signatures)) == len(release.signatures)
    orders = [registry.at(file).manifest.withdraws for file in registry.order_files()]
    signed = {version: sorted(release.signatures) for version, release in releases.items()}
    decided = [registry.channel("canary"), registry.channel("stable"), sorted(registry.withdrawals())]
    return json.dumps([signed, orders, decided, sorted(load_trust(folder).keys)])


def create(folder: Path) -> None:
    now = int(time.time())
    manifest = manifest_of(NEW, 3, created=now, expires=now + DAY)
    Registry(folder / "releases", "main").add(manifest, NEW)


def order(folder: Path) -> None:
    Registry(folder / "releases", "main").add_order(rollback_of(OLD, 1, [2]))


def sign(folder: Path) -> None:
    file = Registry(folder / "releases", "main").manifest_file(2)
    add_signatures(signatures_path(file), signed_by(file.read_bytes(), 2, 3))


def promote(folder: Path) -> None:
    Registry(folder / "releases", "main").promote(2, "canary", "")


def withdraw(folder: Path) -> None:
    Registry(folder / "releases", "main").withdraw(1, "bad")


def trust(folder: Path) -> None:
    add_keys(folder, "main", [key(n).public_key().public_bytes_raw().hex() for n in (2, 3)], threshold=2)


ACTIONS = [(create, 2), (order, 1), (sign, 1), (promote, 1), (withdraw, 1), (trust, 1)]


@pytest.mark.parametrize(("action", "writes"), ACTIONS)
def test_killed_at_every_write(tmp_path: Path, action: Callable[[Path], None], writes: int) -> None:
    fleet(tmp_path / "reference")
    before = whole(tmp_path / "reference")
    action(tmp_path / "reference")
    after = whole(tmp_path / "reference")
    assert before != after
    steps, states = 0, list[str]()
    while True:
        folder = tmp_path / str(steps)
        fleet(folder)
        code = exit_code(forked(lambda step=steps, place=folder: (die_at(step), action(place))))
        states.append(whole(folder))
        if code == 0:
            break
        assert code == KILLED
        if states[-1] == before:
            action(folder)  # the command is given again
        elif action is create:
            with pytest.raises(RollbackError):
                action(folder)
        assert whole(folder) == after
        steps += 1
    assert steps == 6 * writes  # before and after the flush of a file, its rename, and the flush of its folder
    assert states[-1] == after
    changes = [one != other for one, other in itertools.pairwise(states)]
    assert sum(changes) == 1  # there is one moment at which it takes effect
    assert set(states) == {before, after}


@pytest.mark.parametrize("action", [action for action, _ in ACTIONS])
def test_a_full_disk_is_an_error_and_changes_nothing(
    tmp_path: Path, action: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet(tmp_path)
    before = whole(tmp_path)
    monkeypatch.setattr("os.fsync", full_for(".json" if action is not create else "releases"))
    with pytest.raises(StorageError, match="No space left"):
        action(tmp_path)
    monkeypatch.undo()
    assert whole(tmp_path) == before
    assert not list(tmp_path.rglob("*.partial"))
    action(tmp_path)
    assert whole(tmp_path) != before
