"""Settings of a meta-training run: the same settings give the same weights."""

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Settings are frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PretrainSettings(Settings):
    """Supervised pre-training over all classes of the source."""

    steps: int = Field(ge=0)
    batch: int = Field(64, ge=2)
    resolution: int = Field(96, ge=32)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.02, ge=0)


class EpisodicSettings(Settings):
    """Episodic meta-training, and the validation episodes after it."""

    episodes: int = Field(ge=0)
    ways: int = Field(8, ge=2)
    shots: int = Field(5, ge=1)
    queries: int = Field(8, ge=1)
    learning_rate: float = Field(3e-4, gt=0)
    validation_episodes: int = Field(200, ge=2)


class MetaTrainingSettings(Settings):
    """One run, whole: the same settings give the same weights."""

    name: str
    backbone: str = "mcunet-5fps"
    train: str = "glyphs:train"
    validation: str = "glyphs:validation"
    seed: int = Field(0, ge=0)
    threads: int = Field(1, ge=1)
    workers: int = Field(1, ge=0)
    images_per_face: int = Field(40, ge=1)
    pretrain: PretrainSettings
    episodic: EpisodicSettings
