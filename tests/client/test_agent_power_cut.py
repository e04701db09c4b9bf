import json
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent.parent


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs fork")
def test_a_power_cut_at_any_write_loses_and_doubles_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.client.power_cut", str(tmp_path)]
    found = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    assert told["deltas"] > 0  # some of the writes were those of a delta
    assert min(told["points"][f"{when} {what}"] for when in ("before", "after") for what in ("fsync", "commit")) > 10
