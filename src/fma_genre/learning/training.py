"""Training of one network with one seed. Batches are cropped and augmented on the device that runs the network."""

import io
import math
import pickle
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, nll_loss
from torch.optim import AdamW, Optimizer

from fma_genre.common import progress
from fma_genre.common.errors import InputError
from fma_genre.common.files import write_bytes
from fma_genre.common.params import Train
from fma_genre.learning.acceleration import autocast, record_graphs
from fma_genre.learning.augmentation import augment
from fma_genre.learning.build import FrontEnd
from fma_genre.learning.clips import Clips
from fma_genre.learning.inference import predict

WARM_UP = 0.1  # share of all batches during which the learning rate rises
MAX_PREPARED = 2**29  # bytes of segments that a GPU prepares at once; preparing single batches would be slower
DAMAGED_ERRORS = (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error, pickle.UnpicklingError)
Batch = tuple[Tensor, Tensor]  # segments (segments, frames, bins), targets (segments, classes)


@dataclass(frozen=True)
class Epoch:
    """A point of the learning curve. Losses are mean cross-entropies in nats."""

    epoch: int  # counted from 1
    loss: float  # of augmented training segments, in training mode, i.e. with dropout
    accuracy: float  # of the same segments; the genre of a mixed segment is that with the largest share
    validation_loss: float  # of validation tracks
    validation_accuracy: float  # of validation tracks


def train(
    network: nn.Module,
    training: Clips,
    validation: Clips,
    front_end: FrontEnd,
    settings: Train,
    checkpoint: Path,
    on_epoch: Callable[[list[Epoch]], None] = lambda history: None,
    bar_position: int = 0,
) -> list[Epoch]:
    """Train `network` in place and return the learning curve. Random numbers come from PyTorch's global generator.

    Args:
        training, validation: the clips of the two splits, on the same device as `network`.
        front_end: fitted on the training clips.
        checkpoint: file that is rewritten after each epoch. If it exists, training resumes from it, and the
            result is bit for bit the same as without the interruption.
        on_epoch: called after each epoch with the learning curve so far.
        bar_position: line of the progress bar; each parallel run needs its own.

    Raises:
        InputError: a loss is not finite.
    """
    optimiser = make_optimiser(network, settings)
    history = _resume(checkpoint, network, optimiser)
    count, size = batches_per_epoch(settings, training.pool_sizes())
    if len(history) < settings.epochs:
        record_graphs(network, (size, settings.segment_frames, training.levels.shape[2]), settings)
    epochs = range(len(history) + 1, settings.epochs + 1)
    bar: dict[str, Any] = {"desc": checkpoint.stem, "position": bar_position, "unit": "epoch", "leave": False}

    for epoch in progress.bar(epochs, initial=len(history), total=settings.epochs, **bar):
        batches = prepare(training, front_end, settings)
        rates = learning_rates(settings, count, epoch)
        losses, accuracies = train_epoch(network, batches, settings, optimiser, rates)
        _check_finite(losses, epoch, checkpoint.stem, settings)

        training_scores = float(losses.mean()), float(accuracies.mean())
        history.append(Epoch(epoch, *training_scores, *_validate(network, validation, front_end)))
        _save(checkpoint, network, optimiser, history)
        on_epoch(history)
    return history


def make_optimiser(network: nn.Module, settings: Train) -> Optimizer:
    """AdamW, whose weight decay spares biases and the parameters of norms, i.e. all tensors with one dimension."""
    decaying = [weights for weights in network.parameters() if weights.dim() > 1]
    spared = [weights for weights in network.parameters() if weights.dim() <= 1]
    groups = [{"params": decaying, "weight_decay": settings.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    return AdamW(groups, settings.lr, fused=True)


def batches_per_epoch(settings: Train, pools: Sequence[int]) -> tuple[int, int]:
    """Return the number of batches per epoch, and the number of segments in every batch.

    All batches have `batch_size` segments. Segments of a pool that do not fill a last batch are left out; each epoch
    leaves out different segments. If the segments of a pool do not fill one batch, batches are smaller.

    Args:
        pools: number of tracks in each pool.
    """
    segments = [tracks * settings.crops_per_track for tracks in pools]
    size = min(settings.batch_size, *segments)
    return sum(count // size for count in segments), size


def prepare(training: Clips, front_end: FrontEnd, settings: Train) -> Iterator[Batch]:
    """Yield the batches of one epoch: `crops_per_track` augmented segments of every track.

    The order is random. If there are several pools, all segments of a track are near each other in this order.
    """
    _, size = batches_per_epoch(settings, training.pool_sizes())
    for pool in training.pools():
        yield from _prepare_pool(pool, front_end, settings, size)
        del pool  # frees its memory before the next but one is read


def _prepare_pool(training: Clips, front_end: FrontEnd, settings: Train, size: int) -> Iterator[Batch]:
    """Yield the batches of one pool, each with `size` segments."""
    device = training.labels.device
    tracks = torch.arange(len(training.labels), device=device).repeat(settings.crops_per_track)
    count = len(tracks) // size
    batches = tracks[torch.randperm(len(tracks), device=device)][: count * size].split(size)
    batch_bytes = 4 * size * training.segment_frames * training.levels.shape[2]
    group_size = 1 if device.type == "cpu" else max(1, MAX_PREPARED // batch_bytes)
    for first in range(0, count, group_size):
        group = batches[first : first + group_size]
        segments, targets = augment(
            training, group, front_end, max_pitch_shift=settings.max_pitch_shift, mixup=settings.mixup
        )
        yield from zip(segments.split(size), targets.split(size), strict=True)


def train_epoch(
    network: nn.Module, batches: Iterable[Batch], settings: Train, optimiser: Optimizer, rates: Iterable[float]
) -> tuple[Tensor, Tensor]:
    """Take one optimiser step for each batch.

    Args:
        rates: learning rate of each batch.

    Returns:
        mean loss (batches,) and accuracy (batches,) of the segments of each batch
    """
    network.train()
    losses, accuracies = [], []
    for (segments, targets), rate in zip(batches, rates, strict=True):
        for group in optimiser.param_groups:
            group["lr"] = rate
        with autocast(network, settings.precision, segments.device):
            logits = network(segments)
        loss = cross_entropy(logits.float(), targets, label_smoothing=settings.label_smoothing)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_norm)
        optimiser.step()
        losses.append(loss.detach())
        accuracies.append((logits.argmax(dim=1) == targets.argmax(dim=1)).float().mean())
    return torch.stack(losses), torch.stack(accuracies)


def learning_rates(settings: Train, count: int, epoch: int) -> Iterator[float]:
    """Yield the learning rate of each of the `count` batches in an epoch.

    Over the whole training, the rate rises linearly to `lr`, then falls along half a cosine to 0.

    Args:
        epoch: number of the epoch, from 1.
    """
    for batch in range(1, count + 1):
        elapsed = ((epoch - 1) * count + batch) / (settings.epochs * count)  # share of the whole training
        rise = elapsed / WARM_UP
        fall = (1 + math.cos(math.pi * (elapsed - WARM_UP) / (1 - WARM_UP))) / 2
        yield settings.lr * (rise if elapsed < WARM_UP else fall)


def _validate(network: nn.Module, validation: Clips, front_end: FrontEnd) -> tuple[float, float]:
    """Compute the loss and accuracy of the validation tracks. Probabilities are averaged over a track's segments."""
    probabilities = predict(network, validation, front_end).track_probabilities()
    labels = validation.labels.cpu()
    loss = nll_loss(probabilities.clamp(min=1e-9).log(), labels)
    return float(loss), float((probabilities.argmax(dim=1) == labels).double().mean())


def _check_finite(losses: Tensor, epoch: int, run: str, settings: Train) -> None:
    """Raise InputError for the first batch whose loss is not finite."""
    diverged = (~losses.isfinite()).nonzero()
    if len(diverged):
        batch = int(diverged[0])
        raise InputError(
            f"{run}: expected a finite loss, found {float(losses[batch])} in epoch {epoch}, batch {batch + 1} of"
            f" {len(losses)}: lower lr, which is {settings.lr:g}"
        )


def _save(path: Path, network: nn.Module, optimiser: Optimizer, history: list[Epoch]) -> None:
    """Write a checkpoint: everything that the next epoch depends on, and the learning curve."""
    state = {
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "random": torch.get_rng_state(),
        "history": [asdict(epoch) for epoch in history],
    }
    if torch.cuda.is_available():
        state["cuda_random"] = torch.cuda.get_rng_state(_device(network))
    content = io.BytesIO()  # if the disk is full, torch.save to a file does not raise OSError
    torch.save(state, content)
    write_bytes(path, content.getvalue())


def _resume(path: Path, network: nn.Module, optimiser: Optimizer) -> list[Epoch]:
    """Restore a checkpoint and return its learning curve. If there is no intact file, change nothing and return []."""
    state = _load(path, _device(network))
    if state is None:
        return []
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    torch.set_rng_state(state["random"].cpu())
    if "cuda_random" in state:
        torch.cuda.set_rng_state(state["cuda_random"].cpu(), _device(network))
    return [Epoch(**epoch) for epoch in state["history"]]


def _load(path: Path, device: torch.device) -> dict[str, Any] | None:
    """Read a checkpoint; return None if the file is missing or damaged."""
    try:
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()  # `torch.load` does not verify checksums
        return None if damaged else torch.load(path, map_location=device, weights_only=True)
    except DAMAGED_ERRORS:
        return None


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
