import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from client.store import Store
from tests.disk import full_for
from tinytrain_core.backbones.weights import digest
from tinytrain_core.errors import BackboneError, StorageError
from tinytrain_core.files import InUseError, exclusive, replacing

DATA = b"backbone" * 1000
NAME = digest(DATA)


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert store.backbone(NAME) is None
    assert store.backbones() == store.deltas(1) == []
    store.save_backbone(NAME, DATA)
    store.save_delta(1, NAME, b"delta")
    again = Store(tmp_path / "store")
    assert again.backbone(NAME) == DATA
    assert again.delta(1, NAME) == b"delta"
    assert (again.backbones(), again.deltas(1), again.deltas(2)) == ([NAME], [NAME], [])


def test_a_backbone_is_filed_under_its_own_digest_only(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=NAME):
        Store(tmp_path).save_backbone(NAME, DATA + b"!")
    assert Store(tmp_path).backbones() == []


@pytest.mark.parametrize("damage", [b"", b"short", DATA[:-1], b"x" + DATA[1:]])
def test_a_damaged_file_is_not_held(tmp_path: Path, damage: bytes) -> None:
    store = Store(tmp_path)
    store.save_backbone(NAME, DATA)
    store.save_delta(1, NAME, DATA)
    for file in (*tmp_path.rglob("*.safetensors"), *tmp_path.rglob("*.delta")):
        head = file.read_bytes()[: -len(DATA)]
        file.write_bytes(head + damage)
    assert (store.backbone(NAME), store.delta(1, NAME)) == (None, None)
    assert store.backbones() == store.deltas(1) == []
    store.save_backbone(NAME, DATA)
    assert store.backbone(NAME) == DATA


def test_deltas_are_of_one_device_and_one_backbone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save_delta(1, NAME, b"one")
    store.save_delta(2, NAME, b"two")
    store.drop_delta(1, NAME)
    store.drop_delta(1, NAME)
    assert (store.delta(1, NAME), store.delta(2, NAME), store.delta(2, digest(b"other"))) == (None, b"two", None)


def test_a_failed_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.save_delta(1, NAME, b"old")
    monkeypatch.setattr(os, "fsync", full_for(".delta"))
    with pytest.raises(StorageError, match="cannot write"):
        store.save_delta(1, NAME, b"new")
    assert store.delta(1, NAME) == b"old"
    assert [file.name for file in (tmp_path / "deltas" / "1").iterdir()] == [f"{NAME}.delta"]


def test_two_writers_of_a_file_leave_one_of_their_files(tmp_path: Path) -> None:
    """One writes all of its file while the other is in the middle of its own."""
    file = tmp_path / "file"
    with replacing(file) as one:
        one.write(b"one, ")
        with replacing(file) as other:
            other.write(b"the other, whole")
        assert file.read_bytes() == b"the other, whole"
        Store(tmp_path).prune(())
        one.write(b"whole")
    assert file.read_bytes() == b"one, whole"
    assert list(tmp_path.iterdir()) == [file]


def test_what_a_dead_process_left_half_written_goes_and_what_is_being_written_stays(tmp_path: Path) -> None:
    folder = tmp_path / "deltas" / "1"
    folder.mkdir(parents=True)
    for name in (f".{NAME}.delta.partial", f".{NAME}.delta.77-1.partial", ".other.delta.77-1.partial"):
        (folder / name).write_bytes(b"half")
    with replacing(folder / "other.delta") as stream:
        stream.write(b"whole")
        Store(tmp_path).prune({NAME, "other"})
    assert [file.name for file in folder.iterdir()] == ["other.delta"]
    (folder / f".{NAME}.delta.77-1.partial").write_bytes(b"half")
    Store(tmp_path).save_delta(1, NAME, b"new")
    assert sorted(file.name for file in folder.iterdir()) == sorted([f"{NAME}.delta", "other.delta"])


def test_a_folder_that_somebody_has_is_told_from_one_that_cannot_be_written(tmp_path: Path) -> None:
    with exclusive(tmp_path), pytest.raises(InUseError, match="another process"), exclusive(tmp_path):
        pass
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot write") as found, exclusive(tmp_path / "file"):
        pass
    assert not isinstance(found.value, InUseError)


def test_a_store_that_is_a_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"")
    with pytest.raises(StorageError):
        Store(tmp_path / "store").save_backbone(NAME, DATA)
    with pytest.raises(StorageError):
        Store(tmp_path / "store").backbone(NAME)


WRITER = """
import sys
from pathlib import Path
from client.store import Store
store = Store(Path(sys.argv[1]))
while True:
    for filler in (b"a", b"b"):
        store.save_delta(1, "x", filler * 4_000_000)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_a_killed_writer_leaves_one_whole_delta(tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)])
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("*.delta")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    assert Store(tmp_path).delta(1, "x") in (b"a" * 4_000_000, b"b" * 4_000_000)
