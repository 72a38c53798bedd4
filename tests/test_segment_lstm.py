"""The LSTM with statistics over a segment: shapes, size, the statistics, and whether it can learn."""

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
from fma_genre.learning.clips import Clips
from fma_genre.learning.device import make_deterministic
from fma_genre.learning.inference import predict
from fma_genre.networks.segment_lstm import EPSILON, statistics
from project import PARAMS
from stores import make_clips

FRAMES, BANDS = 128, 128
ARGUMENTS: dict[str, Any] = {"hidden": 128, "dense": 256, "dropout": 0.5}
EIGHTH: dict[str, Any] = {"hidden": 16, "dense": 32, "dropout": 0.1}


def lstm(*, bins: int = BANDS, frames: int = FRAMES, classes: int = 16, **changed: Any) -> Any:
    arguments = ARGUMENTS | changed
    return build.build_network("segment_lstm", arguments, "models.x", bins=bins, frames=frames, classes=classes)


def segments(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def shapes_at_layers(model: nn.Module, inputs: Tensor) -> dict[str, list[tuple[int, ...]]]:
    """Shapes of the input and the output of each layer, by its name."""
    shapes: dict[str, list[tuple[int, ...]]] = {}
    for name, module in model.named_modules():

        def note(module: nn.Module, inputs: Any, output: Any, name: str = name) -> None:
            first = output[0] if isinstance(output, tuple) else output
            shapes[name] = [tuple(inputs[0].shape), tuple(first.shape)]

        module.register_forward_hook(note)
    model.eval()(inputs)
    return shapes


# Shapes and size. -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bins", "frames", "classes"), [(128, 128, 16), (128, 128, 8), (512, 200, 16), (20, 1, 2)])
def test_shapes_at_every_layer(bins: int, frames: int, classes: int) -> None:
    shapes = shapes_at_layers(lstm(bins=bins, frames=frames, classes=classes), segments(3, frames, bins))
    joined = 2 * 128 + 2 * bins
    assert shapes == {
        "lstm": [(3, frames, bins), (3, frames, 128)],
        "head.0": [(3, joined), (3, 256)],
        "head.1": [(3, 256), (3, 256)],
        "head.2": [(3, 256), (3, 256)],
        "head.3": [(3, 256), (3, classes)],
        "head": [(3, joined), (3, classes)],
        "": [(3, frames, bins), (3, classes)],
    }


@pytest.mark.parametrize("classes", [8, 16])
def test_size_in_closed_form(classes: int) -> None:
    """An LSTM has four gates with two biases each, in one direction."""
    gates = 4 * (BANDS * 128 + 128 * 128 + 2 * 128)
    dense = (2 * 128 + 2 * BANDS) * 256 + 256
    count = sum(weights.numel() for weights in lstm(classes=classes).parameters())
    assert count == gates + dense + 256 * classes + classes
    assert gates + dense == 263_424


def test_on_the_meta_device_a_network_has_shapes_but_no_memory() -> None:
    with torch.device("meta"):
        built = lstm().state_dict()
    assert {tensor.device.type for tensor in built.values()} == {"meta"}
    shapes = {name: tensor.shape for name, tensor in built.items()}
    assert shapes == {name: tensor.shape for name, tensor in lstm().state_dict().items()}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden": 0}, r"hidden: expected a whole number from 1 to 65536, found 0"),
        ({"dense": 1.5}, r"dense: expected a whole number from 1 to 65536, found 1\.5"),
        ({"dropout": 1}, r"dropout: expected a number from 0 to 0\.95, found 1"),
        ({"layers": 2}, r"expected the keys hidden, dense, dropout, found 'layers'"),
    ],
)
def test_arguments_out_of_range_are_refused_in_one_line(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        lstm(**changed)


# Statistics. ------------------------------------------------------------------------------------------------------


def states_by_hand(inputs: Tensor, layer: nn.LSTM) -> Tensor:
    """Hidden states (segments, frames, hidden) for inputs (segments, frames, bins), from the equations of the LSTM."""
    state = memory = torch.zeros(len(inputs), layer.hidden_size)
    states = []
    for frame in inputs.unbind(dim=1):
        gates = frame @ layer.weight_ih_l0.T + layer.bias_ih_l0 + state @ layer.weight_hh_l0.T + layer.bias_hh_l0
        enter, forget, new, leave = gates.chunk(4, dim=1)  # PyTorch's order
        memory = forget.sigmoid() * memory + enter.sigmoid() * new.tanh()
        state = leave.sigmoid() * memory.tanh()
        states.append(state)
    return torch.stack(states, dim=1)


def test_features_are_means_and_deviations_of_states_and_inputs() -> None:
    model, inputs = lstm(hidden=16).eval(), 1 + 3 * segments(2, 20, BANDS)
    found = model.features(inputs).detach().numpy()
    states = states_by_hand(inputs, model.lstm).detach().numpy()
    parts = [states.mean(axis=1), states.std(axis=1), inputs.numpy().mean(axis=1), inputs.numpy().std(axis=1)]
    np.testing.assert_allclose(found, np.concatenate(parts, axis=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("frames", [2, 3, 1000])
def test_statistics_equal_numpys(frames: int) -> None:
    series = np.random.default_rng(frames).gamma(2, size=(4, frames, 7)) * 10
    found = statistics(torch.from_numpy(series)).numpy()
    expected = np.concatenate([series.mean(axis=1), np.sqrt(series.var(axis=1) + EPSILON)], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(found[:, 7:], series.std(axis=1), rtol=1e-5)  # EPSILON changes almost nothing


@pytest.mark.parametrize("level", [0.0, -3.0])
@pytest.mark.parametrize("frames", [1, FRAMES])
def test_gradients_are_finite_for_constant_segments(frames: int, level: float) -> None:
    """A silent segment has inputs without variance; with a single frame, the states have none, either."""
    model, inputs = lstm(frames=frames), torch.full((2, frames, BANDS), level, requires_grad=True)
    model(inputs).square().sum().backward()
    gradients = [inputs.grad, *(weights.grad for weights in model.parameters())]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert model.lstm.weight_ih_l0.grad.any() == (level != 0)


def test_logits_are_the_head_of_the_features() -> None:
    model, inputs = lstm().eval(), segments(2, FRAMES, BANDS)
    torch.testing.assert_close(model(inputs), model.head(model.features(inputs)))
    assert not torch.allclose(model(inputs).sum(dim=1), torch.ones(2)), "logits, not probabilities"


def test_the_head_has_one_hidden_layer_with_dropout() -> None:
    model, features = lstm(dropout=0.25), segments(1000, 512)
    hidden = model.head[:3].train()(features)  # (1000, 256)
    active = (features @ model.head[0].weight.T + model.head[0].bias).relu()
    kept = hidden != 0
    torch.testing.assert_close(hidden[kept], active[kept] / 0.75)  # scaled up to keep the mean
    assert float(kept.sum() / (active > 0).sum()) == pytest.approx(0.75, abs=0.01)
    torch.testing.assert_close(model.head[:3].eval()(features), active)


# Training. --------------------------------------------------------------------------------------------------------


def noise(tracks: int, classes: int) -> Clips:
    """Clips of noise around the same spectrum, so that nothing distinguishes the classes."""
    generator = np.random.default_rng(0)
    levels = np.random.default_rng(99).uniform(60, 200, BANDS) + generator.normal(0, 60, (tracks, FRAMES, BANDS))
    return make_clips(
        torch.from_numpy(levels.clip(0, 255).astype(np.uint8)), FRAMES, labels=[n % classes for n in range(tracks)]
    )


def test_a_narrow_network_overfits_16_tracks(tmp_path: Path) -> None:
    data = noise(16, 4)
    make_deterministic(0)
    front_end = build.fit_front_end("cepstral", {"cepstral_coefficients": 20}, data)
    model = lstm(classes=4, **EIGHTH)
    changes: dict[str, Any] = {"epochs": 25, "crops_per_track": 2, "batch_size": 16, "lr": 0.02}
    history = training.train(
        model, data, data, front_end, replace(load(PARAMS).train, **changes), tmp_path / "seed0.pt"
    )
    predicted = predict(model, data, front_end).track_probabilities().argmax(dim=1)
    assert predicted.tolist() == data.labels.tolist()
    assert history[-1].loss < history[0].loss / 2
