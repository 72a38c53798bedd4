"""The residual and the dense 1D-CNN: shapes of all layers, numbers of parameters, blocks by hand, and learning."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad, relu

from fma_genre.common.errors import InputError
from fma_genre.learning import build
from test_networks import BANDS, CNN, FRAMES, count, output_shapes, segments

ARGUMENTS: dict[str, dict[str, Any]] = {"resnet": CNN, "densenet": CNN | {"layers": 2, "growth": 64}}
TIMES, WIDTHS = [128, 32, 8, 2, 1, 1], [BANDS, 128, 128, 256, 256, 512]  # before each block and after the last
HEAD = (512 * 512 + 2 * 512) + (512 * 1024 + 1024) + (1024 * 16 + 16)  # kernel-1 convolution and both dense layers


def resnet(*, bins: int = BANDS, frames: int = FRAMES, classes: int = 16, **changed: Any) -> Any:
    arguments = ARGUMENTS["resnet"] | changed
    return build.build_network("resnet", arguments, "models.x", bins=bins, frames=frames, classes=classes)


def densenet(*, bins: int = BANDS, frames: int = FRAMES, classes: int = 16, **changed: Any) -> Any:
    arguments = ARGUMENTS["densenet"] | changed
    return build.build_network("densenet", arguments, "models.x", bins=bins, frames=frames, classes=classes)


def randomised(module: nn.Module) -> nn.Module:
    """`module` in evaluation mode, with batch norms that are far from the identity."""
    generator = torch.Generator().manual_seed(1)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d):
            for vector in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
                vector.copy_(torch.rand(vector.shape, generator=generator) + 0.5)
            norm.bias.data -= 1  # so that a ReLU after it matters
    return module.eval()


def convolved(x: Tensor, layers: nn.Sequential) -> Tensor:
    """Outputs of the first convolution in `layers` and of its batch norm, from their definitions."""
    (weights,) = [layer.weight for layer in layers if isinstance(layer, nn.Conv1d)]
    (norm,) = [layer for layer in layers if isinstance(layer, nn.BatchNorm1d)]
    kernel, frames = weights.shape[2], x.shape[2]
    before = (kernel - 1) // 2
    x = pad(x, (before, kernel - 1 - before))
    y = sum(torch.einsum("oi,sit->sot", weights[:, :, k], x[:, :, k : k + frames]) for k in range(kernel))
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return (y - norm.running_mean[:, None]) * scale[:, None] + norm.bias[:, None]


def assert_same(outputs: Tensor, expected: Tensor, inputs: Tensor) -> None:
    """Compare outputs, and their gradients with respect to `inputs`."""
    torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-4)
    gradients = [torch.autograd.grad(y.square().sum(), inputs)[0] for y in (outputs, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)


# Residual blocks. -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [8, 16])
def test_resnet_time_goes_from_128_to_1_in_five_blocks(classes: int) -> None:
    shapes = output_shapes(resnet(classes=classes), segments(3, FRAMES, BANDS))
    for block in range(5):
        before, after, width = TIMES[block], TIMES[block + 1], WIDTHS[block + 1]
        branch = [shapes[f"blocks.{block}.0.branch.{layer}"] for layer in range(7)]
        kept = [branch[layer] for layer in (1, 2, 3, 5, 6)]  # 0 and 4 are paddings
        assert kept == [(width, before)] * 5, "same padding: a convolution keeps the time"
        assert shapes[f"blocks.{block}.0.shortcut"] == (width, before)
        assert [shapes[f"blocks.{block}.{layer}"] for layer in range(3)] == [(width, before)] * 2 + [(width, after)]
    assert shapes["pointwise"] == (512, 1)
    assert shapes["dense"] == (1024,)
    assert shapes["head"] == shapes[""] == (classes,)


def test_resnet_size_in_closed_form() -> None:
    """Two convolutions and two batch norms per block, and one more of each where the number of channels changes."""
    branches = sum(4 * inputs * outputs + 4 * outputs**2 + 4 * outputs for inputs, outputs in pairwise(WIDTHS))
    shortcuts = (128 * 256 + 2 * 256) + (256 * 512 + 2 * 512)
    assert count(resnet()) == branches + shortcuts + HEAD == 3_727_888


@pytest.mark.parametrize("bins", [BANDS, 512])
def test_a_shortcut_is_the_identity_where_the_number_of_channels_stays(bins: int) -> None:
    shortcuts = [block[0].shortcut for block in resnet(bins=bins).blocks]
    same = [inputs == outputs for inputs, outputs in pairwise([bins, *WIDTHS[1:]])]
    assert [isinstance(shortcut, nn.Identity) for shortcut in shortcuts] == same
    for shortcut in shortcuts:
        kernels = [layer.kernel_size for layer in shortcut.modules() if isinstance(layer, nn.Conv1d)]
        assert kernels == ([] if isinstance(shortcut, nn.Identity) else [(1,)])


@pytest.mark.parametrize("block", range(5))
def test_a_residual_block_without_its_branch_is_the_relu_of_the_shortcut(block: int) -> None:
    total, activation, _ = layers = resnet().blocks[block]
    for layer in total.branch:
        if isinstance(layer, nn.Conv1d):
            nn.init.zeros_(layer.weight)
    x = segments(3, WIDTHS[block], TIMES[block])
    for mode in (True, False):
        layers.train(mode)
        expected = relu(total.shortcut(x))
        assert expected.any()
        torch.testing.assert_close(activation(total(x)), expected)
        if WIDTHS[block] == WIDTHS[block + 1]:
            torch.testing.assert_close(expected, relu(x))


@pytest.mark.parametrize("block", range(5))
def test_a_residual_block_by_hand(block: int) -> None:
    layers = randomised(resnet().blocks[block])
    branch, shortcut = layers[0].branch, layers[0].shortcut
    x = segments(2, WIDTHS[block], TIMES[block]).requires_grad_()
    y = convolved(relu(convolved(x, branch[:3])), branch[4:])
    expected = relu(y + (x if isinstance(shortcut, nn.Identity) else convolved(x, shortcut)))
    assert_same(layers[:2](x), expected, x)


# Dense blocks. ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [8, 16])
def test_densenet_time_goes_from_128_to_1_in_five_blocks(classes: int) -> None:
    shapes = output_shapes(densenet(classes=classes), segments(3, FRAMES, BANDS))
    for block in range(5):
        before, after, inputs, outputs = TIMES[block], TIMES[block + 1], WIDTHS[block], WIDTHS[block + 1]
        for layer in range(2):
            inside = [shapes[f"blocks.{block}.0.layers.{layer}.{part}"] for part in (1, 2, 3)]
            assert inside == [(64, before)] * 3, "same padding: a convolution keeps the time"
        assert shapes[f"blocks.{block}.0"] == (inputs + 2 * 64, before)
        after_layers = [shapes[f"blocks.{block}.{part}"] for part in (2, 3, 4, 5)]
        assert after_layers == [(outputs, before)] * 3 + [(outputs, after)]
    assert shapes["pointwise"] == (512, 1)
    assert shapes["dense"] == (1024,)
    assert shapes["head"] == shapes[""] == (classes,)


@pytest.mark.parametrize(("layers", "growth", "size"), [(2, 64, 1_775_376), (3, 32, 1_598_928), (1, 1, 1_074_458)])
def test_densenet_size_in_closed_form(layers: int, growth: int, size: int) -> None:
    """Layer i reads i · growth more channels than the block. A kernel-1 convolution reads all channels."""
    blocks = 0
    for inputs, outputs in pairwise(WIDTHS):
        blocks += sum(4 * (inputs + layer * growth) * growth + 2 * growth for layer in range(layers))
        blocks += (inputs + layers * growth) * outputs + 2 * outputs
    assert count(densenet(layers=layers, growth=growth)) == blocks + HEAD == size


@pytest.mark.parametrize("block", range(5))
def test_a_dense_layer_reads_everything_before_it_in_its_block(block: int) -> None:
    """So does the kernel-1 convolution after them. The weights for each part of the input have a nonzero gradient."""
    layers = densenet(layers=3, growth=8).blocks[block]
    *dense, transition = [layer for layer in layers.modules() if isinstance(layer, nn.Conv1d)]
    read: list[Tensor] = []
    for convolution in (*dense, transition):
        convolution.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    made: list[Tensor] = [segments(2, WIDTHS[block], TIMES[block])]
    for layer in layers[0].layers:
        layer.register_forward_hook(lambda _, inputs, output: made.append(output))
    layers.eval()(made[0]).sum().backward()

    assert [convolution.in_channels for convolution in dense] == [WIDTHS[block] + 8 * layer for layer in range(3)]
    sizes = [WIDTHS[block], 8, 8, 8]
    for number, (convolution, inputs) in enumerate(zip((*dense, transition), read, strict=True), start=1):
        unpadded = inputs[:, :, 1:-2] if convolution is not transition else inputs
        torch.testing.assert_close(unpadded, torch.cat(made[:number], dim=1))
        for part in convolution.weight.grad.split(sizes[:number], dim=1):
            assert part.any()
    assert transition.kernel_size == (1,)


@pytest.mark.parametrize("block", range(5))
def test_a_dense_block_by_hand(block: int) -> None:
    layers = randomised(densenet(growth=8).blocks[block])
    first, second = layers[0].layers
    x = segments(2, WIDTHS[block], TIMES[block]).requires_grad_()
    a = relu(convolved(x, first))
    b = relu(convolved(torch.cat([x, a], dim=1), second))
    expected = relu(convolved(torch.cat([x, a, b], dim=1), layers[1:5]))
    assert_same(layers[:5](x), expected, x)


# Both. ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [resnet, densenet])
@pytest.mark.parametrize(("bins", "frames", "time"), [(512, 128, 1), (96, 256, 2), (128, 400, 3), (40, 255, 1)])
def test_both_take_other_inputs(make: Callable[..., nn.Module], bins: int, frames: int, time: int) -> None:
    shapes = output_shapes(make(bins=bins, frames=frames), segments(2, frames, bins))
    assert shapes["blocks"] == (512, time)
    assert shapes[""] == (16,)


@pytest.mark.parametrize("make", [resnet, densenet])
def test_logits_are_the_head_of_the_features(make: Callable[[], Any]) -> None:
    model = make().eval()
    inputs = segments(2, FRAMES, BANDS)
    assert model.features(inputs).shape == (2, 1024)
    torch.testing.assert_close(model(inputs), model.head(model.features(inputs)))


@pytest.mark.parametrize("make", [resnet, densenet])
def test_on_the_meta_device_both_have_shapes_but_no_memory(make: Callable[[], nn.Module]) -> None:
    with torch.device("meta"):
        tensors = make().state_dict()
    assert {tensor.device.type for tensor in tensors.values()} == {"meta"}
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        name: tensor.shape for name, tensor in make().state_dict().items()
    }


@pytest.mark.parametrize("make", [resnet, densenet])
def test_both_overfit_sixteen_tracks(make: Callable[..., nn.Module]) -> None:
    """At an eighth of the width, in 30 steps. Every weight has a gradient in the first of them."""
    narrow: dict[str, Any] = {"channels": (16, 16, 32, 32, 64), "dense": 128, "dropout": 0.0}
    if make is densenet:
        narrow["growth"] = 8
    labels = torch.arange(16) % 4
    inputs = segments(16, FRAMES, BANDS) + 0.3 * segments(4, 1, BANDS)[labels]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make(classes=4, **narrow)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.004)
    for step in range(30):
        optimiser.zero_grad()
        cross_entropy(model.train()(inputs), labels).backward()
        if step == 0:
            assert all(weights.grad is not None and weights.grad.any() for weights in model.parameters())
        optimiser.step()
    with torch.no_grad():
        for mode in (True, False):
            assert (model.train(mode)(inputs).argmax(dim=1) == labels).all()


@pytest.mark.parametrize("make", [resnet, densenet])
@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"frames": 127}, r"expected pools that leave at least one of 127 frames, found \[4, 4, 4, 2, 1\]"),
        ({"pools": (4, 4)}, r"expected as many pools as channels, found 2 pools and 5 channels"),
        ({"channels": (64,)}, r"expected as many pools as channels, found 5 pools and 1 channels"),
    ],
)
def test_impossible_networks_are_refused(make: Callable[..., Any], changed: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=rf"^models\.x: {says}$"):
        make(**changed)


@pytest.mark.parametrize(
    ("make", "changed", "says"),
    [
        (resnet, {"kernel": 0}, r"kernel: expected a whole number from 1 to 1024, found 0"),
        (resnet, {"growth": 64}, r"expected the keys channels, .*, found 'growth'"),
        (densenet, {"growth": 0}, r"growth: expected a whole number from 1 to 65536, found 0"),
        (densenet, {"layers": 0}, r"layers: expected a whole number from 1 to 100, found 0"),
        (densenet, {"layers": 1.5}, r"layers: expected a whole number from 1 to 100, found 1\.5"),
    ],
)
def test_arguments_out_of_range_are_refused(make: Callable[..., Any], changed: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=f"^{says}"):
        make(**changed)
