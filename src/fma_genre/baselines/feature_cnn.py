"""1D-CNN over a vector of features, modelled on Falola and Akinola 2021.

This project knows the paper only at second hand: convolutional layers and one dense layer classify low-level features.
The rest is this project's choice. The standardised features are a signal with one channel, in the order of the features
file. Each block is a convolution with a kernel of 3, ReLU, max pooling by 2 and dropout. The dense layer is the output
layer. AdamW minimises the cross-entropy, and its learning rate falls along half a cosine to 0.

The network is small, so it always runs on the CPU, in one thread. A seed therefore always has the same result on the
same type of CPU, whatever the number of cores.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR

from fma_genre.common import progress
from fma_genre.common.errors import InputError
from fma_genre.common.params import Seed
from fma_genre.common.schema import Length, Range

Sample = tuple[np.ndarray, np.ndarray]  # features (tracks, features) and labels (tracks,)
KERNEL, POOL = 3, 2  # features
PART = 1000  # number of tracks that are predicted at a time, to bound the memory


@dataclass(frozen=True)
class Arguments:
    channels: Annotated[tuple[Annotated[int, Range(1, 2**16)], ...], Length(1, 16)]  # output channels of each block
    dropout: Annotated[float, Range(0, 0.95)]  # after each block
    epochs: Annotated[int, Range(1, 100_000)]
    batch_size: Annotated[int, Range(1, 2**16)]  # tracks
    lr: Annotated[float, Range(1e-9, 10)]
    weight_decay: Annotated[float, Range(0, 10)]
    seed: Seed  # of the first run
    runs: Annotated[int, Range(1, 100)]  # the stage fits one classifier for each run


class Network(nn.Module):
    """Blocks that halve the number of positions (258 → 129 → 64 in related.yaml), then the output layer."""

    def __init__(self, arguments: Arguments, *, features: int, classes: int) -> None:
        super().__init__()
        channels = list(arguments.channels)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv1d(inputs, outputs, KERNEL, padding=KERNEL // 2),
                    nn.ReLU(),
                    nn.MaxPool1d(POOL),
                    nn.Dropout(arguments.dropout),
                )
                for inputs, outputs in zip([1, *channels[:-1]], channels, strict=True)
            )
        )
        self.head = nn.Linear(channels[-1] * pooled_length(features, len(channels)), classes)

    def forward(self, features: Tensor) -> Tensor:
        """Compute logits (tracks, classes) from features (tracks, features)."""
        x = features.unsqueeze(1)  # (tracks, 1, features)
        x = self.blocks(x)  # (tracks, channels[-1], features // POOL^blocks)
        x = x.flatten(1)  # (tracks, channels[-1] · features // POOL^blocks)
        return self.head(x)


@dataclass(frozen=True)
class FeatureCnn:
    """A fitted network, with the methods of a scikit-learn classifier."""

    scaler: StandardScaler
    network: Network
    classes_: np.ndarray  # (classes,) the labels of the training tracks, in the order of the probabilities

    def predict(self, features: np.ndarray) -> np.ndarray:
        return self.classes_[self.predict_proba(features).argmax(axis=1)]

    @torch.inference_mode()
    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        parts = scaled(self.scaler, features).split(PART)
        with one_thread():
            return torch.cat([self.network.eval()(part).softmax(dim=1) for part in parts]).numpy()


def fit(arguments: Arguments, training: Sample, validation: Sample) -> tuple[FeatureCnn, Mapping[str, Any]]:
    """Train a network with the seed `arguments.seed` on the training tracks; the validation tracks are not used.

    Args:
        training, validation: features (tracks, features) and labels (tracks,).

    Returns:
        the classifier, which standardises the features itself, and its number of parameters as {"parameters": number}

    Raises:
        InputError: there are too few features for the pools, or the loss is not finite.
    """
    features, labels = training
    classes, targets = np.unique(labels, return_inverse=True)
    scaler = StandardScaler().fit(features)
    with one_thread(), torch.random.fork_rng(devices=[]):  # leaves the random numbers of the caller as they are
        torch.manual_seed(arguments.seed)
        network = Network(arguments, features=features.shape[1], classes=len(classes))
        train(network, scaled(scaler, features), torch.from_numpy(targets), arguments)
    parameters = sum(weights.numel() for weights in network.parameters())
    return FeatureCnn(scaler, network, classes), {"parameters": parameters}


def train(network: Network, features: Tensor, labels: Tensor, arguments: Arguments) -> None:
    """Train `network` in place. Random numbers come from PyTorch's global generator.

    Args:
        features: standardised features (tracks, features).
        labels: positions of the classes (tracks,).
    """
    optimiser = AdamW(network.parameters(), arguments.lr, weight_decay=arguments.weight_decay)
    batches_per_epoch = math.ceil(len(labels) / arguments.batch_size)  # the last one may be smaller
    schedule = CosineAnnealingLR(optimiser, arguments.epochs * batches_per_epoch)
    network.train()
    for epoch in progress.bar(range(1, arguments.epochs + 1), desc=f"seed{arguments.seed}", unit="epoch", leave=False):
        for batch in torch.randperm(len(labels)).split(arguments.batch_size):
            loss = cross_entropy(network(features[batch]), labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        if not loss.isfinite():
            raise InputError(f"lr: expected a finite loss, found {loss} in epoch {epoch} with lr {arguments.lr:g}")


def pooled_length(features: int, blocks: int) -> int:
    """Return the number of positions that are left after all pooling layers; raise InputError if it is 0."""
    length = features // POOL**blocks
    if length == 0:
        largest = features.bit_length() - 1
        expected = f"at most {largest} blocks for {features} features, each with a pool of {POOL}"
        raise InputError(f"channels: expected {expected}, found {blocks}")
    return length


def scaled(scaler: StandardScaler, features: np.ndarray) -> Tensor:
    """Standardise features (tracks, features), and convert them to float32."""
    return torch.from_numpy(scaler.transform(features).astype(np.float32))


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch compute in one thread within the block, since the order of sums depends on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
