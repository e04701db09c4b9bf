"""The folder of one simulated run: what is in it, when it may be reused, and how it is read again.

`fleet.json` says what was asked for, `nodes/` who was simulated; the server writes `reports.jsonl` and
`run.json`; `report.html` is made of them, at any time again.
"""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from client.config import NodeConfig
from server.results import REPORTS_FILE, RUN_FILE, RunRecord, read_record, read_reports
from simulations.population import NODES, STORES, check_data, node_configs, write_nodes
from simulations.reporting.html import RunFacts, render_html
from simulations.settings import FleetSettings, build_settings
from tinytrain_core.backbones.spec import BackboneSpec, load_spec
from tinytrain_core.backbones.weights import from_bytes, read_bytes
from tinytrain_core.errors import ConfigurationError, StorageError
from tinytrain_core.report import PersonalisationReport

FLEET_FILE = "fleet.json"
HTML_FILE = "report.html"
PRODUCTS = (FLEET_FILE, REPORTS_FILE, RUN_FILE, HTML_FILE, NODES, STORES)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()


def prepare(out: Path, settings: FleetSettings, command: str, spec: BackboneSpec) -> None:
    """A place for a run, with what was asked for recorded; a former run's products go, anybody else's files never.

    Args:
        command: that makes the run.
        spec: the architecture of its backbone.

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
        for name in PRODUCTS:
            _remove(out / name)
        (out / FLEET_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot prepare {out}: {error.strerror}") from error


def set_up(out: Path, settings: FleetSettings, command: str) -> list[NodeConfig]:
    """Everything that a run needs, in `out`. A former run goes only once nothing can be wrong any more.

    Returns:
        The nodes, in the order of their partition ids; their files are written.

    Raises:
        ConfigurationError, DataError, BackboneError: the data cannot serve this fleet, as `check_data`, there is
            no such backbone, it is damaged, or as `prepare`.
        StorageError: the folder cannot be written.
    """
    spec = from_bytes(read_bytes(settings.backbone)).spec
    check_data(settings)
    nodes = node_configs(settings, out)
    prepare(out, settings, command, spec)
    write_nodes(nodes, out)
    return nodes


class FleetRecord(BaseModel):
    """What is read of `fleet.json`."""

    model_config = ConfigDict(frozen=True)

    command: str
    architecture: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A run as read from its folder; `server` is the server's own account of it."""

    command: str
    settings: FleetSettings
    spec: BackboneSpec
    reports: Sequence[PersonalisationReport]
    server: RunRecord

    @property
    def missing(self) -> dict[str, int]:
        """Cause -> nodes without a valid reply in the last round."""
        last = self.server.rounds[-1:]
        return dict(sorted(Counter(entry.cause for r in last for entry in r.missing).items()))

    @property
    def nodes(self) -> int:
        """Nodes of the last round."""
        return max((len(r.nodes) for r in self.server.rounds[-1:]), default=0)

    @property
    def bytes_sent(self) -> int:
        """Backbone bytes sent to nodes in all rounds."""
        return sum(r.backbone_bytes_sent for r in self.server.rounds)


def read_run(out: Path) -> Run:
    """The run in the folder `out`.

    Raises:
        ConfigurationError: there is none, or one of its files is damaged.
        EgressError: a line of its reports is not a valid report.
    """
    fleet, server = read_record(out / FLEET_FILE, FleetRecord), read_record(out / RUN_FILE, RunRecord)
    settings = build_settings(fleet.settings)
    return Run(fleet.command, settings, load_spec(fleet.architecture), read_reports(out), server)


def _facts(run: Run) -> RunFacts:
    settings = run.settings.model_dump(mode="json")
    settings["mix"] = ", ".join(f"{name}: {weight:g}" for name, weight in run.settings.mix.items())
    settings["backbone"] = run.settings.backbone or "the shipped one"
    provenance = {
        "backbone": f"{run.spec.name}, sha256 {run.server.backbone_digest[:16]}…",
        "sent": f"{run.bytes_sent / 2**20:.1f} MiB of backbone to {run.nodes} nodes; back came numbers only",
        "versions": ", ".join(f"{name} {version}" for name, version in run.server.versions.items()),
    }
    title = f"A fleet of {run.settings.devices} simulated devices"
    return RunFacts(title, run.command, settings, provenance, run.missing)


def write_html(out: Path, run: Run) -> Path:
    """Make the page of a run; the same reports give the same bytes.

    Raises:
        StorageError: the folder cannot be written.
    """
    file = out / HTML_FILE
    text = render_html(run.reports, _facts(run), run.spec)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {file}: {error.strerror}") from error
    return file
