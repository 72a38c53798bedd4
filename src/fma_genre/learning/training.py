"""Training: one network, one seed. The data set is on the device; batches are cut out of it there."""

import io
import math
import pickle
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
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
from fma_genre.learning.augmentation import augment
from fma_genre.learning.build import FrontEnd
from fma_genre.learning.clips import Clips
from fma_genre.learning.inference import predict

WARM_UP = 0.1  # share of all batches in which the learning rate rises, before it falls
PREPARED = 2**29  # bytes of segments that a GPU prepares at once: kernels for each small batch would take longer
DAMAGED_ERRORS = (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error, pickle.UnpicklingError)
Batch = tuple[Tensor, Tensor]  # segments (segments, frames, bins), targets (segments, classes)


@dataclass(frozen=True)
class Epoch:
    """A point of the learning curve. Losses are mean cross-entropies in nats."""

    epoch: int
    loss: float  # of augmented training segments
    validation_loss: float  # of validation tracks
    validation_accuracy: float


def train(
    network: nn.Module,
    training: Clips,
    validation: Clips,
    front_end: FrontEnd,
    settings: Train,
    checkpoint: Path,
    watch: Callable[[list[Epoch]], None] = lambda history: None,
    position: int = 0,
) -> list[Epoch]:
    """Train `network` in place; random numbers are PyTorch's own.

    Args:
        checkpoint: file that holds what the next epoch depends on. If it exists, training resumes from it, and ends
            with the same bits as if it had never been stopped.
        watch: called after each epoch with the history so far.
        position: the line of the progress bar, for runs side by side.

    Raises:
        InputError: the loss diverges.
    """
    optimiser = AdamW(network.parameters(), settings.lr, weight_decay=settings.weight_decay, fused=True)
    history = _resume(checkpoint, network, optimiser)
    count = batches_per_epoch(settings, len(training.labels))
    epochs = range(len(history) + 1, settings.epochs + 1)
    bar: dict[str, Any] = {"desc": checkpoint.stem, "position": position, "unit": "epoch", "leave": False}

    for epoch in progress.bar(epochs, initial=len(history), total=settings.epochs, **bar):
        batches = prepare(training, front_end, settings)
        losses = train_epoch(network, batches, settings, optimiser, learning_rates(settings, count, epoch))
        _check_finite(losses, epoch, checkpoint.stem, settings)

        history.append(Epoch(epoch, float(losses.mean()), *_validate(network, validation, front_end)))
        _save(checkpoint, network, optimiser, history)
        watch(history)
    return history


def batches_per_epoch(settings: Train, tracks: int) -> int:
    """Batches of `batch_size`, but at most `batches`; beyond that, batches grow instead."""
    return max(1, min(settings.batches, tracks * settings.crops // settings.batch_size))


def prepare(training: Clips, front_end: FrontEnd, settings: Train) -> Iterator[Batch]:
    """The batches of an epoch: `crops` random segments of every track, in random order, augmented."""
    device, count = training.labels.device, batches_per_epoch(settings, len(training.labels))
    tracks = torch.arange(len(training.labels), device=device).repeat(settings.crops)
    order = tracks[torch.randperm(len(tracks), device=device)].tensor_split(count)
    size = 4 * len(order[0]) * training.segment_frames * training.levels.shape[2]  # bytes of a batch
    together = 1 if device.type == "cpu" else max(1, PREPARED // size)  # batches
    for first in range(0, count, together):
        group = order[first : first + together]
        segments, targets = augment(training, group, front_end, pitch=settings.pitch, mixup=settings.mixup)
        sizes = [len(batch) for batch in group]
        yield from zip(segments.split(sizes), targets.split(sizes), strict=True)


def train_epoch(
    network: nn.Module, batches: Iterable[Batch], settings: Train, optimiser: Optimizer, rates: Iterable[float]
) -> Tensor:
    """Take a step for each batch, with its learning rate; return their mean losses (batches,)."""
    network.train()
    losses = []
    for (segments, targets), rate in zip(batches, rates, strict=True):
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = cross_entropy(network(segments), targets, label_smoothing=settings.label_smoothing)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_norm)
        optimiser.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def learning_rates(settings: Train, count: int, epoch: int) -> Iterator[float]:
    """The rate of each of the `count` batches of epoch 1, 2, …

    Over all epochs: a linear rise to `lr`, then half a cosine down to 0.
    """
    for batch in range(1, count + 1):
        passed = ((epoch - 1) * count + batch) / (settings.epochs * count)
        falling = (1 + math.cos(math.pi * (passed - WARM_UP) / (1 - WARM_UP))) / 2
        yield settings.lr * (passed / WARM_UP if passed < WARM_UP else falling)


def _validate(network: nn.Module, validation: Clips, front_end: FrontEnd) -> tuple[float, float]:
    """Loss and accuracy of whole tracks."""
    probabilities = predict(network, validation, front_end).track_probabilities()
    labels = validation.labels.cpu()
    loss = nll_loss(probabilities.clamp(min=1e-9).log(), labels)
    return float(loss), float((probabilities.argmax(dim=1) == labels).double().mean())


def _check_finite(losses: Tensor, epoch: int, run: str, settings: Train) -> None:
    """Raise InputError for the first loss of an epoch that is not finite."""
    wrong = (~losses.isfinite()).nonzero()
    if len(wrong):
        batch = int(wrong[0])
        raise InputError(
            f"{run}: expected a finite loss, found {float(losses[batch])} in epoch {epoch}, batch {batch + 1} of"
            f" {len(losses)}, with lr {settings.lr:g}: lower it"
        )


def _save(path: Path, network: nn.Module, optimiser: Optimizer, history: list[Epoch]) -> None:
    """Write all that the next epoch depends on."""
    state = {
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "random": torch.get_rng_state(),
        "history": [asdict(epoch) for epoch in history],
    }
    if torch.cuda.is_available():
        state["cuda_random"] = torch.cuda.get_rng_state(_device(network))
    content = io.BytesIO()  # where the disk is full, torch would raise something else than an OSError
    torch.save(state, content)
    write_bytes(path, content.getvalue())


def _resume(path: Path, network: nn.Module, optimiser: Optimizer) -> list[Epoch]:
    """Restore what `_save` wrote; if the file is missing or damaged, change nothing and return an empty history."""
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
    """The content of a checkpoint, or None; `torch.load` does not compare checksums, `testzip` does."""
    try:
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()
        return None if damaged else torch.load(path, map_location=device, weights_only=True)
    except DAMAGED_ERRORS:
        return None


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
