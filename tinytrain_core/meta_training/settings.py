"""Settings of a meta-training run: on a CPU, the same settings give the same weights."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

RANDOM = "random"
RESERVED = "settings"  # a run's folder holds settings.json beside NAME.json
LARGEST_RATE = 1e30  # above it, float32 overflows in an optimiser's own arithmetic


class Settings(BaseModel):
    """Settings are frozen, and an unknown key is an error, as is a number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Data(Settings):
    """Images by name.

    Attributes:
        data: as `open_source` takes it; several are joined, as the parts of one data set.
    """

    name: str
    data: str | Annotated[tuple[str, ...], Field(min_length=1)]

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.data,) if isinstance(self.data, str) else self.data


class TrainingData(Data):
    """One source of training images, and how its images are varied.

    Attributes:
        weight: how often the source is drawn, against the other sources.
        flip: how often an image is mirrored. 0.5 suits photographs; characters and signs are not symmetric.
        least_area: of the randomly cropped part, as a share of the image (PMF has 0.05).
        stretch: the crop's largest aspect ratio.
        colour: strength of brightness, contrast and saturation jitter (PMF has 0.4).
        grey: how often an image loses its colours.
        images_per_face: for glyphs, how often each typeface draws a character.
        licence: what the data may be used for; written into the model card.
    """

    weight: float = Field(1.0, gt=0)
    flip: float = Field(0.0, ge=0, le=1)
    least_area: float = Field(0.3, gt=0, le=1)
    stretch: float = Field(4 / 3, ge=1)
    colour: float = Field(0.4, ge=0, le=1)
    grey: float = Field(0.0, ge=0, le=1)
    images_per_face: int = Field(2, ge=1)
    licence: str = ""


class TaskShape(Settings):
    """N-way K-shot tasks."""

    ways: int = Field(5, ge=2)
    shots: int = Field(5, ge=1)
    queries: int = Field(15, ge=1)


class ValidationData(Data, TaskShape):
    """Tasks over classes, or a whole domain, that training never sees."""

    queries: int = Field(10, ge=1)
    episodes: int = Field(200, ge=2)


class PhaseSettings(Settings):
    """What the phases have in common: warm-up and cosine decay of the learning rate, and when to look.

    Attributes:
        learning_rate: after the warm-up.
        warm_up: the share of the steps with a linear warm-up (PMF: 5 of 100 epochs).
        resolution: side of the training images; by default the backbone's.
        validate_every: steps between validations; 0 validates at the end of the phase only.
        weights: by the name of a source, how often this phase draws it, in place of the source's own weight.
    """

    steps: int = Field(ge=1)
    learning_rate: float = Field(gt=0, le=LARGEST_RATE)
    warm_up: float = Field(0.05, ge=0, le=1)
    resolution: int | None = Field(None, ge=32)
    validate_every: int = Field(0, ge=0)
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)


class SupervisedPhase(PhaseSettings):
    """All classes of all sources under one linear classifier, with BatchNorm."""

    kind: Literal["supervised"]
    batch: int = Field(96, ge=2)
    learning_rate: float = Field(3e-3, gt=0, le=LARGEST_RATE)
    weight_decay: float = Field(0.05, ge=0, le=1)
    label_smoothing: float = Field(0.1, ge=0, lt=1)


class EpisodicPhase(PhaseSettings, TaskShape):
    """ProtoNet tasks on the folded network. Each task comes from one source.

    Attributes:
        layers: `all`, or `mix` for nothing but the feature-mix convolution, or `scale` for no layer at all. Behind
            a ReLU6 all cosines are close to 1, and a scale that is too small for that spoils the layers.
        optimiser: `sgd` has momentum 0.9 (PMF), `adam` the usual moments.
        scale_learning_rate: of the head's scale, which has to grow where a ReLU6 makes all cosines positive.
    """

    kind: Literal["episodic"]
    layers: Literal["all", "mix", "scale"] = "all"
    optimiser: Literal["sgd", "adam"] = "adam"
    learning_rate: float = Field(1e-4, gt=0, le=LARGEST_RATE)
    scale_learning_rate: float = Field(0.02, gt=0, le=LARGEST_RATE)


Phase = Annotated[SupervisedPhase | EpisodicPhase, Field(discriminator="kind")]


class MetaTrainingSettings(Settings):
    """One run, whole.

    Attributes:
        start: `random`, or a folded backbone's file: of the same architecture, or of the same one without
            feature mix.
        device: `cpu`, `cuda` (bfloat16 autocast), or `auto` for CUDA where there is one.
        stored: side at which decoded training images are kept in memory.
        checkpoint_every: steps.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    backbone: str = "mcunet-5fps"
    start: str = RANDOM
    train: tuple[TrainingData, ...] = Field(min_length=1)
    validation: tuple[ValidationData, ...] = Field(min_length=1)
    phases: tuple[Phase, ...] = Field(min_length=1)
    seed: int = Field(0, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    threads: int = Field(1, ge=1)
    stored: int = Field(128, ge=32)
    checkpoint_every: int = Field(250, ge=1)

    @model_validator(mode="after")
    def _weights_of_sources(self) -> "MetaTrainingSettings":
        names = {data.name for data in self.train}
        for number, phase in enumerate(self.phases, 1):
            if unknown := sorted(set(phase.weights) - names):
                raise ValueError(f"phase {number} weighs {', '.join(unknown)}; the sources are {', '.join(names)}")
            if not any(phase.weights.get(data.name, data.weight) for data in self.train):
                raise ValueError(f"phase {number} draws from no source: all its weights are 0")
        return self

    @model_validator(mode="after")
    def _supervised_first(self) -> "MetaTrainingSettings":
        kinds = [phase.kind for phase in self.phases]
        if kinds != sorted(kinds, reverse=True):
            raise ValueError("a supervised phase cannot follow an episodic one, which has no BatchNorm any more")
        if "supervised" in kinds and self.start != RANDOM:
            raise ValueError(f"a supervised phase starts from {RANDOM}; {self.start} has no BatchNorm any more")
        return self

    @model_validator(mode="after")
    def _names_tell_apart(self) -> "MetaTrainingSettings":
        if self.name.lower() == RESERVED:
            raise ValueError(f"a run cannot be called {self.name}: its folder has a {RESERVED}.json of its own")
        for key, sources in (("train", self.train), ("validation", self.validation)):
            names = [source.name for source in sources]
            if len(set(names)) < len(names):
                raise ValueError(f"{key} has a name twice: {', '.join(names)}")
        return self
