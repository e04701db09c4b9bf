"""The model card of a backbone: Markdown from its manifest, and from an evaluation if there is one."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError

from server.backbones.evaluation import Evaluation
from server.backbones.manifest import Accuracy, TrainedManifest
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.meta_training.settings import EpisodicPhase, Phase

INTENDED_USE = (
    "To be released to devices that fine-tune a few of its layers on a few labelled images of their own, with a "
    "cosine prototype head. Frozen, it classifies by the nearest prototype. It has no classifier and knows no labels."
)
LIMITS = (
    "Measured on whole images of one object or character in the middle; not on video, detection or faces. Not "
    "to be used where a wrong answer can hurt "
    "somebody. A class with one image has an uncertain prototype, whatever the accuracy below says."
)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(map(str, row)) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def _percent(accuracy: Accuracy) -> str:
    return f"{100 * accuracy.mean:.1f} ± {100 * accuracy.interval:.1f}"


def _counts(manifest: TrainedManifest, name: str) -> tuple[str, str]:
    facts = manifest.data[name]
    rejected = f" ({facts.rejected} more unreadable)" if facts.rejected else ""
    return f"{facts.classes:,}", f"{facts.images:,}{rejected}"


def _phase(phase: Phase, resolution: int) -> tuple[str, int, int, str, float]:
    if isinstance(phase, EpisodicPhase):
        shape = f"tasks of {phase.ways} ways, {phase.shots} shots, {phase.queries} queries; {phase.layers} layers"
    else:
        shape = f"batches of {phase.batch}"
    if phase.weights:
        shape += "; weights " + ", ".join(f"{name} {weight:g}" for name, weight in phase.weights.items())
    return phase.kind, phase.steps, phase.resolution or resolution, shape, phase.learning_rate


def _seen(manifest: TrainedManifest, data: str) -> str:
    """What the backbone has to do with data that it is evaluated on, as far as the names say."""
    settings = manifest.settings
    names = {Path(data).name, data}
    if any(names & {path, Path(path).name} for d in settings.train for path in d.paths):
        return "trained on"
    if any(names & {path, Path(path).name} for d in settings.validation for path in d.paths):
        return "chosen by"
    return "no"


def _evaluated(evaluation: Evaluation, manifest: TrainedManifest) -> str:
    """The rows about this backbone.

    Raises:
        ConfigurationError: there are none.
    """
    labels = {label for label, digest in evaluation.backbones.items() if digest == manifest.sha256}
    rows = [
        (row.data, row.tasks, _percent(row.accuracy), row.accuracy.episodes, _seen(manifest, evaluation.data[row.data]))
        for row in evaluation.rows
        if row.backbone in labels
    ]
    if not rows:
        raise ConfigurationError(
            f"the evaluation is of {', '.join(evaluation.backbones)}, none of which is {manifest.sha256}"
        )
    return _table(("data", "tasks", "accuracy, %", "episodes", "used in training"), rows)


def read_evaluation(file: Path) -> Evaluation:
    """What `backbone evaluate` wrote.

    Raises:
        ConfigurationError: there is no such file, or it is something else.
    """
    try:
        return Evaluation.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise ConfigurationError(f"{file} is not an evaluation.json: {' '.join(str(error).split())[:200]}") from None


def model_card(manifest: TrainedManifest, evaluation: Evaluation | None) -> str:
    """The card as Markdown.

    Raises:
        ConfigurationError: the evaluation is of other backbones.
    """
    spec, settings = load_spec(manifest.architecture), manifest.settings
    data = [(d.name, ", ".join(d.paths), *_counts(manifest, d.name), f"{d.weight:g}") for d in settings.train]
    phases = (_phase(phase, spec.resolution) for phase in settings.phases)
    validation = ((name, _percent(accuracy), accuracy.episodes) for name, accuracy in manifest.validation.items())
    parts = [
        f"# {manifest.name}",
        f"{spec.title} for {spec.resolution} x {spec.resolution} images: {spec.weights:,} weights, {spec.macs:,} MACs, "
        f"{manifest.bytes:,} bytes. SHA-256 `{manifest.sha256}`.",
        f"## Intended use\n\n{INTENDED_USE}",
        f"## Limits\n\n{LIMITS}",
        f"## How it was made\n\n`{manifest.made_by}`, seed {settings.seed}, starting from {manifest.start}. These are "
        f"the weights of step {manifest.step} of phase {manifest.phase} ({manifest.label} by validation).",
        _table(("phase", "steps", "resolution", "what a step sees", "learning rate"), phases),
        "## Data\n\n" + _table(("name", "source", "classes", "images", "weight"), data),
        f"Licences: {manifest.data_licence}.",
        "## Accuracy\n\nFrozen nearest prototype, mean and 95 % interval over episodes (Student's t). Validation, by "
        "which the weights were chosen:",
        _table(("data", "accuracy, %", "episodes"), validation),
    ]
    if evaluation is not None:
        parts += ["Evaluation:", _evaluated(evaluation, manifest)]
    return "\n\n".join(parts) + "\n"
