import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from server.backbones.scalars import Scalars
from tinytrain_core.errors import StorageError

PHASE = "1-supervised"


def run(folder: Path, first: int, last: int, loss: float, steps: int = 35, phase: str = PHASE) -> str:
    """Steps `first` to `last` of a phase, validated in step 33; what the console says."""
    console = Console(file=io.StringIO(), width=40)
    with Scalars(folder, console) as scalars:
        for step in range(first, last + 1):
            validated = {"validation/glyphs": 0.5} if step == 33 else {}
            scalars(phase, step, steps, {"loss": loss + step} | validated)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def read(folder: Path, tag: str) -> list[tuple[int, float]]:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_every_tenth_step_each_validation_and_the_last_step_are_written(tmp_path: Path) -> None:
    assert run(tmp_path, 1, 35, 0.0) == ""
    assert read(tmp_path / PHASE, f"{PHASE}/loss") == [(s, float(s)) for s in (10, 20, 30, 33, 35)]
    assert read(tmp_path / PHASE, f"{PHASE}/validation/glyphs") == [(33, 0.5)]


def test_a_killed_and_resumed_run_shows_one_curve(tmp_path: Path) -> None:
    run(tmp_path, 1, 35, 0.0)
    run(tmp_path, 1, 34, 0.0, phase="2-episodic")
    run(tmp_path, 16, 35, 100.0, phase="2-episodic")
    expected = [(10, 10.0), *((s, 100.0 + s) for s in (20, 30, 33, 35))]
    assert read(tmp_path / "2-episodic", "2-episodic/loss") == expected
    assert len(read(tmp_path / PHASE, f"{PHASE}/loss")) == 5  # a phase that was over is left alone


def test_decoding_leaves_nothing(tmp_path: Path) -> None:
    with Scalars(tmp_path / "scalars", Console(file=io.StringIO())) as scalars:
        scalars("decode photographs", 10, 10, {})
    assert not (tmp_path / "scalars").exists()


def test_without_tensorboard_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    said = run(tmp_path / "scalars", 1, 35, 0.0)
    assert said.endswith("pip install 'tinytrain-fleet[train]'\n")
    assert said.count("\n") == 1
    assert not (tmp_path / "scalars").exists()


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="another --out"):
        run(tmp_path / "file", 1, 10, 0.0)
