from collections.abc import Callable
from pathlib import Path

import pytest

from server.releases.history import Promotions, read_decisions
from server.releases.registry import Registry
from server.releases.signing import add_signatures, signatures_path
from tests.releases import DAY, NOW, file_release, forked, manifest_of, rollback_of, signed_by, trust_of
from tests.releases import exit_code as code_of
from tinytrain_core.backbones.weights import digest
from tinytrain_core.errors import (
    ConfigurationError,
    ManifestError,
    ReleaseExpiredError,
    RollbackError,
    SignatureError,
    StorageError,
    TinyTrainError,
)

DATA = b"weights" * 100
TRUST = trust_of(1, 2, 3)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "releases", "main")


def test_an_empty_registry_reads_and_writes_nothing(registry: Registry) -> None:
    assert (registry.versions(), registry.highest(), registry.channel("stable")) == ([], 0, None)
    assert registry.rollback_order(1, 2) is None
    assert not registry.is_withdrawn(1)
    with pytest.raises(ConfigurationError, match="it has none yet"):
        registry.release(1)
    with pytest.raises(ConfigurationError, match="there are canary, stable"):
        registry.channel("beta")
    assert not registry.folder.exists()


def test_a_release_is_read_as_it_was_filed(registry: Registry) -> None:
    file_release(registry, DATA, 1, 1, 2, created=NOW, expires=NOW + 90 * DAY)
    release = Registry(registry.folder, "main").release(1)
    assert release.manifest == manifest_of(DATA)
    assert release.manifest_bytes == manifest_of(DATA).to_bytes()
    assert release.signatures == signed_by(release.manifest_bytes, 1, 2)
    assert registry.file(release.manifest.digest) == DATA
    release.check(TRUST, NOW)
    with pytest.raises(ReleaseExpiredError):
        release.check(TRUST, NOW + 91 * DAY)
    with pytest.raises(SignatureError):
        release.check(trust_of(1, 4), NOW)


def test_versions_only_go_up_and_lines_count_for_themselves(registry: Registry) -> None:
    file_release(registry, DATA, 3)
    for version in (1, 2, 3):
        with pytest.raises(RollbackError, match=f"version {version} is not above 3"):
            file_release(registry, DATA, version)
    file_release(registry, DATA, 10)
    assert (registry.versions(), registry.highest()) == ([3, 10], 10)
    other = Registry(registry.folder, "other")
    other.add(manifest_of(DATA, 1, name="other"), DATA)
    with pytest.raises(ManifestError, match="of the line main"):
        other.add(manifest_of(DATA, 2), DATA)
    assert (other.versions(), registry.versions()) == ([1], [3, 10])


def test_weights_of_another_digest_are_not_filed(registry: Registry) -> None:
    with pytest.raises(ManifestError):
        registry.add(manifest_of(DATA), DATA + b"!")
    assert registry.versions() == []


def test_damaged_weights_are_an_error_and_are_mended_by_the_next_release_of_them(registry: Registry) -> None:
    file_release(registry, DATA, 1)
    file = registry.object_file(digest(DATA))
    file.write_bytes(b"x" + DATA[1:])
    with pytest.raises(ManifestError, match=file.name):
        registry.file(digest(DATA))
    file.unlink()
    with pytest.raises(StorageError, match=file.name):
        registry.file(digest(DATA))
    file_release(registry, DATA, 2)
    assert registry.file(digest(DATA)) == DATA


def test_the_order_that_is_used_is_the_most_signed_and_then_the_newest(registry: Registry) -> None:
    for version in (1, 2, 3):
        file_release(registry, DATA, version)
    first = registry.add_order(rollback_of(DATA, 1, [2, 3]))
    assert first.name == "1-withdraws-2+3.json"
    assert registry.rollback_order(1, 4) is None
    second = registry.add_order(rollback_of(DATA, 1, [2, 3], created=NOW + 5))
    assert second.name == "1-withdraws-2+3-2.json"

    def used() -> int:
        order = registry.rollback_order(1, 3)
        assert order is not None
        assert order == registry.rollback_order(1, 2)
        return order.manifest.created

    assert used() == NOW + 5
    for file, expected in ((first, NOW), (second, NOW + 5)):
        add_signatures(signatures_path(file), signed_by(file.read_bytes(), 1))
        assert used() == expected


def test_an_order_that_devices_would_take_now_comes_before_one_with_more_signatures(registry: Registry) -> None:
    for version in (1, 2):
        file_release(registry, DATA, version)
    trust = trust_of(1, 2).model_copy(update={"threshold": 1})
    files = [
        registry.add_order(rollback_of(DATA, 1, [2], created=NOW + place, expires=NOW + days * DAY))
        for place, days in enumerate((1, 90, 80, 90))
    ]
    for file, keys in zip(files, ((1, 2), (1,), (1,), (3,)), strict=True):  # 3 is not trusted
        add_signatures(signatures_path(file), signed_by(file.read_bytes(), *keys))

    def used(now_s: float) -> int:
        order = registry.rollback_order(1, 2, trust, now_s)
        assert order is not None
        return order.manifest.created - NOW

    assert used(NOW + 2 * DAY) == 2
    assert used(NOW + 85 * DAY) == 1
    assert used(NOW + 100 * DAY) == 0  # none is valid: the one most signed


def rename(file: Path) -> None:
    file.rename(file.with_name("9.json"))


def of_another_line(file: Path) -> None:
    file.write_bytes(manifest_of(DATA, 2, name="other").to_bytes())


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.write_bytes(file.read_bytes() + b"\n"),
        lambda file: file.write_bytes(b"\0" * 100_000),
        lambda file: signatures_path(file).write_bytes(b"{}"),
        lambda file: signatures_path(file).write_text('{"0123456789abcdef": "AAAA"}'),
        lambda file: signatures_path(file).write_bytes(b"\xff" * 20_000),
        lambda file: signatures_path(file).mkdir(),
        of_another_line,
        rename,
        a_folder,
    ],
)
def test_damage_is_an_error_that_names_the_file(registry: Registry, damage: Callable[[Path], object]) -> None:
    file_release(registry, DATA, 1)
    damage(file_release(registry, DATA, 2))
    damaged = registry.highest()
    with pytest.raises(TinyTrainError, match=f"main/{damaged}[.]"):
        registry.release(damaged)
    assert registry.release(1).manifest.version == 1
    with pytest.raises(ManifestError if damaged == 9 else TinyTrainError):
        registry.promote(damaged, "canary", "")


@pytest.mark.parametrize("name", ["channels.json", "withdrawn.json"])
@pytest.mark.parametrize("content", [b"", b"[]", b'{"schema_version":2}', b'{"decisions":[{}]}', b"\xff"])
def test_damaged_decisions_are_never_taken_for_none(registry: Registry, name: str, content: bytes) -> None:
    file_release(registry, DATA, 1)
    (registry.folder / name).write_bytes(content)
    for action in (registry.channel, lambda channel: registry.promote(1, channel, "")):
        with pytest.raises(ManifestError, match=name):
            action("canary")
    assert (registry.folder / name).read_bytes() == content


def test_files_of_others_are_left_alone_and_named(registry: Registry) -> None:
    file = file_release(registry, DATA, 1, 1)
    names = [file.with_name("2 (copy).json"), file.with_name("02.json"), registry.folder / "notes.txt"]
    names += [registry.folder / "objects" / "x.safetensors", file.with_name("2.signatures.json")]
    for name in names:
        name.write_text("mine")
    (registry.folder / ".DS_Store").write_text("")
    assert set(registry.foreign()) == set(names)
    assert registry.versions() == [1]


def test_two_at_once_lose_nothing(registry: Registry) -> None:
    for version in range(1, 9):
        file_release(registry, DATA, version)
    file = registry.manifest_file(8)
    signatures = [signed_by(file.read_bytes(), number) for number in range(1, 9)]
    processes = [forked(lambda n=n: registry.withdraw(n, "bad")) for n in range(1, 8)]
    processes += [forked(lambda s=s: add_signatures(signatures_path(file), s)) for s in signatures]
    processes += [forked(lambda n=n: file_release(registry, DATA, n)) for n in (9, 9, 9)]
    codes = [code_of(process) for process in processes]
    assert sorted(codes) == [0] * 16 + [1, 1]  # of three releases of one version two are refused
    assert sorted(registry.withdrawals()) == list(range(1, 8))
    assert len(registry.release(8).signatures) == 8
    assert registry.versions() == list(range(1, 10))
    assert read_decisions(Promotions, registry.folder / "channels.json").decisions == ()
