"""The stacked GRUs with attention: shapes of all layers, numbers of parameters, weights of the frames, and learning."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fma_genre.common.errors import InputError
from fma_genre.learning import build
from test_networks import BINS, BIRNN, FRAMES, count, gru_by_hand, output_shapes, segments

PARALLEL = ["parallel_linear", "parallel_cnn"]
ATTENTION = ["none", "serial", *PARALLEL]


def brnn(attention: str, *, bins: int = BINS, frames: int = FRAMES, classes: int = 16, **changed: Any) -> Any:
    arguments = BIRNN | {"attention": attention} | changed
    return build.build_network("brnn_attention", arguments, "models.x", bins=bins, frames=frames, classes=classes)


def small(attention: str, *, classes: int = 16) -> Any:
    """An eighth of the width, for segments of 20 frames and 64 bins."""
    return brnn(attention, bins=64, frames=20, classes=classes, embedding=16, hidden=16, dropout=0)


def parts(model: Any, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Output of the GRUs (segments, frames, 2 · hidden) and weights of the frames (segments, frames)."""
    states = model.states(inputs)
    return states, model.weights(inputs, states)


def randomise(*modules: nn.Module) -> None:
    for module in modules:
        for weights in module.parameters():
            nn.init.normal_(weights)


# Shapes and sizes. ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [8, 16])
@pytest.mark.parametrize("attention", ATTENTION)
def test_shapes(attention: str, classes: int) -> None:
    shapes = output_shapes(brnn(attention, classes=classes), segments(2, FRAMES, BINS))
    assert shapes["embedding.0"] == (FRAMES, 256)
    assert shapes["embedding"] == (FRAMES, 128)
    assert shapes["first"] == shapes["second"] == (FRAMES, 256)
    assert ("score" in shapes) == (attention != "none")
    if attention != "none":
        assert shapes["score"] == (FRAMES, 1)
    assert shapes["head.0"] == (256,)
    assert shapes["head"] == shapes[""] == (classes,)


def test_shapes_in_the_cnn_that_scores_frames() -> None:
    shapes = output_shapes(brnn("parallel_cnn"), segments(2, FRAMES, BINS))
    bins = [512, 128, 32]
    for block in range(2):
        inside = [shapes[f"score.blocks.{block}.{layer}"] for layer in range(3)]
        pooled = (8, FRAMES, bins[block + 1])
        assert inside == [(8, FRAMES, bins[block]), pooled, pooled], "convolution, max pooling over bins and ReLU"
    assert shapes["score.linear"] == (FRAMES, 1)


@pytest.mark.parametrize(
    ("attention", "scores"),
    [
        ("none", 0),
        ("serial", 2 * 128),
        ("parallel_linear", BINS),
        ("parallel_cnn", (9 * 1 * 8 + 8) + (9 * 8 * 8 + 8) + 8),
    ],
)
def test_size_in_closed_form(attention: str, scores: int) -> None:
    """The inputs of the second GRU are the outputs of both directions of the first. Linear scores have no bias."""
    first, second = (2 * 3 * (inputs * 128 + 128 * 128 + 2 * 128) for inputs in (128, 2 * 128))
    model = brnn(attention)
    assert (count(model.first), count(model.second)) == (first, second) == (198_144, 296_448)
    assert count(model) == (256 * 128 + 128) + first + second + scores + (256 * 16 + 16)


@pytest.mark.parametrize(("bins", "pool", "frames"), [(128, 2, 128), (512, 4, 200), (513, 2, 1), (17, 7, 3)])
@pytest.mark.parametrize("attention", ATTENTION)
def test_other_inputs(attention: str, bins: int, pool: int, frames: int) -> None:
    shapes = output_shapes(brnn(attention, bins=bins, pool=pool, frames=frames), segments(2, frames, bins))
    assert shapes["embedding.0"] == (frames, bins // pool)
    assert shapes["second"] == (frames, 256)
    assert shapes[""] == (16,)


@pytest.mark.parametrize("attention", ATTENTION)
def test_on_the_meta_device_a_network_has_shapes_but_no_memory(attention: str) -> None:
    with torch.device("meta"):
        state = brnn(attention).state_dict()
    assert {tensor.device.type for tensor in state.values()} == {"meta"}
    assert {name: tensor.shape for name, tensor in state.items()} == {
        name: tensor.shape for name, tensor in brnn(attention).state_dict().items()
    }


# GRUs. ------------------------------------------------------------------------------------------------------------


def outputs_by_hand(inputs: Tensor, gru: nn.GRU) -> Tensor:
    """All outputs (segments, frames, 2 · hidden) for inputs (segments, frames, inputs), from the equations of the GRU.

    The forward output at a frame is the last state after the frames up to it, and the backward output the last state
    after the frames from the end to it.
    """
    frames = range(inputs.shape[1])
    forward = [gru_by_hand(inputs[:, : frame + 1], gru, "") for frame in frames]
    backward = [gru_by_hand(inputs[:, frame:].flip(1), gru, "_reverse") for frame in frames]
    return torch.cat([torch.stack(forward, dim=1), torch.stack(backward, dim=1)], dim=2)


def test_states_are_the_sum_of_both_grus() -> None:
    model, inputs = small("none"), segments(2, 6, 64)
    pooled = inputs.unflatten(2, (32, 2)).amax(dim=3)  # neighbouring bins
    first = outputs_by_hand(pooled @ model.embedding[1].weight.T + model.embedding[1].bias, model.first)
    second = outputs_by_hand(first, model.second)
    torch.testing.assert_close(model.states(inputs), first + second)


# Attention. -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ATTENTION)
def test_weights_are_positive_and_sum_to_1_over_frames(attention: str) -> None:
    model, inputs = small(attention), 3 * segments(5, 20, 64)
    randomise(model)
    _, weights = parts(model, inputs)
    assert weights.shape == (5, 20)
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(5))
    assert (attention == "none") == bool((weights == 1 / 20).all())


@pytest.mark.parametrize("attention", ATTENTION)
def test_features_are_the_weighted_mean_of_the_states(attention: str) -> None:
    model, inputs = small(attention).eval(), segments(3, 20, 64)
    randomise(model)
    states, weights = parts(model, inputs)
    expected = sum(weights[:, frame, None] * states[:, frame] for frame in range(20))
    features = model.features(inputs)
    assert features.shape == (3, 32)
    torch.testing.assert_close(features, expected)
    torch.testing.assert_close(model(inputs), model.head(features))


def test_without_attention_features_are_the_mean_of_the_states() -> None:
    model, inputs = small("none"), segments(3, 20, 64)
    torch.testing.assert_close(model.features(inputs), model.states(inputs).mean(dim=1))


def test_dropout_precedes_the_last_layer() -> None:
    dropped = brnn("none", dropout=0.75).train().head[0](torch.ones(4, 256)) == 0
    assert 0.6 < dropped.double().mean() < 0.9


class Score(nn.Module):
    """Scores of 0 for all frames but one, which gets a score of 50."""

    def __init__(self, frame: int) -> None:
        super().__init__()
        self.frame = frame

    def forward(self, inputs: Tensor) -> Tensor:
        return 50 * (torch.arange(inputs.shape[1]) == self.frame).float().expand(len(inputs), -1)[..., None]


@pytest.mark.parametrize("frame", [0, 13])
@pytest.mark.parametrize("attention", ["serial", *PARALLEL])
def test_a_frame_with_a_far_higher_score_dominates(attention: str, frame: int) -> None:
    model, inputs = small(attention), segments(3, 20, 64)
    model.score = Score(frame)
    torch.testing.assert_close(model.features(inputs), model.states(inputs)[:, frame])


def test_scores_of_serial_attention_are_linear_in_the_states_of_each_frame() -> None:
    model, inputs, states = small("serial"), segments(3, 20, 64), segments(3, 20, 32)
    expected = (states @ model.score.weight[0]).exp()
    torch.testing.assert_close(model.weights(inputs, states), expected / expected.sum(dim=1, keepdim=True))


def test_scores_of_parallel_linear_attention_are_linear_in_the_bins_of_each_frame() -> None:
    model, inputs, states = small("parallel_linear"), segments(3, 20, 64), segments(3, 20, 32)
    expected = (inputs @ model.score.weight[0]).exp()
    torch.testing.assert_close(model.weights(inputs, states), expected / expected.sum(dim=1, keepdim=True))


def test_scores_of_parallel_cnn_attention_see_two_frames_on_either_side() -> None:
    score, inputs = small("parallel_cnn").score, segments(1, 20, 64)
    before = score(inputs)
    inputs[0, 10] += 1
    changed = (score(inputs) != before).flatten().nonzero().flatten()
    assert changed.tolist() == [8, 9, 10, 11, 12]


def test_scores_of_parallel_cnn_attention_see_all_bins() -> None:
    score, inputs = small("parallel_cnn").score, segments(1, 20, 64)
    inputs.requires_grad_()
    score(inputs).sum().backward()
    assert (inputs.grad.abs().sum(dim=(0, 1)) > 0).all()


def test_scores_of_parallel_cnn_attention_are_means_over_bins() -> None:
    """Both convolutions copy their first input channel, so a score is a mean of maxima of 16 bins."""
    score, inputs = small("parallel_cnn").score, segments(2, 20, 64)
    for block in score.blocks:
        nn.init.zeros_(block[0].weight)
        nn.init.zeros_(block[0].bias)
        block[0].weight.data[0, 0, 1, 1] = 1
    nn.init.ones_(score.linear.weight)
    expected = inputs.unflatten(2, (4, 16)).amax(dim=3).relu().mean(dim=2)
    torch.testing.assert_close(score(inputs)[..., 0], expected)


def note_scores(model: Any) -> list[tuple[Tensor, Tensor]]:
    """A list that will collect the inputs and outputs of the layers that score frames."""
    noted: list[tuple[Tensor, Tensor]] = []
    model.score.register_forward_hook(lambda module, inputs, output: noted.append((inputs[0], output)))
    return noted


@pytest.mark.parametrize("attention", PARALLEL)
def test_parallel_scores_depend_on_the_input_alone(attention: str) -> None:
    model, inputs = small(attention).eval(), segments(3, 20, 64)
    noted = note_scores(model)
    before = model(inputs)
    randomise(model.embedding, model.first, model.second)
    assert not torch.allclose(model(inputs), before)
    model(2 * inputs)
    (seen, scores), (_, with_other_grus), (_, of_other_inputs) = noted
    assert torch.equal(seen, inputs)
    assert torch.equal(with_other_grus, scores)
    assert not torch.allclose(of_other_inputs, scores)


def test_serial_scores_depend_on_the_states_alone() -> None:
    model, inputs = small("serial").eval(), segments(3, 20, 64)
    noted = note_scores(model)
    model(inputs)
    states = model.states(inputs)
    torch.testing.assert_close(noted[0][0], states)
    assert torch.equal(model.weights(2 * inputs, states), model.weights(inputs, states))
    randomise(model.second)
    model(inputs)
    assert not torch.allclose(noted[-1][1], noted[0][1])


# Learning. --------------------------------------------------------------------------------------------------------

LABELS = torch.arange(16) % 4


def fit(model: Any, inputs: Tensor) -> float:
    """Train on 16 tracks of 4 classes and return the last loss."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(40):
        loss = cross_entropy(model(inputs), LABELS)
        optimiser.zero_grad()
        loss.backward()
        if step == 0:
            assert loss > 1, "an untrained network guesses"
            assert all(weights.grad.abs().sum() > 0 for weights in model.parameters()), "every layer learns"
        optimiser.step()
    return loss.item()


@pytest.mark.parametrize("attention", ATTENTION)
def test_an_eighth_of_the_width_overfits_16_tracks(attention: str) -> None:
    """All frames of a track are noise around a random spectrum of its class."""
    torch.manual_seed(0)
    inputs = segments(16, 20, 64) + torch.randn(4, 1, 64)[LABELS]
    assert fit(small(attention, classes=4), inputs) < 0.02


@pytest.mark.parametrize("attention", ["serial", *PARALLEL])
def test_attention_learns_which_frames_matter(attention: str) -> None:
    """A single frame of each track tells its class; the others are noise. With equal weights, its weight is 0.05."""
    torch.manual_seed(0)
    inputs, tracks, telling = segments(16, 20, 64), torch.arange(16), torch.randint(20, (16,))
    inputs[tracks, telling] += 3 * torch.randn(4, 64)[LABELS]
    model = small(attention, classes=4)
    assert fit(model, inputs) < 0.02
    _, weights = parts(model, inputs)
    assert weights[tracks, telling].mean() > 0.25


# Invalid arguments. -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attention", "changed", "says"),
    [
        ("none", {"pool": 513}, r"models\.x: expected a pool of at most 512 bins, found 513"),
        ("serial", {"bins": 1}, r"models\.x: expected a pool of at most 1 bins, found 2"),
        ("parallel_cnn", {"bins": 15}, r"models\.x: expected at least 16 bins for parallel_cnn, found 15"),
        (
            "paralel_cnn",
            {},
            r"attention: expected one of none, serial, parallel_linear, parallel_cnn, found 'paralel_cnn'; "
            r"did you mean parallel_cnn\?",
        ),
        ("none", {"hidden": 0}, r"hidden: expected a whole number from 1 to 65536, found 0"),
        ("none", {"dropout": 1}, r"dropout: expected a number from 0 to 0\.95, found 1"),
        ("none", {"layers": 2}, r"expected the keys attention, pool, embedding, hidden, dropout, found 'layers'"),
    ],
)
def test_invalid_arguments_are_refused_in_one_line(attention: str, changed: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=f"^{says}") as error:
        brnn(attention, **changed)
    assert len(str(error.value).splitlines()) == 1
