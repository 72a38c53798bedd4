"""The networks: shapes of all layers, numbers of parameters, and invalid arguments."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fma_genre.common.errors import InputError
from fma_genre.learning import build

FRAMES, BANDS, BINS = 128, 128, 512
# The published architectures.
CNN: dict[str, Any] = {
    "channels": (128, 128, 256, 256, 512),
    "pools": (4, 4, 4, 2, 1),
    "kernel": 4,
    "dense": 1024,
    "dropout": 0.5,
}
BIRNN: dict[str, Any] = {"pool": 2, "embedding": 128, "hidden": 128, "dropout": 0.3}


def cnn(*, bins: int = BANDS, frames: int = FRAMES, classes: int = 16, **changed: Any) -> Any:
    return build.build_network("cnn", CNN | changed, "models.x", bins=bins, frames=frames, classes=classes)


def birnn(*, bins: int = BINS, frames: int = FRAMES, classes: int = 16, **changed: Any) -> Any:
    return build.build_network("birnn", BIRNN | changed, "models.x", bins=bins, frames=frames, classes=classes)


def segments(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def output_shapes(model: nn.Module, inputs: Tensor) -> dict[str, tuple[int, ...]]:
    """The output shape of every module of `model`, without the dimension of the segments."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, module in model.named_modules():

        def note(module: nn.Module, inputs: Any, output: Any, name: str = name) -> None:
            first = output[0] if isinstance(output, tuple) else output
            shapes[name] = tuple(first.shape[1:])

        module.register_forward_hook(note)
    model.eval()(inputs)
    return shapes


def count(module: nn.Module) -> int:
    return sum(weights.numel() for weights in module.parameters())


# 1D-CNN. ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [8, 16])
def test_cnn_time_goes_from_128_to_1_in_five_blocks(classes: int) -> None:
    shapes = output_shapes(cnn(classes=classes), segments(3, FRAMES, BANDS))
    times, channels = [128, 32, 8, 2, 1, 1], [128, 128, 256, 256, 512]
    for block in range(5):
        inside = [shapes[f"blocks.{block}.{layer}"] for layer in range(5)]
        before, after, width = times[block], times[block + 1], channels[block]
        assert inside[1:4] == [(width, before)] * 3, "same padding: a convolution keeps the time"
        assert inside[4] == (width, after)
    assert shapes["pointwise"] == (512, 1)
    assert shapes["dense"] == (1024,)
    assert shapes["head"] == (classes,)
    assert shapes[""] == (classes,)


def test_cnn_has_a_kernel_1_layer_over_the_channels() -> None:
    (layer,) = [module for module in cnn().pointwise.modules() if isinstance(module, nn.Conv1d)]
    assert layer.kernel_size == (1,)
    assert (layer.in_channels, layer.out_channels) == (512, 512)


@pytest.mark.parametrize("classes", [8, 16])
def test_cnn_size_in_closed_form(classes: int) -> None:
    """Convolutions without bias, each with the two vectors of its batch norm, and two dense layers."""
    widths = [BANDS, 128, 128, 256, 256, 512]
    blocks = sum(4 * inputs * outputs + 2 * outputs for inputs, outputs in pairwise(widths))
    pointwise = 512 * 512 + 2 * 512
    dense = 512 * 1024 + 1024
    assert count(cnn(classes=classes)) == blocks + pointwise + dense + 1024 * classes + classes


def first_layer(model: Any, kernel: int) -> nn.Sequential:
    """Padding and convolution of the first block. All weights are 1, so the convolution sums over its window."""
    padding, convolution = list(model.blocks[0])[:2]
    assert convolution.kernel_size == (kernel,)
    nn.init.ones_(convolution.weight)
    return nn.Sequential(padding, convolution)


@pytest.mark.parametrize(
    ("kernel", "reach"), [(1, [10]), (3, [9, 10, 11]), (4, [8, 9, 10, 11]), (5, [8, 9, 10, 11, 12])]
)
def test_same_padding_puts_one_more_zero_after_than_before(kernel: int, reach: list[int]) -> None:
    """With a kernel of 4, output t depends on frames t − 1 to t + 2, so frame 10 affects outputs 8 to 11."""
    impulse = torch.zeros(1, BANDS, 32)
    impulse[0, 0, 10] = 1
    seen = first_layer(cnn(kernel=kernel), kernel)(impulse)[0, 0]
    assert len(seen) == 32
    assert seen.nonzero().flatten().tolist() == reach


def test_a_kernel_spans_all_bands() -> None:
    layer = first_layer(cnn(), 4)
    for band in (0, BANDS - 1):
        impulse = torch.zeros(1, BANDS, 32)
        impulse[0, band, 10] = 1
        assert layer(impulse)[0].sum(dim=1).tolist() == [4.0] * 128


@pytest.mark.parametrize(("bins", "frames", "time"), [(512, 128, 1), (96, 256, 2), (128, 400, 3), (40, 255, 1)])
def test_cnn_takes_other_inputs(bins: int, frames: int, time: int) -> None:
    shapes = output_shapes(cnn(bins=bins, frames=frames), segments(2, frames, bins))
    assert shapes["blocks"] == (512, time)
    assert shapes[""] == (16,)


# BiRNN. -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [8, 16])
def test_birnn_frequency_goes_from_512_to_128_and_time_stays(classes: int) -> None:
    shapes = output_shapes(birnn(classes=classes), segments(3, FRAMES, BINS))
    assert shapes["branch.embedding.0"] == (FRAMES, 256)
    assert shapes["branch.embedding"] == (FRAMES, 128)
    assert shapes["branch.gru"] == (FRAMES, 256)
    assert shapes["head"] == shapes[""] == (classes,)


@pytest.mark.parametrize("classes", [8, 16])
def test_birnn_size_in_closed_form(classes: int) -> None:
    """A GRU has three gates with two biases each, in both directions."""
    model = birnn(classes=classes)
    gru = 2 * 3 * (128 * 128 + 128 * 128 + 2 * 128)
    assert count(model.branch.gru) == gru == 198_144
    assert count(model) == (256 * 128 + 128) + gru + (256 * classes + classes)


@pytest.mark.parametrize(("bins", "pool", "frames"), [(128, 2, 128), (512, 4, 200), (513, 2, 1), (7, 7, 3)])
def test_birnn_takes_other_inputs(bins: int, pool: int, frames: int) -> None:
    shapes = output_shapes(birnn(bins=bins, pool=pool, frames=frames), segments(2, frames, bins))
    assert shapes["branch.embedding.0"] == (frames, bins // pool)
    assert shapes[""] == (16,)


def gru_by_hand(inputs: Tensor, gru: nn.GRU, suffix: str) -> Tensor:
    """The last state for inputs (segments, frames, inputs), from the equations of the GRU."""
    weights = [getattr(gru, name + suffix) for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")]
    state = torch.zeros(len(inputs), gru.hidden_size)
    for frame in inputs.unbind(dim=1):
        reset, update, new = (frame @ weights[0].T + weights[2]).chunk(3, dim=1)
        hidden_reset, hidden_update, hidden_new = (state @ weights[1].T + weights[3]).chunk(3, dim=1)
        gate = (update + hidden_update).sigmoid()
        candidate = (new + (reset + hidden_reset).sigmoid() * hidden_new).tanh()
        state = (1 - gate) * candidate + gate * state
    return state


def test_birnn_features_are_the_final_states_of_both_directions() -> None:
    """The final state of the backward direction is the state at the first frame."""
    model = birnn(hidden=16, embedding=8).eval()
    inputs = segments(2, 20, BINS)
    pooled = inputs.unflatten(2, (256, 2)).amax(dim=3)  # neighbouring bins
    linear, gru = model.branch.embedding[1], model.branch.gru
    embedded = pooled @ linear.weight.T + linear.bias
    expected = torch.cat([gru_by_hand(embedded, gru, ""), gru_by_hand(embedded.flip(1), gru, "_reverse")], dim=1)
    features = model.features(inputs)
    assert features.shape == (2, 32)
    torch.testing.assert_close(features, expected)


# Both. ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "features"), [(cnn(), 1024), (birnn(), 256)])
def test_logits_are_the_head_of_the_features(model: Any, features: int) -> None:
    inputs = segments(2, FRAMES, BINS if features == 256 else BANDS)
    hidden = model.eval().features(inputs)
    assert hidden.shape == (2, features)
    torch.testing.assert_close(model(inputs), model.head(hidden))
    assert not torch.allclose(model(inputs).sum(dim=1), torch.ones(2)), "logits, not probabilities"


@pytest.mark.parametrize("make", [cnn, birnn])
def test_on_the_meta_device_a_network_has_shapes_but_no_memory(make: Callable[[], nn.Module]) -> None:
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in make().state_dict().items()}
        assert {tensor.device.type for tensor in make().state_dict().values()} == {"meta"}
    assert shapes == {name: tensor.shape for name, tensor in make().state_dict().items()}


@pytest.mark.parametrize(
    ("name", "changed", "says"),
    [
        ("cnn", {"frames": 127}, r"models\.x: expected pools that leave .* of 127 frames, found \[4, 4, 4, 2, 1\]"),
        ("cnn", {"frames": 2}, r"models\.x: expected pools that leave at least one of 2 frames, found"),
        ("cnn", {"pools": (4, 4, 4, 2, 2)}, r"models\.x: expected pools that leave at least one of 128 frames, found"),
        ("cnn", {"pools": (4, 4)}, r"models\.x: expected as many pools as channels, found 2 pools and 5 channels"),
        ("cnn", {"channels": (64,)}, r"models\.x: expected as many pools as channels, found 5 pools and 1 channels"),
        ("birnn", {"pool": 513}, r"models\.x: expected a pool of at most 512 bins, found 513"),
        ("birnn", {"bins": 1}, r"models\.x: expected a pool of at most 1 bins, found 2"),
    ],
)
def test_impossible_networks_are_refused_in_one_line(name: str, changed: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=f"^{says}") as error:
        {"cnn": cnn, "birnn": birnn}[name](**changed)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "changed", "says"),
    [
        ("cnn", {"kernel": 0}, r"kernel: expected a whole number from 1 to 1024, found 0"),
        ("cnn", {"dense": 1.5}, r"dense: expected a whole number from 1 to 65536, found 1\.5"),
        ("cnn", {"dropout": 1}, r"dropout: expected a number from 0 to 0\.95, found 1"),
        ("cnn", {"channels": ()}, r"channels: expected a list of 1 to 100 values, found \(\)"),
        ("cnn", {"pools": (4, 4, 0, 2, 1)}, r"pools\[2\]: expected a whole number from 1 to 65536, found 0"),
        ("cnn", {"kernell": 4}, r"expected the keys channels, .*, found 'kernell'; did you mean kernel\?"),
        ("birnn", {"hidden": True}, r"hidden: expected a whole number from 1 to 65536, found True"),
        ("birnn", {"embedding": "8"}, r"embedding: expected a whole number from 1 to 65536, found '8'"),
    ],
)
def test_arguments_out_of_range_are_refused_in_one_line(name: str, changed: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=f"^{says}") as error:
        {"cnn": cnn, "birnn": birnn}[name](**changed)
    assert len(str(error.value).splitlines()) == 1


def test_a_network_without_a_file_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match=r"^src/fma_genre/networks: expected a file rnn\.py, found none$"):
        build.build_network("rnn", {}, "models.x", bins=BINS, frames=FRAMES, classes=16)
