"""1D-CNN after Bian et al. 2019 (arXiv 1906.11620) with residual blocks (He et al. 2016, arXiv 1512.03385).

Bian et al. compare a plain 1D-CNN with a ResNet and a DenseNet. This project has not seen how theirs are built. One
residual block in place of each convolution of the plain network, and the numbers of channels in related.yaml, are this
project's choice, so results do not reproduce the paper's.
"""

from functools import partial

from torch import Tensor, nn

from fma_genre.learning.layers import Skeleton, SkeletonArguments, convolution


class Arguments(SkeletonArguments):
    pass


class Network(Skeleton):
    def __init__(self, arguments: Arguments, *, bins: int, frames: int, classes: int) -> None:
        super().__init__(arguments, partial(_block, arguments.kernel), bins=bins, frames=frames, classes=classes)


class ResidualSum(nn.Module):
    """Sum of a convolutional branch and a shortcut, which is the identity if the number of channels stays the same."""

    def __init__(self, kernel: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *convolution(inputs, outputs, kernel),
            nn.ReLU(),
            *convolution(outputs, outputs, kernel),
        )
        self.shortcut = nn.Identity() if inputs == outputs else nn.Sequential(*convolution(inputs, outputs, kernel=1))

    def forward(self, x: Tensor) -> Tensor:
        """Compute (segments, outputs, frames) from (segments, inputs, frames)."""
        shortcut = self.shortcut(x)  # (segments, outputs, frames)
        return self.branch(x) + shortcut  # the same shape


def _block(kernel: int, inputs: int, outputs: int) -> list[nn.Module]:
    """(segments, inputs, frames) → (segments, outputs, frames)."""
    return [ResidualSum(kernel, inputs, outputs), nn.ReLU()]
