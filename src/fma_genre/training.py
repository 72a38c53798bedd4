"""Training: one network, one seed. The data set is on the device; a batch is cut out of it there."""

import copy
import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy, nll_loss
from tqdm import tqdm

from fma_genre import InputError
from fma_genre.inference import predict
from fma_genre.segments import Clips, Normalisation, batches, standardise


@dataclass(frozen=True)
class Settings:
    """`train` of params.yaml, where they are explained."""

    seed: int
    runs: int
    epochs: int
    crops: int
    batch_size: int
    lr: float
    weight_decay: float
    label_smoothing: float


@dataclass(frozen=True)
class Epoch:
    """A point of the learning curve. Losses are mean cross-entropies in nats."""

    epoch: int
    loss: float  # of training segments
    validation_loss: float  # of validation tracks
    validation_accuracy: float


def train(
    model: nn.Module,
    training: Clips,
    validation: Clips,
    normalisation: Normalisation,
    settings: Settings,
    seed: int,
) -> list[Epoch]:
    """Trains `model` in place and leaves it with the weights of the epoch that was best on validation.

    The best epoch has the highest accuracy of tracks, and among those the lowest loss.

    Raises:
        InputError: the loss diverges.
    """
    generator = torch.Generator().manual_seed(seed)
    steps = settings.epochs * max(1, len(training.rows) * settings.crops // settings.batch_size)
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.lr, total_steps=steps)
    history: list[Epoch] = []
    best: tuple[float, float] | None = None
    weights = model.state_dict()
    for epoch in tqdm(range(1, settings.epochs + 1), f"seed {seed}", unit="epoch", disable=None, leave=False):
        loss = _train_epoch(model, training, normalisation, settings, optimiser, schedule, generator)
        if not math.isfinite(loss):
            raise InputError(
                f"train: the loss of seed {seed} is {loss} in epoch {epoch}, with lr {settings.lr:g}: lower it"
            )
        history.append(Epoch(epoch, loss, *_validate(model, validation, normalisation)))
        score = (history[-1].validation_accuracy, -history[-1].validation_loss)
        if best is None or score > best:
            best, weights = score, copy.deepcopy(model.state_dict())
    model.load_state_dict(weights)
    return history


def _train_epoch(
    model: nn.Module,
    training: Clips,
    normalisation: Normalisation,
    settings: Settings,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    generator: torch.Generator,
) -> float:
    """One pass over `crops` random segments of every track, in random order; the mean loss of a segment."""
    model.train()
    count = len(training.rows) * settings.crops
    order = (torch.randperm(count, generator=generator) // settings.crops).to(training.rows.device)
    total = torch.zeros((), device=training.rows.device)
    for tracks in batches(order, settings.batch_size):
        segments = training.crop(tracks, training.random_starts(tracks, generator))
        logits = model(standardise(segments, normalisation))
        loss = cross_entropy(logits, training.labels[tracks], label_smoothing=settings.label_smoothing)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        total += loss.detach() * len(tracks)
    return float(total) / count


def _validate(model: nn.Module, validation: Clips, normalisation: Normalisation) -> tuple[float, float]:
    """Loss and accuracy of whole tracks."""
    probabilities = predict(model, validation, normalisation).track_probabilities()
    labels = validation.labels.cpu()
    loss = nll_loss(probabilities.clamp(min=1e-9).log(), labels)
    return float(loss), float((probabilities.argmax(dim=1) == labels).double().mean())
