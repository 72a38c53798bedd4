"""Training: both networks can learn, runs repeat bit for bit, and small data sets go through."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.svm import LinearSVC
from torch import Tensor, nn

from fma_genre import InputError, models, params, svm, training
from fma_genre.device import make_deterministic
from fma_genre.inference import predict
from fma_genre.segments import Clips
from fma_genre.training import Epoch, Settings

PARAMS = params.load(Path(__file__).parents[1] / "params.yaml")
SEGMENT = 128
SETTINGS: dict[str, Any] = {
    "seed": 0,
    "runs": 1,
    "epochs": 2,
    "crops": 2,
    "batch_size": 8,
    "lr": 0.001,
    "weight_decay": 0.01,
    "label_smoothing": 0.0,
}
TINY: dict[str, dict[str, Any]] = {
    "cnn": {"channels": [4, 4], "pools": [4, 4], "kernel": 4, "dense": 8, "dropout": 0.5},
    "birnn": {"pool": 2, "embedding": 4, "hidden": 4, "dropout": 0.3},
}


class Linear(nn.Module):
    """A network in the least time: the mean frame, and a linear head."""

    def __init__(self, bins: int, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(bins, classes)

    def features(self, segments: Tensor) -> Tensor:
        return segments.mean(dim=1)

    def forward(self, segments: Tensor) -> Tensor:
        return self.head(self.features(segments))


def synthetic(labels: list[int], bins: int, frames: int = 160, seed: int = 0, noise: float = 40) -> Clips:
    """Tracks of noise around a spectrum of their class."""
    generator = np.random.default_rng(seed)
    spectra = np.random.default_rng(99).uniform(60, 200, (max(labels) + 1, 1, bins))
    levels = spectra[labels] + generator.normal(0, noise, (len(labels), frames, bins))
    stored = torch.from_numpy(levels.clip(0, 255).astype(np.uint8))
    return Clips(
        stored,
        rows=torch.arange(len(labels)),
        lengths=torch.full((len(labels),), frames),
        labels=torch.tensor(labels),
        classes=[str(label) for label in range(max(labels) + 1)],
        segment=SEGMENT,
    )


def run(
    name: str, data: Clips, *, validation: Clips | None = None, seed: int = 0, full: bool = False, **changed: Any
) -> tuple[nn.Module, list[Epoch]]:
    """A network (small unless `full`) made and trained as the train stage does."""
    make_deterministic(seed)
    bins, classes = data.levels.shape[2], int(data.labels.max()) + 1
    if name == "linear":
        model: nn.Module = Linear(bins, classes)
    else:
        arguments = params.architecture(PARAMS, name) if full else TINY[name]
        model = models.build(name, arguments, bins=bins, frames=SEGMENT, classes=classes)
    settings = Settings(**(SETTINGS | changed))
    history = training.train(model, data, validation or data, data.normalisation(), settings, seed)
    return model, history


def accuracy(model: nn.Module, data: Clips) -> float:
    predicted = predict(model, data, data.normalisation()).track_probabilities().argmax(dim=1)
    return float((predicted == data.labels).double().mean())


@pytest.mark.parametrize(("name", "bins"), [("cnn", 128), ("birnn", 512)])
def test_each_network_overfits_16_tracks(name: str, bins: int) -> None:
    """With nothing that tells the classes apart: all tracks are noise around one spectrum."""
    data = replace(synthetic([0] * 16, bins, frames=SEGMENT, noise=60), labels=torch.arange(16) % 4)
    model, history = run(name, data, full=True, epochs=12, crops=2, batch_size=16, lr=0.003)
    assert accuracy(model, data) == 1
    assert history[-1].loss < history[0].loss / 2


@pytest.mark.parametrize("name", TINY)
def test_same_seed_same_bits_other_seed_others(name: str) -> None:
    data = synthetic([0, 1] * 6, 32)
    weights: list[dict[str, Tensor]] = [run(name, data, seed=seed)[0].state_dict() for seed in (1, 1, 2)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert not any(torch.equal(weights[0][key], weights[2][key]) for key in weights[0] if key.startswith("head"))


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize(
    ("labels", "crops", "batch_size"),
    [([0, 1] * 4 + [0], 1, 8), ([0, 1, 0], 1, 64), ([0, 0, 0, 0, 1], 1, 2), ([0, 1], 1, 2), ([0, 1, 2], 1, 2)],
    ids=["one more than a batch", "less than a batch", "one track of a class", "one batch of two", "one left over"],
)
def test_small_data_sets_go_through(name: str, labels: list[int], crops: int, batch_size: int) -> None:
    model, history = run(name, synthetic(labels, 32), crops=crops, batch_size=batch_size)
    assert [epoch.epoch for epoch in history] == [1, 2]
    assert all(np.isfinite([epoch.loss, epoch.validation_loss]).all() for epoch in history)
    assert all(torch.isfinite(weights).all() for weights in model.state_dict().values())


def test_the_schedule_ends_with_the_last_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """One-cycle: from lr / 25 up to lr, and down to nearly nothing with the last of all steps."""
    rates: list[float] = []
    step = torch.optim.AdamW.step

    def note(optimiser: torch.optim.AdamW, *arguments: Any) -> Any:
        rates.append(optimiser.param_groups[0]["lr"])
        return step(optimiser, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", note)
    run("linear", synthetic([0, 1] * 11, 32), epochs=5, crops=3, batch_size=8, lr=0.01)
    assert len(rates) == 5 * (22 * 3 // 8)
    assert rates[0] == pytest.approx(0.01 / 25)
    assert max(rates) == pytest.approx(0.01, rel=0.01)
    assert rates[-1] < 1e-6


def test_the_best_epochs_weights_are_left_in_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The highest accuracy wins, of equals the lowest loss, of equals the first."""
    scores = iter([(0.9, 0.5), (0.7, 0.75), (0.6, 0.75), (0.6, 0.75), (0.1, 0.5)])
    states: list[dict[str, Tensor]] = []

    def validate(model: nn.Module, *_: Any) -> tuple[float, float]:
        states.append({key: value.clone() for key, value in model.state_dict().items()})
        return next(scores)

    monkeypatch.setattr(training, "_validate", validate)
    model, history = run("cnn", synthetic([0, 1] * 4, 32), epochs=5)
    assert [epoch.validation_loss for epoch in history] == [0.9, 0.7, 0.6, 0.6, 0.1]
    same = [all(torch.equal(model.state_dict()[key], state[key]) for key in state) for state in states]
    assert same == [False, False, True, False, False]


def test_learning_curve_is_what_the_network_scores_on_validation() -> None:
    data, validation = synthetic([0, 1, 2] * 4, 32), synthetic([0, 1, 2] * 3, 32, frames=400, seed=1)
    model, history = run("linear", data, validation=validation, epochs=1, lr=0.01)
    probabilities = predict(model, validation, data.normalisation()).track_probabilities()
    own = probabilities[torch.arange(9), validation.labels]
    assert history[0].validation_loss == pytest.approx(float(-own.log().mean()), rel=1e-5)
    right = probabilities.argmax(dim=1) == validation.labels
    assert history[0].validation_accuracy == pytest.approx(float(right.double().mean()))


def test_training_loss_is_the_mean_of_all_segments() -> None:
    """At a learning rate of next to nothing: that of the untrained network, in closed form."""
    data = synthetic([0, 1, 1, 0, 1], 32, frames=SEGMENT)
    model = Linear(32, 2)
    probabilities = predict(model, data, data.normalisation()).probabilities
    for smoothing in (0.0, 0.2):
        settings = Settings(**(SETTINGS | {"epochs": 1, "batch_size": 2, "lr": 1e-9, "label_smoothing": smoothing}))
        (epoch,) = training.train(model, data, data, data.normalisation(), settings, 0)
        target = torch.eye(2)[data.labels] * (1 - smoothing) + smoothing / 2
        assert epoch.loss == pytest.approx(float(-(target * probabilities.log()).sum(dim=1).mean()), rel=1e-4)


def test_label_smoothing_keeps_a_network_from_being_certain() -> None:
    data = synthetic([0, 1] * 8, 32)
    trained = [run("linear", data, epochs=60, lr=0.03, label_smoothing=smoothing)[0] for smoothing in (0.0, 0.4)]
    highest = [predict(model, data, data.normalisation()).probabilities.amax(dim=1).mean() for model in trained]
    certain, unsure = highest
    assert unsure < 0.9 < 0.97 < certain


# The SVM head. ----------------------------------------------------------------------------------------------------


def features(classes: int, tracks: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping clouds of 12 features with very different scales, one of them constant."""
    generator = np.random.default_rng(seed)
    labels = np.arange(tracks) % classes
    centres = np.random.default_rng(7).normal(size=(classes, 12))
    values = (centres[labels] + generator.normal(0, 1.5, (tracks, 12))) * 10.0 ** np.arange(-3, 3).repeat(2)
    values[:, 3] = 5
    return values.astype(np.float32), labels


def reference(training_set: tuple[np.ndarray, np.ndarray], values: np.ndarray, c: float) -> np.ndarray:
    """scikit-learn's predictions, from features standardised here."""
    mean, deviation = training_set[0].mean(axis=0), training_set[0].std(axis=0)
    scale = np.where(deviation > 0, deviation, 1)
    machine = LinearSVC(C=c, dual="auto", random_state=0, max_iter=5000)
    machine.fit((training_set[0] - mean) / scale, training_set[1])
    return machine.predict((values - mean) / scale)


@pytest.mark.parametrize(("classes", "c"), [*itertools.product([2, 3, 10], [0.001, 0.1])])
def test_svm_predicts_what_scikit_learn_does(classes: int, c: float) -> None:
    training_set, test = features(classes, 120, 0), features(classes, 300, 1)
    head = svm.fit(training_set, features(classes, 50, 2), [c])
    assert head.weights.shape == (12, classes)
    assert head.bias.shape == (classes,)
    predicted = head.predict(test[0])
    np.testing.assert_array_equal(predicted, reference(training_set, test[0], c))
    assert set(predicted) == set(range(classes))


def test_svm_chooses_c_on_validation_and_of_equals_the_smallest() -> None:
    training_set, validation = features(4, 60, 0), features(4, 400, 1)
    candidates = [10.0, 0.1, 1e-6, 0.001]
    accuracies = {c: (reference(training_set, validation[0], c) == validation[1]).mean() for c in candidates}
    best = min(c for c in candidates if accuracies[c] == max(accuracies.values()))
    assert len(set(accuracies.values())) > 1
    chosen = svm.fit(training_set, validation, candidates)
    np.testing.assert_array_equal(chosen.weights, svm.fit(training_set, validation, [best]).weights)
    alone = (training_set[0][:1], training_set[1][:1])
    equal = [c for c in sorted(candidates) if (reference(training_set, *alone[:1], c) == alone[1]).all()]
    of_equals = svm.fit(training_set, alone, candidates)
    np.testing.assert_array_equal(of_equals.weights, svm.fit(training_set, alone, equal[:1]).weights)


def test_a_loss_that_diverges_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([0.5, float("nan")])
    monkeypatch.setattr(training, "_train_epoch", lambda *_: next(losses))
    with pytest.raises(InputError, match=r"loss of seed 0 is nan in epoch 2, with lr 0\.001"):
        run("linear", synthetic([0, 1], bins=4))
