"""The residual network on raw audio: shapes, size, every step of its computation, and whether it can learn."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fma_genre.common.errors import InputError
from fma_genre.common.params import Train, load
from fma_genre.features.waveform import compress
from fma_genre.learning import build, training
from fma_genre.learning.clips import Clips
from fma_genre.learning.device import make_deterministic
from fma_genre.learning.inference import predict
from project import PARAMS
from stores import make_clips

FRAMES, HOP = 2187, 27  # 59,049 samples
WIDTHS = (128, 128, 256, 256, 256, 256, 256, 256, 512)
ARGUMENTS: dict[str, Any] = {"channels": WIDTHS, "block_dropout": 0.2, "dense": 1024, "dropout": 0.5}
SMALL: dict[str, Any] = {"channels": (16, 16, 32, 64), "block_dropout": 0.1, "dense": 128}  # an eighth of the width


def rescnn(*, bins: int = HOP, frames: int = FRAMES, classes: int = 16, **changed: Any) -> Any:
    arguments = ARGUMENTS | changed
    return build.build_network("rescnn_raw", arguments, "models.x", bins=bins, frames=frames, classes=classes)


def segments(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def count(*modules: nn.Module) -> int:
    return sum(weights.numel() for module in modules for weights in module.parameters())


# Shapes and size. -------------------------------------------------------------------------------------------------


def test_shapes_at_every_layer() -> None:
    shapes: dict[str, list[tuple[int, ...]]] = {}
    model = rescnn().eval()
    for name, module in model.named_modules():

        def note(module: nn.Module, inputs: Any, output: Tensor, name: str = name) -> None:
            shapes[name] = [tuple(inputs[0].shape), tuple(output.shape)]

        module.register_forward_hook(note)
    with torch.device("meta"):  # shapes only
        model.to("meta")(torch.empty(2, FRAMES, HOP))

    assert shapes["first"] == [(2, 1, 59_049), (2, 128, 19_683)]
    lengths = [19_683, 6_561, 2_187, 729, 243, 81, 27, 9, 3, 1]
    for block, ((inputs, outputs), (before, after)) in enumerate(
        zip(pairwise((128, *WIDTHS)), pairwise(lengths), strict=True)
    ):
        name = f"blocks.{block}"
        assert shapes[name] == [(2, inputs, before), (2, outputs, after)]
        assert shapes[f"{name}.0.branch.0"] == [(2, inputs, before), (2, outputs, before)]
        assert shapes[f"{name}.0.branch.4"] == [(2, outputs, before)] * 2
        assert shapes[f"{name}.0.shortcut"] == [(2, inputs, before), (2, outputs, before)]
        assert shapes[f"{name}.0"] == [(2, inputs, before), (2, outputs, before)]
        assert shapes[f"{name}.2"] == [(2, outputs, before), (2, outputs, after)]
    assert shapes["dense"] == [(2, 256 + 256 + 512), (2, 1024)]
    assert shapes["head"] == [(2, 1024), (2, 16)]
    assert shapes[""] == [(2, FRAMES, HOP), (2, 16)]


def test_size_in_closed_form_and_as_published() -> None:
    """Convolutions without bias, each with the two vectors of its batch norm.

    The published sizes, 3.82 and 4.9 million, include a bias for each convolution, which batch norm makes redundant.
    """
    with torch.device("meta"):
        model = rescnn(classes=50)
    first = 3 * 128 + 2 * 128
    blocks = sum(
        3 * inputs * outputs + 3 * outputs * outputs + 4 * outputs + (inputs != outputs) * (inputs + 2) * outputs
        for inputs, outputs in pairwise((128, *WIDTHS))
    )
    assert count(model.first, model.blocks) == first + blocks
    biases = 128 + sum((2 + (inputs != outputs)) * outputs for inputs, outputs in pairwise((128, *WIDTHS)))
    assert round((first + blocks + biases) / 1e6, 2) == 3.82
    assert count(model.dense) == 1024 * 1024 + 2 * 1024
    assert count(model.head) == 1024 * 50 + 50
    assert round((count(model) + biases) / 1e6, 1) == 4.9


@pytest.mark.parametrize(
    ("channels", "frames", "bins"),
    [((16, 16, 32, 64), 27, 9), ((8, 8), 1, 54), ((4,), 18, 1), ((4, 8, 8, 8), 81, 27), ((4, 8, 8), 9, 18)],
)
def test_other_lengths_and_numbers_of_blocks(channels: tuple[int, ...], frames: int, bins: int) -> None:
    model = rescnn(channels=channels, dense=8, frames=frames, bins=bins).eval()
    assert model.dense[0].in_features == sum(channels[-3:])
    assert model(segments(2, frames, bins)).shape == (2, 16)


def test_on_the_meta_device_it_has_shapes_but_no_memory() -> None:
    with torch.device("meta"):
        model = rescnn()
        assert {tensor.device.type for tensor in model.state_dict().values()} == {"meta"}
        assert model.eval()(torch.empty(3, FRAMES, HOP)).shape == (3, 16)
    expected = {name: tensor.shape for name, tensor in rescnn().state_dict().items()}
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == expected


# The computation. -------------------------------------------------------------------------------------------------


def normalised(x: Tensor, norm: Any) -> Tensor:
    """Batch norm with the statistics of training."""
    centred, deviation = x - norm.running_mean[:, None], (norm.running_var[:, None] + norm.eps).sqrt()
    return centred / deviation * norm.weight[:, None] + norm.bias[:, None]


def by_hand(model: Any, inputs: Tensor) -> Tensor:
    """Features of segments (segments, frames, bins), from the description of the network."""
    x = inputs.reshape(len(inputs), 1, -1)
    convolution, norm, _ = model.first
    x = normalised(functional.conv1d(x, convolution.weight, stride=3), norm).relu()
    maxima = []
    for residual, _, _ in model.blocks:
        one, norm_one, _, _, two, norm_two = residual.branch
        y = normalised(functional.conv1d(functional.pad(x, (1, 1)), one.weight), norm_one).relu()
        y = normalised(functional.conv1d(functional.pad(y, (1, 1)), two.weight), norm_two)
        if one.in_channels != one.out_channels:
            kernel_1, norm = residual.shortcut
            assert kernel_1.kernel_size == (1,)
            x = normalised(torch.einsum("oi,sit->sot", kernel_1.weight[:, :, 0], x), norm)
        x = (x + y).relu().unflatten(2, (-1, 3)).amax(dim=3)
        maxima.append(x.amax(dim=2))
    linear, norm, _ = model.dense
    hidden = torch.cat(maxima[-3:], dim=1) @ linear.weight.T
    return normalised(hidden[:, :, None], norm)[:, :, 0].relu()


def test_every_step_equals_the_description() -> None:
    """Statistics of batch norm come from a pass in training mode, and its weights and biases are random."""
    model = rescnn(frames=81, bins=9, **SMALL)
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, generator=generator)
    inputs = segments(8, 81, 9)
    with torch.no_grad():
        model.train()(inputs)
        features = model.eval().features(inputs)
        torch.testing.assert_close(features, by_hand(model, inputs), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model(inputs), features @ model.head[1].weight.T + model.head[1].bias)


def test_dropout_is_between_the_convolutions_and_before_the_output() -> None:
    model = rescnn(frames=27, bins=9, **SMALL)
    dropouts = {name: module.p for name, module in model.named_modules() if isinstance(module, nn.Dropout)}
    assert dropouts == {f"blocks.{block}.0.branch.3": 0.1 for block in range(4)} | {"head.0": 0.5}


def test_consecutive_frames_are_consecutive_samples() -> None:
    """The same samples in frames of another length give the same logits."""
    model, inputs = rescnn(frames=27, bins=9, **SMALL).eval(), segments(2, 27, 9)
    torch.testing.assert_close(model(inputs.reshape(2, 9, 27)), model(inputs))
    assert not torch.allclose(model(inputs.flip(1)), model(inputs))


# Learning. --------------------------------------------------------------------------------------------------------


def tones() -> Clips:
    """Waveforms of 16 tracks of 4 classes, each class with a frequency, in noise."""
    generator, labels = np.random.default_rng(0), np.arange(16) % 4
    times = np.arange(540 * 9)
    pitches = np.array([0.03, 0.06, 0.11, 0.2])[labels][:, None]  # periods per sample
    samples = np.sin(2 * np.pi * pitches * times) + generator.normal(size=(16, len(times)))
    codes = np.stack([compress(row) for row in samples.astype(np.float32)])
    clips = make_clips(torch.from_numpy(codes.reshape(16, 540, 9)), 27, labels=labels.tolist(), frequencies=[0.0] * 9)
    return replace(clips, description=replace(clips.description, floor_db=None, n_fft=None, hop=9))


def settings(**changed: Any) -> Train:
    return replace(load(PARAMS).train, segment_frames=27, crops_per_track=4, batch_size=16, **changed)


def test_an_eighth_of_the_width_overfits_16_tracks(tmp_path: Path) -> None:
    clips = tones()
    make_deterministic(0)
    model = rescnn(frames=27, bins=9, classes=4, **SMALL)
    front_end = build.fit_front_end("waveform", {}, clips)
    history = training.train(model, clips, clips, front_end, settings(epochs=8), tmp_path / "seed0.pt")
    assert history[-1].loss < 0.5 * history[0].loss
    probabilities = predict(model, clips, front_end).track_probabilities()
    assert (probabilities.argmax(dim=1) == clips.labels).all()


def test_every_weight_has_a_gradient() -> None:
    model = rescnn(frames=81, bins=9, **SMALL)
    functional.cross_entropy(model.train()(segments(8, 81, 9)), torch.arange(8)).backward()
    assert [name for name, weights in model.named_parameters() if not weights.grad.any()] == []


# Invalid arguments. -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (
            {"frames": 2186},
            r"models\.x: expected segments of a multiple of 3 \^ \(9 blocks \+ 1\) = 59049 samples,"
            r" found 2186 frames of 27 samples = 59022",
        ),
        ({"frames": 2188}, r"models\.x: expected segments of a multiple of .*, found .* = 59076"),
        (
            {"channels": (8, 8), "frames": 3, "bins": 3},
            r"models\.x: expected segments of a multiple of 3 \^ \(2 blocks \+ 1\) = 27 samples, found .* = 9",
        ),
        ({"channels": ()}, r"channels: expected a list of 1 to 100 values, found \(\)"),
        ({"channels": (8, 0)}, r"channels\[1\]: expected a whole number from 1 to 65536, found 0"),
        ({"block_dropout": 1}, r"block_dropout: expected a number from 0 to 0\.95, found 1"),
        ({"dropout": -0.1}, r"dropout: expected a number from 0 to 0\.95, found -0\.1"),
        ({"dense": 0}, r"dense: expected a whole number from 1 to 65536, found 0"),
        ({"kernel": 3}, r"expected the keys channels, block_dropout, dense, dropout, found 'kernel'"),
    ],
)
def test_invalid_arguments_are_refused_in_one_line(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=f"^{says}$"), torch.device("meta"):
        rescnn(**changed)
