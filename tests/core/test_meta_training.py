"""A run is what its settings say: the same bytes every time, whenever it was stopped."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training import EPISODIC, SUPERVISED, Record, run_settings, small_spec, tensors, train
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.meta_training import supervised
from tinytrain_core.meta_training.checkpoint import Checkpoint
from tinytrain_core.meta_training.loop import as_written, learning_rate_factor
from tinytrain_core.meta_training.settings import MetaTrainingSettings

MIX = {**EPISODIC, "layers": "mix"}


@pytest.fixture(autouse=True)
def small_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "load_spec", small_spec)


class Interrupted(Exception):
    """What stops a run."""


class Stop:
    """Counts what happens in a run, and ends it at the event number `at`."""

    def __init__(self, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = at
        self.events: list[str] = []
        self._monkeypatch = monkeypatch

    def event(self, name: str) -> None:
        self.events.append(name)
        if len(self.events) == self.at:
            raise Interrupted

    def progress(self, phase: str, *_: object) -> None:
        self.event(f"progress {phase}")

    def watch(self, owner: type, method: str) -> None:
        """Count the calls of a method, before they do anything."""
        original = getattr(owner, method)

        def watched(*arguments: object, **keys: object) -> object:
            self.event(method)
            return original(*arguments, **keys)

        self._monkeypatch.setattr(owner, method, watched)


def run_until(at: int, settings: MetaTrainingSettings, out: Path, record: Record) -> list[str]:
    """Run to the event number `at`, or to the end; the events that there were."""
    with pytest.MonkeyPatch.context() as patch:
        stop = Stop(at, patch)
        stop.watch(Path, "replace")
        stop.watch(Record, "__call__")
        stop.watch(torch.optim.AdamW, "step")
        stop.watch(torch.optim.Adam, "step")
        try:
            train(settings, out, record=record, progress=stop.progress)
        except Interrupted:
            assert len(stop.events) == at
        return stop.events


def leaves(saved: Any) -> list[Any]:
    """All values of a checkpoint with their keys; tensors as bytes."""
    if isinstance(saved, dict):
        return [leaf for key, value in saved.items() for leaf in (key, *leaves(value))]
    if isinstance(saved, list | tuple):
        return [leaf for value in saved for leaf in leaves(value)]
    return [saved.contiguous().numpy().tobytes() if isinstance(saved, torch.Tensor) else saved]


def checkpoints(out: Path) -> dict[str, list[Any]]:
    return {file.name: leaves(torch.load(file, weights_only=True)) for file in sorted(out.iterdir())}


def test_a_run_stopped_anywhere_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    settings = run_settings(
        tmp_path, phases=[{**SUPERVISED, "steps": 3}, {**EPISODIC, "steps": 3}, {**MIX, "steps": 1}]
    )
    (tmp_path / "whole").mkdir()
    whole = Record()
    events = run_until(0, settings, tmp_path / "whole", whole)
    assert {"replace", "__call__", "step", "progress 1-supervised", "progress 3-episodic"} <= set(events)
    for at in range(1, len(events) + 1):
        out, record = tmp_path / str(at), Record()
        out.mkdir()
        assert run_until(at, settings, out, record) == events[:at]
        train(settings, out, record=record)
        assert record.files == whole.files, events[at - 1]
        assert checkpoints(out) == checkpoints(tmp_path / "whole"), events[at - 1]


def test_a_run_stopped_again_and_again_ends_with_the_same_bytes(tmp_path: Path) -> None:
    settings = run_settings(tmp_path)
    out, record = tmp_path / "out", Record()
    out.mkdir()
    ends = [len(run_until(14, settings, out, record)) for _ in range(9)]
    assert ends[:3] == [14, 14, 14]
    assert ends[-1] < 14  # it came to its end
    assert record.files == train(settings, tmp_path / "whole").files


def test_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    settings = run_settings(tmp_path)
    train(settings, tmp_path / "out")
    before = checkpoints(tmp_path / "out")
    assert not train(settings, tmp_path / "out").snapshots
    assert checkpoints(tmp_path / "out") == before


def test_the_same_settings_give_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    settings = run_settings(tmp_path)
    first, again = train(settings, tmp_path / "1"), train(settings, tmp_path / "2")
    assert first.files == again.files
    assert first.snapshots[-1].validation == again.snapshots[-1].validation
    assert train(run_settings(tmp_path, seed=4), tmp_path / "3").files["last"] != first.files["last"]


def test_when_checkpoints_and_validations_are_made_does_not_change_the_weights(tmp_path: Path) -> None:
    often = run_settings(tmp_path, checkpoint_every=1, phases=[{**SUPERVISED, "validate_every": 1}, EPISODIC])
    rarely = run_settings(tmp_path, checkpoint_every=99, phases=[{**SUPERVISED, "validate_every": 0}, EPISODIC])
    assert train(often, tmp_path / "1").files["last"] == train(rarely, tmp_path / "2").files["last"]


def test_torchs_own_random_numbers_neither_matter_nor_change(tmp_path: Path) -> None:
    settings = run_settings(tmp_path)
    expected = train(settings, tmp_path / "1").files
    torch.manual_seed(77)
    before = torch.get_rng_state()
    assert train(settings, tmp_path / "2").files == expected
    assert torch.equal(torch.get_rng_state(), before)


def changed(before: Backbone, after: Backbone) -> list[str]:
    """The tensors that are not the same to the bit."""
    names = [f"{conv.name}.{part}" for part in ("weight", "bias") for conv in before.spec.convs]
    pairs = zip(names, tensors(before), tensors(after), strict=True)
    return [name for name, one, other in pairs if not torch.equal(one, other)]


def shifted(backbone: Backbone) -> Backbone:
    """One that differs from it in every tensor."""
    weights, biases = ([t + 1 for t in part] for part in (backbone.weights, backbone.biases))
    return replace(backbone, weights=tuple(weights), biases=tuple(biases))


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_a_mix_phase_trains_the_mix_and_the_scale_alone(tmp_path: Path, small: Backbone, optimiser: str) -> None:
    settings = run_settings(tmp_path, phases=[{**MIX, "optimiser": optimiser}])
    last = train(settings, tmp_path / "out", small).last
    small = as_written(small)
    assert changed(small, last) == ["mix.weight", "mix.bias"]
    assert last.head_scale != small.head_scale
    whole = run_settings(tmp_path, phases=[{**EPISODIC, "optimiser": optimiser, "learning_rate": 0.2}])
    assert changed(small, train(whole, tmp_path / "whole", small).last) == changed(small, shifted(small))


def test_after_a_mix_phase_all_layers_can_be_trained_again(tmp_path: Path, small: Backbone) -> None:
    settings = run_settings(tmp_path, phases=[MIX, EPISODIC, MIX])
    snapshots = train(settings, tmp_path / "out", small).snapshots
    ends = [s.backbone for s in snapshots if s.step == 4]
    assert changed(as_written(small), ends[0]) == changed(ends[1], ends[2]) == ["mix.weight", "mix.bias"]
    assert changed(ends[0], ends[1]) == changed(small, shifted(small))


def test_the_backbone_to_start_from_is_left_as_it_was(tmp_path: Path, small: Backbone) -> None:
    before = [tensor.clone() for tensor in tensors(small)]
    settings = run_settings(tmp_path, phases=[EPISODIC])
    first = train(settings, tmp_path / "1", small)
    assert all(torch.equal(a, b) for a, b in zip(before, tensors(small), strict=True))
    assert train(settings, tmp_path / "2", small).files == first.files


def test_training_learns(tmp_path: Path) -> None:
    train_data = [{"name": "pictures", "data": str(tmp_path / "pictures"), "colour": 0}]
    phases = [
        {**SUPERVISED, "steps": 40, "batch": 12, "learning_rate": 0.01, "label_smoothing": 0},
        {**EPISODIC, "steps": 20, "learning_rate": 0.001},
    ]
    figures: dict[str, list[dict[str, float]]] = {}

    def keep(phase: str, step: int, steps: int, shown: dict[str, float]) -> None:
        figures.setdefault(phase, []).append(shown)

    record = Record()
    train(run_settings(tmp_path, phases=phases, train=train_data), tmp_path / "out", record=record, progress=keep)
    losses = [shown["loss"] for shown in figures["1-supervised"]]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert record.snapshots[-1].validation.mean > 0.6  # of three classes
    rates = [shown["learning_rate"] for shown in figures["1-supervised"]]
    assert rates == [0.01 * learning_rate_factor(step, 40, 0.05) for step in range(40)]


def test_a_partial_file_of_a_killed_run_does_no_harm(tmp_path: Path) -> None:
    settings = run_settings(tmp_path)
    expected = train(settings, tmp_path / "1").files
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / ".phase-1-supervised.pt.partial").write_bytes(b"half a checkpo")
    assert train(settings, tmp_path / "2").files == expected
    assert not list((tmp_path / "2").glob(".*.partial"))


def test_a_checkpoint_holds_the_step_and_the_best(tmp_path: Path) -> None:
    out = tmp_path / "out"
    record = train(run_settings(tmp_path), out)
    saved = Checkpoint(out / "phase-2-episodic.pt", {}).load()
    assert (saved["step"], saved["best"]) == (4, max(s.validation.mean for s in record.snapshots))
