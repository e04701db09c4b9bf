"""A checkpoint is whole, or an error that says what to do; reading one never runs anything."""

import contextlib
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.conftest import SMALL_ROWS
from tests.disk import full_for
from tests.training import EPISODIC, SUPERVISED, run_settings, small_spec, train
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import spec_from_rows
from tinytrain_core.errors import StorageError
from tinytrain_core.meta_training import supervised
from tinytrain_core.meta_training.checkpoint import Checkpoint


@pytest.fixture(autouse=True)
def small_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "load_spec", small_spec)


def trained(path: Path, width: int = 3) -> Checkpoint:
    """A checkpoint in memory of something that has taken a step."""
    network = nn.Linear(width, 2)
    optimiser = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, width)).sum().backward()
    optimiser.step()
    return Checkpoint(path, {"network": network, "optimiser": optimiser})


def weight(checkpoint: Checkpoint) -> torch.Tensor:
    return torch.as_tensor(checkpoint.parts["network"].weight.detach())


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    first, second = trained(tmp_path / "a.pt"), trained(tmp_path / "a.pt")
    assert first.load() == {"step": 0}
    first.save(7, best=0.5)
    assert not torch.equal(weight(first), weight(second))
    assert second.load() == {"step": 7, "best": 0.5}
    assert torch.equal(weight(first), weight(second))
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]


@pytest.fixture(scope="module")
def good_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("good") / "a.pt"
    trained(file).save(7)
    return file.read_bytes()


@settings(deadline=None, max_examples=40)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_checkpoint_is_a_storage_error(
    tmp_path_factory: pytest.TempPathFactory, good_bytes: bytes, share: float
) -> None:
    file = tmp_path_factory.mktemp("truncated") / "a.pt"
    file.write_bytes(good_bytes[: int(share * len(good_bytes))])
    with pytest.raises(StorageError, match=r"a\.pt cannot be continued.*delete it, or give another --out"):
        trained(file).load()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@settings(deadline=None, max_examples=100)
@given(
    start=st.floats(0, 1, exclude_max=True),
    noise=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=20),
)
def test_no_damage_is_another_error(
    tmp_path_factory: pytest.TempPathFactory,
    good_bytes: bytes,
    start: float,
    noise: list[tuple[float, int]],
) -> None:
    file = tmp_path_factory.mktemp("noise") / "a.pt"
    data = bytearray(good_bytes)
    for position, value in noise:
        data[int(position * len(data))] = value
    for content in (data, data[int(start * len(data)) :]):
        file.write_bytes(content)
        with contextlib.suppress(StorageError):
            assert set(trained(file).load()) >= {"step"}  # damage within the tensors' own bytes is not noticed


def contents(good: dict[str, Any]) -> list[Any]:
    """What a checkpoint file could hold that is none."""
    part, optimiser = good["network"], good["optimiser"]
    return [
        *(torch.ones(2), [1], (1, 2), 3, None, "x", {}, {"step": 1}, {**good, "step": [1]}, {**good, "step": "x"}),
        *({**good, "step": float("inf")}, {**good, "network": {}}, {**good, "network": part | {"more": torch.ones(1)}}),
        *({**good, "optimiser": value} for value in (torch.ones(1), {}, [], None, {**optimiser, "state": 3})),
    ]


def test_something_else_is_a_storage_error(tmp_path: Path) -> None:
    file = tmp_path / "a.pt"
    trained(file).save(7)
    for content in contents(torch.load(file, weights_only=True)):
        torch.save(content, file)
        with pytest.raises(StorageError, match="damaged or of another architecture"):
            trained(file).load()


class Malice:
    """Makes a file when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.proof,)


@pytest.mark.parametrize("write", [torch.save, lambda state, file: file.write_bytes(pickle.dumps(state, 2))])
def test_a_malicious_checkpoint_runs_nothing(tmp_path: Path, write: Any) -> None:
    file, proof = tmp_path / "a.pt", tmp_path / "proof"
    good = trained(file)
    good.save(7)
    write(torch.load(file, weights_only=True) | {"best": Malice(proof)}, file)
    with pytest.raises(StorageError):
        trained(file).load()
    assert not proof.exists()
    torch.load(file, weights_only=False) if file.read_bytes()[:2] == b"PK" else pickle.loads(file.read_bytes())  # noqa: S301
    assert proof.exists()  # it would have


def test_a_checkpoint_of_another_architecture_is_a_storage_error(tmp_path: Path, small: Backbone) -> None:
    out = tmp_path / "out"
    train(run_settings(tmp_path), out)
    before = {file: file.read_bytes() for file in out.iterdir()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervised, "load_spec", lambda _: spec_from_rows(SMALL_ROWS | {"feature_mix": None}))
        with pytest.raises(StorageError, match=r"phase-1-supervised\.pt.*another architecture"):
            train(run_settings(tmp_path), out)
    (out / "phase-1-supervised.pt").rename(out / "phase-1-episodic.pt")
    with pytest.raises(StorageError, match=r"phase-1-episodic\.pt.*another architecture"):
        train(run_settings(tmp_path, phases=[EPISODIC]), out, small)
    assert before[out / "phase-2-episodic.pt"] == (out / "phase-2-episodic.pt").read_bytes()


def test_a_run_with_a_truncated_checkpoint_says_which(tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(run_settings(tmp_path, phases=[SUPERVISED]), out)
    file = out / "phase-1-supervised.pt"
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(StorageError, match=r"phase-1-supervised\.pt"):
        train(run_settings(tmp_path, phases=[SUPERVISED]), out)


def test_a_rename_that_fails_keeps_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = trained(tmp_path / "a.pt")
    checkpoint.save(1)
    before = checkpoint.path.read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(StorageError, match=r"step 2 .*No space left.* is still that of an earlier step"):
        checkpoint.save(2)
    assert checkpoint.path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]


def test_a_device_without_space_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = trained(tmp_path / "a.pt")
    checkpoint.save(1)
    before = checkpoint.path.read_bytes()
    monkeypatch.setattr("tinytrain_core.files.os.fsync", full_for("a.pt"))
    with pytest.raises(StorageError, match=r"step 2 .*No space left.* is still that of an earlier step"):
        checkpoint.save(2)
    assert checkpoint.path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]
    assert trained(tmp_path / "a.pt").load() == {"step": 1}


@pytest.mark.parametrize("where", ["file/a.pt", "folder/a.pt"])
def test_what_cannot_be_written_is_a_storage_error(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "a.pt").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"cannot write the checkpoint of step 1"):
        trained(tmp_path / where).save(1)


FULL_DISK = """
import resource, sys
from pathlib import Path
from torch import nn
from tinytrain_core.errors import StorageError
from tinytrain_core.meta_training.checkpoint import Checkpoint

checkpoint = Checkpoint(Path(sys.argv[1]), {"network": nn.Linear(300, 200)})
checkpoint.save(1)
for limit in (240_000, 100_000, 1000, 0):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        checkpoint.save(2)
    except StorageError as error:
        print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX limits")
def test_a_disk_that_fills_up_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    file = tmp_path / "a.pt"
    ended = subprocess.run([sys.executable, "-c", FULL_DISK, str(file)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout.count("is the disk full?")) == (0, 4), ended.stderr
    assert Checkpoint(file, {"network": nn.Linear(300, 200)}).load() == {"step": 1}
    assert [found.name for found in tmp_path.iterdir()] == ["a.pt"]
