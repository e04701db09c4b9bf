"""`sparse_update`: a scheme that is fixed before any task is seen (Lin et al. 2022, "On-Device Training Under 256KB").

Biases of the last convolutions, and of some convolutions the weights from those input channels whose weights have the
largest norm.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import ClassVar

import yaml

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import BackboneSpec, ConvSpec
from tinytrain_core.engine.update import Share, Update, every_output
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.selection.criterion import largest
from tinytrain_core.selection.methods.base import Method, Problem
from tinytrain_core.selection.plan import UpdatePlan, as_prescribed

NOTHING = "none"
DEFAULT_SCHEMES = {"mcunet-5fps": "99kb", "mbv2-w0.35": "99kb", "proxyless-w0.3": "98kb"}


@dataclass(frozen=True)
class Scheme:
    """What is updated of an architecture.

    Attributes:
        biases: of the last so many convolutions.
        weights: convolution index -> the share of its input channels.
    """

    biases: int
    weights: Mapping[int, float]

    def __str__(self) -> str:
        """As the method takes it: `biases=22,weights=21x1+36x0.125`; `scheme=none` updates nothing."""
        weights = "+".join(f"{i}x{share:g}" for i, share in self.weights.items())
        biases = f"biases={self.biases}" if self.biases else ""
        return ",".join(filter(None, (biases, f"weights={weights}" if weights else ""))) or f"scheme={NOTHING}"


@lru_cache
def published_schemes() -> dict[str, dict[str, Scheme]]:
    """The schemes that their authors published, by architecture and name."""
    raw = yaml.safe_load((files(__package__) / "sparse_update.yaml").read_text())
    return {name: {key: Scheme(**entry) for key, entry in schemes.items()} for name, schemes in raw.items()}


def published_scheme(architecture: str, name: str = "") -> Scheme:
    """One published scheme; by default the one of about 99 kB.

    Raises:
        ConfigurationError: there is none of that name.
    """
    if name == NOTHING:
        return Scheme(0, {})
    schemes = published_schemes().get(architecture, {})
    chosen = name or DEFAULT_SCHEMES.get(architecture, "")
    if chosen not in schemes:
        known = ", ".join(schemes) or "none: search one with `tinytrain-sim sparse-search`"
        raise ConfigurationError(
            f"SparseUpdate has no scheme {chosen!r} for {architecture}; the known ones are {known}"
        )
    return schemes[chosen]


def parse_weights(text: str) -> dict[int, float]:
    """`21x1+36x0.125` as convolution index -> share of its input channels.

    Raises:
        ConfigurationError: it is not of that form.
    """
    try:
        pairs = [part.split("x") for part in text.split("+") if part]
        found = {int(index): float(share) for index, share in pairs}
    except ValueError:
        raise ConfigurationError(f"weights {text!r} are not of the form 21x1+36x0.125") from None
    if len(found) < len(pairs):
        raise ConfigurationError(f"weights {text!r} name a convolution twice")
    return found


def counted_convs(spec: BackboneSpec) -> tuple[ConvSpec, ...]:
    """The convolutions that a scheme counts: all but the feature mix, which the published networks lack."""
    return tuple(conv for conv in spec.convs if conv.kind != "mix")


@dataclass(frozen=True)
class SparseUpdate(Method):
    """The paper's SparseUpdate baseline.

    Attributes:
        scheme: a published one by name, as 99kb; none updates nothing.
        biases, weights: a scheme of your own instead; `weights` as 21x1+36x0.125.
    """

    scheme: str = ""
    biases: int = 0
    weights: str = ""
    name: ClassVar[str] = "sparse_update"
    number: ClassVar[int] = 7

    def scheme_for(self, spec: BackboneSpec) -> Scheme:
        """The scheme of an architecture.

        Raises:
            ConfigurationError: there is none, or it names convolutions that are not there.
        """
        own = bool(self.biases or self.weights)
        if own and self.scheme:
            raise ConfigurationError(f"sparse_update: give the scheme {self.scheme}, or biases and weights, not both")
        scheme = Scheme(self.biases, parse_weights(self.weights)) if own else published_scheme(spec.name, self.scheme)
        most, counted = len(spec.convs), len(counted_convs(spec))
        if not (0 <= scheme.biases <= counted and all(0 <= i < most and 0 < r <= 1 for i, r in scheme.weights.items())):
            raise ConfigurationError(f"the scheme {scheme} does not fit the {counted} convolutions of {spec.name}")
        return scheme

    def plan(self, problem: Problem) -> UpdatePlan:
        return planned(problem.backbone, self.scheme_for(problem.backbone.spec))


def scheme_shares(spec: BackboneSpec, scheme: Scheme) -> dict[int, Share]:
    """How much of each convolution a scheme updates, whatever its weights are."""
    first = len(counted_convs(spec)) - scheme.biases
    shares = {c.index: Share(c.out_channels, 0) for c in spec.convs[first:] if scheme.biases}
    for index, part in scheme.weights.items():
        conv = spec.convs[index]
        count = max(1, round(part * conv.in_channels))
        shares[index] = Share(count, 1) if conv.depthwise else Share(conv.out_channels, count)
    return shares


def planned(backbone: Backbone, scheme: Scheme) -> UpdatePlan:
    """The plan that a scheme is for a backbone, whose weights say which input channels.

    The feature mix, which the published networks lack, is not counted; its biases are updated where any are.
    """
    spec = backbone.spec
    shares = sorted(scheme_shares(spec, scheme).items())
    return as_prescribed(spec, {i: _chosen(backbone, spec.convs[i], share) for i, share in shares})


def _chosen(backbone: Backbone, conv: ConvSpec, share: Share) -> Update:
    """The update of one convolution; a depthwise one's input channels are its output channels."""
    weight = backbone.weights[conv.index]
    if conv.depthwise and share.inputs:
        return Update(largest(weight.square().flatten(1).sum(1), share.outputs))
    if share.inputs == conv.in_channels:
        return Update(every_output(conv))
    return Update(every_output(conv), largest(weight.square().sum((0, 2, 3)), share.inputs))
