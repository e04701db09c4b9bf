"""SparseUpdate's search for a scheme: what each part contributes alone, as a study; then evolution under a cap."""

from dataclasses import dataclass
from statistics import fmean
from typing import ClassVar

from pydantic import Field, model_validator

from simulations.studies.arms import Arm, Training
from simulations.studies.comparisons import Comparison
from simulations.studies.evolution import Contributions, Evolution
from simulations.studies.study_settings import StudySettings
from simulations.studies.trials import Key, Purpose, Trials
from tinytrain_core.backbones.spec import BackboneSpec
from tinytrain_core.backbones.weights import from_bytes, read_bytes
from tinytrain_core.engine.update import Extent
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.selection.cost import backward_macs, full_train_backward_macs
from tinytrain_core.selection.methods.sparse_update import Scheme, counted_convs, scheme_shares
from tinytrain_core.selection.scheme_memory import KIB, scheme_bytes

SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)
BLOCKS = 8
BIASES = "biases"
WEIGHTS = "weights"


@dataclass(frozen=True)
class Found:
    """The best scheme, and what it gains and costs by its own measures.

    Attributes:
        gain: summed over its parts, each measured alone; an upper hope, not an accuracy.
    """

    scheme: Scheme
    gain: float
    memory_bytes: int
    backward_macs: int


class SearchSettings(StudySettings):
    """A search on one backbone.

    Attributes:
        blocks: the last so many are searched.
        memory_kib: the cap, in SparseUpdate's own count.
        macs_share: the cap on backward MACs, over those of FullTrain.
    """

    kind: ClassVar[str] = "sparse-search"

    blocks: int = Field(BLOCKS, ge=1, le=64)
    memory_kib: float = Field(100.0, gt=0)
    macs_share: float = Field(1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _of_one(self) -> "SearchSettings":
        if len(self.backbones) != 1 or self.validates:
            raise ConfigurationError("a search is on one --backbone and with one rate, as --rates 0.001")
        return self

    def comparisons(self) -> list[Comparison]:
        spec = self.spec
        biases = {str(n): bias_arm(n) for n in bias_counts(spec, self.blocks)}
        weights = {f"{i}x{share:g}": weight_arm(i, share) for i in searched(spec, self.blocks) for share in SHARES}
        return [
            Comparison(BIASES, "Biases of the last convolutions", biases, ""),
            Comparison(WEIGHTS, "Weights of one convolution", weights, ""),
        ]

    @property
    def label(self) -> str:
        return next(iter(self.backbones))

    @property
    def spec(self) -> BackboneSpec:

        return from_bytes(read_bytes(self.backbones[self.label])).spec


def searched(spec: BackboneSpec, blocks: int) -> list[int]:
    """The convolutions of the last blocks, the feature mix apart."""
    convs = counted_convs(spec)
    return [conv.index for conv in convs if conv.block > convs[-1].block - blocks]


def bias_counts(spec: BackboneSpec, blocks: int) -> list[int]:
    """Convolutions from the beginning of each of the last blocks to the end."""
    counted, found = len(counted_convs(spec)), searched(spec, blocks)
    return sorted({counted - spec.block_start(index) for index in found})


def bias_arm(count: int) -> Arm:
    """The biases of the last `count` convolutions."""
    return Arm(method=f"sparse_update:biases={count}")


def weight_arm(index: int, share: float) -> Arm:
    """The weights from a share of the input channels of one convolution."""
    return Arm(method=f"sparse_update:weights={index}x{share:g}")


def contributions(settings: SearchSettings, trials: Trials) -> Contributions:
    """What the trials say that each part gains alone.

    Raises:
        ConfigurationError: trials are missing.
    """
    spec = settings.spec
    biases = {n: _gain(settings, trials, bias_arm(n)) for n in bias_counts(spec, settings.blocks)}
    weights = {
        i: {share: _gain(settings, trials, weight_arm(i, share)) for share in SHARES}
        for i in searched(spec, settings.blocks)
    }
    return Contributions({0: 0.0} | biases, weights)


def _gain(settings: SearchSettings, trials: Trials, arm: Arm) -> float:
    keys = [
        Key(Purpose.TEST, data, settings.label, Training.META, arm.name, settings.rates[0], number)
        for data in settings.data
        for number in range(settings.trials)
    ]
    found = [trials[key] for key in keys if key in trials]
    gains = [t.accuracy_after - t.accuracy_before for t in found if None not in (t.accuracy_after, t.accuracy_before)]  # type: ignore[operator]
    if len(found) < len(keys) or not gains:
        raise ConfigurationError(f"{arm.name} has {len(gains)} of {len(keys)} trials; run the same command again")
    return fmean(gains)


def search(settings: SearchSettings, trials: Trials) -> list[Found]:
    """The best scheme after each generation; the last is what was searched for."""
    gains, spec = contributions(settings, trials), settings.spec
    macs = int(settings.macs_share * full_train_backward_macs(spec))

    def fits(scheme: Scheme) -> bool:
        return scheme_bytes(spec, scheme) <= settings.memory_kib * KIB and _macs(spec, scheme) <= macs

    best = Evolution(gains, fits, settings.seed).run()
    return [Found(s, gains.of(s), scheme_bytes(spec, s), _macs(spec, s)) for s in best]


def _macs(spec: BackboneSpec, scheme: Scheme) -> int:
    return backward_macs(spec, Extent(scheme_shares(spec, scheme)))
