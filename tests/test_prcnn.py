"""The parallel CNN and GRU: shapes of all layers, numbers of parameters, both branches by definition, and learning."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, cross_entropy, max_pool2d, relu

from fma_genre.common.errors import InputError
from fma_genre.learning import build
from test_networks import BINS, BIRNN, FRAMES, birnn, count, output_shapes, segments

CHANNELS, POOLS = [16, 32, 64, 128, 64], [2, 2, 2, 4, 4]
PRCNN: dict[str, Any] = BIRNN | {"branches": "both", "channels": CHANNELS, "pools": POOLS, "kernel": [3, 1]}
EIGHTH: dict[str, Any] = {"channels": [2, 4, 8, 16, 8], "pools": [2] * 5, "embedding": 16, "hidden": 16, "dropout": 0}
KERNELS = [[3, 1], [3, 3]]
BRANCHES = ["both", "cnn"]
SIZES = {(3, 1): 57_184, (3, 3): 170_944}  # parameters of the CNN branch


def prcnn(*, bins: int = BINS, frames: int = FRAMES, classes: int = 16, **changed: Any) -> Any:
    return build.build_network("prcnn", PRCNN | changed, "models.x", bins=bins, frames=frames, classes=classes)


# Shapes and sizes. ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("branches", BRANCHES)
def test_cnn_branch_goes_from_128_x_512_to_1_x_4_in_five_blocks(kernel: list[int], branches: str) -> None:
    shapes = output_shapes(prcnn(kernel=kernel, branches=branches), segments(2, FRAMES, BINS))
    sizes = [(128, 512), (64, 256), (32, 128), (16, 64), (4, 16), (1, 4)]
    for block, (before, after) in enumerate(pairwise(sizes)):
        inside = [shapes[f"cnn.{block}.{layer}"] for layer in range(3)]
        width = CHANNELS[block]
        assert inside == [(width, *before), (width, *after), (width, *after)], "convolution, max pooling and ReLU"
    assert shapes["cnn"] == (256,)


@pytest.mark.parametrize("classes", [8, 16])
def test_both_branches_have_256_features_each(classes: int) -> None:
    shapes = output_shapes(prcnn(classes=classes), segments(2, FRAMES, BINS))
    assert shapes["rnn.embedding.0"] == (FRAMES, 256)
    assert shapes["rnn.embedding"] == (FRAMES, 128)
    assert shapes["rnn.gru"] == (FRAMES, 256)
    assert shapes["cnn"] == shapes["rnn"] == (256,)
    assert shapes["head.0"] == (512,)
    assert shapes["head"] == shapes[""] == (classes,)


@pytest.mark.parametrize("kernel", KERNELS)
def test_size_in_closed_form(kernel: list[int]) -> None:
    """Convolutions have biases and no batch norm. The recurrent branch has a linear layer and a GRU."""
    convolutions = sum(kernel[0] * kernel[1] * before * after + after for before, after in pairwise([1, *CHANNELS]))
    recurrent = (256 * 128 + 128) + 2 * 3 * (128 * 128 + 128 * 128 + 2 * 128)
    both, alone = prcnn(kernel=kernel), prcnn(kernel=kernel, branches="cnn")
    assert count(both.cnn) == count(alone.cnn) == convolutions == SIZES[kernel[0], kernel[1]]
    assert count(both.rnn) == recurrent
    assert count(both) == convolutions + recurrent + (512 * 16 + 16)
    assert count(alone) == convolutions + (256 * 16 + 16)


def test_size_of_the_published_network() -> None:
    assert count(prcnn(classes=10)) == 293_354


def test_cnn_branch_alone_has_no_recurrent_layer() -> None:
    """Only networks without recurrent layers can train in bfloat16."""
    assert not any(isinstance(layer, nn.RNNBase) for layer in prcnn(branches="cnn").modules())


@pytest.mark.parametrize(
    ("bins", "frames", "features"), [(513, 128, 64 * 4), (128, 128, 64), (512, 400, 64 * 3 * 4), (383, 255, 64 * 2)]
)
def test_other_inputs(bins: int, frames: int, features: int) -> None:
    shapes = output_shapes(prcnn(bins=bins, frames=frames), segments(2, frames, bins))
    assert shapes["cnn"] == (features,)
    assert shapes["head.0"] == (features + 256,)
    assert shapes[""] == (16,)


# Branches. --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kernel", "frames", "bins"), [((3, 1), 1, 0), ((3, 3), 1, 1), ((1, 5), 0, 2), ((1, 1), 0, 0)])
def test_a_kernel_spans_frames_then_bins(kernel: tuple[int, int], frames: int, bins: int) -> None:
    """All weights are 1. The impulse is at frame 10 and bin 20."""
    convolution = prcnn(kernel=kernel).cnn[0][0]
    nn.init.ones_(convolution.weight)
    nn.init.zeros_(convolution.bias)
    impulse = torch.zeros(1, 1, 32, 64)
    impulse[0, 0, 10, 20] = 1
    expected = torch.zeros(32, 64)
    expected[10 - frames : 11 + frames, 20 - bins : 21 + bins] = 1
    torch.testing.assert_close(convolution(impulse)[0, 0], expected)


@pytest.mark.parametrize("kernel", KERNELS)
def test_cnn_branch_by_definition(kernel: list[int]) -> None:
    """ReLU precedes max pooling here. The order does not matter."""
    model = prcnn(kernel=kernel, branches="cnn", channels=[3, 5], pools=[2, 4], frames=16, bins=40).eval()
    inputs = segments(2, 16, 40)
    x = inputs[:, None]
    for block, pool in enumerate([2, 4]):
        layer = model.cnn[block][0]
        x = max_pool2d(relu(conv2d(x, layer.weight, layer.bias, padding=(1, kernel[1] // 2))), pool)
    torch.testing.assert_close(model.features(inputs), x.reshape(2, 5 * 2 * 5))


@pytest.mark.parametrize("bins", [BINS, 301])
def test_recurrent_branch_is_birnn(bins: int) -> None:
    """birnn's features are compared with the equations of the GRU in test_networks.py."""
    model, alone = prcnn(bins=bins).eval(), birnn(bins=bins).eval()
    model.rnn.load_state_dict(alone.branch.state_dict())
    inputs = segments(2, FRAMES, bins)
    torch.testing.assert_close(model.rnn(inputs), alone.features(inputs))


def test_memory_of_the_gru_spans_the_segment_from_the_start() -> None:
    """The biases of the update gate are logarithms of times up to the number of frames."""
    torch.manual_seed(0)
    gru = prcnn().rnn.gru
    for bias in (gru.bias_ih_l0, gru.bias_ih_l0_reverse):
        times = bias[128:256].exp()
        assert 1 <= times.min() < 10 < 100 < times.max() < FRAMES


def test_features_are_those_of_the_cnn_and_then_those_of_the_rnn() -> None:
    model, inputs = prcnn().eval(), segments(2, FRAMES, BINS)
    features = model.features(inputs)
    assert features.shape == (2, 512)
    torch.testing.assert_close(features[:, :256], model.cnn(inputs[:, None]))
    torch.testing.assert_close(features[:, 256:], model.rnn(inputs))


@pytest.mark.parametrize("branches", BRANCHES)
def test_logits_are_the_head_of_the_features(branches: str) -> None:
    model, inputs = prcnn(branches=branches).eval(), segments(2, FRAMES, BINS)
    torch.testing.assert_close(model(inputs), model.head(model.features(inputs)))
    assert not torch.allclose(model(inputs).sum(dim=1), torch.ones(2)), "logits, not probabilities"


def test_dropout_drops_features_of_both_branches() -> None:
    model = prcnn(dropout=0.75).train()
    dropped = model.head[0](torch.ones(4, 512)) == 0
    assert 0.6 < dropped[:, :256].double().mean() < 0.9
    assert 0.6 < dropped[:, 256:].double().mean() < 0.9


@pytest.mark.parametrize("make", [prcnn, partial(prcnn, branches="cnn")])
def test_on_the_meta_device_a_network_has_shapes_but_no_memory(make: Callable[[], nn.Module]) -> None:
    with torch.device("meta"):
        state = make().state_dict()
    assert {tensor.device.type for tensor in state.values()} == {"meta"}
    assert {name: tensor.shape for name, tensor in state.items()} == {
        name: tensor.shape for name, tensor in make().state_dict().items()
    }


# Learning. --------------------------------------------------------------------------------------------------------


def separable(tracks: int, frames: int, bins: int) -> tuple[Tensor, Tensor]:
    """Noise around a random spectrum for each of 4 classes: segments (tracks, frames, bins), labels (tracks,)."""
    labels = torch.arange(tracks) % 4
    spectra = torch.randn(4, 1, bins, generator=torch.Generator().manual_seed(1))
    return segments(tracks, frames, bins) + spectra[labels], labels


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("branches", "steps"), [("both", 40), ("cnn", 100)])
def test_an_eighth_of_the_width_overfits_16_tracks(kernel: list[int], branches: str, steps: int) -> None:
    torch.manual_seed(0)
    inputs, labels = separable(16, frames=32, bins=64)
    model = prcnn(**EIGHTH, kernel=kernel, branches=branches, frames=32, bins=64, classes=4)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(steps):
        loss = cross_entropy(model(inputs), labels)
        optimiser.zero_grad()
        loss.backward()
        if step == 0:
            assert loss > 1, "an untrained network guesses"
            assert all(weights.grad.abs().sum() > 0 for weights in model.parameters()), "every layer learns"
        optimiser.step()
    assert loss < 0.1


# Invalid arguments. -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"kernel": [3, 2]}, r"expected a kernel of two odd numbers, frames and bins, found \[3, 2\]"),
        ({"kernel": [4, 1]}, r"expected a kernel of two odd numbers, frames and bins, found \[4, 1\]"),
        ({"kernel": [3]}, r"expected a kernel of two odd numbers, frames and bins, found \[3\]"),
        ({"kernel": [3, 1, 1]}, r"expected a kernel of two odd numbers, frames and bins, found \[3, 1, 1\]"),
        ({"pools": [2, 2]}, r"expected as many pools as channels, found 2 pools and 5 channels"),
        ({"channels": [8]}, r"expected as many pools as channels, found 5 pools and 1 channels"),
        ({"frames": 127}, r"expected pools that leave .* 127 frames and of 512 bins, found \[2, 2, 2, 4, 4\]"),
        ({"bins": 127}, r"expected pools that leave at least one of 128 frames and of 127 bins, found"),
        ({"bins": 256, "pool": 257}, r"expected a pool of at most 256 bins, found 257"),
    ],
)
def test_impossible_networks_are_refused_in_one_line(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=rf"^models\.x: {says}") as error:
        prcnn(**changed)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"branches": "rnn"}, r"branches: expected one of both, cnn, found 'rnn'"),
        ({"kernel": 3}, r"kernel: expected a list of 1 to 100 values, found 3"),
        ({"kernel": [3, 0]}, r"kernel\[1\]: expected a whole number from 1 to 1024, found 0"),
        ({"pools": [2, 2, 0, 4, 4]}, r"pools\[2\]: expected a whole number from 1 to 65536, found 0"),
        ({"hidden": 0}, r"hidden: expected a whole number from 1 to 65536, found 0"),
        ({"dropout": 1}, r"dropout: expected a number from 0 to 0\.95, found 1"),
    ],
)
def test_arguments_out_of_range_are_refused_in_one_line(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=f"^(models\\.x: )?{says}") as error:
        prcnn(**changed)
    assert len(str(error.value).splitlines()) == 1
