"""What a fine-tuning step works on, as far as costs depend on it."""

from dataclasses import dataclass

from tinytrain_core.backbones.spec import BackboneSpec
from tinytrain_core.engine.features import kept_bytes
from tinytrain_core.engine.settings import PRECISION, VIEWS
from tinytrain_core.engine.update import Extent
from tinytrain_core.selection.cost import FLOAT_BYTES, backward_macs

HEAD_BYTES_PER_LOGIT = 40
PROTOTYPE_COPIES = 4  # tensors of the size of all prototypes while the loss goes backwards


@dataclass(frozen=True)
class Workload:
    """What a step works on.

    Attributes:
        support: images of the support set; a step has as many again that show a view of it.
        ways: classes.
        optimiser_copies: optimiser state, in copies of a trained value (Adam has 2).
        views: of the pool; 0 draws a fresh one for each step.
        precision: of kept features.
        unlabelled: images without labels that a step has besides.
        detached: whether steps take the prototypes as constants.
    """

    spec: BackboneSpec
    support: int
    ways: int
    optimiser_copies: int = 2
    views: int = VIEWS
    precision: str = PRECISION
    unlabelled: int = 0
    detached: bool = False

    @property
    def embedding_bytes(self) -> int:
        """The embeddings of the support."""
        return FLOAT_BYTES * self.support * self.spec.feature_dim

    @property
    def step_images(self) -> int:
        """All images of a step."""
        return 2 * self.support + self.unlabelled

    @property
    def taped_images(self) -> int:
        """The images of a step that go backwards."""
        return self.step_images - (self.support if self.detached else 0)

    def backward_macs(self, extent: Extent) -> int:
        """Backward MACs of one step and image, on average over the images of a step."""
        return backward_macs(self.spec, extent) * self.taped_images // self.step_images

    @property
    def step_embedding_bytes(self) -> int:
        """The embeddings of all images of a step."""
        return FLOAT_BYTES * self.step_images * self.spec.feature_dim

    def kept(self, at: int, copies: int) -> int:
        """Bytes of `copies` supports' features at the input of convolution `at`, in memory or in a file."""
        return kept_bytes(copies * self.support, self.spec.convs[at].in_elements, self.precision)

    def head_bytes(self) -> int:
        """Transients of the loss and its gradients by the embeddings."""
        prototypes = FLOAT_BYTES * self.ways * self.spec.feature_dim
        return PROTOTYPE_COPIES * prototypes + HEAD_BYTES_PER_LOGIT * (self.support + self.unlabelled) * self.ways
