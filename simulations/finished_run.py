"""A finished run as it is read from its folder, and what is made of it at any time again: its tables and its page."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from server.results import RUN_FILE, RunRecord, read_record, read_reports
from simulations.federated.methods import FEDERATED_METHODS
from simulations.reporting.account import Account, account_of
from simulations.reporting.html import RunFacts, render_html
from simulations.reporting.lead import AVERAGED, lead_text, left_text
from simulations.reporting.units import counted
from simulations.results.accounts import Accounts
from simulations.results.files import write_tables
from simulations.results.hosted import Hosted, read_hosted
from simulations.results.journeys import Journeys, read_journeys
from simulations.results.table import device_rounds
from simulations.settings import FleetSettings, build_settings
from simulations.world.faults import lie_of
from tinytrain_core.backbones.spec import BackboneSpec, load_spec
from tinytrain_core.errors import StorageError
from tinytrain_core.report import PersonalisationReport

FLEET_FILE = "fleet.json"
HTML_FILE = "report.html"
SIMULATION_FILE = "simulation.json"


class FleetRecord(BaseModel):
    """What is read of `fleet.json`; `federated` says how a baseline was trained before."""

    model_config = ConfigDict(frozen=True)

    command: str
    architecture: str
    settings: dict[str, Any]
    federated: dict[str, Any] | None = None


class SimulationRecord(BaseModel):
    """What is read of `simulation.json`, the engine's account of its own work."""

    model_config = ConfigDict(frozen=True)

    engine: str = ""
    workers: int | None = None
    wall_s: float | None = None
    messages: int | None = None

    @property
    def text(self) -> str:
        """How it was simulated, for people."""
        told = [f"engine {self.engine}", counted(self.workers, "worker") if self.workers else ""]
        told += [
            counted(self.messages, "message") if self.messages else "",
            f"{self.wall_s:.0f} s" if self.wall_s else "",
        ]
        return ", ".join(filter(None, told))


@dataclass(frozen=True)
class Run:
    """A run as read from its folder; `server` is the server's own account of it.

    `hosted`, `journeys` and `simulation` are None in runs whose engine did not say so much.
    """

    command: str
    settings: FleetSettings
    spec: BackboneSpec
    reports: Sequence[PersonalisationReport]
    server: RunRecord
    hosted: Hosted | None = None
    journeys: Journeys | None = None
    simulation: SimulationRecord | None = None
    federated: dict[str, Any] | None = None

    @cached_property
    def accounts(self) -> Accounts:
        """All that it says of its devices."""
        return Accounts(self.reports, self.server.rounds, self.hosted, self.journeys, self.liars)

    @property
    def baseline(self) -> str:
        """The name of a federated baseline; empty for any other run."""
        return str((self.federated or {}).get("method", ""))

    @property
    def averaged(self) -> bool:
        """Whether devices started from weights of theirs that were averaged in rounds before."""
        kind = FEDERATED_METHODS.get(self.baseline)
        return kind is not None and kind.federates and bool((self.federated or {}).get("rounds"))

    @cached_property
    def account(self) -> Account:
        """Its figures."""
        return account_of(self.accounts)

    @cached_property
    def liars(self) -> frozenset[int] | None:
        """The nodes that were simulated as lying; None where it is not known who was simulated."""
        if self.hosted is None:
            return None
        faults, seed = self.settings.faults, self.settings.seed
        return frozenset(node for node in range(len(self.hosted.sizes)) if lie_of(faults, seed, node))

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
    simulated = (out / SIMULATION_FILE).is_file()
    return Run(
        fleet.command,
        build_settings(fleet.settings),
        load_spec(fleet.architecture),
        read_reports(out),
        server,
        hosted=read_hosted(out),
        journeys=read_journeys(out),
        simulation=read_record(out / SIMULATION_FILE, SimulationRecord) if simulated else None,
        federated=fleet.federated,
    )


def write_results(out: Path, run: Run) -> None:
    """Make `devices.csv` and `devices.parquet` of a run; the same run gives the same bytes.

    Raises:
        StorageError: the folder cannot be written.
    """
    write_tables(out, device_rounds(run.accounts))


def _section_text(section: BaseModel, default: object) -> str:
    """What a section of the settings sets, the rest being as it is by default."""
    if section == default:
        return "off"
    told = section.model_dump(mode="json", exclude_defaults=True)
    return ", ".join(f"{key}: {json.dumps(value)}" for key, value in told.items()).replace('"', "")


def _settings(settings: FleetSettings) -> dict[str, Any]:
    """The settings as texts for people."""
    told = settings.model_dump(mode="json")
    for key, field in FleetSettings.model_fields.items():
        value = getattr(settings, key)
        if isinstance(value, BaseModel):
            told[key] = _section_text(value, field.default)
    told["mix"] = ", ".join(f"{name}: {weight:g}" for name, weight in settings.mix.items())
    told["backbone"] = settings.backbone or "the shipped one"
    return {key: value for key, value in told.items() if value != ""}


def _facts(run: Run) -> RunFacts:
    settings = _settings(run.settings) | {f"federated: {key}": value for key, value in (run.federated or {}).items()}
    kind = FEDERATED_METHODS.get(run.baseline)
    provenance = {
        "backbone": f"{run.spec.name}, sha256 {run.server.backbone_digest[:16]}…",
        "sent": f"{run.bytes_sent / 2**20:.1f} MiB of backbone to {counted(run.nodes, 'node')} in the rounds that "
        f"personalise; back came numbers{' and, in the rounds before, weights' if run.averaged else ' only'}",
        "versions": ", ".join(f"{name} {version}" for name, version in run.server.versions.items()),
    }
    if run.simulation is not None:
        provenance["simulated"] = run.simulation.text
    title = f"{run.baseline} on a" if run.baseline else "A"
    title += f" fleet of {counted(run.settings.devices, 'simulated device')}"
    lead = lead_text(run.spec.title, run.settings.method, kind.title if kind else run.baseline)
    before = AVERAGED if run.averaged else ""
    return RunFacts(title, lead, left_text(run.averaged), run.command, settings, provenance, run.missing, before)


def write_html(out: Path, run: Run) -> Path:
    """Make the page of a run; the same reports give the same bytes.

    Raises:
        StorageError: the folder cannot be written.
    """
    file = out / HTML_FILE
    text = render_html(run.reports, _facts(run), run.spec, run.account)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {file}: {error.strerror}") from error
    return file
