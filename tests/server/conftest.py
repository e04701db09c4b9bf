import json
from pathlib import Path
from typing import Any

from server.config import RunSettings


def run_description(settings: RunSettings) -> dict[str, Any]:
    """The `run.json` of a run."""
    return dict(json.loads((Path(settings.out) / "run.json").read_text(encoding="utf-8")))
