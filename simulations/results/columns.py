"""The columns of `devices.csv` and `devices.parquet`: their names, types, units and meanings, in order.

This list is the owner: the table is built by it and checked against it, and the manual's table is `columns_markdown`.
"""

from dataclasses import dataclass
from enum import StrEnum

from tinytrain_core.fewshot.share import Sharing
from tinytrain_core.report import PersonalisationReport


class Kind(StrEnum):
    """What a column holds; in any of them a cell may be empty."""

    INTEGER = "integer"
    NUMBER = "number"
    TEXT = "text"


_KINDS = {int: Kind.INTEGER, float: Kind.NUMBER}


@dataclass(frozen=True)
class Column:
    """One column. The unit is empty for names and counts."""

    name: str
    kind: Kind
    unit: str
    meaning: str


IDENTITY = (
    Column("round", Kind.INTEGER, "", "which round, from 1"),
    Column("device", Kind.INTEGER, "", "the device's number, from 1; 0 is one that does not know its own"),
    Column("node", Kind.INTEGER, "", "the node that hosts it, from 0; empty where no node hosts such a device"),
    Column("device_class", Kind.TEXT, "", "its class in the device catalogue"),
    Column("family", Kind.TEXT, "", "mcu, sbc, gpu or phone"),
    Column("byzantine", Kind.INTEGER, "", "1: it was simulated as one that lies, 0: as an honest one"),
    Column("reported", Kind.INTEGER, "", "1: the server has its report of this round; else 0, and no figures of it"),
    Column("cause", Kind.TEXT, "", "why there is no result: what the network, the device or the server says of it"),
    Column("method", Kind.TEXT, "", "the method that it adapted with"),
    Column("outcome", Kind.TEXT, "", "how personalising ended"),
    Column("error", Kind.TEXT, "", "of a failed one, its error code in words"),
)
RESULT = (
    Column("gain", Kind.NUMBER, "share", "accuracy_after - accuracy_before"),
    Column("accuracy_in_use", Kind.NUMBER, "share", "that of what it uses now: accuracy_after only where it adapted"),
    Column("updated_channel_count", Kind.INTEGER, "", "updated output channels of all convolutions"),
    Column("updated_channels", Kind.TEXT, "", "the same of every convolution in order, separated by spaces"),
)
JOURNEY = (
    Column("round_start_s", Kind.NUMBER, "s", "virtual time of the round's start, from the start of the run"),
    Column("sent_s", Kind.NUMBER, "s", "when its node was sent the request, from the round's start"),
    Column("started_s", Kind.NUMBER, "s", "when its node began to fetch it; empty where it was never there in time"),
    Column("arrived_s", Kind.NUMBER, "s", "when the answer was back, also too late; empty where it never was"),
    Column("time_s", Kind.NUMBER, "s", "from the sending of the request to the arrival of its report"),
    Column("compute_s", Kind.NUMBER, "s", "of computing on hardware of its own speed, throttling apart"),
    Column("energy_j", Kind.NUMBER, "J", "of computing on hardware of its own power"),
    Column("down_bytes", Kind.INTEGER, "B", "to the device; a node's bytes are shared out evenly over its devices"),
    Column("up_bytes", Kind.INTEGER, "B", "from the device, likewise"),
)
_BYTES, _MACS = "B", "MAC"
_UNITS = {
    "accuracy_before": "share",
    "accuracy_after": "share",
    **dict.fromkeys(("live_memory_bytes", "measured_memory_bytes", "paper_memory_bytes", "storage_bytes"), _BYTES),
    **dict.fromkeys(("memory_budget_bytes", "storage_budget_bytes"), _BYTES),
    **dict.fromkeys(("backward_macs", "backward_macs_budget", "full_train_backward_macs", "total_macs"), _MACS),
    **dict.fromkeys(("estimated_s", "wall_s"), "s"),
    "estimated_j": "J",
}
_MEANINGS = {  # where the report's own description is short of its neighbours', or there is none
    "ways": "classes of the device's task",
    "support_images": "images that it learnt from",
    "holdout_images": "images that its accuracies are measured on",
    "accuracy_before": "of the base backbone on the device's own holdout, from 0 to 1",
    "accuracy_after": "of the adapted backbone on the same images, kept or not",
    "loss_first": "training loss of the first step",
    "loss_last": "training loss of the last step",
    "steps": "training steps that were taken",
    "updated_layers": "convolutions that the plan updates",
    "live_memory_bytes": "predicted peak, frozen weights apart; where nothing is affordable what the least plan needs",
    "measured_memory_bytes": "measured peak of the same; 0 where it was not measured",
    "paper_memory_bytes": "predicted peak as the paper charges it, at batch 1",
    "memory_budget_bytes": "what training may use on the device",
    "storage_bytes": "of features in a file, while personalising",
    "storage_budget_bytes": "what such features may take",
    "backward_macs": "of a backward pass, of one step and image; where nothing is affordable of the least plan",
    "backward_macs_budget": "what a backward pass may cost, of one step and image",
    "full_train_backward_macs": "what it would cost with all weights updated",
    "estimated_s": "of the whole personalisation, as the device's class has it in the catalogue",
    "estimated_j": "of the whole personalisation, likewise",
}
_NOT_FIGURES = ("schema_version", "device", "profile", "round", "method", "outcome", "error", "updated_channels")


def _of_report(name: str) -> Column:
    field = PersonalisationReport.model_fields[name]
    meaning = _MEANINGS.get(name) or field.description or ""
    return Column(name, _KINDS[type(field.default)], _UNITS.get(name, ""), meaning)


FIGURES = tuple(_of_report(name) for name in PersonalisationReport.model_fields if name not in _NOT_FIGURES)


SETTINGS = (
    Column("data", Kind.TEXT, "", "where its images come from"),
    Column("shots", Kind.INTEGER, "", "the most images of a class to learn from"),
    Column("holdout", Kind.INTEGER, "", "the most images of a class to measure on"),
    Column("memory_bytes", Kind.INTEGER, "B", "what training may use, where it is not what its class grants"),
    Column("compute_share", Kind.NUMBER, "share", "of FullTrain's backward pass, where it is not its class's"),
)
WAYS = (
    Column("min_ways", Kind.INTEGER, "", "classes of a user at least"),
    Column("max_ways", Kind.INTEGER, "", "classes of a user at most"),
)
_SHARING_MEANINGS = {
    "scheme": "how images fall to users: choice, dirichlet, by_class or by_writer",
    "alpha": "of the Dirichlet distribution; the smaller, the more unequal",
    "imbalance": "the k-th class has shots x k^-imbalance images to learn from",
    "shots_spread": "standard deviation of the logarithm of a user's shots",
    "label_noise": "share of the images to learn from whose label is wrong",
    "style": "how far the user's camera shifts colours and sharpness, from 0 to 1",
}
SHARE = "share_"  # what the names of the settings of `Sharing` begin with


def _of_sharing(name: str) -> Column:
    kind = _KINDS.get(type(Sharing.model_fields[name].default), Kind.TEXT)
    meaning = _SHARING_MEANINGS.get(name, f"the setting {name} of how data falls to users")
    return Column(SHARE + name, kind, "", meaning)


SHARING = tuple(_of_sharing(name) for name in Sharing.model_fields)
FACTS = SETTINGS + WAYS + SHARING
COLUMNS = IDENTITY + FIGURES + RESULT + JOURNEY + FACTS


def columns_markdown() -> str:
    """The columns as a table in Markdown, for the manual."""
    rows = [f"| `{c.name}` | {c.kind.value} | {c.unit} | {c.meaning} |" for c in COLUMNS]
    return "\n".join(["| column | type | unit | meaning |", "|---|---|---|---|", *rows]) + "\n"
