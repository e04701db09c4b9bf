"""Features that are kept: how close, what of extremes, and where."""

from pathlib import Path

import pytest
import torch

from tests.core.test_engine import ONE_STEP, mixed_plan, some_task, trained
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.engine.execution import Execution
from tinytrain_core.engine.features import Place, Shelf
from tinytrain_core.engine.support import CleanFeatures
from tinytrain_core.errors import StorageError


@pytest.mark.parametrize("precision", ["half", "byte"])
@pytest.mark.parametrize("place", [Place.MEMORY, Place.FILE])
def test_kept_features_are_close_to_computed_ones(small: Backbone, precision: str, place: Place) -> None:
    task, stop = some_task(32), small.spec.window_start(4)
    kept, exact = (CleanFeatures(small, task, Shelf(p)) for p in (precision, "full"))
    kept.keep(stop, Execution(4, True, place))
    found, wanted = kept.at(stop, 1, 6), exact.at(stop, 1, 6)
    assert found.dtype == wanted.dtype
    share = float((found - wanted).abs().amax((1, 2, 3)).div(wanted.abs().amax((1, 2, 3))).max())
    assert 0 < share <= {"half": 2**-11, "byte": 0.5 / 127 * 1.001}[precision]


def test_kept_features_survive_extremes(small: Backbone) -> None:
    conv = small.spec.convs[6]
    kept = CleanFeatures(small, some_task(32), Shelf("half")).shelf_rows(conv.index, 1, Place.MEMORY)
    kept.write(0, torch.full((1, conv.in_channels, conv.in_size, conv.in_size), 1e9))
    assert float(kept.read(0, 1).max()) == 65504
    zero = CleanFeatures(small, some_task(32), Shelf("byte")).shelf_rows(conv.index, 1, Place.FILE)
    zero.write(0, torch.zeros(1, conv.in_channels, conv.in_size, conv.in_size))
    assert torch.equal(zero.read(0, 1), torch.zeros(1, conv.in_channels, conv.in_size, conv.in_size))


def test_no_room_for_features_is_said(small: Backbone, tmp_path: Path) -> None:
    shelf = Shelf("full", tmp_path / "missing")
    with pytest.raises(StorageError, match="cannot keep"):
        trained(small, some_task(32), mixed_plan(small), ONE_STEP, Execution(1, True, Place.FILE), shelf)


def test_features_in_files_leave_no_name_behind(small: Backbone, tmp_path: Path) -> None:
    shelf = Shelf("byte", tmp_path)
    trained(small, some_task(32), mixed_plan(small), ONE_STEP, Execution(1, True, Place.FILE), shelf)
    clean = CleanFeatures(small, some_task(32), shelf)
    clean.keep(6, Execution(1, True, Place.FILE))
    assert list(tmp_path.iterdir()) == []
