"""The loop's learning rate, its labels, and what it does with numbers that are not finite."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.training import EPISODIC, SUPERVISED, Record, ignore, run_settings, small_spec, tensors, train
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.errors import TrainingDivergedError
from tinytrain_core.meta_training import episodic, supervised
from tinytrain_core.meta_training.episodic import EpisodicModel
from tinytrain_core.meta_training.loop import LARGEST_GRADIENT, Loop, learning_rate_factor
from tinytrain_core.meta_training.pipeline import read_data
from tinytrain_core.meta_training.settings import EpisodicPhase
from tinytrain_core.meta_training.validation import Validation, Validator

ABSURD = 1e10  # a learning rate


@pytest.fixture(autouse=True)
def small_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "load_spec", small_spec)


@settings(deadline=None)
@given(st.integers(1, 300), st.floats(0, 1))
def test_the_learning_rate_rises_to_its_full_height_and_falls_to_nothing(steps: int, warm_up: float) -> None:
    factors = [learning_rate_factor(step, steps, warm_up) for step in range(steps)]
    peak = max(range(steps), key=factors.__getitem__)
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert peak in (math.ceil(warm_up * steps), math.ceil(warm_up * steps) - 1)
    if steps - warm_up * steps >= 1:
        assert learning_rate_factor(steps, steps, warm_up) == pytest.approx(0)


def test_the_learning_rate_by_hand() -> None:
    assert [learning_rate_factor(step, 4, 0.5) for step in range(4)] == pytest.approx([1 / 3, 2 / 3, 1, 0.5])
    assert [learning_rate_factor(step, 4, 0.0) for step in range(4)] == pytest.approx(
        [0.5 + math.cos(k * math.pi / 4) / 2 for k in range(4)]
    )


class Slope:
    """One weight whose loss falls with it by `slope` for each step."""

    def __init__(self, small: Backbone, slope: float) -> None:
        self.parts: dict[str, nn.Module] = {"weight": nn.Linear(1, 1, bias=False)}
        nn.init.zeros_(self._weight)
        self._small, self._slope = small, slope
        self.seen: list[float] = []

    @property
    def _weight(self) -> torch.Tensor:
        return self.parts["weight"].get_parameter("weight")

    def optimiser(self, phase: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD([self._weight], phase.learning_rate)

    def loss(self, phase: Any, number: int, step: int) -> torch.Tensor:
        self.seen.append(float(self._weight.detach()))
        return (self._slope * self._weight).sum()

    def snapshot(self) -> Backbone:
        return replace(self._small, head_scale=float(self._weight.detach()))


def loop(out: Path, script: list[float], record: Record, best: float = -1.0, **keys: Any) -> Loop:
    """A phase of as many steps as there are validation accuracies in `script`."""
    phase = EpisodicPhase(kind="episodic", steps=len(script), learning_rate=1.0, warm_up=0, validate_every=1)
    accuracies = iter(script)
    return Loop(
        phase.model_copy(update=keys),
        2,
        1,
        out,
        lambda _: Validation({"v": [next(accuracies)] * 2}),
        ignore,
        record,
        best,
    )


def test_best_is_the_first_of_the_highest(tmp_path: Path, small: Backbone) -> None:
    record = Record()
    assert loop(tmp_path, [0.5, 0.3, 0.5, 0.7, 0.6], record).run(Slope(small, 1.0)) == 0.7
    assert [s.is_best for s in record.snapshots] == [True, False, False, True, False]
    assert [(s.phase, s.step) for s in record.snapshots] == [("2-episodic", step) for step in range(1, 6)]
    assert record.files["best"][2] == 4
    assert record.files["last"][2] == 5


def test_no_accuracy_at_all_is_the_best_so_far(tmp_path: Path, small: Backbone) -> None:
    record = Record()
    loop(tmp_path, [0.0, 0.0], record).run(Slope(small, 1.0))
    assert [s.is_best for s in record.snapshots] == [True, False]


def test_a_run_that_gets_nothing_right_still_has_a_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Validator, "__call__", lambda *_: Validation({"v": [0.0, 0.0]}))
    assert train(run_settings(tmp_path), tmp_path / "out").files["best"][1:] == ("1-supervised", 3)


def test_a_later_phase_does_not_overwrite_a_better_one(tmp_path: Path, small: Backbone) -> None:
    record = Record()
    assert loop(tmp_path, [0.5, 0.3], record, best=0.6).run(Slope(small, 1.0)) == 0.6
    assert not any(s.is_best for s in record.snapshots)


def test_a_continued_phase_does_not_overwrite_a_better_one(tmp_path: Path, small: Backbone) -> None:
    first = loop(tmp_path, [0.7, 0.2, 0.2, 0.2], Record())

    def stop(phase: str, step: int, *_: object) -> None:
        if step == 2:
            raise KeyboardInterrupt

    first.progress = stop
    with pytest.raises(KeyboardInterrupt):
        first.run(Slope(small, 1.0))
    record = Record()
    assert loop(tmp_path, [0.6, 0.8, 0.0, 0.0], record).run(Slope(small, 1.0)) == 0.8
    assert [(s.step, s.is_best) for s in record.snapshots] == [(3, False), (4, True)]


def test_a_large_gradient_is_cut(tmp_path: Path, small: Backbone) -> None:
    model = Slope(small, 1000.0)
    loop(tmp_path, [0.5, 0.5], Record(), warm_up=0.0).run(model)
    assert model.seen == pytest.approx([0, -LARGEST_GRADIENT])


def finite(saved: Any) -> bool:
    if isinstance(saved, dict):
        return all(map(finite, saved.values()))
    if isinstance(saved, list | tuple):
        return all(map(finite, saved))
    return bool(torch.isfinite(torch.as_tensor(saved)).all()) if isinstance(saved, float | torch.Tensor) else True


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_run_that_diverges_says_where_and_leaves_a_good_checkpoint(tmp_path: Path, every: int) -> None:
    quiet = {**SUPERVISED, "validate_every": 0}
    phases = [{**quiet, "steps": 2}, {**quiet, "steps": 9, "learning_rate": ABSURD, "warm_up": 0.5}]
    settings = run_settings(tmp_path, checkpoint_every=every, phases=phases)
    out = tmp_path / "out"
    with pytest.raises(TrainingDivergedError, match=r"phase 2-supervised, step \d of 9: .*lower learning_rate") as met:
        train(settings, out)
    good = out / "phase-2-supervised.pt"
    assert f"the last good state is in {good if good.exists() else 'none'}" in str(met.value)
    assert good.exists() or every > 1
    for file in out.iterdir():
        saved = torch.load(file, weights_only=True)
        assert {"network", "classifier", "optimiser"} <= saved.keys()
        assert finite(saved)
    with pytest.raises(TrainingDivergedError) as again:
        train(settings, out)
    assert str(again.value) == str(met.value)


def test_weights_that_are_not_finite_are_not_validated_either(tmp_path: Path) -> None:
    phases = [{**SUPERVISED, "steps": 9, "learning_rate": ABSURD, "warm_up": 0, "validate_every": 1}]
    record = Record()
    with pytest.raises(TrainingDivergedError, match=r"phase 1-supervised, step \d of 9"):
        train(run_settings(tmp_path, checkpoint_every=99, phases=phases), tmp_path / "out", record=record)
    assert all(bool(torch.isfinite(t).all()) for s in record.snapshots for t in tensors(s.backbone))


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_start_that_is_not_finite_ends_in_the_first_step(tmp_path: Path, small: Backbone, value: float) -> None:
    weights = list(small.weights)
    weights[-1] = torch.full_like(weights[-1], value)
    broken = replace(small, weights=tuple(weights))
    with pytest.raises(TrainingDivergedError, match=r"phase 1-episodic, step 1 of 4: .* is in none"):
        train(run_settings(tmp_path, phases=[EPISODIC]), tmp_path / "out", broken)
    assert not list((tmp_path / "out").iterdir())


def test_half_precision_stays_within_the_network(tmp_path: Path, small: Backbone) -> None:
    """What CUDA does, on the CPU: autocast reaches the convolutions and neither crops nor cosines nor losses."""
    seen: list[tuple[str, torch.dtype]] = []

    class Spy(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.is_floating_point():
                seen.append((func.overloadpacket.__name__, result.dtype))
            return result

    wanted = run_settings(tmp_path, phases=[EPISODIC])
    model = EpisodicModel(small, read_data(wanted, ignore).mixture)
    with pytest.MonkeyPatch.context() as patched, Spy():
        patched.setattr(episodic, "bfloat16_on_cuda", lambda device: torch.autocast("cpu", torch.bfloat16))
        loss = model.loss(wanted.phases[0], 1, 0)
    assert loss.dtype == torch.float32
    assert {dtype for name, dtype in seen if "conv" in name} == {torch.bfloat16}
    outside = ("grid_sampler_2d", "mm", "_log_softmax", "nll_loss_forward", "linalg_vector_norm")
    assert {dtype for name, dtype in seen if name in outside} == {torch.float32}
