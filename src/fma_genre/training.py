"""Training: one network, one seed. The data set is on the device; batches are cut out of it there."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, nll_loss
from torch.optim import AdamW, Optimizer

from fma_genre import InputError, progress, resume
from fma_genre.augmentation import augment
from fma_genre.inference import predict
from fma_genre.segments import Clips, Normalisation

WARM_UP = 0.1  # of all batches: the learning rate rises, before it falls
Batch = tuple[Tensor, Tensor]  # segments (segments, frames, bins), targets (segments, classes)
PREPARED = 2**29  # bytes of segments that a GPU prepares at a time: kernels for each small batch would take longer


@dataclass(frozen=True)
class Settings:
    """`train` of params.yaml, where they are explained."""

    seed: int
    runs: int
    epochs: int
    crops: int
    batch_size: int
    batches: int
    lr: float
    weight_decay: float
    gradient_norm: float
    label_smoothing: float
    pitch: float
    mixup: float
    coefficients: int

    def batches_of_epoch(self, tracks: int) -> int:
        """As many as there are batches of `batch_size`, but at most `batches`, of larger ones."""
        return max(1, min(self.batches, tracks * self.crops // self.batch_size))


@dataclass(frozen=True)
class Epoch:
    """A point of the learning curve. Losses are mean cross-entropies in nats."""

    epoch: int
    loss: float  # of training segments, as they are augmented
    validation_loss: float  # of validation tracks
    validation_accuracy: float


def train(
    model: nn.Module,
    training: Clips,
    validation: Clips,
    normalisation: Normalisation,
    settings: Settings,
    state: Path,
    watch: Callable[[list[Epoch]], None] = lambda history: None,
    position: int = 0,
) -> list[Epoch]:
    """Trains `model` in place; random numbers are PyTorch's own.

    Args:
        state: the file that holds what the next epoch depends on. If there is one, training goes on from it, and ends
            with the same bits as if it had never been stopped.
        watch: is called after each epoch.
        position: the line of the progress bar, for runs side by side.

    Raises:
        InputError: the loss diverges.
    """
    count = settings.batches_of_epoch(len(training.labels))
    optimiser = AdamW(model.parameters(), settings.lr, weight_decay=settings.weight_decay, fused=True)
    history = [Epoch(**epoch) for epoch in resume.load(state, model, optimiser)]
    epochs = range(len(history) + 1, settings.epochs + 1)
    shown: dict[str, Any] = {"desc": state.stem, "position": position, "unit": "epoch", "leave": False}
    for epoch in progress.bar(epochs, initial=len(history), total=settings.epochs, **shown):
        batches = prepare(training, normalisation, settings)
        losses = train_epoch(model, batches, settings, optimiser, learning_rates(settings, count, epoch))
        _check(losses, epoch, state.stem, settings)
        history.append(Epoch(epoch, float(losses.mean()), *_validate(model, validation, normalisation)))
        resume.save(state, model, optimiser, [asdict(epoch) for epoch in history])
        watch(history)
    return history


def prepare(training: Clips, normalisation: Normalisation, settings: Settings) -> Iterator[Batch]:
    """The batches of an epoch: `crops` random segments of every track, in random order, augmented."""
    device, count = training.labels.device, settings.batches_of_epoch(len(training.labels))
    tracks = torch.arange(len(training.labels), device=device).repeat(settings.crops)
    order = tracks[torch.randperm(len(tracks), device=device)].tensor_split(count)
    size = 4 * len(order[0]) * training.segment * training.levels.shape[2]  # bytes of a batch
    together = 1 if device.type == "cpu" else max(1, PREPARED // size)  # batches
    for first in range(0, count, together):
        group = order[first : first + together]
        segments, targets = augment(training, group, normalisation, pitch=settings.pitch, mixup=settings.mixup)
        sizes = [len(batch) for batch in group]
        yield from zip(segments.split(sizes), targets.split(sizes), strict=True)


def train_epoch(
    model: nn.Module, batches: Iterable[Batch], settings: Settings, optimiser: Optimizer, rates: Iterable[float]
) -> Tensor:
    """A step for each of some batches, with its learning rate; their mean losses (batches,)."""
    model.train()
    losses = []
    for (segments, targets), rate in zip(batches, rates, strict=True):
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = cross_entropy(model(segments), targets, label_smoothing=settings.label_smoothing)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_norm)
        optimiser.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def learning_rates(settings: Settings, count: int, epoch: int) -> Iterator[float]:
    """For the `count` batches of epoch 1, 2, …: over all epochs a linear rise to `lr`, then half a cosine down to 0."""
    for batch in range(1, count + 1):
        passed = ((epoch - 1) * count + batch) / (settings.epochs * count)
        falling = (1 + math.cos(math.pi * (passed - WARM_UP) / (1 - WARM_UP))) / 2
        yield settings.lr * (passed / WARM_UP if passed < WARM_UP else falling)


def _check(losses: Tensor, epoch: int, run: str, settings: Settings) -> None:
    """Raises InputError for the first loss of an epoch that is not finite."""
    wrong = (~losses.isfinite()).nonzero()
    if len(wrong):
        batch = int(wrong[0])
        raise InputError(
            f"{run}: the loss is {float(losses[batch])} in epoch {epoch}, batch {batch + 1} of {len(losses)},"
            f" with train.lr {settings.lr:g}: lower it"
        )


def _validate(model: nn.Module, validation: Clips, normalisation: Normalisation) -> tuple[float, float]:
    """Loss and accuracy of whole tracks."""
    probabilities = predict(model, validation, normalisation).track_probabilities()
    labels = validation.labels.cpu()
    loss = nll_loss(probabilities.clamp(min=1e-9).log(), labels)
    return float(loss), float((probabilities.argmax(dim=1) == labels).double().mean())
