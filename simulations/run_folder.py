"""The folder of one simulated run: what is in it, and when it may be reused; `finished_run.py` reads it again.

`fleet.json` says what was asked for, `nodes.jsonl` who was simulated (`nodes/` where Flower's engine needs files); the
server writes `reports.jsonl` and `run.json`, the engine `visits.jsonl` and `simulation.json`. `report.html` and the
tables `devices.csv` and `devices.parquet` are made of them, at any time again.
"""

import json
import shutil
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from client.config import NodeConfig
from server.results import REPORTS_FILE, RUN_FILE, RunRecord, read_record
from simulations.finished_run import FLEET_FILE, HTML_FILE, SIMULATION_FILE, read_run, write_html, write_results
from simulations.population import NODES, STORES, check_data, node_configs, write_nodes
from simulations.results.files import CSV_FILE, PARQUET_FILE
from simulations.results.hosted import NODES_FILE
from simulations.results.journeys import VISITS_FILE
from simulations.settings import FleetSettings
from tinytrain_core.backbones.spec import BackboneSpec
from tinytrain_core.backbones.weights import from_bytes, read_bytes
from tinytrain_core.digests import digest
from tinytrain_core.errors import ConfigurationError, StorageError

__all__ = ["FLEET_FILE", "SIMULATION_FILE", "prepare", "read_run", "set_up", "write_html", "write_results"]

COMPUTED_FILE = "computed.jsonl"  # what a run that was cut short had computed
LOGS = "logs"  # what its workers said
GLOBAL_FILE, RANDOM_FILE = "global.safetensors", "random.safetensors"  # weights of a federated baseline
WRITTEN = (REPORTS_FILE, RUN_FILE, NODES_FILE, VISITS_FILE, SIMULATION_FILE, NODES, LOGS, GLOBAL_FILE, RANDOM_FILE)
RESUMED = (COMPUTED_FILE, STORES)  # what the same run goes on with
WITHOUT_EFFECT = {"engine", "workers", "ray_address"}  # settings that change no result
PRODUCTS = (*RESUMED, *WRITTEN, HTML_FILE, CSV_FILE, PARQUET_FILE)  # FLEET_FILE is replaced, once they are gone


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()


class Former(StrEnum):
    """What a folder holds when a run is asked for."""

    NONE = "nothing of a run"
    OTHER = "another run"
    CUT_SHORT = "the same run, cut short"
    FINISHED = "the same run, finished"


def _same(out: Path, settings: FleetSettings) -> bool:
    """Whether what was asked for in `out` before gives the same results as what is asked for now."""

    def effective(fleet: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        effect = {key: value for key, value in fleet["settings"].items() if key not in WITHOUT_EFFECT}
        return effect, fleet.get("federated")

    try:
        before = json.loads((out / FLEET_FILE).read_text(encoding="utf-8"))
        return effective(before) == effective({"settings": settings.model_dump(mode="json")})
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def _of_this_backbone(out: Path, settings: FleetSettings) -> bool:
    """Whether the run in `out` ended with the very backbone that is asked for."""
    try:
        return read_record(out / RUN_FILE, RunRecord).backbone_digest == digest(read_bytes(settings.backbone))
    except ConfigurationError:
        return False


def former(out: Path, settings: FleetSettings) -> Former:
    """What is in the folder `out` when a run with these settings is asked for.

    A run on Flower's own engine, which keeps nothing while it runs and no account, never counts as the same.
    """
    if not (out / FLEET_FILE).is_file():
        return Former.NONE
    if not _same(out, settings):
        return Former.OTHER
    if (out / COMPUTED_FILE).exists():
        return Former.CUT_SHORT
    finished = (out / SIMULATION_FILE).is_file() and _of_this_backbone(out, settings)
    return Former.FINISHED if finished else Former.OTHER


def prepare(out: Path, settings: FleetSettings, command: str, spec: BackboneSpec, resume: bool = False) -> None:
    """A place for a run, with what was asked for recorded; a former run's products go, anybody else's files never.

    Args:
        command: that makes the run.
        spec: the architecture of its backbone.
        resume: keep what the same run had computed when it was cut short.

    Raises:
        ConfigurationError: the folder holds something, but no former run.
        StorageError: it cannot be written.
    """
    content = {"command": command, "architecture": spec.name, "settings": settings.model_dump(mode="json")}
    try:
        out.mkdir(parents=True, exist_ok=True)
        held = sorted(path.name for path in out.iterdir())
        if held and FLEET_FILE not in held:
            found = f"{len(held)} other files or folders ({', '.join(held[:3])})"
            raise ConfigurationError(f"{out} holds {found} and no {FLEET_FILE}; give another --out")
        kept = RESUMED if resume and former(out, settings) is Former.CUT_SHORT else ()
        for name in PRODUCTS:
            if name not in kept:
                _remove(out / name)
        (out / FLEET_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot prepare {out}: {error.strerror}") from error


def set_up(
    out: Path, settings: FleetSettings, command: str, resume: bool = False, files: bool = True
) -> Sequence[NodeConfig]:
    """Everything that a run needs, in `out`. A former run goes only once nothing can be wrong any more.

    Args:
        resume: as `prepare` takes it.
        files: write one for each node, as Flower's own engine needs them.

    Returns:
        The nodes, in the order of their partition ids.

    Raises:
        ConfigurationError, DataError, BackboneError: the data cannot serve this fleet, as `check_data`, there is
            no such backbone, it is damaged, or as `prepare`.
        StorageError: the folder cannot be written.
    """
    spec = from_bytes(read_bytes(settings.backbone)).spec
    check_data(settings)
    nodes = node_configs(settings, out)
    prepare(out, settings, command, spec, resume)
    if files:
        write_nodes(nodes, out)
    return nodes
