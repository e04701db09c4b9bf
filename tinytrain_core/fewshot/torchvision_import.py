"""The import of torchvision beside any PyTorch.

torchvision's wheel carries operators built for CUDA. Beside a PyTorch for the CPU they do not load, and then the
import fails, as it registers the shapes of two that are not there. Data sets need neither of them.
"""

from functools import cache
from importlib import import_module
from types import ModuleType

import torch

from tinytrain_core.errors import ConfigurationError

NAMESPACE = "torchvision"
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@cache  # keeps the library alive, without which the declarations are withdrawn
def _declare_operators() -> torch.library.Library:
    """Declare, without code, those of the two operators that do not exist."""
    library = torch.library.Library(NAMESPACE, "FRAGMENT")
    for name in ("nms", "qnms"):
        if not hasattr(getattr(torch.ops, NAMESPACE), name):
            library.define(name + SIGNATURE)
    return library


def _import() -> ModuleType:
    try:
        return import_module("torchvision.datasets")
    except RuntimeError:  # declared any sooner, the real operators could not be loaded
        _declare_operators()
        return import_module("torchvision.datasets")


def torchvision_datasets() -> ModuleType:
    """The module `torchvision.datasets`.

    Raises:
        ConfigurationError: torchvision is not installed, or is not for this version of PyTorch.
    """
    try:
        return _import()
    except ImportError as error:
        raise ConfigurationError(f"torchvision is missing ({error}): pip install 'tinytrain-fleet[train]'") from None
    except RuntimeError as error:
        raise ConfigurationError(
            f"torchvision cannot be imported beside PyTorch {torch.__version__} ({error}); install the version that "
            "matches: pip install --upgrade torch torchvision"
        ) from None
