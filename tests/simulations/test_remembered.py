"""What a run that was cut short has computed is not computed again."""

import json
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, RecordDict

from simulations.remembered import Remembered
from tests.simulations.apps import ADD, COUNT, FAIL, answers, make_fleet, pulled

pytestmark = pytest.mark.usefixtures("flower_identity")


@pytest.mark.parametrize("torn", [b'["torn', b'["00", [null, 0, 0, null]]'])
def test_what_is_remembered_is_not_computed_again(tmp_path: Path, torn: bytes) -> None:
    file = tmp_path / "computed.jsonl"
    with Remembered(file) as remembered:
        fleet = make_fleet(3, remembered)
        first = answers(pulled(fleet, fleet.push(1, 2)) + pulled(fleet, fleet.push(1)))
    whole = file.read_bytes()
    file.write_bytes(whole + torn)
    with Remembered(file) as remembered:
        assert len(remembered) == 3
        again = make_fleet(3, remembered)
        assert answers(pulled(again, again.push(1, 2)) + pulled(again, again.push(1))) == first
        assert again.executor.computed == []
        assert again.visits == fleet.visits
        assert [told[:2] for told in again.told] == [(0, COUNT), (1, COUNT), (0, COUNT)]
        assert answers(pulled(again, again.push(1, 3))) == [(1, 10, 3), (3, 12, 1)]
        assert sorted(job.argument[1] for job in again.executor.computed) == [1, 3]
    lines = file.read_bytes().splitlines(keepends=True)
    assert b"".join(lines[:3]) == whole
    assert len([json.loads(line) for line in lines]) == 5


def test_arrays_and_errors_are_not_remembered(tmp_path: Path) -> None:
    with Remembered(tmp_path / "computed.jsonl") as remembered:
        fleet = make_fleet(1, remembered)
        pulled(fleet, fleet.push(1, kind=ADD, content=RecordDict({"model": ArrayRecord([np.ones(1)])})))
        pulled(fleet, fleet.push(1, kind=FAIL))
        assert len(remembered) == 0
