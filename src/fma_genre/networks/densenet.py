"""1D-CNN after Bian et al. 2019 (arXiv 1906.11620) with dense blocks (Huang et al. 2017, arXiv 1608.06993).

Bian et al. compare a plain 1D-CNN with a ResNet and a DenseNet. This project has not seen how theirs are built: the
number of layers per block and the growth are unknown. One dense block in place of each convolution of the plain
network, and the channels, layers and growth in related.yaml, are this project's choice, so results do not reproduce the
paper's. Two layers with a growth of 64 were chosen because they give a network of about the size of the plain one.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
from torch import Tensor, nn

from fma_genre.common.schema import Range
from fma_genre.learning.layers import Skeleton, SkeletonArguments, Width, convolution


@dataclass(frozen=True)
class Arguments(SkeletonArguments):
    layers: Annotated[int, Range(1, 100)]  # layers of each block
    growth: Width  # channels that each of these layers adds


class Network(Skeleton):
    def __init__(self, arguments: Arguments, *, bins: int, frames: int, classes: int) -> None:
        super().__init__(arguments, partial(_block, arguments), bins=bins, frames=frames, classes=classes)


class DenseLayers(nn.Module):
    """Layers that each read the block's input and the outputs of all layers before."""

    def __init__(self, arguments: Arguments, inputs: int) -> None:
        super().__init__()
        growth, kernel = arguments.growth, arguments.kernel
        widths = [inputs + layer * growth for layer in range(arguments.layers)]
        self.layers = nn.ModuleList(nn.Sequential(*convolution(width, growth, kernel), nn.ReLU()) for width in widths)

    def forward(self, x: Tensor) -> Tensor:
        """Compute (segments, inputs + layers · growth, frames) from (segments, inputs, frames)."""
        for layer in self.layers:
            new = layer(x)  # (segments, growth, frames)
            x = torch.cat([x, new], dim=1)  # growth more channels, the same number of frames
        return x


def _block(arguments: Arguments, inputs: int, outputs: int) -> list[nn.Module]:
    """(segments, inputs, frames) → (segments, outputs, frames). A kernel-1 convolution follows the dense layers."""
    joined = inputs + arguments.layers * arguments.growth
    return [DenseLayers(arguments, inputs), *convolution(joined, outputs, kernel=1), nn.ReLU()]
