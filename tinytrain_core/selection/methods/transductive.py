"""`transductive`: every weight, from the labelled support and from the images to be classified, without their labels.

The procedure behind the paper's row is not public. This is transductive fine-tuning of Dhillon et al. (2020): the mean
entropy of the predictions for unlabelled images is added to the loss.
"""

from dataclasses import dataclass
from typing import ClassVar

from tinytrain_core.selection.methods.full_train import FullTrain


@dataclass(frozen=True)
class Transductive(FullTrain):
    """The paper's Transductive baseline."""

    name: ClassVar[str] = "transductive"
    number: ClassVar[int] = 6
    transductive: ClassVar[bool] = True
