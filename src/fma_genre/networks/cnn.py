"""1D-CNN after Bian et al. 2019 (arXiv 1906.11620): blocks of one convolution, batch norm and ReLU.

This project has not seen the paper's numbers of channels; the numbers in params.yaml are its own choice.
"""

from functools import partial

from torch import nn

from fma_genre.learning.layers import Skeleton, SkeletonArguments, convolution


class Arguments(SkeletonArguments):
    pass


class Network(Skeleton):
    def __init__(self, arguments: Arguments, *, bins: int, frames: int, classes: int) -> None:
        super().__init__(arguments, partial(_block, arguments.kernel), bins=bins, frames=frames, classes=classes)


def _block(kernel: int, inputs: int, outputs: int) -> list[nn.Module]:
    """(segments, inputs, frames) → (segments, outputs, frames)."""
    return [*convolution(inputs, outputs, kernel), nn.ReLU()]
