"""Features of excerpts compared with librosa, the 1D-CNN over features, and its runs in the stage."""

import importlib
import io
import json
import zipfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import scipy.fft
import torch
from torch import Tensor, nn

from fma_genre import store
from fma_genre.baselines import excerpts, feature_cnn
from fma_genre.baselines.feature_cnn import Arguments, FeatureCnn, Network
from fma_genre.common import schema
from fma_genre.common.errors import InputError
from fma_genre.common.params import Baseline, Params, load
from fma_genre.features.build import describe
from fma_genre.features.levels import quantised_levels
from fma_genre.features.representations import mel, stft
from fma_genre.results import predictions
from fma_genre.store import dequantise
from project import PARAMS
from real import REAL, needs_real
from stores import describe as describe_bins
from stores import make_index, write_store

RATE, HOP, FLOOR = 22050, 512, 100.0  # Hz, samples, dB
COMMON: dict[str, Any] = {"sample_rate": RATE, "hop": HOP, "floor_db": FLOOR}
MEL = mel.Representation(mel.Arguments(n_fft=2048, bands=128), **COMMON)
STFT = stft.Representation(stft.Arguments(n_fft=1024), **COMMON)
DESCRIPTION = describe_bins(STFT.frequencies(), n_fft=1024, **COMMON)
PER_EXCERPT = 2 * (20 + 12 + 4 + 7)  # means and deviations with 20 MFCCs

# Features of frames. ----------------------------------------------------------------------------------------------


def features_of(samples: np.ndarray) -> np.ndarray:
    """Features (features, frames) of mel and STFT levels quantised to 8 bits."""
    bands, bins = (dequantise(quantised_levels(kind.power(samples), FLOOR), FLOOR) for kind in (MEL, STFT))
    return excerpts.frame_features(bands, bins, DESCRIPTION, mfccs=20)


def of_librosa(samples: np.ndarray) -> list[np.ndarray]:
    """The seven features of the same spectrograms, computed by librosa without quantisation."""
    power = librosa.feature.melspectrogram(y=samples, sr=RATE, hop_length=HOP)
    levels = librosa.power_to_db(power, ref=np.max, top_db=FLOOR, amin=1e-20)
    amplitude = np.abs(librosa.stft(samples, n_fft=1024, hop_length=HOP))
    amplitude[0] = 0  # the 0 Hz bin, which is not stored
    amplitude = np.maximum(amplitude / amplitude.max(), 10 ** (-FLOOR / 20))
    smooth = amplitude.copy()
    smooth[0] = amplitude[1]  # gets no peak or valley
    amplitude[0] = 0
    return [
        librosa.feature.mfcc(S=levels),
        librosa.feature.chroma_stft(S=amplitude**2, sr=RATE, tuning=0.0),
        librosa.feature.spectral_centroid(S=amplitude, sr=RATE),
        librosa.feature.spectral_bandwidth(S=amplitude, sr=RATE),
        librosa.feature.spectral_rolloff(S=amplitude, sr=RATE),
        librosa.feature.spectral_flatness(S=amplitude[1:]),
        librosa.feature.spectral_contrast(S=smooth, sr=RATE),
    ]


def assert_features_are_librosas(samples: np.ndarray) -> None:
    """Check equality within the effect of half a quantisation step: 0.2 dB, or 4.6 % of the power.

    A small change of the levels can move the roll-off over several bins whose levels are low.
    """
    found, expected = features_of(samples), of_librosa(samples)
    tolerances = [0.6, 0.05, 30, 15, 8 * RATE / 1024, 0.005, 0.21]  # dB, 1, Hz, Hz, Hz, 1, dB
    parts = np.split(found, np.cumsum([len(feature) for feature in expected])[:-1])
    assert [len(part) for part in parts] == [20, 12, 1, 1, 1, 1, 7]
    for part, feature, tolerance in zip(parts, expected, tolerances, strict=True):
        np.testing.assert_allclose(part, feature, rtol=0, atol=tolerance)
    assert np.abs(parts[4] - expected[4]).mean() < RATE / 1024, "a bin"


def test_features_are_librosas_of_the_audio() -> None:
    time = np.arange(3 * RATE) / RATE
    noise = np.random.default_rng(0).normal(size=len(time)) * np.exp(-4 * (time % 0.5))
    assert_features_are_librosas((noise / 10 + librosa.chirp(fmin=100, fmax=8000, duration=3)).astype(np.float32))


@needs_real
@pytest.mark.parametrize("file", ["instruments/fma_instruments.zip", "cc_music/fma_ccmusic.zip"])
def test_features_are_librosas_of_real_clips(file: str) -> None:
    with zipfile.ZipFile(REAL / file) as archive:
        clips = [archive.read(name) for name in archive.namelist() if name.endswith(".mp3")]
    for clip in clips[:: len(clips) // 3]:
        decoded, _ = librosa.load(io.BytesIO(clip), sr=RATE, duration=3)
        assert_features_are_librosas(decoded)


def test_a_tone_has_its_pitch_its_frequency_and_a_narrow_band() -> None:
    tone = librosa.tone(440 * 2**2.25, sr=RATE, duration=1).astype(np.float32)  # C7
    features = features_of(tone)[:, 4:-4]
    assert (features[20:32].argmax(axis=0) == 0).all(), "pitch classes begin at C"
    np.testing.assert_allclose(features[[32, 34]], 2093, atol=RATE / 1024)  # centroid and roll-off
    assert (features[33] < 300).all()  # Hz; wide noise has thousands
    assert (features[35] < 0.001).all()


@pytest.mark.parametrize("n_fft", [16, 17, 100, 4096])
@pytest.mark.parametrize("rate", [4000, 12800, 192000])
@pytest.mark.filterwarnings("error")
def test_any_sample_rate_and_number_of_bins_has_features(rate: int, n_fft: int) -> None:
    levels = -100 * np.random.default_rng(0).random((3, n_fft // 2), np.float32)
    frequencies = librosa.fft_frequencies(sr=rate, n_fft=n_fft)[1:]
    description = describe_bins(frequencies, sample_rate=rate, n_fft=n_fft)
    found = excerpts.frame_features(levels, levels, description, mfccs=5)
    assert np.isfinite(found).all()
    assert 5 + 12 + 4 + 2 <= len(found) <= 5 + 12 + 4 + 7
    assert found[5:17].max(axis=0) == pytest.approx(1), "a pitch class is the strongest"


@pytest.mark.parametrize("n_fft", [100, 101])
def test_chroma_filters_are_those_of_the_window(n_fft: int) -> None:
    """The number of bins does not tell an odd number of samples from an even one."""
    levels = -100 * np.random.default_rng(0).random((3, n_fft // 2), np.float32)
    frequencies = librosa.fft_frequencies(sr=8000, n_fft=n_fft)[1:]
    description = describe_bins(frequencies, sample_rate=8000, n_fft=n_fft)
    found = excerpts.frame_features(levels, levels, description, mfccs=5)[5:17]
    chroma = librosa.filters.chroma(sr=8000, n_fft=n_fft)[:, 1:] @ 10 ** (levels.T / 10)
    np.testing.assert_allclose(found, chroma / chroma.max(axis=0), rtol=1e-4)


# Excerpts. --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "starts", "length"),
    [
        (1, [0, 0, 0], 1),
        (2, [0, 0, 1], 1),
        (3, [0, 1, 2], 1),
        (4, [0, 1, 2], 2),
        (5, [0, 1, 3], 2),
        (9, [0, 3, 6], 3),
        (1293, [0, 431, 862], 431),  # 30 s with 325 samples between frames at 14 kHz
        (2600, [0, 1084, 2169], 431),  # a minute
    ],
)
def test_excerpts_are_the_beginning_the_middle_and_the_end(frames: int, starts: list[int], length: int) -> None:
    description = describe_bins([100.0], sample_rate=14000, hop=325)
    found = excerpts.excerpt_frames(frames, description)
    assert found.tolist() == [list(range(start, start + length)) for start in starts]


@pytest.mark.parametrize("frames", range(1, 40))
def test_excerpts_of_a_short_clip_cover_it(frames: int) -> None:
    assert set(excerpts.excerpt_frames(frames, DESCRIPTION).flat) == set(range(frames))


def test_an_excerpt_has_at_least_a_frame() -> None:
    """The hop may be longer than 10 s."""
    description = describe_bins([100.0], sample_rate=4000, hop=2**20)
    assert excerpts.excerpt_frames(9, description).tolist() == [[0], [4], [8]]


def test_statistics_are_those_of_each_excerpt() -> None:
    series = np.array([[1, 3, 5, 5, 0, 4], [0, 0, -1, 1, 10, 14]], np.float32)
    beginning, middle, end = [2, 0, 1, 0], [5, 0, 0, 1], [2, 12, 2, 2]  # means, then deviations
    np.testing.assert_allclose(excerpts.statistics(series), beginning + middle + end, atol=1e-12)


# Tracks of a store. -----------------------------------------------------------------------------------------------

GENRES = ["Folk", "Rock"] * 6
SPLITS = ["training"] * 4 + ["validation"] * 4 + ["test"] * 4
FRAMES = [9, 4, 1, 9, 2, 9, 0, 9, 9, 9, 9, 9]
CNN: dict[str, Any] = {
    "channels": [4, 8],
    "dropout": 0.1,
    "epochs": 3,
    "batch_size": 3,
    "lr": 0.01,
    "weight_decay": 0.01,
    "seed": 5,
    "runs": 3,
}


@pytest.fixture
def params() -> Params:
    loaded = load(PARAMS)
    section = Baseline(features="excerpts", classifier="feature_cnn", arguments={"mfcc": 20} | CNN)
    return replace(loaded, baselines={"falola": section})


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: Params) -> Path:
    """Stores with random levels of twelve tracks in the current folder. One is left out, and one is silent."""
    monkeypatch.chdir(tmp_path)
    index = make_index(GENRES, SPLITS, FRAMES)
    generator = np.random.default_rng(0)
    for name in ("mel", "stft"):
        description = describe(name, params.spectrograms, "demo", True, ["Folk", "Rock"])
        levels = generator.integers(0, 256, (12, 9, len(description.frequencies)), np.uint8)
        levels[3] = 0
        write_store(tmp_path / "data", levels, index, description)
    return tmp_path / "data"


def opened() -> dict[str, store.Store]:
    return {name: store.open_store(name) for name in excerpts.REPRESENTATIONS}


@pytest.mark.filterwarnings("error")
def test_a_track_has_the_statistics_of_the_frames_that_its_clip_fills(data: Path) -> None:
    found = excerpts.features(excerpts.Arguments(mfcc=20), opened())
    assert found.shape == (11, 3 * PER_EXCERPT), "one row for each used track"
    assert found.dtype == np.float64
    levels = np.load(data / "mel/levels.npy")
    for place, row, parts in ((1, 1, ([0, 1], [1, 2], [2, 3])), (10, 11, ([0, 1, 2], [3, 4, 5], [6, 7, 8]))):
        coefficients = scipy.fft.dct((levels[row] / 255 - 1) * 100, norm="ortho")[:, :20]
        for vector, frames in zip(found[place].reshape(3, 2, -1), parts, strict=True):
            np.testing.assert_allclose(vector[0, :20], coefficients[frames].mean(axis=0), rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(vector[1, :20], coefficients[frames].std(axis=0), rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("data")
@pytest.mark.filterwarnings("error")
def test_silent_and_short_clips_have_features() -> None:
    found = excerpts.features(excerpts.Arguments(mfcc=20), opened()).reshape(11, 3, 2, -1)
    assert np.isfinite(found).all()
    silent, single_frame = found[3], found[2]
    for clip in (silent, single_frame):
        means, deviations = clip.swapaxes(0, 1)
        rounding = 1e-5 * np.maximum(1, np.abs(means))  # on some processors, equal frames differ by float32's rounding
        assert (deviations <= rounding).all()
        assert (np.abs(means - means[0]) <= rounding).all()
    assert silent[0, 0, 35] == pytest.approx(1, abs=1e-5), "the spectrum of silence is flat"
    assert not silent[0, 0, 36:].any(), "and without contrast"


@pytest.mark.usefixtures("data")
def test_the_number_of_threads_changes_no_feature(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for workers in ("1", "2"):
        monkeypatch.setenv("FMA_WORKERS", workers)
        found.append(excerpts.features(excerpts.Arguments(mfcc=20), opened()))
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.usefixtures("data")
def test_there_are_at_most_as_many_coefficients_as_bands() -> None:
    excerpts.check(excerpts.Arguments(mfcc=128), opened(), "baselines.falola")
    with pytest.raises(InputError, match=r"^baselines\.falola\.mfcc: expected at most 128 \(.*\), found 129$"):
        excerpts.check(excerpts.Arguments(mfcc=129), opened(), "baselines.falola")


# The network. -----------------------------------------------------------------------------------------------------


def arguments(**changed: Any) -> Arguments:
    return schema.read(Arguments, CNN | {"channels": [32, 64]} | changed, "")


def network(features: int = 258, classes: int = 16, **changed: Any) -> Network:
    return Network(arguments(**changed), features=features, classes=classes)


@pytest.mark.parametrize("classes", [4, 16])
def test_shapes_at_every_layer(classes: int) -> None:
    model, shapes = network(classes=classes), {}
    for name, module in model.named_modules():

        def note(module: nn.Module, inputs: Any, output: Tensor, name: str = name) -> None:
            shapes[name] = [tuple(inputs[0].shape), tuple(output.shape)]

        module.register_forward_hook(note)
    model(torch.zeros(3, 258))
    assert shapes == {
        "blocks.0.0": [(3, 1, 258), (3, 32, 258)],
        "blocks.0.1": [(3, 32, 258), (3, 32, 258)],
        "blocks.0.2": [(3, 32, 258), (3, 32, 129)],
        "blocks.0.3": [(3, 32, 129), (3, 32, 129)],
        "blocks.0": [(3, 1, 258), (3, 32, 129)],
        "blocks.1.0": [(3, 32, 129), (3, 64, 129)],
        "blocks.1.1": [(3, 64, 129), (3, 64, 129)],
        "blocks.1.2": [(3, 64, 129), (3, 64, 64)],
        "blocks.1.3": [(3, 64, 64), (3, 64, 64)],
        "blocks.1": [(3, 32, 129), (3, 64, 64)],
        "blocks": [(3, 1, 258), (3, 64, 64)],
        "head": [(3, 64 * 64), (3, classes)],
        "": [(3, 258), (3, classes)],
    }


@pytest.mark.parametrize("channels", [[32, 64], [8, 16, 32], [5]])
@pytest.mark.parametrize("features", [258, 63])
def test_size_in_closed_form(channels: list[int], features: int) -> None:
    convolutions = sum(3 * inputs * outputs + outputs for inputs, outputs in pairwise([1, *channels]))
    dense = channels[-1] * (features // 2 ** len(channels)) * 16 + 16
    built = network(features, channels=channels)
    assert sum(weights.numel() for weights in built.parameters()) == convolutions + dense
    assert (features, channels) != (258, [32, 64]) or convolutions + dense == 71_888


def test_logits_by_hand() -> None:
    """One block with two channels over five features."""
    model = network(features=5, classes=2, channels=[2]).eval()
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    padded = nn.functional.pad(x, (1, 1))
    weights, bias = model.blocks[0][0].weight[:, 0], model.blocks[0][0].bias  # (2, 3) and (2,)
    convolved = torch.stack([padded[:, start : start + 3] @ weights.T + bias for start in range(5)], dim=2).relu()
    pooled = torch.stack([convolved[:, :, :2].amax(dim=2), convolved[:, :, 2:4].amax(dim=2)], dim=2)  # drops the fifth
    torch.testing.assert_close(model(x), pooled.flatten(1) @ model.head.weight.T + model.head.bias)


def test_dropout_follows_each_block() -> None:
    model = network(dropout=0.25).train()
    for block in model.blocks:
        assert (block[3](torch.ones(10_000)) == 0).float().mean() == pytest.approx(0.25, abs=0.03)


# The classifier. --------------------------------------------------------------------------------------------------

Sample = tuple[np.ndarray, np.ndarray]
TINY: dict[str, Any] = {"channels": [4, 8]}


def sample(seed: int, tracks: int = 40, features: int = 20, classes: int = 4) -> Sample:
    """Features (tracks, features) of very different scales, one of them constant, and labels (tracks,)."""
    generator = np.random.default_rng(seed)
    labels = np.arange(tracks) % classes
    centres = np.random.default_rng(99).normal(size=(classes, features))
    values = (centres[labels] + 0.3 * generator.normal(size=(tracks, features))) * 10.0 ** np.linspace(-3, 3, features)
    values[:, 3] = 7
    return values, labels


def fit(training: Sample, **changed: Any) -> tuple[FeatureCnn, dict[str, Any]]:
    classifier, facts = feature_cnn.fit(arguments(**TINY | changed), training, sample(1))
    return classifier, dict(facts)


def state(classifier: FeatureCnn) -> dict[str, Tensor]:
    return classifier.network.state_dict()


def equal(first: FeatureCnn, second: FeatureCnn) -> list[bool]:
    return [torch.equal(state(first)[name], state(second)[name]) for name in state(first)]


def test_a_narrow_network_overfits_16_tracks() -> None:
    """Nothing distinguishes the classes: the features are noise."""
    noise = np.random.default_rng(0).normal(size=(16, 258))
    labels = np.arange(16) % 4
    classifier, _ = fit((noise, labels), epochs=60, batch_size=8, lr=0.01, dropout=0.1)
    np.testing.assert_array_equal(classifier.predict(noise), labels)
    assert classifier.predict_proba(noise)[np.arange(16), labels].mean() > 0.8


def test_it_learns_features_of_any_scale_and_predicts_new_tracks() -> None:
    classifier, facts = fit(sample(0), epochs=40)
    values, labels = sample(2)
    assert (classifier.predict(values) == labels).mean() > 0.9
    assert facts == {"parameters": (3 * 4 + 4) + (3 * 4 * 8 + 8) + (8 * 5 * 4 + 4)}


def test_probabilities_are_the_softmax_of_the_network_on_standardised_features() -> None:
    training, (values, _) = sample(0), sample(2, tracks=1001)  # more than it predicts at a time
    classifier, _ = fit(training)
    deviation = training[0].std(axis=0)
    deviation[3] = 1  # the constant
    standardised = torch.tensor((values - training[0].mean(axis=0)) / deviation, dtype=torch.float32)
    expected = classifier.network.eval()(standardised).softmax(dim=1)
    found = classifier.predict_proba(values)
    np.testing.assert_allclose(found, expected.detach(), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(classifier.predict(values), found.argmax(axis=1))
    np.testing.assert_array_equal(classifier.predict_proba(values), found)


def test_classes_are_those_of_the_training_tracks() -> None:
    values, labels = sample(0)
    classifier, _ = fit((values[labels != 1], labels[labels != 1]), epochs=40)
    assert classifier.classes_.tolist() == [0, 2, 3]
    assert classifier.predict_proba(values).shape == (40, 3)
    predicted = classifier.predict(values)
    np.testing.assert_array_equal(predicted[labels != 1], labels[labels != 1])
    assert set(predicted) <= {0, 2, 3}


def test_same_seed_same_bits_other_seed_others() -> None:
    first, same, other = (fit(sample(0), seed=seed)[0] for seed in (1, 1, 2))
    assert all(equal(first, same))
    assert not any(equal(first, other))
    np.testing.assert_array_equal(first.predict_proba(sample(2)[0]), same.predict_proba(sample(2)[0]))


def test_validation_tracks_change_nothing() -> None:
    first, _ = feature_cnn.fit(arguments(**TINY), sample(0), sample(1))
    second, _ = feature_cnn.fit(arguments(**TINY), sample(0), sample(2))
    assert all(equal(first, second))


def test_the_number_of_threads_changes_nothing_and_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    step = torch.optim.AdamW.step

    def note(optimiser: torch.optim.AdamW, *arguments: Any) -> Any:
        seen.append(torch.get_num_threads())
        return step(optimiser, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", note)
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            found.append(fit(sample(0))[0].predict_proba(sample(2)[0]))
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(found[0], found[1])
    assert set(seen) == {1}


def test_predictions_use_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, threads = fit(sample(0))[0], torch.get_num_threads()
    seen = []
    classifier.network.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    try:
        torch.set_num_threads(3)
        classifier.predict(sample(2)[0])
        assert (seen, torch.get_num_threads()) == ([1], 3)
    finally:
        torch.set_num_threads(threads)


def test_random_numbers_of_the_caller_stay_as_they_are() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first, _ = fit(sample(0))
    assert torch.equal(torch.rand(4), expected)
    second, _ = fit(sample(0))
    assert all(equal(first, second)), "nor do they matter"


def test_training_has_the_epochs_batches_and_rates_of_the_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, float]] = []
    step = torch.optim.AdamW.step

    def note(optimiser: torch.optim.AdamW, *arguments: Any) -> Any:
        seen.append((optimiser.param_groups[0]["lr"], optimiser.param_groups[0]["weight_decay"]))
        return step(optimiser, *arguments)

    sizes = []
    forward = Network.forward

    def note_size(model: Network, features: Tensor) -> Tensor:
        sizes.append(len(features))
        return forward(model, features)

    monkeypatch.setattr(torch.optim.AdamW, "step", note)
    monkeypatch.setattr(Network, "forward", note_size)
    fit(sample(0), epochs=2, batch_size=16, lr=0.5, weight_decay=0.125)
    assert sizes == [16, 16, 8] * 2
    rates = [0.25 * (1 + np.cos(np.pi * batch / 6)) for batch in range(6)]
    np.testing.assert_allclose(seen, [(rate, 0.125) for rate in rates])


def test_training_is_that_of_a_plain_loop() -> None:
    """AdamW with gradients of the cross-entropy, computed for each batch alone."""
    (values, labels), given = sample(0), arguments(**TINY, seed=4)
    classifier, _ = feature_cnn.fit(given, (values, labels), sample(1))
    features, targets = feature_cnn.scaled(classifier.scaler, values), torch.from_numpy(labels)
    torch.manual_seed(4)
    model = Network(given, features=20, classes=4).train()
    weights = list(model.parameters())
    optimiser = torch.optim.AdamW(weights, lr=0.01, weight_decay=0.01)
    updates = 3 * 14  # epochs and batches of an epoch
    for update in range(updates):
        if update % 14 == 0:
            batches = torch.randperm(40).split(3)
        batch = batches[update % 14]
        log_probabilities = model(features[batch]).log_softmax(dim=1)
        loss = -log_probabilities[torch.arange(len(batch)), targets[batch]].mean()
        for tensor, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            tensor.grad = gradient
        optimiser.param_groups[0]["lr"] = 0.01 * (1 + np.cos(np.pi * update / updates)) / 2
        optimiser.step()
    for expected, found in zip(weights, classifier.network.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_each_epoch_has_all_tracks_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    forward = Network.forward

    def note(model: Network, features: Tensor) -> Tensor:
        seen.extend(features[:, 0].tolist())
        return forward(model, features)

    monkeypatch.setattr(Network, "forward", note)
    fit(sample(0), epochs=2, batch_size=16)
    first, second = seen[:40], seen[40:]
    assert first != second
    assert sorted(first) == sorted(second)
    assert len(set(first)) == 40


@pytest.mark.parametrize(
    ("features", "changed", "message"),
    [
        (
            7,
            {"channels": [4, 4, 4]},
            r"channels: expected at most 2 blocks for 7 features, each with a pool of 2, found 3",
        ),
        (20, {"channels": [4] * 5}, r"channels: expected at most 4 blocks for 20 features, .*, found 5"),
        (
            20,
            {"lr": 10, "weight_decay": 10, "epochs": 60},
            r"lr: expected a finite loss, found nan in epoch \d+ with lr 10",
        ),
    ],
)
def test_networks_that_cannot_be_trained_are_refused_in_one_line(
    features: int, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        fit(sample(0, features=features), **changed)


def test_as_many_blocks_as_features_allow() -> None:
    assert network(8, channels=[2, 2, 2])(torch.zeros(1, 8)).shape == (1, 16)


# The stage. -------------------------------------------------------------------------------------------------------


def run(params: Params) -> predictions.Predictions:
    importlib.import_module("baseline").main(params, "falola")
    return predictions.read(Path("data/predictions/falola.npz"))


@pytest.mark.usefixtures("data")
def test_the_stage_stores_all_runs(params: Params) -> None:
    found = run(params)
    assert found.seeds == [5, 6, 7]
    values = excerpts.features(excerpts.Arguments(mfcc=20), opened())
    labels = np.array([0, 1, 0, 1, 0, 1, 1, 0, 1, 0, 1])  # without track 16
    training, validation, test = ((values[rows], labels[rows]) for rows in (slice(4), slice(4, 7), slice(7, 11)))
    parameters = (3 * 4 + 4) + (3 * 4 * 8 + 8) + (8 * 64 * 2 + 2)
    assert found.facts == {"features": "excerpts", "classifier": "feature_cnn", "parameters": parameters}
    for split, (rows, _) in ((found.validation, validation), (found.test, test)):
        alone = [feature_cnn.fit(arguments(**CNN | {"seed": seed}), training, validation)[0] for seed in (5, 6, 7)]
        assert split.probabilities is not None
        np.testing.assert_array_equal(split.probabilities, [classifier.predict_proba(rows) for classifier in alone])
        np.testing.assert_array_equal(split.labels, split.probabilities.argmax(axis=2))
    assert found.test.probabilities is not None
    first, second, _ = found.test.probabilities
    assert not np.array_equal(first, second)


@pytest.mark.usefixtures("data")
def test_metrics_have_the_deviation_over_the_runs_and_the_ensemble(params: Params) -> None:
    found = run(params)
    summary = json.loads(Path("metrics/falola.json").read_text())
    accuracies = (found.test.labels == [0, 1, 0, 1]).mean(axis=1)
    assert summary["accuracy"] == pytest.approx(accuracies.mean(), abs=1e-6)
    assert summary["accuracy_std"] == pytest.approx(accuracies.std(ddof=1), abs=1e-6)
    assert "ensemble_accuracy" in summary


@pytest.mark.usefixtures("data")
def test_a_class_without_training_track_has_probability_0(params: Params) -> None:
    index = store.read_index(Path("data/index.csv"))
    index.loc[index["split"] == "training", "genre"] = "Folk"
    store.write_index(Path("data/index.csv"), index)
    found = run(params)
    assert found.classes == ["Folk", "Rock"]
    np.testing.assert_array_equal(found.test.probabilities, np.tile([1, 0], (3, 4, 1)))


@pytest.mark.usefixtures("data")
def test_the_stage_repeats_itself_byte_for_byte(params: Params) -> None:
    found = []
    for _ in range(2):
        run(params)
        found.append(Path("data/predictions/falola.npz").read_bytes())
        Path("data/predictions/falola.npz").unlink()
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"channels": []}, r"baselines\.falola\.channels: expected a list of 1 to 16 values, found \[\]"),
        ({"channels": [0]}, r"baselines\.falola\.channels\[0\]: expected a whole number from 1 to 65536, found 0"),
        ({"runs": 0}, r"baselines\.falola\.runs: expected a whole number from 1 to 100, found 0"),
        ({"seed": -1}, r"baselines\.falola\.seed: expected a whole number from 0 to .*, found -1"),
        ({"mfcc": 129}, r"baselines\.falola\.mfcc: expected at most 128 \(the number of mel bands\), found 129"),
        (
            {"channels": [1] * 9},
            r"baselines\.falola\.channels: expected at most 8 blocks for 258 features, .*, found 9",
        ),
        ({"kernel": 3}, r"baselines\.falola: expected the keys .*, found 'kernel'"),
    ],
)
@pytest.mark.usefixtures("data")
def test_wrong_arguments_are_refused_in_a_line(params: Params, changed: dict[str, Any], message: str) -> None:
    section = params.baselines["falola"]
    edited = replace(section, arguments=dict(section.arguments) | changed)
    with pytest.raises(InputError, match=f"^{message}$"):
        run(replace(params, baselines={"falola": edited}))
