"""Training: both networks can learn, runs repeat bit for bit, and a stopped training is resumed."""

import functools
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fma_genre.common.errors import InputError
from fma_genre.common.params import load
from fma_genre.learning import build, training
from fma_genre.learning import clips as clips_module
from fma_genre.learning.build import FrontEnd
from fma_genre.learning.clips import Clips
from fma_genre.learning.device import make_deterministic
from fma_genre.learning.inference import predict
from fma_genre.learning.training import Epoch
from project import PARAMS
from stores import make_clips

SEGMENT = 128
SETTINGS = replace(
    load(PARAMS).train,
    seed=0,
    runs=1,
    epochs=2,
    segment_frames=SEGMENT,
    crops_per_track=2,
    batch_size=8,
    lr=0.001,
    weight_decay=0.01,
    gradient_norm=1.0,
    label_smoothing=0.0,
    max_pitch_shift=0.0,
    mixup=0.0,
    precision="float32",
    cuda_graphs=False,
)
TINY: dict[str, dict[str, Any]] = {
    "cnn": {"channels": [4, 4], "pools": [4, 4], "kernel": 4, "dense": 8, "dropout": 0.5},
    "birnn": {"pool": 2, "embedding": 4, "hidden": 4, "dropout": 0.3},
}
LARGER: dict[str, dict[str, Any]] = {
    "cnn": {"channels": [32] * 5, "pools": [4, 4, 4, 2, 1], "kernel": 4, "dense": 64, "dropout": 0.1},
    "birnn": {"pool": 2, "embedding": 32, "hidden": 32, "dropout": 0.1},
}


class Linear(nn.Module):
    """A fast network: the mean frame and a linear head."""

    def __init__(self, bins: int, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(bins, classes)

    def features(self, segments: Tensor) -> Tensor:
        return segments.mean(dim=1)

    def forward(self, segments: Tensor) -> Tensor:
        return self.head(self.features(segments))


def synthetic(labels: list[int], bins: int, frames: int = 160, seed: int = 0, noise: float = 40) -> Clips:
    """Clips of noise around a spectrum for each class."""
    generator = np.random.default_rng(seed)
    spectra = np.random.default_rng(99).uniform(60, 200, (max(labels) + 1, 1, bins))
    levels = spectra[labels] + generator.normal(0, noise, (len(labels), frames, bins))
    return make_clips(torch.from_numpy(levels.clip(0, 255).astype(np.uint8)), SEGMENT, labels=labels)


def run(
    name: str,
    data: Clips,
    *,
    validation: Clips | None = None,
    seed: int = 0,
    sizes: dict[str, dict[str, Any]] = TINY,
    state: Path | None = None,
    **changed: Any,
) -> tuple[nn.Module, list[Epoch]]:
    """Build and train a network as the stage train does."""
    make_deterministic(seed)
    front_end = fit(data)
    bins, classes = data.levels.shape[2], int(data.labels.max()) + 1
    if name == "linear":
        model: nn.Module = Linear(bins, classes)
    else:
        model = build.build_network(name, sizes[name], "models.x", bins=bins, frames=SEGMENT, classes=classes)
    settings = replace(SETTINGS, **changed)
    with tempfile.TemporaryDirectory() as folder:
        state = state or Path(folder) / "seed0.pt"
        history = training.train(model, data, validation or data, front_end, settings, state)
    return model, history


def fit(data: Clips) -> FrontEnd:
    return build.fit_front_end("cepstral", {"cepstral_coefficients": 20}, data)


def accuracy(model: nn.Module, data: Clips) -> float:
    predicted = predict(model, data, fit(data)).track_probabilities().argmax(dim=1)
    return float((predicted == data.labels).double().mean())


@pytest.mark.parametrize(("name", "bins"), [("cnn", 128), ("birnn", 512)])
def test_each_network_overfits_16_tracks(name: str, bins: int) -> None:
    """Nothing distinguishes the classes: all tracks are noise around the same spectrum."""
    noise = synthetic([0] * 16, bins, frames=SEGMENT, noise=60)
    description = replace(noise.description, classes=("a", "b", "c", "d"))
    data = replace(noise, labels=torch.arange(16) % 4, description=description)
    model, history = run(name, data, sizes=LARGER, epochs=12, crops_per_track=2, batch_size=16, lr=0.006)
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
    ("labels", "crops_per_track", "batch_size"),
    [([0, 1] * 4 + [0], 1, 8), ([0, 1, 0], 1, 64), ([0, 0, 0, 0, 1], 1, 2), ([0, 1], 1, 2), ([0, 1, 2], 1, 2)],
    ids=["one more than a batch", "less than a batch", "one track of a class", "one batch of two", "one left over"],
)
def test_small_data_sets_go_through(name: str, labels: list[int], crops_per_track: int, batch_size: int) -> None:
    model, history = run(name, synthetic(labels, 32), crops_per_track=crops_per_track, batch_size=batch_size)
    assert [epoch.epoch for epoch in history] == [1, 2]
    assert all(np.isfinite([epoch.loss, epoch.validation_loss]).all() for epoch in history)
    assert all(torch.isfinite(weights).all() for weights in model.state_dict().values())


def test_the_learning_rate_rises_for_a_tenth_of_all_batches_and_falls_to_0(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = torch.optim.AdamW.step

    def note(optimiser: torch.optim.AdamW, *arguments: Any) -> Any:
        rates.append(optimiser.param_groups[0]["lr"])
        return step(optimiser, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", note)
    run("linear", synthetic([0, 1] * 10, 32), epochs=5, crops_per_track=2, batch_size=8, lr=0.01)
    assert len(rates) == 5 * (20 * 2 // 8)
    assert rates[:2] == pytest.approx([0.01 / 2.5, 0.01 / 1.25])
    assert rates[2:] == pytest.approx([0.005 * (1 + np.cos(np.pi * (step / 25 - 0.1) / 0.9)) for step in range(3, 26)])


@pytest.mark.parametrize(
    ("tracks", "crops_per_track", "sizes"), [(8, 1, [8]), (13, 3, [8] * 4), (40, 2, [8] * 10), (3, 2, [6])]
)
def test_all_batches_have_the_same_size(tracks: int, crops_per_track: int, sizes: list[int]) -> None:
    """Segments that do not fill a batch are left out, unless there is no other batch."""
    data = synthetic([0] * tracks, 32)
    settings = replace(SETTINGS, crops_per_track=crops_per_track, batch_size=8)
    assert [len(targets) for _, targets in training.prepare(data, fit(data), settings)] == sizes
    assert training.batches_per_epoch(settings, [tracks]) == (len(sizes), sizes[0])


@pytest.mark.parametrize(
    ("pools", "batches", "size"), [([20, 20, 19], 10 + 10 + 9, 6), ([7, 7, 6], 3 + 3 + 3, 6), ([2, 1], 2 + 1, 3)]
)
def test_batches_never_span_two_pools(
    pools: list[int], batches: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_clips(torch.zeros(sum(pools), SEGMENT, 4, dtype=torch.uint8), SEGMENT)
    settings = replace(SETTINGS, crops_per_track=3, batch_size=6)
    monkeypatch.setattr(clips_module, "POOL", max(pools) * SEGMENT * 4)
    assert data.pool_sizes() == pools
    assert training.batches_per_epoch(settings, data.pool_sizes()) == (batches, size)
    found = [len(targets) for _, targets in training.prepare(data, fit(data), settings)]
    assert found == [size] * batches


def test_an_epoch_leaves_out_other_tracks_each_time() -> None:
    """Each clip has a class of its own, so that the targets say which clips were used."""
    data = make_clips(torch.zeros(11, SEGMENT, 4, dtype=torch.uint8), SEGMENT)
    settings = replace(SETTINGS, crops_per_track=1, batch_size=4)
    used = [torch.cat([targets for _, targets in training.prepare(data, fit(data), settings)]) for _ in range(20)]
    assert all(targets.shape == (8, 11) for targets in used)
    assert all((targets.sum(dim=0) <= 1).all() for targets in used), "no track twice"
    assert sum(used).sum(dim=0).min() > 0, "no track is always left out"


@pytest.mark.parametrize("name", TINY)
def test_only_matrices_and_kernels_decay(name: str) -> None:
    """After a step without gradients, weights are smaller by the factor 1 − lr · weight_decay; all others are equal."""
    model = build.build_network(name, TINY[name], "models.x", bins=32, frames=SEGMENT, classes=3)
    for weights in model.parameters():
        weights.data.fill_(1)
        weights.grad = torch.zeros_like(weights)
    training.make_optimiser(model, replace(SETTINGS, lr=0.1, weight_decay=0.2)).step()
    for key, weights in model.named_parameters():
        layer = model.get_submodule(key.rpartition(".")[0])
        spared = isinstance(layer, nn.BatchNorm1d) or "bias" in key
        np.testing.assert_allclose(weights.detach(), 1 if spared else 0.98, rtol=1e-6, err_msg=key)


def test_learning_curve_is_what_the_network_scores_on_validation() -> None:
    data, validation = synthetic([0, 1, 2] * 4, 32), synthetic([0, 1, 2] * 3, 32, frames=400, seed=1)
    model, history = run("linear", data, validation=validation, epochs=1, lr=0.01)
    probabilities = predict(model, validation, fit(data)).track_probabilities()
    own = probabilities[torch.arange(9), validation.labels]
    assert history[0].validation_loss == pytest.approx(float(-own.log().mean()), rel=1e-5)
    right = probabilities.argmax(dim=1) == validation.labels
    assert history[0].validation_accuracy == pytest.approx(float(right.double().mean()))


def test_training_loss_and_accuracy_are_the_means_of_all_segments(tmp_path: Path) -> None:
    """With a tiny learning rate, they are those of the untrained network, which have a closed form."""
    data = replace(synthetic([0, 1, 1, 0, 1, 0], 32, frames=SEGMENT), labels=torch.tensor([0, 1, 1, 0, 0, 1]))
    model = Linear(32, 2)
    probabilities = predict(model, data, fit(data)).probabilities
    for smoothing in (0.0, 0.2):
        settings = replace(SETTINGS, epochs=1, batch_size=2, lr=1e-9, label_smoothing=smoothing)
        (epoch,) = training.train(model, data, data, fit(data), settings, tmp_path / f"{smoothing}.pt")
        target = torch.eye(2)[data.labels] * (1 - smoothing) + smoothing / 2
        assert epoch.loss == pytest.approx(float(-(target * probabilities.log()).sum(dim=1).mean()), rel=1e-4)
        right = probabilities.argmax(dim=1) == data.labels
        assert epoch.accuracy == pytest.approx(float(right.double().mean()))
        assert 0 < right.sum() < len(right)


def test_a_mixed_segment_counts_as_its_largest_genre() -> None:
    """The network predicts the bin with the highest level, here the genre in the first and in the third segment."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    network[1].weight.data.copy_(torch.eye(2))
    segments = torch.tensor([[[9.0, 0.0]], [[0.0, 9.0]], [[0.0, 9.0]]])
    targets = torch.tensor([[0.6, 0.4], [0.7, 0.3], [0.1, 0.9]])
    optimiser = training.make_optimiser(network, SETTINGS)
    _, accuracies = training.train_epoch(network, [(segments, targets)], SETTINGS, optimiser, [0.0])
    assert accuracies.tolist() == pytest.approx([2 / 3])


def test_label_smoothing_keeps_a_network_from_being_certain() -> None:
    data = synthetic([0, 1] * 8, 32)
    trained = [run("linear", data, epochs=60, lr=0.03, label_smoothing=smoothing)[0] for smoothing in (0.0, 0.4)]
    highest = [predict(model, data, fit(data)).probabilities.amax(dim=1).mean() for model in trained]
    certain, unsure = highest
    assert unsure < 0.9 < 0.97 < certain


# Failures. --------------------------------------------------------------------------------------------------------


def test_a_loss_that_diverges_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state after the last good epoch is kept. When the cause is fixed, training resumes there."""
    data, state = synthetic([0, 1], bins=4), tmp_path / "seed0.pt"
    train_epoch, epochs = training.train_epoch, list[int]()

    def diverging(*arguments: Any) -> tuple[Tensor, Tensor]:
        epochs.append(len(epochs) + 1)
        losses = torch.tensor([0.5, float("nan"), 0.5])
        return (losses, torch.zeros(3)) if len(epochs) == 2 else train_epoch(*arguments)

    monkeypatch.setattr(training, "train_epoch", diverging)
    with pytest.raises(
        InputError, match=r"^seed0: expected a finite loss, found nan in epoch 2, batch 2 of 3: lower lr, which is 0\."
    ):
        run("linear", data, state=state, epochs=3)
    _, history = run("linear", data, state=state, epochs=3)
    assert len(epochs) == 4, "the first epoch is not repeated"
    assert [epoch.epoch for epoch in history] == [1, 2, 3]


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


class StoppedError(Exception):
    pass


def stop_after(epochs: int) -> Callable[[list[Epoch]], None]:
    def watch(history: list[Epoch]) -> None:
        if len(history) == epochs:
            raise StoppedError

    return watch


@pytest.mark.parametrize("name", TINY)
def test_training_that_was_stopped_ends_with_the_same_bits(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after the first and after the third epoch, with random dropout, crops, shifts and mixtures."""
    data = synthetic([0, 1] * 6, 32)
    changed: dict[str, Any] = {"epochs": 5, "max_pitch_shift": 3.0, "mixup": 1.0}
    straight, history = run(name, data, **changed)
    state = tmp_path / "seed0.pt"
    train = training.train
    for seed, epochs in ((0, 1), (7, 3)):  # only the first seed matters
        monkeypatch.setattr(training, "train", functools.partial(train, on_epoch=stop_after(epochs)))
        with pytest.raises(StoppedError):
            run(name, data, seed=seed, state=state, **changed)
    monkeypatch.undo()
    resumed, again = run(name, data, seed=9, state=state, **changed)
    assert again == history
    assert len(history) == 5
    assert all(torch.equal(resumed.state_dict()[key], value) for key, value in straight.state_dict().items())


def test_a_finished_training_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, state = synthetic([0, 1] * 6, 32), tmp_path / "seed0.pt"
    first, history = run("cnn", data, state=state)
    monkeypatch.setattr(training, "train_epoch", lambda *_: pytest.fail("trained again"))
    second, again = run("cnn", data, seed=1, state=state)
    assert again == history
    assert all(torch.equal(second.state_dict()[key], value) for key, value in first.state_dict().items())


def test_a_torn_or_damaged_checkpoint_is_ignored(tmp_path: Path) -> None:
    """A checkpoint that was cut, that a power failure left incomplete, or a file that is not a checkpoint."""
    data, state = synthetic([0, 1] * 6, 32), tmp_path / "seed0.pt"
    _, fresh = run("linear", data, seed=1)
    _, history = run("linear", data, state=state)
    assert fresh != history
    whole = state.read_bytes()
    half = len(whole) // 2
    hole = whole[:half] + bytes(64) + whole[half + 64 :]
    assert hole != whole
    for content in (b"", b"half a fi", bytes(1000), whole[:1], whole[:half], whole[:-1], hole):
        state.write_bytes(content)
        assert run("linear", data, state=state, seed=1)[1] == fresh
    state.write_bytes(whole)
    assert run("linear", data, state=state, seed=1)[1] == history


def test_a_checkpoint_is_not_executed(tmp_path: Path) -> None:
    data, state = synthetic([0, 1] * 6, 32), tmp_path / "seed0.pt"
    torch.save(Payload(tmp_path / "executed"), state)
    assert run("linear", data, state=state)[1] == run("linear", data)[1]
    assert not (tmp_path / "executed").exists()
