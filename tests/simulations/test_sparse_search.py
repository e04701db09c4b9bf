"""SparseUpdate's search: evolution finds what a full enumeration does, and the command goes from trials to a method."""

import json
from itertools import product
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simulations.cli import app
from simulations.studies.evolution import Contributions, Evolution
from simulations.studies.sparse_search import bias_counts, searched
from simulations.studies.trials import read_trials
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.selection.methods import method_by_name
from tinytrain_core.selection.methods.sparse_update import Scheme, SparseUpdate
from tinytrain_core.selection.scheme_memory import KIB, scheme_bytes

MCUNET = load_spec("mcunet-5fps")
SHARES = (0.25, 1.0)
GAINS = Contributions(
    {0: 0.0, 3: 0.02, 6: 0.03},
    {i: {share: 0.001 * ((7 * i) % 11) * share**0.5 for share in SHARES} for i in (33, 34, 35, 36, 39, 40)},
)


def fits(scheme: Scheme) -> bool:
    return scheme_bytes(MCUNET, scheme) <= 40 * KIB


def enumerated() -> float:
    indices = list(GAINS.weights)
    choices = product(GAINS.biases, *[(0.0, *SHARES) for _ in indices])
    schemes = (Scheme(b, {i: s for i, s in zip(indices, shares, strict=True) if s}) for b, *shares in choices)
    return max(GAINS.of(scheme) for scheme in schemes if fits(scheme))


@pytest.mark.parametrize("seed", [0, 1])
def test_evolution_finds_the_best_of_all(seed: int) -> None:
    best = list(Evolution(GAINS, fits, seed).run())
    gains = [GAINS.of(scheme) for scheme in best]
    assert gains[-1] == pytest.approx(enumerated())
    assert gains == sorted(gains)
    assert all(map(fits, best))
    assert best == list(Evolution(GAINS, fits, seed).run())


def test_nothing_fits_means_nothing_is_updated() -> None:
    best = list(Evolution(GAINS, lambda scheme: scheme == Scheme(0, {}), 0).run())
    assert best[-1] == Scheme(0, {})


def test_what_is_searched() -> None:
    assert searched(MCUNET, 2) == [36, 37, 38, 39, 40, 41]
    assert bias_counts(MCUNET, 2) == [3, 6]
    assert searched(load_spec("mbv2-w0.35"), 1) == [48, 49, 50]  # the feature mix, 51, is not counted


def test_the_command_gives_a_method(tmp_path: Path) -> None:
    tiny = ["--blocks", "1", "--trials", "1", "--steps", "1", "--memory-kib", "30", "--workers", "1"]
    command = ["sparse-search", "--out", str(tmp_path / "search"), "--format", "json"]
    done = CliRunner().invoke(app, [*command, *tiny], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    method = method_by_name(found["method"])
    assert isinstance(method, SparseUpdate)
    scheme = method.scheme_for(MCUNET)
    assert scheme_bytes(MCUNET, scheme) == found["memory_bytes"] <= 30 * KIB
    assert len(found["gains"]) == 51
    assert len(read_trials(tmp_path / "search")) == 1 + 3 * 4
    again = CliRunner().invoke(app, [*command, "--report"], catch_exceptions=False)
    assert json.loads(again.stdout) == found
